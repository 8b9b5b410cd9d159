"""What a person may set: typed, held to its range, and turned into the identity of a run.

This is the one place that knows the keys of `conf/`. Nothing here imports torch or Hydra.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import math
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo

ROOT = Path(__file__).resolve().parent.parent
"""Folder that holds the packages: the checkout, or site-packages."""

CONF_DIR = next((p for p in (ROOT / "bench" / "conf", ROOT / "conf") if p.is_dir()), ROOT / "conf")
"""Folder of the Hydra configs: the packaged copy, else the checkout's."""

OPTIMIZERS = ("adam", "sgd", "rmsprop", "nadam", "adamax", "adadelta")
"""The six that the bench is about, by their config."""

IMPLEMENTATIONS = ("default", "forloop", "foreach", "fused", "compiled", "reference")


class Section(BaseModel):
    """A node of the configuration: no unknown keys, no silent conversion of types."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


Positive = Annotated[int, Field(ge=1, le=10**12, description="a whole number from 1 to 10^12")]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False, description="a finite number of at least 0")]
UnitFloat = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, description="a number from 0 to 1")]
Beta = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False, description="a number from 0 up to, not including, 1")]
Flag = Annotated[bool, Field(description="true or false")]
Folder = Annotated[str, Field(min_length=1, description="the path of a folder")]
Target = Annotated[
    str,
    Field(
        pattern=r"^[^\W\d]\w*(\.[^\W\d]\w*)+$",
        description="the dotted path of a class or function, such as my_file.MyClass",
    ),
]
Name = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}$",
        description="a name of letters, digits, '_', '-', '+' and '.', 100 at most, not starting with '.'",
    ),
]
Seed = Annotated[int, Field(ge=0, lt=2**32, description="a whole number from 0 to 4294967295")]


def _that(value: Any, holds: bool) -> Any:
    if not holds:
        raise ValueError
    return value


def _is_adafactor(info: ValidationInfo) -> bool:
    return not math.isnan(info.data.get("beta2_decay", math.nan))  # which no other optimizer of torch has


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, int) and not isinstance(value, bool) else value


class Hyperparameters(BaseModel):
    """Types and ranges of the hyperparameters that torch's optimizers share, by name.

    Ranges are torch's, and where torch checks nothing (NaN, infinity, RMSprop's alpha above 1)
    those in which the rule is defined.
    """

    model_config = ConfigDict(strict=True, extra="allow")

    lr: NonNegativeFloat = 0.0
    betas: Annotated[
        list[Beta],
        Field(min_length=2, max_length=2, description="two numbers, each from 0 up to, not including, 1"),
    ] = []
    beta2_decay: Annotated[float, Field(le=0, allow_inf_nan=False, description="a finite number of at most 0")] = (
        math.nan
    )
    eps: Annotated[
        NonNegativeFloat
        | Annotated[
            list[NonNegativeFloat | None],
            Field(min_length=2, max_length=2),
            AfterValidator(lambda pair: _that(pair, pair[1] is not None)),
        ],
        AfterValidator(lambda eps, info: _that(eps, isinstance(eps, list) or not _is_adafactor(info))),
        Field(description="a finite number of at least 0 (of Adafactor two in a list, the first of them or null)"),
    ] = 0.0
    weight_decay: NonNegativeFloat = 0.0
    momentum: NonNegativeFloat = 0.0
    momentum_decay: NonNegativeFloat = 0.0
    dampening: Annotated[float, Field(allow_inf_nan=False, description="a finite number")] = 0.0
    alpha: UnitFloat = 0.0
    rho: UnitFloat = 0.0
    amsgrad: Flag = False
    nesterov: Flag = False
    centered: Flag = False
    maximize: Flag = False
    decoupled_weight_decay: Flag = False
    lr_decay: NonNegativeFloat = 0.0
    initial_accumulator_value: NonNegativeFloat = 0.0
    d: Annotated[float, Field(ge=1, allow_inf_nan=False, description="a finite number of at least 1")] = 1.0
    lambd: NonNegativeFloat = 0.0
    t0: Annotated[float, Field(allow_inf_nan=False, description="a finite number")] = 0.0
    etas: Annotated[
        list[NonNegativeFloat],
        Field(min_length=2, max_length=2, description="two finite numbers, 0 < the first < 1 < the second"),
        AfterValidator(lambda etas: _that(etas, 0 < etas[0] < 1 < etas[1])),
    ] = []
    step_sizes: Annotated[
        list[NonNegativeFloat],
        Field(min_length=2, max_length=2, description="two finite numbers of at least 0, the first not the larger"),
        AfterValidator(lambda sizes: _that(sizes, sizes[0] <= sizes[1])),
    ] = []
    ns_coefficients: Annotated[
        list[Annotated[float, Field(allow_inf_nan=False)]],
        Field(min_length=3, max_length=3, description="three finite numbers"),
    ] = []
    ns_steps: Annotated[int, Field(ge=0, le=99, description="a whole number from 0 to 99")] = 0
    adjust_lr_fn: Annotated[
        Literal["original", "match_rms_adamw", "spectral_unclamped"] | None,
        Field(description="one of original, match_rms_adamw, spectral_unclamped, or null"),
    ] = None
    adamw_lr: NonNegativeFloat = 0.0
    adamw_betas: Annotated[
        list[Beta],
        Field(min_length=2, max_length=2, description="two numbers, each from 0 up to, not including, 1"),
    ] = []
    adamw_eps: NonNegativeFloat = 0.0
    adamw_weight_decay: NonNegativeFloat = 0.0
    max_iter: Annotated[int, Field(ge=1, le=10**6, description="a whole number from 1 to 1000000")] = 1
    max_eval: Annotated[int, Field(ge=1, le=10**6, description="a whole number from 1 to 1000000")] | None = None
    history_size: Annotated[int, Field(ge=1, le=10**4, description="a whole number from 1 to 10000")] = 1
    tolerance_grad: NonNegativeFloat = 0.0
    tolerance_change: NonNegativeFloat = 0.0
    line_search_fn: Annotated[Literal["strong_wolfe"] | None, Field(description="strong_wolfe, or null")] = None
    capturable: Flag = False
    differentiable: Flag = False


class Component(Section):
    """A model, a data set or an optimizer: what to call, its name in tables, and its arguments."""

    target: Target
    name: Name
    options: dict[str, Any]


class DataConfig(Component):
    """A data set, the order in which its training batches come, and how many training examples are used (None: all)."""

    order: Annotated[Literal["reshuffled", "frozen"], Field(description="one of reshuffled, frozen")] = "reshuffled"
    num_train: Positive | None = None


Need = Annotated[
    Literal["closure", "create_graph", "evaluation_weights"],
    Field(description="one of closure, create_graph, evaluation_weights"),
]


PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False, description="a finite number above 0")]


class SearchConfig(Section):
    """Where a hyperparameter is searched: so many decades, half of them on either side of a centre.

    Attributes:
        center: The middle, on a logarithmic scale.
        decades: Width; None: `sweep.decades`.
        scale: log: of the value; one_minus: of one less the value, as for a decay rate near 1.
        source: Who recommends the centre.
    """

    center: PositiveFloat
    decades: PositiveFloat | None = None
    scale: Annotated[Literal["log", "one_minus"], Field(description="one of log, one_minus")] = "log"
    source: str | None = None


class OptimizerConfig(Component):
    """An optimizer, which implementation of its step runs, what it needs beside gradients, and where it is searched."""

    search: dict[str, SearchConfig] = {}

    needs: Annotated[
        list[Need], Field(description="a list of what it needs: closure, create_graph, evaluation_weights")
    ] = []

    implementation: Annotated[
        Literal["default", "forloop", "foreach", "fused", "compiled", "reference"],
        Field(description="one of " + ", ".join(IMPLEMENTATIONS)),
    ]


SCHEDULES = ("constant", "step", "cosine", "warmup_cosine", "inverse_sqrt", "one_cycle", "plateau")

Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False, description="a number from 0 up to, not including, 1")]
PositiveShare = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False, description="a number above 0, 1 at most")]


class ScheduleOptions(BaseModel):
    """Types and ranges of what learning-rate schedules take, by name."""

    model_config = ConfigDict(strict=True, extra="forbid")

    every: PositiveShare = 1.0
    gamma: PositiveShare = 1.0
    final: UnitFloat = 0.0
    warmup: Share = 0.0
    peak: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False, description="a number between 0 and 1")] = 0.5
    start: PositiveShare = 1.0
    patience: Annotated[int, Field(ge=0, le=10**9, description="a whole number of at least 0")] = 0
    threshold: Share = 0.0


class ScheduleConfig(Section):
    """The factor on the learning rate over the steps, and its settings."""

    name: Annotated[
        Literal["constant", "step", "cosine", "warmup_cosine", "inverse_sqrt", "one_cycle", "plateau"],
        Field(description="one of " + ", ".join(SCHEDULES)),
    ]
    options: dict[str, Any]


AUGMENTS = ("none", "crop", "rotation", "flip", "standard")

METRICS = ("grad_norm", "layer_grad_norm", "update_ratio", "distance", "latency", "moved_accuracy")


class AugmentOptions(BaseModel):
    """Types and ranges of what augmentations take, by name."""

    model_config = ConfigDict(strict=True, extra="forbid")

    padding: Annotated[int, Field(ge=0, le=1024, description="a whole number of pixels from 0 to 1024")] | None = None
    degrees: Annotated[float, Field(ge=0, le=180, allow_inf_nan=False, description="a number from 0 to 180")] = 0.0
    p: UnitFloat = 0.0


class AugmentConfig(Section):
    """What is done to the images of a training batch, and its settings."""

    name: Annotated[
        Literal["none", "crop", "rotation", "flip", "standard"], Field(description="one of " + ", ".join(AUGMENTS))
    ]
    options: dict[str, Any]


class RegularizationConfig(Section):
    """What is added to the loss, and what penalties leave out."""

    l1: NonNegativeFloat
    weights_only: Flag


class DeviceConfig(Section):
    """Where and how a run computes."""

    name: Annotated[
        Literal["cpu", "cuda", "mps", "auto", "fake"], Field(description="one of cpu, cuda, mps, auto, fake")
    ]
    threads: Annotated[int, Field(ge=1, le=1024, description="a whole number from 1 to 1024")]
    precision: Annotated[Literal["fp32", "tf32", "bf16"], Field(description="one of fp32, tf32, bf16")]


class TrainConfig(Section):
    """The budget, and what is recorded on the way."""

    epochs: Positive | None
    steps: Positive | None
    batch_size: Positive
    accumulate: Positive
    clip_norm: Annotated[float, Field(gt=0, allow_inf_nan=False, description="a finite number above 0, or null")] | None
    compile: Flag
    init_from: Annotated[str, Field(min_length=1, description="the path of a file of weights, or null")] | None
    save_best: Flag
    log_every: Positive
    eval_every: Positive | None
    loss_limit: Annotated[float, Field(gt=0, allow_inf_nan=False, description="a finite number above 0")]
    time_limit_s: (
        Annotated[float, Field(gt=0, allow_inf_nan=False, description="a finite number of seconds above 0, or null")]
        | None
    )


class LauncherConfig(Section):
    """How the runs of a sweep are spread: see `conf/launcher/`."""

    name: Annotated[Literal["local", "pool", "slurm", "other"], Field(description="one of local, pool, slurm")] = (
        "local"
    )
    n_jobs: Annotated[int, Field(ge=1, le=10**5, description="a whole number from 1 to 100000")] = 1
    partition: str | None = None
    gpus: Annotated[int, Field(ge=0, le=1024, description="a whole number from 0 to 1024")] = 0
    cpus: Annotated[int, Field(ge=1, le=1024, description="a whole number from 1 to 1024")] = 1
    memory_gb: PositiveFloat | None = None
    time_limit_min: Annotated[int, Field(ge=1, le=10**6, description="a whole number of minutes from 1 to 1000000")] = (
        60
    )


class SweepConfig(Section):
    """What `-m` makes of the values given: see `conf/sweep/`."""

    name: Annotated[Literal["product", "tuned"], Field(description="one of product, tuned")] = "product"
    method: Annotated[
        Literal["grid", "random", "halton", "tpe"], Field(description="one of grid, random, halton, tpe")
    ] = "grid"
    trials: Annotated[int, Field(ge=2, le=10**5, description="a whole number from 2 to 100000")] = 9
    over: Annotated[
        list[str], Field(min_length=1, description="a list of entries of optimizer.search, such as [lr,weight_decay]")
    ] = ["lr"]
    decades: Annotated[
        float, Field(gt=0, le=20, allow_inf_nan=False, description="a number of decades above 0, 20 at most")
    ] = 4.0
    select: Annotated[
        Literal["final_val_loss", "best_val_loss", "val_error"],
        Field(description="one of final_val_loss, best_val_loss, val_error"),
    ] = "final_val_loss"
    trial_seed: Seed = 0
    seeds: Annotated[int, Field(ge=1, le=10**4, description="a whole number from 1 to 10000")] = 10
    untuned: Flag = True
    extend: Flag = False
    sampler_seed: Seed = 0

    @property
    def fresh_seeds(self) -> list[int]:
        """Seeds that no trial has seen."""
        return [self.trial_seed + 1 + i for i in range(self.seeds)]


class TrialConfig(Section):
    """What a run is to the tuned sweep that makes it; see the columns of `runs` of the same names.

    Attributes:
        history: File of the values that earlier trials had on their way, by which this one is given up.
    """

    stage: Annotated[Literal["single", "tune", "final"], Field(description="one of single, tune, final")] = "single"
    number: Annotated[int, Field(ge=0, description="a whole number of at least 0, or null")] | None = None
    tuning: str | None = None
    search: str | None = None
    edge: str | None = None
    history: str | None = None


class Command(Section):
    """What every command that measures is told: model and data, where to compute, where results go."""

    study: Name
    model: Component
    data: DataConfig
    device: DeviceConfig
    report: Flag
    results_dir: Folder
    reports_dir: Folder
    overrides: list[str] = []
    """What was typed."""

    @property
    def study_dir(self) -> Path:
        """Where the tables go."""
        return Path(self.results_dir) / self.study


class Config(Command):
    """A cell: one configuration, to be run once for each seed."""

    seeds: Annotated[
        list[Seed],
        BeforeValidator(_listed),
        Field(min_length=1, description="a list of different whole numbers, such as [0,1,2]"),
    ]
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    augment: AugmentConfig
    loss: Annotated[Literal["default", "nll", "as_printed"], Field(description="one of default, nll, as_printed")]
    regularization: RegularizationConfig
    train: TrainConfig
    metrics: Annotated[
        list[
            Annotated[
                Literal["grad_norm", "layer_grad_norm", "update_ratio", "distance", "latency", "moved_accuracy"],
                Field(description="one of " + ", ".join(METRICS)),
            ]
        ],
        Field(description="a list of " + ", ".join(METRICS)),
    ]
    memory: Flag
    force: Flag
    launcher: LauncherConfig = LauncherConfig()
    sweep: SweepConfig = SweepConfig()
    trial: TrialConfig = TrialConfig()
    plan: Flag = False

    @property
    def default_hyperparameters(self) -> bool:
        """Whether the optimizer runs at the settings of the config that ships for it, nothing changed."""
        return self.optimizer.options in _shipped_options().get(self.optimizer.target, [])

    @property
    def has_plain_step(self) -> bool:
        """Whether a training step is nothing but a batch, its gradients and the optimizer's step."""
        return (
            self.augment.name == "none"
            and not self.regularization.l1
            and not self.regularization.weights_only
            and self.train.accumulate == 1
            and self.train.clip_norm is None
            and not self.train.compile
        )


class BatchConfig(Section):
    """The batch of a timed training step."""

    batch_size: Positive


class StepCostConfig(Command):
    """What `python -m bench.step_cost` measures."""

    optimizers: list[OptimizerConfig]
    implementations: Annotated[
        list[
            Annotated[
                Literal["reference", "forloop", "foreach", "fused", "compiled"],
                Field(description="one of reference, forloop, foreach, fused, compiled"),
            ]
        ],
        Field(min_length=1, description="a list of reference, forloop, foreach, fused, compiled"),
    ]
    baseline: Annotated[str, Field(description="one of the optimizers, or null")]
    replicates: Annotated[int, Field(ge=5, le=1000, description="a whole number from 5 to 1000 of fresh processes")]
    builds: Annotated[int, Field(ge=1, le=1000, description="a whole number from 1 to 1000")]
    rounds: Annotated[int, Field(ge=1, le=100_000, description="a whole number from 1 to 100000")]
    train: BatchConfig


@functools.cache
def _shipped_options() -> dict[str, list[dict[str, Any]]]:
    """Hyperparameters of the optimizers that ship, by target; several configs may share one."""
    shipped: dict[str, list[dict[str, Any]]] = {}
    for option in group_options("optimizer"):
        node = yaml.safe_load((CONF_DIR / "optimizer" / f"{option}.yaml").read_text())
        if node["_target_"] != "???":
            shipped.setdefault(node["_target_"], []).append(_component("optimizer", node)["options"])
    return shipped


ABSENT: dict[str, Any] = {"launcher": {"name": "local"}, "sweep": {"name": "product"}, "trial": {"stage": "single"}}
"""What a configuration without these keys has: a run by hand."""


def parse(node: dict[str, Any], overrides: list[str] | None = None) -> Config:
    """Turn a composed configuration into a `Config`.

    Args:
        node: The configuration as plain dicts and lists, interpolations resolved.
        overrides: The command-line overrides that led to it, for the record.

    Raises:
        ValueError: A key is unknown, or a value has the wrong type or is out of its range. The
            message is one sentence naming the dotted key, what was expected and what came.
    """
    node = ABSENT | node
    if "overrides" in node:
        raise ValueError("overrides must not be set, got a value; it is what was typed")
    for key in ("optimizer", "model", "data", "schedule", "augment", "device", "train", "regularization", *ABSENT):
        if not isinstance(node.get(key), dict):
            raise ValueError(
                f"{key} must be a mapping or a group option, got {node.get(key)!r};"
                f" choose one of {', '.join(group_options(key)) or 'its keys'}"
            )
    for key in ("optimizer", "model", "data"):
        node[key] = _component(key, node[key])
    for key, allowed in (("schedule", ScheduleOptions), ("augment", AugmentOptions)):
        options = dict(node[key])
        name = options.pop("name", None)
        try:
            checked = allowed(**options).model_dump(exclude_unset=True)
        except ValidationError as error:
            raise ValueError(_sentence(error, allowed, f"{key}.", {key: str(name)})) from None
        node[key] = {"name": name, "options": checked}
    if node.get("study") is None:
        node["study"] = f"{node['data']['name']}-{node['model']['name']}"
    try:
        config = Config(**node, overrides=overrides or [])
    except ValidationError as error:
        groups: tuple[str, ...] = ("device", "launcher", "sweep")
        chosen = {key: str(node[key].get("name")) for key in groups}
        raise ValueError(_sentence(error, Config, chosen=chosen)) from None
    if len(set(config.seeds)) < len(config.seeds):
        raise ValueError(f"seeds must be different from each other, got {config.seeds}; name each once")
    if config.train.epochs is None and config.train.steps is None:
        raise ValueError("train.epochs must be set where train.steps is null, got null; set one of the two")
    if config.train.accumulate > config.train.batch_size:
        raise ValueError(
            f"train.accumulate must be at most train.batch_size={config.train.batch_size}, got"
            f" {config.train.accumulate}; it is the number of parts that a batch is computed in"
        )
    if config.sweep.trial_seed + config.sweep.seeds >= 2**32:
        raise ValueError(
            f"sweep.trial_seed must leave room for {config.sweep.seeds} seeds after it, got"
            f" {config.sweep.trial_seed}; choose a smaller one"
        )
    if config.train.init_from is not None:
        weights_hash(config.train.init_from)
    if isinstance(path := config.data.options.get("path"), str):
        content_of(path)
    return config.model_copy(update={"metrics": sorted(set(config.metrics))})


def parse_step_cost(node: dict[str, Any], overrides: list[str] | None = None) -> StepCostConfig:
    """Turn a composed configuration into a `StepCostConfig`.

    Args:
        node: The configuration as plain dicts and lists, interpolations resolved.
        overrides: The command-line overrides that led to it, for the record.

    Raises:
        ValueError: As `parse`.
    """
    node = dict(node)
    for key in ("model", "data", "device", "train"):
        if not isinstance(node.get(key), dict):
            raise ValueError(f"{key} must be a mapping or a group option, got {node.get(key)!r}; leave it out")
    for key in ("model", "data"):
        node[key] = _component(key, node[key])
    entries = node.get("optimizers")
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"optimizers must be a list such as [adam,sgd], got {_shown(entries)}; name at least one")
    node["optimizers"] = [_optimizer_entry(i, entry) for i, entry in enumerate(entries)]
    names = [entry["name"] for entry in node["optimizers"]]
    for key, values in (("optimizers", names), ("implementations", node.get("implementations"))):
        if isinstance(values, list) and len({str(v) for v in values}) < len(values):
            raise ValueError(
                f"{key} must be different from each other, got {', '.join(map(str, values))}; name each once"
            )
    if node.get("baseline") is None:
        node["baseline"] = "sgd" if "sgd" in names else names[0]
    if node["baseline"] not in names:
        raise ValueError(f"baseline must be one of the optimizers ({', '.join(names)}), got {_shown(node['baseline'])}")
    if node.get("study") is None:
        node["study"] = f"{node['data']['name']}-{node['model']['name']}"
    try:
        config = StepCostConfig(**node, overrides=overrides or [])
    except ValidationError as error:
        raise ValueError(_sentence(error, StepCostConfig, chosen={"device": str(node["device"].get("name"))})) from None
    if config.device.name == "fake":
        raise ValueError("device must be one whose clock can be read, got fake; choose cpu, cuda, mps or auto")
    return config


def _optimizer_entry(index: int, entry: Any) -> dict[str, Any]:
    """An optimizer of a list: the name of a config, or a mapping of settings on top of one.

    Settings other than the config's own go into the name, such as sgd-momentum-0.9.
    """
    key, options = f"optimizers[{index}]", group_options("optimizer")
    settings = {"name": entry} if isinstance(entry, str) else dict(entry) if isinstance(entry, dict) else None
    if settings is None or not ({"name", "_target_"} & set(settings)):
        raise ValueError(
            f"{key} must be one of {', '.join(options)}, or a mapping such as {{name:sgd,momentum:0.9}}, got {_shown(entry)}"
        )
    name = settings.pop("name", None)
    shipped = CONF_DIR / "optimizer" / f"{name}.yaml"
    if "_target_" in settings:
        settings["name"] = name
        return _component("optimizer", settings)
    if name not in options or name == "custom":
        raise ValueError(
            f"{key} must be one of {', '.join(o for o in options if o != 'custom')}, got {_shown(name)}; a class of your own is {{_target_:my_file.MyClass,lr:0.01}}"
        )
    node = yaml.safe_load(shipped.read_text())
    del node["search"]
    unknown = sorted(set(settings) - set(node))
    if unknown:
        raise ValueError(
            f"{key}.{unknown[0]} must be a setting of {name} ({', '.join(k for k in node if k not in ('_target_', 'name', 'implementation'))}), got an unknown one; choose one of these"
        )
    changed = {k: v for k, v in settings.items() if v != node[k]}
    parsed = _component("optimizer", node | settings)
    if changed:
        words = "-".join([str(name), *(f"{k}-{v}" for k, v in sorted(changed.items()))])
        parsed["name"] = re.sub(r"[^\w.+-]+", "_", words)
    return parsed


def group_options(group: str) -> list[str]:
    """The options of a config group, sorted; empty where there is no such group."""
    return sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))


def _component(key: str, node: dict[str, Any]) -> dict[str, Any]:
    """Part the keys that are ours from the arguments of the class."""
    of_data = ("order", "num_train")
    ours = ("needs", *{"optimizer": ("search",), "data": of_data}.get(key, ()))
    options = {name: value for name, value in node.items() if name not in ours}
    target, name = options.pop("_target_", None), options.pop("name", None)
    if target in (None, "???"):
        what, example = ("function", "load") if key == "data" else ("class", "MyClass")
        raise ValueError(
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
        if node.get("search"):
            parsed["search"] = node["search"]
        parsed["implementation"] = options.pop("implementation", "default")
        if isinstance(target, str) and target.startswith(("torch.optim.", "optimizers.")):
            try:
                checked = Hyperparameters(**options)
            except ValidationError as error:
                raise ValueError(_sentence(error, Hyperparameters, "optimizer.", {"optimizer": str(name)})) from None
            parsed["options"] = checked.model_dump(exclude_unset=True)
    for option, value in parsed["options"].items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{key}.{option} must be a finite number, got {value}; give a number")
    return parsed


def _sentence(
    error: ValidationError, model: type[BaseModel], prefix: str = "", chosen: Mapping[str, str] | None = None
) -> str:
    """One sentence for the first thing that is wrong; `chosen`: options of groups, whose files hold defaults."""
    first = min(error.errors(), key=lambda e: e["loc"][0] == "study")  # its default is made of the others
    location = [str(part) for part in first["loc"] if not str(part).startswith(("function-", "constrained-"))]
    key = prefix + re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", ".".join(location)).replace(".target", "._target_")
    if first["type"] == "extra_forbidden":
        fields = _node_at(model, location[:-1])
        parent = ".".join(location[:-1]) or "the configuration"
        return f"{key} must be a key of {parent}, got an unknown one; its keys are {', '.join(fields)}"
    if first["type"] == "missing":
        return f"{key} must be set, got nothing; give it a value"
    wanted = _description(model, location) or first["msg"]
    advice = "choose one of these" if wanted.startswith("one of") else _advice(key.partition("[")[0], chosen or {})
    return f"{key} must be {wanted}, got {_shown(first['input'])}; {advice}"


def _advice(key: str, chosen: Mapping[str, str]) -> str:
    """What to do about a bad value: the default to go back to, where there is one."""
    group, _, rest = key.rpartition(".")
    file = CONF_DIR / group / f"{chosen.get(group)}.yaml"
    if group not in ("", "train") and file.is_file():
        default = yaml.safe_load(file.read_text()).get(rest)
    else:
        default = yaml.safe_load((CONF_DIR / "config.yaml").read_text())
        for part in key.split("."):
            default = default.get(part) if isinstance(default, dict) else None
    if isinstance(default, str | int | float | list) and "${" not in str(default):
        return f"leave it out for the default, {json.dumps(default)}"
    return "leave it out, or give another" if key != "study" else "choose another name"


def _node_at(model: type[BaseModel], location: list[str]) -> list[str]:
    for part in location:
        if part not in model.model_fields:  # the name of a thing that is searched
            continue
        annotation = model.model_fields[part].annotation
        if part == "search":
            annotation = SearchConfig
        assert isinstance(annotation, type) and issubclass(annotation, BaseModel)
        model = annotation
    return [name for name in model.model_fields if name != "overrides"]


def _description(model: type[BaseModel], location: list[str]) -> str | None:
    """The words in which a field says what it takes, from the JSON schema of its model."""
    schema = model.model_json_schema()
    node: Any = schema
    found = None
    for part in location:
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]]
        named = node.get("properties", {}).get(part) or node.get("additionalProperties") or {}
        node = node["items"] if part.isdigit() else named
        options = [node, *node.get("anyOf", [])]
        described = [option["description"] for option in options if "description" in option]
        if described:
            nullable = any(option.get("type") == "null" for option in options)
            found = described[0] + (", or null" if nullable and "null" not in described[0] else "")
    return found


def _shown(value: Any) -> str:
    return "null" if value is None else repr(value) if isinstance(value, str) else json.dumps(value, default=str)


# --- identity -------------------------------------------------------------------------------------

NOT_IDENTITY = (
    "study", "seeds", "memory", "metrics", "force", "report", "results_dir", "reports_dir", "overrides",
    "launcher", "sweep", "trial", "plan",
)  # fmt: skip
"""Keys that change where a result goes, not what it is. Beside them: `optimizer.search`, all of `trial` but its stage, `data.root`, `data.download` and
`data.workers` (where files lie and who reads them), `train.save_best`, and `train.time_limit_s` (a run that hit it is repeated when it
is raised). Seed and environment are told apart in the run's id, not in the cell's."""

ADDED_LATER: dict[str, Any] = {
    "data.options.channels": None,
    "data.options.reconstruct": False,
    "data.options.normalize": False,
    "data.order": "reshuffled",
    "data.num_train": None,
    "model.options.dropout": 0.0,
    "model.options.log_softmax": False,
    "model.options.small_images": False,
    "optimizer.needs": [],
    "augment": {"name": "none", "options": {}},
    "loss": "default",
    "regularization": {"l1": 0.0, "weights_only": False},
    "train.accumulate": 1,
    "train.clip_norm": None,
    "train.compile": False,
    "train.init_from": None,
    "schedule": {"name": "constant", "options": {}},
}
"""Keys that came after the first release, dotted, each with the value under which a run is what it
was before the key existed: at that value the key stays out of the hash, so old ids hold."""


def identity(config: Config, device: str) -> dict[str, Any]:
    """What makes this cell the cell it is, as plain data.

    Args:
        config: The cell.
        device: The device that it really runs on (never "auto").
    """
    node = config.model_dump(exclude=set(NOT_IDENTITY))
    node["device"]["name"] = device
    node["data"]["options"] = learnt_from(config.data)
    if isinstance(path := config.data.options.get("path"), str):
        node["data"]["path"] = content_of(path) or path
    if config.train.init_from is not None:
        node["train"]["init_from"] = weights_hash(config.train.init_from)
    del node["train"]["time_limit_s"], node["train"]["save_best"], node["optimizer"]["search"]
    if config.trial.stage != "single":
        node["stage"] = config.trial.stage
    if config.train.steps is not None:
        node["train"]["epochs"] = None
    for key in ("optimizer", "model", "data"):
        source = source_fingerprint(node[key]["target"])
        if source is not None:
            node[key]["source"] = source
    return without_later(node)


def learnt_from(data: Component) -> dict[str, Any]:
    """The options of a data set that say what is learnt from, not where it lies or who reads it."""
    return {key: value for key, value in data.options.items() if key not in ("root", "path", "download", "workers")}


def weights_hash(path: str) -> str:
    """SHA-256 of a file of weights to start from.

    Raises:
        ValueError: It cannot be read.
    """
    try:
        return hashlib.sha256(Path(path).expanduser().read_bytes()).hexdigest()
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"train.init_from must be a file of weights, got {path} ({getattr(error, 'strerror', None) or error});"
            " train.save_best=true leaves one in runs/<run_id>/best.pt of the study"
        ) from None


@functools.cache
def content_of(path: str) -> str | None:
    """Hash of a person's own data: of a file its bytes; of a folder names and sizes, and the bytes of tables.

    Returns:
        None where there is neither.

    Raises:
        ValueError: It cannot be read.
    """
    digest = hashlib.sha256()
    try:
        place = Path(path).expanduser()
        if place.is_file():
            digest.update(place.read_bytes())
        elif place.is_dir():
            for folder, folders, files in os.walk(place):
                folders.sort()
                for name in sorted(files):
                    file = Path(folder, name)
                    digest.update(
                        f"{file.relative_to(place)} {file.stat().st_size if file.exists() else 0}\0".encode(
                            errors="surrogateescape"
                        )
                    )
                    if file.suffix.lower() in (".csv", ".tsv"):
                        digest.update(file.read_bytes())
        else:
            return None
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"data.path must be a file or folder that can be read, got {path}: {error}; choose another"
        ) from None
    return digest.hexdigest()[:16]


def without_later(node: dict[str, Any]) -> dict[str, Any]:
    """A configuration less the keys of `ADDED_LATER` at their neutral values; the node itself is changed."""
    for dotted, neutral in ADDED_LATER.items():
        *parents, last = dotted.split(".")
        parent = node
        for part in parents:
            parent = parent.get(part, {})
        if last in parent and parent[last] == neutral and type(parent[last]) is type(neutral):
            del parent[last]
    return node


def cost_id(
    workload_id: str,
    optimizer: OptimizerConfig,
    implementation: str,
    device: str,
    config: DeviceConfig,
    environment_id: str,
) -> str:
    """Ten hexadecimal digits of what a step's cost depends on; the learning rate is no part of it.

    Runs and step costs with the same one may be joined.

    Args:
        workload_id: Model, data, loss and batch size.
        optimizer: Its class and settings.
        implementation: The one that really runs.
        device: The device that it really runs on.
        config: Its threads and precision.
        environment_id: Hardware and versions.
    """
    options = {key: value for key, value in optimizer.options.items() if key != "lr"}
    parts = [workload_id, optimizer.target, source_fingerprint(optimizer.target), options, implementation]
    return short_hash([*parts, device, config.threads, config.precision, environment_id], 10)


def cell_id(config: Config, device: str) -> str:
    """Ten hexadecimal digits of the hash of `identity`."""
    return short_hash(identity(config, device), 10)


def short_hash(value: Any, length: int) -> str:
    """The first digits of the SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def source_fingerprint(target: str) -> str | None:
    """Hash of the file that a person's own class comes from; None for ours and for installed packages.

    Who edits the class has a new cell, not yesterday's results under today's code.
    """
    top = target.split(".")[0]
    if top in ("bench", "models", "optimizers", "torch"):
        return None
    spec, module = None, target
    while spec is None and "." in module:  # the class may stand inside another
        module = module.rpartition(".")[0]
        with suppress(Exception):  # a person's package may raise anything; building says so later
            spec = importlib.util.find_spec(module)
    origin = Path(spec.origin) if spec and spec.origin else None
    if origin is None or not origin.is_file() or {"site-packages", "dist-packages"} & set(origin.parts):
        return None
    return hashlib.sha256(origin.read_bytes()).hexdigest()[:10]
