"""Columns of the tables, with kinds, units and meanings, and the closed lists of words in them."""

from __future__ import annotations

from dataclasses import dataclass

from bench.base import diagnostics, metrics

SCHEMA_VERSION = 1
"""Version of the tables below; a reader refuses what is newer than itself."""


STATUSES = ("ok", "diverged", "oom", "timeout", "failed", "interrupted", "skipped", "pruned")


STAGES = ("single", "tune", "final", "predicted")


SPLITS = ("train", "val", "test")


QUALITIES = ("clean", "noisy", "contended")


PHASES = ("forward", "backward", "step")


DONE = ("ok", "diverged", "oom", "timeout", "pruned")
"""Statuses that are results, not to be repeated; the others are tried again."""


@dataclass(frozen=True)
class Column:
    """A column: its name, its kind (string, json, int, float, bool) and what it says.

    A value of kind json is the text of a JSON object.

    Units are suffixes of names: `_s` seconds, `_ms` milliseconds, `_mib` MiB (2^20 bytes), `_per_s`;
    counts begin with `num_`. A value that is not known is missing, never 0.
    """

    name: str
    kind: str
    meaning: str
    allowed: tuple[str, ...] = ()
    required: bool = False


def _columns(kind: str, *rows: tuple[str, str]) -> list[Column]:
    return [Column(name, kind, meaning) for name, meaning in rows]


def _noise_columns(what: str) -> list[Column]:
    return [
        Column(
            "timing_quality",
            "string",
            "how far the times can be trusted; the rule is in bench/measure/clock.py",
            QUALITIES,
        ),
        *_columns(
            "float",
            ("load_1min", "load average of the machine at the end"),
            ("cpu_s", f"CPU time of the process during {what}"),
            ("cpu_share", f"CPU time of the main thread over wall-clock time during {what}"),
            ("yardstick_ms", "a fixed piece of work next to it, the slower of before and after"),
            ("yardstick_best_ms", "the fastest that this process saw that piece of work"),
            ("gpu_clock_mhz", "clock of the GPU at the end, where it can be read"),
        ),
        *_columns(
            "int",
            ("num_involuntary_switches", f"times the process was preempted during {what}"),
            ("num_jobs_beside", "other runs in flight in the same results folder at its start"),
        ),
    ]


def _with_requested(columns: tuple[Column, ...]) -> tuple[Column, ...]:
    """Return the columns of runs with those of the metrics on request, each after the one that it names."""
    found = list(columns)
    for added in metrics.COLUMNS:
        place = [column.name for column in found].index(added.after)
        found.insert(place + 1, Column(added.name, "float", added.meaning))
    return tuple(found)


_ALWAYS: tuple[Column, ...] = (
    Column("run_id", "string", "<cell_id>-<seed>-<environment_id>", required=True),
    Column("cell_id", "string", "hash of the configuration without its seed", required=True),
    Column("environment_id", "string", "hash of hardware and versions", required=True),
    Column("study", "string", "name of the study", required=True),
    Column("stage", "string", "why the run was made", STAGES, required=True),
    Column("status", "string", "how it ended", STATUSES, required=True),
    Column("reason", "string", "why it did not end ok"),
    Column("workload", "string", "model, data and batch size in words", required=True),
    Column("workload_id", "string", "hash of model, data, loss, batch size and their options"),
    Column("budget", "string", "what every run of the comparison may spend, in words", required=True),
    Column("model", "string", "name of the model", required=True),
    Column("model_options", "json", "its arguments, JSON", required=True),
    Column("data", "string", "name of the data set", required=True),
    Column("data_options", "json", "its arguments, JSON", required=True),
    Column("data_fingerprint", "string", "hash of all inputs and targets of the three splits"),
    Column("loss", "string", "what is minimised"),
    Column("optimizer", "string", "name of the optimizer", required=True),
    *_columns(
        "string",
        ("optimizer_target", "its class"),
        ("implementation", "which form of the step ran: forloop, foreach, fused, compiled, reference, own"),
        ("settings", "default: every hyperparameter as in its config; given: some set by hand or by a sweep"),
        ("tuning", "how its hyperparameters were searched, in words: alike for all optimizers of a tuned sweep"),
    ),
    Column("search", "json", "the ranges searched, JSON: lowest and highest value of each hyperparameter"),
    *_columns(
        "string",
        ("edge", "of a final run: hyperparameters whose best value is the lowest or highest tried, such as lr high"),
        ("schedule", "learning-rate schedule"),
    ),
    Column("schedule_options", "json", "its settings, JSON"),
    *_columns(
        "string",
        ("augment", "what is done to the images of training batches"),
    ),
    Column("augment_options", "json", "its settings, JSON"),
    *_columns(
        "string",
        ("order", "of training batches: reshuffled every epoch, or frozen"),
        ("init_from", "name of the file of weights that training started from, and digits of its hash"),
        ("metrics", "metrics on request that were recorded, with commas"),
        ("diagnostics", "diagnostics on request that were recorded, with commas"),
        ("class_counts", "training examples of each class, JSON"),
        (
            "non_finite",
            "of a diverged run, the first tensor that held a NaN or an infinity, such as the output of layers.1",
        ),
        ("non_finite_layer", "path of the module that it belongs to"),
    ),
    Column("device", "string", "cpu, cuda, mps or fake", required=True),
    Column("precision", "string", "fp32, tf32 or bf16", required=True),
    *_columns(
        "string",
        ("step_cost_id", "what the cost of a step depends on; joins with step_costs"),
    ),
    *_columns(
        "bool",
        ("weights_only_decay", "whether biases and norms are left out of l1 and weight_decay"),
        ("compiled_model", "whether the model ran under torch.compile"),
    ),
    *_columns(
        "float",
        ("l1", "weight of the sum of absolute weights in what is minimised"),
        ("clip_norm", "norm to which larger gradients are scaled down"),
    ),
    *_columns("int", ("accumulate", "parts that a batch is computed in")),
    *_columns("float", ("lr", "learning rate; other hyperparameters are in columns hp_<name>")),
    *_columns(
        "int",
        ("trial", "number of the trial from 0 (stage tune), or of the trial that was best (stage final)"),
        (
            "num_looks",
            "with seeds=auto: numbers of seeds after which it was to be looked at whether comparisons are decided",
        ),
    ),
    Column("seed", "int", "seed of initial weights and batch order", required=True),
    *_columns(
        "int",
        ("batch_size", "examples a step"),
    ),
    Column("num_threads", "int", "torch threads on the CPU", required=True),
    *_columns(
        "int",
        ("num_parameters", "trained parameters"),
        ("num_train", "training examples"),
        ("num_val", "validation examples"),
        ("num_test", "test examples"),
        ("num_steps_budget", "steps the budget allows"),
        ("num_steps", "optimizer updates made"),
        ("num_evaluations", "times that loss and gradients of a batch were computed for them"),
        ("non_finite_step", "step in which, or after which, a tensor was not finite first"),
    ),
    *_columns(
        "float",
        ("num_epochs", "passes over the training set made"),
        ("first_train_loss", "training loss of the first step, before any update"),
        ("final_train_loss", "mean training loss over the last logged steps"),
        ("final_train_gap", "mean loss over the training set less the lowest possible one, where that is known"),
        ("final_val_loss", "mean validation loss after the last step"),
        ("final_val_accuracy", "share of validation examples classified correctly, 0 to 1"),
        ("final_test_loss", "mean test loss after the last step"),
        ("final_test_accuracy", "share of test examples classified correctly, 0 to 1"),
        ("best_val_loss", "lowest validation loss of all evaluations"),
        ("test_loss_at_best_val", "test loss at the evaluation with the lowest validation loss"),
        ("test_accuracy_at_best_val", "test accuracy at that evaluation"),
    ),
    *_columns("int", ("best_val_step", "step of the lowest validation loss")),
    *_columns(
        "float",
        ("construct_s", "building model and optimizer"),
        ("warmup_s", "a throw-away step on a copy, before the clock"),
        ("train_s", "all training steps, evaluation and logging excluded"),
        ("first_step_s", "the first of them"),
        ("eval_s", "evaluation on val and test"),
        ("log_s", "fetching and recording the training loss"),
        ("diagnostics_s", "recording diagnostics"),
        ("write_s", "writing the run's folder, but for the file that holds this number"),
        ("rest_s", "everything else within the run"),
        ("total_s", "the run from start to end; the eight above but first_step_s add up to it"),
        ("step_ms", "train_s without the first step, per step"),
        ("examples_per_s", "training examples per second of train_s"),
        ("baseline_rss_mib", "resident memory of the process before training (Linux)"),
        ("peak_rss_mib", "peak resident memory of the process during the run (Linux)"),
        ("peak_allocated_mib", "peak memory allocated on the GPU (CUDA)"),
        ("peak_reserved_mib", "peak memory reserved by the GPU allocator (CUDA)"),
        ("peak_tensors_mib", "peak memory in tensors, from the cell's memory pass; parts in the table memory"),
        ("optimizer_state_mib", "memory in the optimizer's state, from the same pass"),
    ),
    *_noise_columns("the run, its warm-up excepted"),
    *_columns(
        "string",
        ("started_at", "UTC, ISO 8601"),
        ("bench_version", "version of this package"),
        ("torch_version", "version of torch"),
        ("python_version", "version of Python"),
        ("os", "operating system and architecture"),
        ("cpu", "model of the CPU"),
        ("gpu", "model of the GPU used"),
        ("hostname", "name of the machine"),
        ("git_commit", "commit of the bench's checkout, with -dirty where it was changed"),
    ),
    *_columns("int", ("num_cores", "CPU cores this process may use")),
    *_columns(
        "string",
        ("launcher", "local: one run at a time, so that times can be compared; pool, slurm, other: side by side"),
    ),
    *_columns("int", ("num_jobs", "jobs that the launcher may run side by side")),
    *_columns("float", ("time_limit_s", "seconds of training after which a run is given up")),
    *_columns("string", ("command", "what repeats this run")),
)


RUNS: tuple[Column, ...] = _with_requested(_ALWAYS)


CURVES: tuple[Column, ...] = (
    Column("run_id", "string", "the run", required=True),
    Column("step", "int", "updates made", required=True),
    Column("epoch", "float", "passes over the training set made", required=True),
    Column("split", "string", "which examples", SPLITS, required=True),
    Column(
        "metric",
        "string",
        "loss; accuracy from 0 to 1; gap: loss less the lowest possible; on request "
        + ", ".join(curve.name for curve in metrics.CURVES),
        required=True,
    ),
    Column("value", "float", "mean over the split; for train, over the steps since the last point", required=True),
    Column("train_time_s", "float", "seconds of training so far (train_s at that step)", required=True),
)


_WHERE = _columns(
    "string",
    ("environment_id", "hash of hardware and versions"),
    ("study", "name of the study"),
    ("workload", "model, data and batch size in words"),
    ("workload_id", "hash of model, data, loss, batch size and their options"),
    ("model", "name of the model"),
    ("data", "name of the data set"),
    ("optimizer", "name of the optimizer"),
    ("optimizer_target", "its class"),
    ("optimizer_options", "its settings, JSON"),
    ("implementation", "which form of the step ran"),
    ("device", "cpu, cuda, mps or fake"),
    ("precision", "fp32, tf32 or bf16"),
)


STEP_COSTS: tuple[Column, ...] = (
    Column("session_id", "string", "one measurement: rows with the same one are paired", required=True),
    Column("status", "string", "ok, skipped (with the reason) or failed", STATUSES, required=True),
    Column("reason", "string", "why it did not end ok"),
    *_WHERE,
    *_columns(
        "string",
        ("step_cost_id", "what the cost of a step depends on; joins with runs"),
        ("baseline", "optimizer and implementation that ratios are taken to"),
    ),
    Column("process", "int", "which of the fresh processes, from 0", required=True),
    Column("build", "int", "which build in that process, from 0", required=True),
    *_columns(
        "int",
        ("num_rounds", "interleaved rounds that the medians are over"),
        ("batch_size", "examples a training step"),
        ("num_threads", "torch threads on the CPU"),
        ("num_parameters", "trained parameters"),
        ("steps_per_block", "optimizer steps timed as one"),
    ),
    *_columns(
        "float",
        ("step_us", "step() alone, median over rounds; on CUDA between device events"),
        ("step_host_us", "the same by the host's clock"),
        ("step_ratio", "median over rounds of step_us to the baseline's in the same round"),
        ("train_step_us", "a whole training step, median over rounds"),
        ("train_step_host_us", "the same by the host's clock"),
        ("train_step_ratio", "median over rounds of train_step_us to the baseline's in the same round"),
        ("data_us", "of a training step: gathering the batch"),
        ("zero_grad_us", "of a training step: zero_grad()"),
        ("forward_us", "of a training step: forward pass and loss"),
        ("backward_us", "of a training step: backward pass"),
        ("optimizer_us", "of a training step: step()"),
        ("timer_share", "largest share of a timed block that reading the clock takes"),
        ("construct_ms", "building the optimizer"),
        ("first_step_ms", "its first step, in which the state is made"),
        ("compile_s", "its first step where that compiles (implementation compiled)"),
        ("state_mib", "memory in the optimizer's state"),
        ("least_traffic_mib", "bytes that a step must at least move: parameters in and out, gradients and state"),
        (
            "bandwidth_gib_per_s",
            "plain additions that move the least bytes over arrays of the same sizes, in the same rounds",
        ),
        ("last_cache_mib", "size of the last cache"),
        ("limit_share", "time of those additions over step_us: 1 where the step is as fast as memory allows"),
    ),
    *_noise_columns("this build"),
    *_columns(
        "string", ("started_at", "UTC, ISO 8601"), ("torch_version", "version of torch"), ("cpu", "model of the CPU")
    ),
    *_columns("string", ("gpu", "model of the GPU used"), ("command", "what repeats this measurement")),
)


MEMORY: tuple[Column, ...] = (
    Column("cell_id", "string", "hash of the configuration without its seed", required=True),
    Column("stage", "string", "predicted: from shapes, nothing was allocated; single: measured", STAGES, required=True),
    *_WHERE,
    *_columns(
        "int",
        ("batch_size", "examples a step"),
        ("num_parameters", "trained parameters"),
        ("num_steps", "steps made"),
    ),
    Column("peak_phase", "string", "where in a step the peak lies", PHASES),
    *_columns(
        "float",
        ("peak_mib", "largest sum of the bytes of all tensors; the seven below are its parts at that moment"),
        ("parameters_mib", "parameters"),
        ("gradients_mib", "gradients"),
        ("optimizer_state_mib", "what optimizer.state holds"),
        ("activations_mib", "made in the forward pass and still alive"),
        ("temporaries_mib", "made in backward pass or step and neither gradient nor state"),
        ("buffers_mib", "buffers of the model"),
        ("inputs_mib", "the batch"),
        ("forward_peak_mib", "peak during the forward pass"),
        ("backward_peak_mib", "peak during the backward pass"),
        ("step_peak_mib", "peak during the optimizer's step"),
        ("step_temporaries_mib", "temporaries at the step's own peak"),
        ("state_bytes_per_parameter", "bytes in optimizer.state over trained parameters"),
        ("rss_increase_mib", "peak resident memory above that before model and optimizer were built (Linux)"),
        ("allocated_mib", "peak memory allocated on the GPU (CUDA)"),
        ("reserved_mib", "peak memory reserved by the GPU allocator (CUDA)"),
    ),
)


TRAJECTORIES: tuple[Column, ...] = (
    Column("run_id", "string", "the run, of a model whose weights are a point in the plane", required=True),
    Column("step", "int", "updates made", required=True),
    Column("x", "float", "first coordinate", required=True),
    Column("y", "float", "second coordinate", required=True),
    Column("value", "float", "the function there", required=True),
)


SURFACES: tuple[Column, ...] = (
    Column("workload_id", "string", "the workload, of such a model", required=True),
    Column("x", "float", "first coordinate of a point of a grid", required=True),
    Column("y", "float", "second coordinate", required=True),
    Column("value", "float", "the function there", required=True),
)


DIAGNOSTICS: tuple[Column, ...] = (
    Column("run_id", "string", "the run", required=True),
    Column("step", "int", "updates made", required=True),
    Column("layer", "string", "path of a module with parameters of its own; empty: the whole model", required=True),
    Column("name", "string", f"one of {', '.join(diagnostics.DIAGNOSTIC_NAMES)}", required=True),
    Column("value", "float", "what it came to", required=True),
)


LANDSCAPES: tuple[Column, ...] = (
    Column("run_id", "string", "the run", required=True),
    Column(
        "kind", "string",
        "update: the loss along the last recorded update, x from 0 before it to 1 after; random: along a filter-normalized random"
        " direction; plane: over two of them; path_plane: over the plane of the two main directions of the path of the weights;"
        " path: the path in it; explained: share of the path's variance along direction x",
        ("update", "random", "plane", "path_plane", "path", "explained"), required=True,
    ),
    Column("step", "int", "updates made, of a point of the path"),
    Column("x", "float", "first coordinate", required=True),
    Column("y", "float", "second coordinate", required=True),
    Column("value", "float", "mean loss there of at most 256 training examples, or the share", required=True),
)  # fmt: skip


CLAIM_RUNS: tuple[Column, ...] = (
    Column("workload", "string", "a workload of a ledger", required=True),
    Column("side", "string", "an optimizer, and what is set for it", required=True),
    Column(
        "at",
        "string",
        "default: at these settings; tuned: with the best of equally many trials, by final validation loss or by what it is"
        " tuned for; rates: at every learning rate",
        ("default", "tuned", "tuned-steps_to_target", "tuned-train_loss", "rates"),
        required=True,
    ),
    Column("run_id", "string", "one of its runs", required=True),
)


FACTS: tuple[Column, ...] = (
    Column("fact", "string", "an executable check", required=True),
    Column("holds", "bool", "whether the statement that it checks is true", required=True),
    Column("numbers", "json", "what it found, JSON", required=True),
    Column("torch_version", "string", "version of torch that it ran with"),
)


SIDE: dict[str, tuple[Column, ...]] = {
    "step_costs": STEP_COSTS,
    "memory": MEMORY,
    "trajectories": TRAJECTORIES,
    "surfaces": SURFACES,
    "diagnostics": DIAGNOSTICS,
    "landscapes": LANDSCAPES,
    "claim_runs": CLAIM_RUNS,
    "facts": FACTS,
}
"""Side tables, by name."""


HYPERPARAMETER_PREFIX = "hp_"
"""Hyperparameters other than lr are columns hp_<name>: numbers, booleans, or JSON text for lists."""
