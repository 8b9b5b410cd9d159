"""The typed configuration: what can be set, and its ranges."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field

from bench.base.diagnostics import DIAGNOSTIC_NAMES, LANDSCAPE
from bench.base.metrics import METRICS
from bench.config.augmentation import AUGMENTATIONS
from bench.config.fields import (
    FIRST_LOOK,
    Flag,
    Folder,
    Name,
    Need,
    NonNegativeFloat,
    Positive,
    PositiveFloat,
    Section,
    Seed,
    Target,
    first_number,
    listing,
    named_in_text,
    numbered_seeds,
    one_of,
    one_of_or_own,
)
from bench.config.loggers import LoggerConfig
from bench.config.losses import LOSS_NAMES
from bench.config.schedules import SCHEDULES

METRIC_NAMES = tuple(metric.name for metric in METRICS)


OPTIMIZERS = ("adam", "sgd", "rmsprop", "nadam", "adamax", "adadelta")
"""The six that the bench is about, by their config."""


Implementation = Literal["default", "forloop", "foreach", "fused", "compiled", "reference"]


IMPLEMENTATIONS: tuple[str, ...] = get_args(Implementation)


class Component(Section):
    """A model, a data set or an optimizer: what to call, its name in tables, and its arguments."""

    target: Target
    name: Name
    options: dict[str, Any]


class DataConfig(Component):
    """A data set, the order in which its training batches come, and how many training examples are used (None: all)."""

    order: Literal["reshuffled", "frozen"] = "reshuffled"
    num_train: Positive | None = None


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
    scale: Literal["log", "one_minus"] = "log"
    source: str | None = None


class Capabilities(Section):
    """What is true of an optimizer whatever its settings.

    Attributes:
        implementations: Forms of its step beside the default one; in a config also as a text with commas.
        reference: Dotted path of the readable rule that runs with `implementation=reference`.
        fixed_lr: Why its learning rate cannot follow a schedule, such as "it is the size of the first step only".
        growing_state: Setting that holds for how many steps its state keeps growing, such as a length of history.
        pairs: Settings that take two numbers where other optimizers take one.
    """

    implementations: Annotated[
        list[Literal["forloop", "foreach", "fused", "compiled"]], BeforeValidator(named_in_text)
    ] = []
    reference: Target | None = None
    fixed_lr: Annotated[str, Field(min_length=1, description="a reason in words, or null")] | None = None
    growing_state: Annotated[str, Field(min_length=1, description="the name of a setting, or null")] | None = None
    pairs: Annotated[
        list[Annotated[str, Field(description="the name of a setting")]],
        Field(description="a list of names of settings"),
    ] = []


class OptimizerConfig(Component):
    """An optimizer, which implementation of its step runs, what it needs beside gradients, and what is known of it.

    Attributes:
        label: Its name in sentences of reports; None: `name`.
        colour: Its colour in figures; None: one that belongs to its name.
        capabilities: None: those of the shipped config of the same class.
        search: Where a tuned sweep looks, by setting.
    """

    label: Annotated[str, Field(min_length=1, description="a name in words, or null")] | None = None
    colour: Annotated[str, Field(min_length=1, description='a colour such as "#0072b2", or null')] | None = None
    capabilities: (
        Annotated[
            Capabilities, Field(description="a mapping of implementations, reference, fixed_lr, growing_state, pairs")
        ]
        | None
    ) = None
    search: Annotated[
        dict[str, SearchConfig], Field(description="a mapping from settings to ranges, such as {lr: {center: 1e-3}}")
    ] = {}

    needs: Annotated[
        list[Need], Field(description="a list of what it needs: closure, create_graph, evaluation_weights")
    ] = []

    implementation: Implementation


class ScheduleConfig(Section):
    """The factor on the learning rate over the steps, and its settings."""

    name: Annotated[str, one_of(SCHEDULES), Field(description=listing(SCHEDULES))]
    options: dict[str, Any]


class AugmentConfig(Section):
    """What is done to the images of a training batch, and its settings."""

    name: Annotated[str, one_of(AUGMENTATIONS), Field(description=listing(AUGMENTATIONS))]
    options: dict[str, Any]


class RegularizationConfig(Section):
    """What is added to the loss, and what penalties leave out."""

    l1: NonNegativeFloat
    weights_only: Flag


class DeviceConfig(Section):
    """Where and how a run computes."""

    name: Literal["cpu", "cuda", "mps", "auto", "fake"]
    threads: Annotated[int, Field(ge=1, le=1024, description="a whole number from 1 to 1024")]
    precision: Literal["fp32", "tf32", "bf16"]


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

    name: Literal["product", "tuned"] = "product"
    method: Literal["grid", "random", "halton", "tpe"] = "grid"
    trials: Annotated[int, Field(ge=2, le=10**5, description="a whole number from 2 to 100000")] = 9
    over: Annotated[
        list[str], Field(min_length=1, description="a list of entries of optimizer.search, such as [lr,weight_decay]")
    ] = ["lr"]
    decades: Annotated[
        float, Field(gt=0, le=20, allow_inf_nan=False, description="a number of decades above 0, 20 at most")
    ] = 4.0
    select: Literal[
        "final_val_loss", "best_val_loss", "val_error", "train_loss", "steps_to_target", "time_to_target"
    ] = "final_val_loss"
    target: Annotated[float, Field(allow_inf_nan=False, description="a finite validation loss, or null")] | None = None
    trial_seed: Seed = 0
    seeds_per_trial: Annotated[int, Field(ge=1, le=100, description="a whole number from 1 to 100")] = 1
    seeds: Annotated[
        int, BeforeValidator(first_number), Field(ge=1, le=10**4, description="a whole number from 1 to 10000, or auto")
    ] = 10
    untuned: Flag = True
    extend: Flag = False
    sampler_seed: Seed = 0

    @property
    def trial_seeds(self) -> list[int]:
        """Seeds of trials: all are made on the first, those that may be best on the others too."""
        return [self.trial_seed + i for i in range(self.seeds_per_trial)]

    @property
    def fresh_seeds(self) -> list[int]:
        """Seeds that no trial has seen."""
        return [self.trial_seed + self.seeds_per_trial + i for i in range(self.seeds)]


class DecideConfig(Section):
    """How far seeds=auto goes to decide a comparison.

    Attributes:
        delta: Relative differences up to this do not matter.
        max_seeds: Of each setting.
        max_minutes: Of the runs of the sweep, by the clock; None: no limit.
    """

    delta: Annotated[float, Field(gt=0, le=10, description="a number above 0, 10 at most, such as 0.05 for 5 %")] = 0.05
    max_seeds: Annotated[
        int, Field(ge=FIRST_LOOK, le=10**4, description=f"a whole number from {FIRST_LOOK} to 10000")
    ] = 160
    max_minutes: (
        Annotated[float, Field(gt=0, allow_inf_nan=False, description="a finite number of minutes above 0, or null")]
        | None
    ) = None

    @property
    def looks(self) -> list[int]:
        """Numbers of seeds after which comparisons are looked at: 5, 10, 20, ... up to the most."""
        numbers = [FIRST_LOOK]
        while numbers[-1] < self.max_seeds:
            numbers.append(min(2 * numbers[-1], self.max_seeds))
        return numbers


class TrialConfig(Section):
    """What a run is to the tuned sweep that makes it; see the columns of `runs` of the same names.

    Attributes:
        num_looks: After how many numbers of seeds it was to be looked at whether comparisons are decided; None: one.
        history: File of the values that earlier trials had on their way, by which this one is given up.
    """

    stage: Literal["single", "tune", "final"] = "single"
    number: Annotated[int, Field(ge=0, description="a whole number of at least 0, or null")] | None = None
    tuning: str | None = None
    search: str | None = None
    edge: str | None = None
    num_looks: Annotated[int, Field(ge=1, le=100, description="a whole number from 1 to 100, or null")] | None = None
    history: str | None = None


class DiagnosticsConfig(Section):
    """What is recorded of steps, for each layer, into the side table `diagnostics`: see `conf/diagnostics/`.

    Attributes:
        every: Steps between records; a multiple of `train.log_every`.
        record: Names of diagnostics.
        landscape: Whether the loss around the weights is recorded in the end, see `bench.training.diagnostics.landscape`.
    """

    name: Name = "none"
    every: Positive = 10
    record: Annotated[
        list[Annotated[str, one_of(DIAGNOSTIC_NAMES), Field(description=listing(DIAGNOSTIC_NAMES))]],
        Field(description=listing(DIAGNOSTIC_NAMES, "a list of")),
    ] = []
    landscape: Flag = False

    @property
    def asked(self) -> set[str]:
        """Names of all that is recorded; "landscape" is one."""
        return {*self.record, *([LANDSCAPE] if self.landscape else [])}


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
        BeforeValidator(numbered_seeds),
        Field(
            min_length=1,
            description="a number of seeds from 1 to 10000, auto, or a list of different ones such as [0,1,2]",
        ),
    ]
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    augment: AugmentConfig
    loss: Annotated[
        str,
        one_of_or_own(LOSS_NAMES),
        Field(description=f"{listing(LOSS_NAMES)}, or the dotted path of a function such as my_file.my_loss"),
    ]
    regularization: RegularizationConfig
    train: TrainConfig
    metrics: Annotated[
        list[
            Annotated[
                str,
                one_of_or_own(METRIC_NAMES),
                Field(description=f"{listing(METRIC_NAMES)}, or the dotted path of a class such as my_file.MyMetric"),
            ]
        ],
        Field(
            description=f"{listing(METRIC_NAMES, 'a list of')}, and dotted paths of classes such as my_file.MyMetric"
        ),
    ]
    memory: Flag
    force: Flag
    diagnostics: DiagnosticsConfig = DiagnosticsConfig()
    logger: LoggerConfig = LoggerConfig()
    launcher: LauncherConfig = LauncherConfig()
    sweep: SweepConfig = SweepConfig()
    decide: DecideConfig = DecideConfig()
    trial: TrialConfig = TrialConfig()
    plan: Flag = False
    looks: list[int] = []
    """Where seeds are auto, the numbers of them after which comparisons are looked at; else none."""

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
        list[Literal["reference", "forloop", "foreach", "fused", "compiled"]],
        Field(min_length=1),
    ]
    baseline: Annotated[str, Field(description="one of the optimizers, or null")]
    replicates: Annotated[int, Field(ge=5, le=1000, description="a whole number from 5 to 1000 of fresh processes")]
    builds: Annotated[int, Field(ge=1, le=1000, description="a whole number from 1 to 1000")]
    quick: Flag = False
    rounds: Annotated[int, Field(ge=1, le=100_000, description="a whole number from 1 to 100000")]
    train: BatchConfig
