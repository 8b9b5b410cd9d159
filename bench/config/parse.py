"""From plain dicts to a typed configuration."""

from __future__ import annotations

import functools
import math
import re
from typing import Any

from pydantic import ValidationError

from bench.base.errors import UserError
from bench.base.hashing import content_of, weights_hash
from bench.base.paths import CONF_DIR
from bench.config.capabilities import METADATA, shipped_capabilities, shipped_optimizers
from bench.config.choices import CHOICES, checked_settings
from bench.config.fields import AUTO
from bench.config.hyperparameters import Hyperparameters
from bench.config.messages import error_sentence, shown_value
from bench.config.schema import Capabilities, Config, StepCostConfig


def has_default_hyperparameters(config: Config) -> bool:
    """Return whether the optimizer runs at the settings of the config that ships for it, nothing changed."""
    return config.optimizer.options in _shipped_options().get(config.optimizer.target, [])


@functools.cache
def _shipped_options() -> dict[str, list[dict[str, Any]]]:
    """Return the hyperparameters of the optimizers that ship, by target; several configs may share one."""
    shipped: dict[str, list[dict[str, Any]]] = {}
    for node in shipped_optimizers().values():
        if node["_target_"] != "???":
            shipped.setdefault(node["_target_"], []).append(_component("optimizer", node)["options"])
    return shipped


ABSENT: dict[str, Any] = {
    "launcher": {"name": "local"},
    "sweep": {"name": "product"},
    "decide": {},
    "diagnostics": {"name": "none"},
    "logger": {},
    "trial": {"stage": "single"},
}
"""What a configuration without these keys has: a run by hand."""


QUICK = {"builds": 1, "rounds": 3}
"""What `quick=true` makes of the keys of `bench.step_cost` that were not set by hand."""


def parse(node: dict[str, Any], overrides: list[str] | None = None) -> Config:
    """Turn a composed configuration into a `Config`.

    Args:
        node: The configuration as plain dicts and lists, interpolations resolved.
        overrides: The command-line overrides that led to it, for the record.

    Raises:
        UserError: A key is unknown, or a value has the wrong type or is out of its range. The
            message is one sentence naming the dotted key, what was expected and what came.
    """
    node = ABSENT | node
    for key, what in (("overrides", "what was typed"), ("looks", "made of decide.max_seeds")):
        if key in node:
            raise UserError(f"{key} must not be set, got a value; it is {what}")
    for key in ("optimizer", "model", "data", "schedule", "augment", "device", "train", "regularization", *ABSENT):
        if not isinstance(node.get(key), dict):
            raise UserError(
                f"{key} must be a mapping or a group option, got {node.get(key)!r};"
                f" choose one of {', '.join(group_options(key)) or 'its keys'}"
            )
    for key in ("optimizer", "model", "data"):
        node[key] = _component(key, node[key])
    for key, choices in CHOICES.items():
        options = dict(node[key])
        name = options.pop("name", None)
        if isinstance(name, str) and name in choices:
            options = checked_settings(key, name, options).model_dump(exclude_unset=True)
        node[key] = {"name": name, "options": options}
    if node.get("study") is None:
        tuned = isinstance(sweep := node.get("sweep"), dict) and sweep.get("name") == "tuned"
        node["study"] = f"{node['data']['name']}-{node['model']['name']}{'-tuned' if tuned else ''}"
    try:
        config = Config(**node, overrides=overrides or [])
    except ValidationError as error:
        groups: tuple[str, ...] = ("device", "launcher", "sweep")
        chosen = {key: str(node[key].get("name")) for key in groups}
        raise UserError(error_sentence(error, Config, chosen=chosen)) from None
    _check_together(config)
    if _are_auto(node):
        _check_auto(config)
        config = config.model_copy(update={"looks": config.decide.looks})
    if config.train.init_from is not None:
        weights_hash(config.train.init_from)
    if isinstance(path := config.data.options.get("path"), str):
        content_of(path)
    return config.model_copy(update={"metrics": sorted(set(config.metrics))})


def _check_together(config: Config) -> None:
    """Hold settings to what others of them ask for.

    Raises:
        UserError: Two of them contradict each other.
    """
    if len(set(config.seeds)) < len(config.seeds):
        raise UserError(f"seeds must be different from each other, got {config.seeds}; name each once")
    if config.train.epochs is None and config.train.steps is None:
        raise UserError("train.epochs must be set where train.steps is null, got null; set one of the two")
    if config.train.accumulate > config.train.batch_size:
        raise UserError(
            f"train.accumulate must be at most train.batch_size={config.train.batch_size}, got"
            f" {config.train.accumulate}; it is the number of parts that a batch is computed in"
        )
    num_seeds = config.sweep.seeds_per_trial - 1 + config.sweep.seeds
    _check_room(config, config.sweep.seeds, f"{num_seeds}")
    if config.diagnostics.record and config.diagnostics.every % config.train.log_every:
        raise UserError(
            f"diagnostics.every must be a multiple of train.log_every={config.train.log_every}, got"
            f" {config.diagnostics.every}; the training loss is the mean since the last stop, which another stop would change"
        )
    by_speed = config.sweep.select in ("steps_to_target", "time_to_target")
    if by_speed != (config.sweep.target is not None):
        raise UserError(
            f"sweep.target must be set with sweep.select=steps_to_target or time_to_target, and with no other, got"
            f" {config.sweep.target} with {config.sweep.select}; {'set a validation loss' if by_speed else 'leave it out'}"
        )


def _check_auto(config: Config) -> None:
    """Hold a configuration to what `seeds=auto` asks for.

    Raises:
        UserError: Nothing is random, or there is no room for so many seeds.
    """
    if config.device.name == "fake":
        raise UserError("seeds must be a number with device=fake, got auto; every seed takes as much memory")
    _check_room(config, config.decide.max_seeds, f"decide.max_seeds={config.decide.max_seeds}")


def _check_room(config: Config, num_seeds: int, shown: str) -> None:
    """Hold the first seed of the trials to leave room for theirs and for those of the final runs below 2**32.

    Raises:
        UserError: It does not.
    """
    if config.sweep.trial_seed + config.sweep.seeds_per_trial - 1 + num_seeds >= 2**32:
        raise UserError(
            f"sweep.trial_seed must leave room for {shown} seeds after it, got"
            f" {config.sweep.trial_seed}; choose a smaller one"
        )


def _are_auto(node: dict[str, Any]) -> bool:
    """Return whether as many seeds are to be run as it takes."""
    seeds = node["sweep"].get("seeds") if node["sweep"].get("name") == "tuned" else node["seeds"]
    return bool(seeds == AUTO)


def parse_step_cost(node: dict[str, Any], overrides: list[str] | None = None) -> StepCostConfig:
    """Turn a composed configuration into a `StepCostConfig`.

    Args:
        node: The configuration as plain dicts and lists, interpolations resolved.
        overrides: The command-line overrides that led to it, for the record.

    Raises:
        UserError: As `parse`.
    """
    node = dict(node)
    for key in ("model", "data", "device", "train"):
        if not isinstance(node.get(key), dict):
            raise UserError(f"{key} must be a mapping or a group option, got {node.get(key)!r}; leave it out")
    for key in ("model", "data"):
        node[key] = _component(key, node[key])
    entries = node.get("optimizers")
    if not isinstance(entries, list) or not entries:
        raise UserError(f"optimizers must be a list such as [adam,sgd], got {shown_value(entries)}; name at least one")
    node["optimizers"] = [_optimizer_entry(i, entry) for i, entry in enumerate(entries)]
    names = [entry["name"] for entry in node["optimizers"]]
    for key, values in (("optimizers", names), ("implementations", node.get("implementations"))):
        if isinstance(values, list) and len({str(v) for v in values}) < len(values):
            raise UserError(
                f"{key} must be different from each other, got {', '.join(map(str, values))}; name each once"
            )
    if node.get("baseline") is None:
        node["baseline"] = "sgd" if "sgd" in names else names[0]
    if node["baseline"] not in names:
        raise UserError(
            f"baseline must be one of the optimizers ({', '.join(names)}), got {shown_value(node['baseline'])}"
        )
    if node.get("study") is None:
        node["study"] = f"{node['data']['name']}-{node['model']['name']}"
    if node.get("quick") is True:
        typed = {override.partition("=")[0] for override in overrides or []}
        node |= {key: value for key, value in QUICK.items() if key not in typed}
    try:
        config = StepCostConfig(**node, overrides=overrides or [])
    except ValidationError as error:
        raise UserError(
            error_sentence(error, StepCostConfig, chosen={"device": str(node["device"].get("name"))})
        ) from None
    if config.device.name == "fake":
        raise UserError("device must be one whose clock can be read, got fake; choose cpu, cuda, mps or auto")
    return config


def _optimizer_entry(index: int, entry: Any) -> dict[str, Any]:
    """Return an optimizer of a list: the name of a config, or a mapping of settings on top of one.

    Settings other than the config's own go into the name, such as sgd-momentum-0.9.
    """
    key, options = f"optimizers[{index}]", group_options("optimizer")
    settings = {"name": entry} if isinstance(entry, str) else dict(entry) if isinstance(entry, dict) else None
    if settings is None or not ({"name", "_target_"} & set(settings)):
        raise UserError(
            f"{key} must be one of {', '.join(options)}, or a mapping such as {{name:sgd,momentum:0.9}}, got {shown_value(entry)}"
        )
    name = settings.pop("name", None)
    if "_target_" in settings:
        settings["name"] = name
        return _component("optimizer", settings)
    if name not in options or name == "custom":
        raise UserError(
            f"{key} must be one of {', '.join(o for o in options if o != 'custom')}, got {shown_value(name)}; a class of your own is {{_target_:my_file.MyClass,lr:0.01}}"
        )
    node = {k: v for k, v in shipped_optimizers()[name].items() if k not in METADATA}
    unknown = sorted(set(settings) - set(node))
    if unknown:
        known = ", ".join(k for k in node if k not in ("_target_", "name", "implementation"))
        raise UserError(
            f"{key}.{unknown[0]} must be a setting of {name} ({known}), got an unknown one; choose one of these"
        )
    changed = {k: v for k, v in settings.items() if v != node[k]}
    parsed = _component("optimizer", node | settings)
    if changed:
        words = "-".join([str(name), *(f"{k}-{v}" for k, v in sorted(changed.items()))])
        parsed["name"] = re.sub(r"[^\w.+-]+", "_", words)
    return parsed


def group_options(group: str) -> list[str]:
    """Return the options of a config group, sorted; empty where there is no such group."""
    return sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))


def _component(key: str, node: dict[str, Any]) -> dict[str, Any]:
    """Part the keys that are ours from the arguments of the class."""
    of_data = ("order", "num_train")
    ours = ("needs", *{"optimizer": METADATA, "data": of_data}.get(key, ()))
    options = {name: value for name, value in node.items() if name not in ours}
    target, name = options.pop("_target_", None), options.pop("name", None)
    if target in (None, "???"):
        what, example = ("function", "load") if key == "data" else ("class", "MyClass")
        raise UserError(
            f"{key}._target_ must be the dotted path of a {what} when {key}=custom, got nothing;"
            f" add {key}._target_=my_file.{example}"
        )
    if isinstance(target, str):
        module, _, attribute = target.rpartition(".")
        name = name or (module.rpartition(".")[2] if attribute == "load" and module else attribute)
    parsed = {"target": target, "name": name, "options": options}
    if key == "data":
        parsed |= {name: node[name] for name in of_data if name in node}
    if key == "optimizer":
        if node.get("needs"):
            parsed["needs"] = sorted(set(node["needs"]), key=str) if isinstance(node["needs"], list) else node["needs"]
        parsed |= {name: node[name] for name in METADATA if node.get(name) not in (None, {})}
        parsed["implementation"] = options.pop("implementation", "default")
        if isinstance(target, str) and target.startswith(("torch.optim.", "optimizers.")):
            try:
                checked = Hyperparameters.model_validate(options, context={"pairs": _pairs(node)})
            except ValidationError as error:
                raise UserError(
                    error_sentence(error, Hyperparameters, "optimizer.", {"optimizer": str(name)})
                ) from None
            parsed["options"] = checked.model_dump(exclude_unset=True)
    for option, value in parsed["options"].items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{key}.{option} must be a finite number, got {value}; give a number")
    return parsed


def _pairs(optimizer: dict[str, Any]) -> list[str]:
    """Return the settings of which an optimizer takes two; none where its capabilities are wrong, which is said later."""
    try:
        own = Capabilities.model_validate(optimizer.get("capabilities") or {})
    except ValidationError:
        return []
    return own.pairs if optimizer.get("capabilities") else shipped_capabilities(optimizer["_target_"]).pairs
