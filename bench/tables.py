"""The tables: their columns and units, how runs are written, and how they are read.

A study is a folder::

    results/<study>/runs/<run_id>/run.json         one run: its row of `runs`, and its whole config
    results/<study>/runs/<run_id>/curves.parquet   its rows of `curves`
    results/<study>/runs/<run_id>/best.pt          its weights of the lowest validation loss, with train.save_best
    results/<study>/<side table>/<part>.parquet    rows of a side table (see SIDE), a file a measurement
    results/<study>/{runs,curves}.{parquet,csv}    all runs together, built from the folders
    results/<study>/<side table>.{parquet,csv}     all parts together
    results/<study>/inflight/<run_id>.json         a run that a process is working on, locked by it

The run folders are the truth. They are written aside, synced and renamed, so a kill at any moment
loses at most the run in flight; the study's tables can be rebuilt from them at any time.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

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
    """A column: its name, its kind (string, int, float, bool) and what it says.

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
            "timing_quality", "string", "how far the times can be trusted; the rule is in bench/clock.py", QUALITIES
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


RUNS: tuple[Column, ...] = (
    Column("run_id", "string", "<cell_id>-<seed>-<environment_id>", required=True),
    Column("cell_id", "string", "hash of the configuration without its seed", required=True),
    Column("environment_id", "string", "hash of hardware and versions", required=True),
    Column("study", "string", "name of the study", required=True),
    Column("stage", "string", "why the run was made", STAGES, required=True),
    Column("status", "string", "how it ended", STATUSES, required=True),
    *_columns(
        "string",
        ("reason", "why it did not end ok"),
        ("workload", "model, data and batch size in words"),
        ("workload_id", "hash of model, data, loss, batch size and their options"),
        ("budget", "what every run of the comparison may spend, in words"),
        ("model", "name of the model"),
        ("model_options", "its arguments, JSON"),
        ("data", "name of the data set"),
        ("data_options", "its arguments, JSON"),
        ("data_fingerprint", "hash of all inputs and targets of the three splits"),
        ("loss", "what is minimised"),
        ("optimizer", "name of the optimizer"),
        ("optimizer_target", "its class"),
        ("implementation", "which form of the step ran: forloop, foreach, fused, compiled, reference, own"),
        ("settings", "default: every hyperparameter as in its config; given: some set by hand or by a sweep"),
        ("tuning", "how its hyperparameters were searched, in words: alike for all optimizers of a tuned sweep"),
        ("search", "the ranges searched, JSON: lowest and highest value of each hyperparameter"),
        ("edge", "of a final run: hyperparameters whose best value is the lowest or highest tried, such as lr high"),
        ("schedule", "learning-rate schedule"),
        ("schedule_options", "its settings, JSON"),
        ("augment", "what is done to the images of training batches"),
        ("augment_options", "its settings, JSON"),
        ("order", "of training batches: reshuffled every epoch, or frozen"),
        ("init_from", "name of the file of weights that training started from, and digits of its hash"),
        ("metrics", "metrics on request that were recorded, with commas"),
        ("class_counts", "training examples of each class, JSON"),
        ("device", "cpu, cuda, mps or fake"),
        ("precision", "fp32, tf32 or bf16"),
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
        ("seed", "seed of initial weights and batch order"),
        ("batch_size", "examples a step"),
        ("num_threads", "torch threads on the CPU"),
        ("num_parameters", "trained parameters"),
        ("num_train", "training examples"),
        ("num_val", "validation examples"),
        ("num_test", "test examples"),
        ("num_steps_budget", "steps the budget allows"),
        ("num_steps", "optimizer updates made"),
        ("num_evaluations", "times that loss and gradients of a batch were computed for them"),
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
        ("moved_test_accuracy", "the same of test images turned and shifted at random, alike for all runs, on request"),
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
        ("write_s", "writing the run's folder, but for the file that holds this number"),
        ("rest_s", "everything else within the run"),
        ("total_s", "the run from start to end; the seven above but first_step_s add up to it"),
        ("step_ms", "train_s without the first step, per step"),
        ("latency_ms", "a forward pass of the trained model for one example, on request"),
        ("latency_batch_ms", "the same for a batch"),
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

CURVES: tuple[Column, ...] = (
    Column("run_id", "string", "the run", required=True),
    Column("step", "int", "updates made", required=True),
    Column("epoch", "float", "passes over the training set made", required=True),
    Column("split", "string", "which examples", SPLITS, required=True),
    Column(
        "metric",
        "string",
        "loss; accuracy from 0 to 1; gap: loss less the lowest possible; on request grad_norm, grad_norm_first,"
        " grad_norm_last, update_ratio, distance",
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
    *_columns(
        "int",
        ("process", "which of the fresh processes, from 0"),
        ("build", "which build in that process, from 0"),
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
        ("bandwidth_gib_per_s", "reading and writing back an array past the last cache"),
        ("last_cache_mib", "size of the last cache"),
        ("limit_share", "least traffic over bandwidth, over step_us; empty where all fits four times the last cache"),
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

CLAIM_RUNS: tuple[Column, ...] = (
    Column("workload", "string", "a workload of a ledger", required=True),
    Column("side", "string", "an optimizer, and what is set for it", required=True),
    Column(
        "at",
        "string",
        "default: at these settings; tuned: with the best of equally many trials; rates: at every learning rate",
        ("default", "tuned", "rates"),
        required=True,
    ),
    Column("run_id", "string", "one of its runs", required=True),
)

FACTS: tuple[Column, ...] = (
    Column("fact", "string", "an executable check", required=True),
    Column("holds", "bool", "whether the statement that it checks is true", required=True),
    Column("numbers", "string", "what it found, JSON", required=True),
    Column("torch_version", "string", "version of torch that it ran with"),
)

SIDE: dict[str, tuple[Column, ...]] = {
    "step_costs": STEP_COSTS,
    "memory": MEMORY,
    "trajectories": TRAJECTORIES,
    "surfaces": SURFACES,
    "claim_runs": CLAIM_RUNS,
    "facts": FACTS,
}
"""Side tables, by name."""

HYPERPARAMETER_PREFIX = "hp_"
"""Hyperparameters other than lr are columns hp_<name>: numbers, booleans, or JSON text for lists."""

_PANDAS = {"string": "string", "int": "Int64", "float": "float64", "bool": "boolean"}
_ARROW = {"string": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
_PYTHON = {"string": (str,), "int": (int,), "float": (int, float), "bool": (bool,)}

CURVES_SCHEMA = pa.schema([pa.field(c.name, _ARROW[c.kind]) for c in CURVES])


class Study(NamedTuple):
    """The two core tables of a study."""

    runs: pd.DataFrame
    curves: pd.DataFrame

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be read of the study, a sentence each; kept in `runs.attrs`."""
        return tuple(self.runs.attrs.get("problems", ()))


def _study(runs: pd.DataFrame, curves: pd.DataFrame, problems: Iterable[str] = ()) -> Study:
    runs.attrs["problems"] = list(problems)
    return Study(runs, curves)


# --- write ----------------------------------------------------------------------------------------


def checked_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Hold a row of `runs` to its columns, and give it back with missing values as None.

    Raises:
        ValueError: A column is unknown, missing, of another type, or not among its allowed values.
    """
    extra = {name: value for name, value in row.items() if name.startswith(HYPERPARAMETER_PREFIX)}
    for name, value in extra.items():
        if not isinstance(value, bool | int | float | str | None):
            raise ValueError(f"runs.{name} must be a number, a boolean or text, got {value!r}")
    return extra | _checked("runs", RUNS, {name: value for name, value in row.items() if name not in extra})


def _checked(table: str, columns: Iterable[Column], row: Mapping[str, Any]) -> dict[str, Any]:
    names = {column.name for column in columns}
    for name in row:
        if name not in names:
            raise ValueError(f"{table}.{name} must be a column of {table}, got an unknown one; see bench/tables.py")
    checked = {}
    for column in columns:
        value = row.get(column.name)
        if isinstance(value, float) and not math.isfinite(value):
            value = None
        if value is None and column.required:
            raise ValueError(f"{table}.{column.name} must be set, got nothing")
        if value is not None:
            wrong_bool = isinstance(value, bool) and column.kind != "bool"
            if wrong_bool or not isinstance(value, _PYTHON[column.kind]):
                raise ValueError(f"{table}.{column.name} must be of kind {column.kind}, got {value!r}")
            if column.allowed and value not in column.allowed:
                raise ValueError(f"{table}.{column.name} must be one of {', '.join(column.allowed)}, got {value!r}")
        checked[column.name] = value
    return checked


def curves_table(run_id: str, points: Sequence[tuple[int, float, str, str, float, float]]) -> pa.Table:
    """The rows of `curves` of one run.

    Args:
        run_id: The run.
        points: (step, epoch, split, metric, value, train_time_s) each.

    Raises:
        ValueError: A value is not finite, or a split is unknown.
    """
    for step, _, split, metric, value, _ in points:
        if split not in SPLITS:
            raise ValueError(f"curves.split must be one of {', '.join(SPLITS)}, got {split!r}")
        if not math.isfinite(value):
            raise ValueError(f"curves.value must be finite, got {value} for {split} {metric} at step {step}")
    columns = list(zip(*points, strict=True)) if points else [()] * 6
    arrays = [pa.array([run_id] * len(points), pa.string())]
    arrays += [pa.array(column, field.type) for column, field in zip(columns, list(CURVES_SCHEMA)[1:], strict=True)]
    return pa.Table.from_arrays(arrays, schema=CURVES_SCHEMA)


def write_run(
    study_dir: Path,
    row: Mapping[str, Any],
    points: Sequence[tuple[int, float, str, str, float, float]],
    details: Mapping[str, Any],
    files: Mapping[str, Callable[[Path], None]] | None = None,
) -> None:
    """Write the folder of one run: aside, synced, then renamed into place.

    A run that came to no result (see `DONE`) never takes the place of one that did.

    Args:
        study_dir: Folder of the study.
        row: A row of `runs`.
        points: Rows of `curves` without the run's id.
        details: What else is kept of the run, for people (its config, a traceback); JSON.
        files: Other files of the folder, by name, each with what writes it to a path.

    Raises:
        ValueError: The row or a point does not fit the tables.
        OSError: The folder cannot be written.
    """
    started = time.perf_counter()
    checked = checked_row(row)
    run_id = checked["run_id"]
    table = curves_table(run_id, points)
    if checked["status"] not in DONE and find(study_dir, run_id) is not None:
        return
    runs_dir = study_dir / "runs"
    runs_dir.mkdir(parents=True, exist_ok=True)
    aside, final, old = runs_dir / f".new-{run_id}", runs_dir / run_id, runs_dir / f".old-{run_id}"
    for leftover in (aside, old):
        shutil.rmtree(leftover, ignore_errors=True)
    aside.mkdir()
    with _synced(aside / "curves.parquet") as file:
        pq.write_table(table, file)
    for name, write in (files or {}).items():
        write(aside / name)
    if checked["total_s"] is not None:
        checked["write_s"] = time.perf_counter() - started
        checked["total_s"] += checked["write_s"]
    record = {"schema_version": SCHEMA_VERSION, "run": checked, **details}
    with _synced(aside / "run.json") as file:
        file.write(json.dumps(record, indent=1, allow_nan=False, default=str).encode())
    _sync_folder(aside)
    if final.exists():
        final.rename(old)
    aside.rename(final)
    _sync_folder(runs_dir)
    shutil.rmtree(old, ignore_errors=True)


def run_folder(study_dir: Path, run_id: str) -> Path:
    """Where the files of a run lie, or would."""
    return study_dir / "runs" / run_id


def write_side(study_dir: Path, table: str, part: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of a side table as one file: aside, synced, then renamed into place.

    Args:
        study_dir: Folder of the study.
        table: A key of `SIDE`.
        part: Name of the file, without suffix; a file of that name is replaced.
        rows: The rows.

    Raises:
        ValueError: A row does not fit the table.
        OSError: The folder cannot be written.
    """
    columns = SIDE[table]
    schema = pa.schema(
        [pa.field(c.name, _ARROW[c.kind]) for c in columns], metadata={"schema_version": str(SCHEMA_VERSION)}
    )
    checked = pa.Table.from_pylist([_checked(table, columns, row) for row in rows], schema=schema)
    folder = study_dir / table
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".new-{part}.{os.getpid()}"
    with _synced(aside) as file:
        pq.write_table(checked, file)
    aside.replace(folder / f"{part}.parquet")
    _sync_folder(folder)


def remove_side(study_dir: Path, table: str, parts: Iterable[str]) -> None:
    """Take parts of a side table away again, and its folder if nothing else is in it.

    Raises:
        OSError: A file cannot be removed.
    """
    for part in parts:
        (study_dir / table / f"{part}.parquet").unlink(missing_ok=True)
    with suppress(OSError):
        (study_dir / table).rmdir()


@contextmanager
def _synced(path: Path) -> Iterator[IO[bytes]]:
    with path.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def build(study_dir: Path) -> Study:
    """Build the study's Parquet and CSV tables from its run folders; return them.

    Safe beside other processes that write into the same study or build it.

    Raises:
        ValueError: The study was written by a newer version of this package.
        OSError: The tables cannot be written.
    """
    study_dir.mkdir(parents=True, exist_ok=True)
    with (study_dir / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = _stamp(study_dir)
        study = _read_folders(study_dir)
        for name, frame in (("runs", study.runs), ("curves", study.curves)):
            table = pa.Table.from_pandas(frame, preserve_index=False)
            meta = {
                b"schema_version": str(SCHEMA_VERSION).encode(),
                b"stamp": stamp.encode(),
                b"problems": json.dumps(study.problems).encode(),
            }
            table = table.replace_schema_metadata({**(table.schema.metadata or {}), **meta})
            with _replacing(study_dir / f"{name}.parquet") as aside:
                pq.write_table(table, aside)
            with _replacing(study_dir / f"{name}.csv") as aside:
                frame.to_csv(aside, index=False)
        for name in SIDE:
            if (study_dir / name).is_dir():
                frame = load_side(study_dir, name)
                with _replacing(study_dir / f"{name}.parquet") as aside:
                    frame.to_parquet(aside, index=False)
                with _replacing(study_dir / f"{name}.csv") as aside:
                    frame.to_csv(aside, index=False)
    return study


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    aside = path.with_name(f".{path.name}.new")
    yield aside
    aside.replace(path)


def _stamp(study_dir: Path) -> str:
    """Changes whenever a run folder comes, goes or is replaced."""
    runs_dir = study_dir / "runs"
    if not runs_dir.is_dir():
        return "none"
    return f"{runs_dir.stat().st_mtime_ns}-{sum(1 for _ in runs_dir.iterdir())}"


# --- read -----------------------------------------------------------------------------------------


def load(study_dir: str | Path) -> Study:
    """Read a study: `runs, curves = load("results/digits-mlp")`.

    The study's Parquet files are read where they are up to date, the run folders otherwise. A
    folder or file that is damaged is left out and named in `problems` of what is returned.

    Returns:
        `runs`, one row a run, the columns of `RUNS` and one hp_<name> for each hyperparameter;
        `curves`, long, the columns of `CURVES`.

    Raises:
        FileNotFoundError: There is no such study, or it holds neither runs nor a side table.
        ValueError: It was written by a newer version of this package.
    """
    study_dir = Path(study_dir)
    if not study_dir.is_dir():
        raise FileNotFoundError(f"the study must be a folder such as results/digits-mlp, found none at {study_dir}")
    problems: list[str] = []
    paths = [study_dir / "runs.parquet", study_dir / "curves.parquet"]
    if all(path.is_file() for path in paths):
        try:
            tables = [pq.read_table(path) for path in paths]
        except (pa.ArrowException, OSError) as error:
            problems.append(
                f"the tables of {study_dir} cannot be read ({_one_line(error)}) and were rebuilt from its runs"
            )
        else:
            meta = [table.schema.metadata or {} for table in tables]
            _check_version(int(meta[0].get(b"schema_version", b"0")), study_dir)
            current = [m.get(b"stamp", b"").decode() == _stamp(study_dir) for m in meta]
            if all(current) or not (study_dir / "runs").is_dir():
                runs, curves = (table.to_pandas() for table in tables)
                if len(runs):
                    return _study(
                        _typed_runs(runs), _typed(curves, CURVES), json.loads(meta[0].get(b"problems", b"[]"))
                    )
    study = _read_folders(study_dir)
    if study.runs.empty and not any((study_dir / name).is_dir() for name in SIDE):
        trouble = f" ({'; '.join(study.problems)})" if study.problems else ""
        raise FileNotFoundError(f"the study must hold at least one run, found none in {study_dir}{trouble}")
    return _study(*study, problems=[*problems, *study.problems])


def load_side(study_dir: str | Path, table: str) -> pd.DataFrame:
    """Read a side table of a study; empty where nothing of it was measured.

    A part that cannot be read is left out and named in `attrs["problems"]`.

    Args:
        study_dir: Folder of the study.
        table: A key of `SIDE`.

    Raises:
        ValueError: A part was written by a newer version of this package.
    """
    columns, parts, problems = SIDE[table], [], []
    paths = sorted((Path(study_dir) / table).glob("[!.]*.parquet"))
    built = Path(study_dir) / f"{table}.parquet"
    for path in paths or ([built] if built.is_file() else []):
        try:
            part = pq.read_table(path, partitioning=None)
        except (OSError, ValueError, pa.ArrowException) as error:
            problems.append(f"{path} cannot be read and was left out: {_one_line(error)}")
            continue
        _check_version(int((part.schema.metadata or {}).get(b"schema_version", b"0")), path)
        parts.append(part)
    rows = pa.concat_tables(parts, promote_options="default").to_pandas() if parts else pd.DataFrame()
    frame = _typed(rows, columns)
    frame.attrs["problems"] = problems
    return frame


def _read_folders(study_dir: Path) -> Study:
    rows: list[dict[str, Any]] = []
    tables: list[pa.Table] = []
    problems: list[str] = []
    folders = sorted(p for p in (study_dir / "runs").glob("*") if p.is_dir() and not p.name.startswith("."))
    for folder in folders:
        try:
            record = read_record(folder)
            if record["run"]["run_id"] != folder.name:
                raise ValueError(f"it holds run {record['run']['run_id']}")
            table = pq.read_table(folder / "curves.parquet", partitioning=None)
            table = table.select(CURVES_SCHEMA.names).cast(CURVES_SCHEMA)
        except _Newer:
            raise
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            problems.append(f"{folder} cannot be read and was left out: {_one_line(error)}")
            continue
        rows.append(record["run"])
        tables.append(table)
    runs = _typed_runs(pd.DataFrame(rows, dtype=object))
    curves = pa.concat_tables(tables).to_pandas() if tables else CURVES_SCHEMA.empty_table().to_pandas()
    return _study(runs, _typed(curves, CURVES), problems)


class _Newer(ValueError):
    """Results of a newer version of this package."""


def read_record(folder: Path) -> dict[str, Any]:
    """The run.json of one run folder.

    Raises:
        OSError: It is absent or cannot be read.
        ValueError: It is damaged, or of a newer version.
    """
    record = json.loads((folder / "run.json").read_bytes())
    if not isinstance(record, dict) or not isinstance(record.get("run"), dict):
        raise ValueError("run.json holds no run")
    _check_version(int(record.get("schema_version", 0)), folder)
    checked_row({k: v for k, v in record["run"].items() if not k.startswith(HYPERPARAMETER_PREFIX)})
    return record


def check_study(study_dir: Path) -> None:
    """Look whether a study may be added to, before anything is run for it.

    Raises:
        ValueError: Its tables were written by a newer version of this package.
    """
    with suppress(pa.ArrowException, OSError):
        meta = pq.read_schema(study_dir / "runs.parquet").metadata or {}
        _check_version(int(meta.get(b"schema_version", b"0")), study_dir)


def _check_version(version: int, where: Path) -> None:
    if version > SCHEMA_VERSION:
        raise _Newer(
            f"the tables must be of version {SCHEMA_VERSION} or older, got version {version} in {where};"
            " upgrade this package to read them"
        )


def _typed(frame: pd.DataFrame, columns: Iterable[Column]) -> pd.DataFrame:
    series = {}
    for column in columns:
        values = frame[column.name] if column.name in frame else pd.Series(None, index=frame.index, dtype=object)
        series[column.name] = values.astype(_PANDAS[column.kind])
    return pd.DataFrame(series, index=frame.index)


def _typed_runs(frame: pd.DataFrame) -> pd.DataFrame:
    extra = {}
    for name in sorted(name for name in frame if name.startswith(HYPERPARAMETER_PREFIX)):
        values = frame[name]
        kinds = {type(v) if isinstance(v, bool | str) else float for v in values.dropna().tolist()}
        if kinds == {bool}:
            extra[name] = values.astype("boolean")
        elif kinds == {float}:
            extra[name] = values.astype("float64")
        else:
            extra[name] = values.map(lambda v: v if isinstance(v, str) else json.dumps(v), na_action="ignore").astype(
                "string"
            )
    return pd.concat([_typed(frame, RUNS), pd.DataFrame(extra, index=frame.index)], axis=1)


def _one_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__


# --- runs in flight -------------------------------------------------------------------------------


class Claim:
    """A run that this process works on: a file with its row so far, locked while the process lives.

    The lock falls with the process, however it ends, so the next invocation can tell a run that is
    being worked on from one that was killed.
    """

    def __init__(self, path: Path, file: IO[str]) -> None:
        self._path, self._file = path, file

    @classmethod
    def take(cls, study_dir: Path, run_id: str) -> Claim | None:
        """Claim a run; None where another living process has it.

        Raises:
            OSError: The study's folder cannot be written.
        """
        path = study_dir / "inflight" / f"{run_id}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(10):  # `recover` holds the lock of a file for a moment.
            file = path.open("a+")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                time.sleep(0.02)
                continue
            # Another process may have released and removed the file between the two calls.
            with suppress(FileNotFoundError):
                if os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                    break
            file.close()
        else:
            return None
        return cls(path, file)

    def describe(self, row: Mapping[str, Any]) -> None:
        """Note the row of the run as far as it is known, for whoever finds it lost.

        Raises:
            OSError: The study's folder cannot be written.
        """
        self._file.truncate(0)
        json.dump({"schema_version": SCHEMA_VERSION, "run": checked_row(row)}, self._file, default=str)
        self._file.flush()

    def release(self) -> None:
        """Give the run up: its folder is written, or it will never be."""
        self._path.unlink(missing_ok=True)
        self._file.close()


LOST = "the process ended without a word: killed, or the machine stopped"


def recover(study_dir: Path, reason: str = LOST) -> list[dict[str, Any]]:
    """Record as failed every run whose process ended without a word; return their rows.

    Args:
        study_dir: Folder of the study.
        reason: What is known of how it ended.

    Raises:
        OSError: The study's folder cannot be written.
    """
    lost = []
    for path in sorted((study_dir / "inflight").glob("*.json")):
        try:
            file = path.open("r+")
        except FileNotFoundError:  # its process has just finished it
            continue
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            final, old = (study_dir / "runs" / f"{prefix}{path.stem}" for prefix in ("", ".old-"))
            if old.is_dir() and not final.exists():  # killed between the two renames of `write_run`
                old.rename(final)
            try:
                row = json.loads(file.read())["run"]
            except (ValueError, KeyError, TypeError):
                row = None
            if row is not None and find(study_dir, row["run_id"]) is None:
                row |= {"status": "failed", "reason": reason}
                write_run(study_dir, row, [], {})
                lost.append(row)
            path.unlink(missing_ok=True)
    return lost


def latest(study_dir: Path, cell_id: str, seed: int) -> tuple[dict[str, Any], pd.DataFrame] | None:
    """The row and the curves of the newest run of a cell with a seed, in whichever environment; None: there is none."""
    newest: tuple[dict[str, Any], pd.DataFrame] | None = None
    for folder in (study_dir / "runs").glob(f"{cell_id}-{seed}-*"):
        try:
            row = read_record(folder)["run"]
            curves = pq.read_table(folder / "curves.parquet", partitioning=None).to_pandas()
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
            continue
        if newest is None or str(row["started_at"]) > str(newest[0]["started_at"]):
            newest = row, curves
    return newest


def recorded(study_dir: Path) -> pd.DataFrame:
    """The table `runs` of a study as it is now, without its curves; empty where there is no study.

    Raises:
        ValueError: The study was written by a newer version of this package.
    """
    path = study_dir / "runs.parquet"
    with suppress(OSError, pa.ArrowException):
        meta = pq.read_schema(path).metadata or {}
        if meta.get(b"stamp", b"").decode() == _stamp(study_dir):
            return _typed_runs(pq.read_table(path).to_pandas())
    rows = []
    for folder in sorted((study_dir / "runs").glob("[!.]*")):
        with suppress(OSError, KeyError, TypeError):
            rows.append(read_record(folder)["run"])
    return _typed_runs(pd.DataFrame(rows, dtype=object))


def find_side(study_dir: Path, table: str, part: str) -> dict[str, Any] | None:
    """The first row of a part of a side table, or None where there is no such part that can be read."""
    try:
        rows = pq.read_table(study_dir / table / f"{part}.parquet", partitioning=None).to_pylist()
    except (OSError, ValueError, pa.ArrowException):
        return None
    return rows[0] if rows else None


def num_in_flight(results_dir: Path, run_id: str) -> int:
    """Runs that living processes are working on in any study of a folder, less one's own."""
    num = 0
    for path in results_dir.glob("*/inflight/*.json"):
        if path.stem == run_id:
            continue
        with suppress(OSError), path.open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                num += 1
    return num


def find(study_dir: Path, run_id: str) -> dict[str, Any] | None:
    """The row of a run that exists whole and counts as done, or None."""
    folder = study_dir / "runs" / run_id
    try:
        row: dict[str, Any] = read_record(folder)["run"]
        pq.read_metadata(folder / "curves.parquet")
    except _Newer:
        raise
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        return None
    return row if row["status"] in DONE else None
