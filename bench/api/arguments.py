"""Turn the arguments of `compare` into configurations."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from bench.api.inline_targets import data_target, dataset_of, loss_path, name_of, target_of
from bench.base.errors import UserError
from bench.build.model import build_model, checked_outputs
from bench.build.optimizer import build_optimizer
from bench.config.capabilities import METADATA
from bench.config.parse import group_options, parse
from bench.config.schema import Config
from bench.execution.workload import check_batch_size, dataset
from bench.measure.device import Unavailable, reset, resolve

OptimizerLike = str | Callable[..., torch.optim.Optimizer] | Mapping[str, Any] | tuple[Any, Any]
"""An optimizer as `compare` takes it."""


ARGUMENTS = ("epochs", "steps", "batch_size")
"""Arguments of `compare` that are keys of `train`."""


GROUPS = ("schedule", "augment", "diagnostics", "logger")
"""Groups of `conf/` that `settings` may choose from; the others are arguments."""


def configs_of(
    model: Any, data: Any, optimizers: Sequence[OptimizerLike], device: Any, keys: Mapping[str, Any]
) -> list[Config]:
    """Return the cell of each optimizer, checked against model and data before anything runs."""
    if isinstance(optimizers, str | Mapping) or not isinstance(optimizers, Sequence) or not optimizers:
        raise UserError(
            f'optimizers must be a list such as ["adam", "sgd"], got {_shown(optimizers)}; name at least one'
        )
    picks = {"device": _option("device", device)}
    nodes = {}
    if isinstance(model, str):
        picks["model"] = _option("model", model)
    elif isinstance(model, nn.Module) or not callable(model):
        raise UserError(
            f"model must be a function that returns a fresh torch.nn.Module, or one of {_listed('model')},"
            f" got {_shown(model)}; wrap what builds it: lambda: Net()"
        )
    else:
        target, options = target_of(model)
        nodes["model"] = {"_target_": target, "name": name_of(model), **options}
    if isinstance(data, str):
        picks["data"] = _option("data", data)
    else:
        nodes["data"] = {"_target_": data_target(dataset_of(data)), "name": "given-data"}
    settings = {}
    for key, value in keys.items():
        if key == "loss" and callable(value):
            settings[key] = loss_path(value)
        elif key in GROUPS and isinstance(value, str):
            picks[key] = _option(f"settings[{key!r}]", value, group=key)
        else:
            settings[key] = value
    base = _composed(picks)
    for key, node in nodes.items():
        order = {"order": base[key]["order"]} if "order" in base[key] else {}
        base[key] = order | node
    _set(base, settings)
    configs: list[Config] = []
    for index, entry in enumerate(optimizers):
        argument = f"optimizers[{index}]"
        node, typed = _optimizer(argument, entry)
        try:
            config = parse(base | {"optimizer": node}, [*typed, *_typed(picks, nodes, settings)])
        except UserError as error:
            raise UserError(in_arguments(str(error), argument)) from None
        configs.append(_named_apart(config, configs, argument))
    _check(configs)
    return configs


def _option(argument: str, name: Any, group: str | None = None) -> str:
    options = [option for option in group_options(group or argument) if option not in ("custom", "fake")]
    if name not in options:
        raise UserError(f"{argument} must be one of {', '.join(options)}, got {name!r}; choose one of these")
    return str(name)


def _listed(group: str) -> str:
    return ", ".join(option for option in group_options(group) if option != "custom")


def _shown(value: Any) -> str:
    return f"a {type(value).__name__}" if isinstance(value, nn.Module) else " ".join(repr(value).split())[:80]


def _composed(picks: Mapping[str, str]) -> dict[str, Any]:
    """Return the configuration that these options of groups give, less what only the command line takes."""
    from bench.compose.composer import composed

    return {key: value for key, value in composed(picks).items() if key not in ("launcher", "sweep")}


def _set(node: dict[str, Any], settings: Mapping[str, Any]) -> None:
    """Put values into a configuration by their dotted keys; which keys there are, `parse` knows."""
    for key, value in settings.items():
        *parents, last = key.split(".")
        place: Any = node
        for part in parents:
            place = place.get(part) if isinstance(place, dict) else None
        if not isinstance(place, dict) or key.partition(".")[0] == "optimizer" or (not parents and last not in node):
            raise UserError(
                f"settings must hold keys of the command such as train.clip_norm, got {key!r}; see python -m bench --help"
            )
        place[last] = value


def _optimizer(argument: str, entry: Any) -> tuple[dict[str, Any], list[str]]:
    """Return the node of an optimizer and its overrides; there are none for a class or function of this program."""
    from bench.compose.composer import option

    said = entry
    options: dict[str, Any] = {}
    label = None
    if isinstance(entry, Mapping):
        options = {key: value for key, value in entry.items() if key != "name"}
        entry = entry.get("name", "custom" if "_target_" in options else None)
        label = entry if "_target_" in options else None
        entry = "custom" if "_target_" in options else entry
    elif isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[1], Mapping):
        entry, options = entry[0], dict(entry[1])
    elif isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[0], str) and callable(entry[1]):
        label, entry = entry
    if isinstance(entry, str) and entry in group_options("optimizer") and (entry != "custom" or "_target_" in options):
        shipped = option("optimizer", entry)
        unknown = [key for key in options if key not in shipped]
        if unknown and entry != "custom":
            known = ", ".join(key for key in shipped if key not in ("_target_", "name", "implementation", *METADATA))
            raise UserError(f"{argument}.{unknown[0]} must be a setting of {entry} ({known}), got an unknown one")
        node = shipped | options | ({} if label is None else {"name": label})
        typed = [f"{'+' * (key not in shipped)}optimizer.{key}={_as_typed(value)}" for key, value in options.items()]
        return _listed_tuples(node), [f"optimizer={entry}", *typed]
    if callable(entry) and not isinstance(entry, torch.optim.Optimizer):
        target, given = target_of(entry)
        base = option("optimizer", "custom")
        return _listed_tuples(base | {"_target_": target, "name": label or name_of(entry)} | given | options), []
    raise UserError(
        f"{argument} must be one of {_listed('optimizer')}, one of these with settings such as"
        f' ("sgd", {{"lr": 0.1}}), or a function from parameters to an optimizer, got {_shown(said)}; choose one of these'
    )


def _listed_tuples(node: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in node.items()}


def _as_typed(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_as_typed, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _typed(picks: Mapping[str, str], nodes: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """Return the overrides of the rest of a cell, which `repeat_command` and `label_of` show."""
    default = _composed({})
    typed = [
        f"{group}={option}"
        for group, option in picks.items()
        if group not in nodes and default[group].get("name") != option
    ]
    for key, value in settings.items():
        before: Any = default
        for part in key.split("."):
            before = before.get(part) if isinstance(before, dict) else None
        if value != before and key not in ("results_dir", "report", "seeds", "study"):
            typed.append(f"{key}={_as_typed(value)}")
    return typed


def _named_apart(config: Config, others: Sequence[Config], argument: str) -> Config:
    """Return the cell, with a number added to its optimizer's name where another has the same."""
    same = [other for other in others if other.optimizer.target == config.optimizer.target]
    if any(other.optimizer == config.optimizer for other in same):
        raise UserError(
            f"{argument} must differ from the others, got {config.optimizer.name} again; name each once, and more seeds"
            " by seeds=..."
        )
    taken = {other.optimizer.name for other in others if other not in same}
    name, number = config.optimizer.name, 2
    while name in taken:
        name, number = f"{config.optimizer.name}-{number}", number + 1
    return config.model_copy(update={"optimizer": config.optimizer.model_copy(update={"name": name})})


def in_arguments(sentence: str, argument: str) -> str:
    """Return a sentence about keys of the configuration with the names of `compare`'s arguments."""
    sentence = re.sub(r"^optimizer(?=[ .=])", argument, sentence)
    sentence = re.sub(rf"\btrain\.({'|'.join(ARGUMENTS)})\b", r"\1", sentence)
    return sentence.replace("model._target_", "model").replace(f"{argument}._target_", argument)


def _check(configs: Sequence[Config]) -> None:
    """Build model and optimizers once, so that what does not fit is refused now and not after half of the runs.

    Raises:
        UserError: Something cannot be built or does not fit, or the model is not fresh each time.
    """
    first = configs[0]
    argument = "optimizers[0]"
    try:
        device = resolve(first.device.name)
        models = []
        for _ in range(2):
            reset(device, first.device.threads, first.device.precision, seed=0)
            data = dataset(first.data, device)
            check_batch_size(first, data)
            torch.manual_seed(0)
            models.append(build_model(first.model, data.spec))
        _check_fresh(*models)
        model = models[0].to(device)
        checked_outputs(first, data.spec, model, data.sample_batch(min(first.train.batch_size, 8))[0])
        for index, config in enumerate(configs):
            argument = f"optimizers[{index}]"
            build_optimizer(config.optimizer, model, config.regularization.weights_only)
    except (UserError, Unavailable) as error:
        raise UserError(in_arguments(str(error), argument)) from None


def _check_fresh(first: nn.Module, second: nn.Module) -> None:
    """Check that two models that one function returned for one seed share no weights and start alike.

    Raises:
        UserError: They share weights, or start from different ones.
    """
    places = {param.data_ptr() for param in first.parameters() if param.numel()}
    if first is second or any(param.data_ptr() in places for param in second.parameters() if param.numel()):
        raise UserError(
            "model must return a fresh torch.nn.Module each time, got the same weights twice; build it inside the function"
        )
    ours, theirs = first.state_dict(), second.state_dict()
    if any(not torch.equal(value, theirs[key]) for key, value in ours.items() if key in theirs) or set(ours) != set(
        theirs
    ):
        raise UserError(
            "model must give the same weights for the same seed, got others; draw them from torch's, NumPy's or"
            " Python's global generator, which is seeded before"
        )
