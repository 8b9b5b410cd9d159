"""Make the runs of one configuration that do not exist yet, one a seed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.base.errors import UserError
from bench.base.files import OddFile
from bench.base.text import first_line, show_warning
from bench.config.identity import cell_id
from bench.config.schema import Config
from bench.execution.session import Outcome, Session, open_study, writing

if TYPE_CHECKING:
    from bench.execution.progress import ProgressReporter
    from bench.tables.locks import RunLock


def run_cells(configs: Sequence[Config], session: Session) -> list[float]:
    """Make all runs of these cells that do not exist yet, one after the other.

    Args:
        configs: The cells.
        session: The session of the command, which records every run.

    Returns:
        The objective of each cell, see `objective`.

    Raises:
        UserError: A lone cell cannot be built, threads would share cores, or results cannot be written.
        KeyboardInterrupt: After the run in flight was recorded.
    """
    from bench.execution.progress import Progress

    check_threads(configs)
    shown = session.progress or Progress(sum(len(seeds_of(config)) for config in configs))
    try:
        return [_run_cell(config, session, shown) for config in configs]
    finally:
        shown.close()


def check_threads(configs: Sequence[Config]) -> None:
    """Check that no run computes with more threads than there are cores.

    Raises:
        UserError: One does.
    """
    from bench.measure.environment import num_cores

    for config in configs:
        if config.device.threads > num_cores():
            raise UserError(
                f"device.threads must be at most {num_cores()}, the number of cores here, got {config.device.threads};"
                " threads that share a core slow each other"
            )


def collect(configs: Sequence[Config], session: Session) -> None:
    """Read the runs of these cells from their study, where a launcher of another package made them.

    Raises:
        UserError: A study cannot be read.
    """
    from bench import tables
    from bench.measure.environment import device_name

    for config in configs:
        open_study(config, session)
        cell = cell_id(config, device_name(config)[0])
        for seed in seeds_of(config):
            found = tables.latest(config.study_dir, cell, seed)
            if found is None:
                session.lost.append(f"{label_of(config, seed)} recorded no row; see the output of its job")
            else:
                session.rows[found[0]["run_id"]] = found[0]


def work(config: Config, abandoned: frozenset[str], progress: ProgressReporter) -> Outcome:
    """Make the runs of one cell in a process of a pool.

    Args:
        config: The cell.
        abandoned: Its runs that are not tried again.
        progress: Shows each run.
    """
    warnings.showwarning = show_warning
    did = Session(is_sweep=True, configs={config.study_dir: config}, abandoned=abandoned)
    value, refusal = float("inf"), None
    try:
        value = _run_cell(config, did, progress)
    except UserError as error:
        refusal = str(error)
    return Outcome(value, did.rows, did.num_found, did.num_elsewhere, did.memory, did.no_memory, did.measured, refusal)


def _run_cell(config: Config, session: Session, progress: ProgressReporter) -> float:
    from bench.measure.environment import device_name, environment, environment_id

    open_study(config, session)
    device, unavailable_reason = device_name(config)
    if unavailable_reason and not session.is_sweep:
        raise UserError(unavailable_reason)
    where = environment(device if not unavailable_reason else "cpu")
    ids = cell_id(config, device), environment_id(where)
    known = (*ids, where, device)
    rows = [_run(config, seed, known, unavailable_reason, session, progress) for seed in seeds_of(config)]
    return objective(config, rows)


def objective(config: Config, rows: Sequence[Mapping[str, Any] | None]) -> float:
    """Return the mean of the quantity `sweep.select` over some runs of a cell; infinity unless all of them ended ok.

    Raises:
        UserError: The data has no classes to be wrong about.
    """
    ended = [row for row in rows if row and row["status"] == "ok" and row["stage"] != "predicted"]
    if len(ended) < len(rows):
        return float("inf")
    select = config.sweep.select
    if select == "val_error" and any(row.get("final_val_accuracy") is None for row in ended):
        raise UserError(
            f"sweep.select must be another for data={config.data.name}, got val_error: there are no classes"
        )
    return sum(_selected(config, row) for row in ended) / len(rows)


def _selected(config: Config, row: Mapping[str, Any]) -> float:
    """Return the quantity `sweep.select` of a run.

    Where it did not reach `sweep.target`, that is more than all its steps, or their time, by the more the higher its loss ended.
    """
    select, target = config.sweep.select, config.sweep.target
    if target is None:
        column = {"val_error": "final_val_accuracy", "train_loss": "final_train_loss"}.get(select, select)
        return 1 - float(row[column]) if select == "val_error" else float(row[column])
    import pandas as pd

    from bench import tables
    from bench.analysis.targets import steps_to_target

    found = tables.latest(config.study_dir, row["cell_id"], row["seed"])
    if found is None:
        return float("inf")
    (run,) = steps_to_target(pd.DataFrame([{**row, "series": ""}]), found[1], target).itertuples()
    by_steps = select == "steps_to_target"
    if run.reached:
        return float(run.crossed_at if by_steps else run.crossed_s)
    return float(row["num_steps"] if by_steps else row["train_s"]) * (1 + float(row["final_val_loss"]) - target)


def seeds_of(config: Config) -> list[int]:
    """Return the seeds to run: only the first where memory is predicted, since no seed changes it."""
    return config.seeds[:1] if config.device.name == "fake" else config.seeds


def _run(
    config: Config,
    seed: int,
    known: tuple[str, str, dict[str, Any], str],
    unavailable_reason: str | None,
    session: Session,
    progress: ProgressReporter,
) -> dict[str, Any] | None:
    """Return the row of one run, made now unless it exists; None if another process is making it."""
    from bench import tables

    label, study_dir = label_of(config, seed), config.study_dir
    run_id = tables.run_id(known[0], seed, known[1])
    with writing(study_dir):
        row = _existing(config, run_id, session)
        if row is None:
            import bench.execution.run  # noqa: F401  (seconds; not while a run is locked)
        try:
            lock = None if row else tables.RunLock.take(study_dir, run_id)
        except OddFile as error:
            session.lost.append(f"{label} was not made: {error}")
            progress.end(label, f"not made: {error}")
            return None
    if lock is None and row is None:
        session.num_elsewhere += 1
        progress.end(label, "left to another process, which is working on it")
        return None
    if lock is not None:
        try:
            row = _existing(config, run_id, session)  # another process may have finished it meanwhile
            if row is None:
                row = session.rows[run_id] = _make(
                    config, seed, known, unavailable_reason, progress.start(label), lock, session
                )
                progress.end(label, _outcome(row))
                if row["status"] == "interrupted":
                    raise KeyboardInterrupt
                return row
        finally:
            lock.release()
    assert row is not None
    session.rows[run_id] = row
    session.num_found += 1
    if row["status"] == "ok":
        _memory(config, row, session)  # older studies have none
    progress.end(label, f"exists already ({row['status']})")
    return row


def _existing(config: Config, run_id: str, session: Session) -> dict[str, Any] | None:
    """Return the row of a run that is not made again, or None: a reusable one, or one that was abandoned."""
    from bench import tables
    from bench.execution.reuse import reusable_row

    if run_id in session.abandoned:
        abandoned: dict[str, Any] = tables.read_record(tables.run_folder(config.study_dir, run_id))["run"]
        return abandoned
    return reusable_row(config, run_id)


def _make(
    config: Config,
    seed: int,
    known: tuple[str, str, dict[str, Any], str],
    unavailable_reason: str | None,
    on_progress: Callable[[int, int, float], None],
    lock: RunLock,
    session: Session,
) -> dict[str, Any]:
    """Make a run, whatever becomes of it, and record it."""
    from bench import tables
    from bench.execution.live_log import LiveLog
    from bench.execution.pruning import pruner
    from bench.execution.reuse import keep_what_exists
    from bench.execution.row import Result, lost, planned_row, predicted
    from bench.execution.run import run
    from bench.measure.device import Unavailable

    config = keep_what_exists(config, tables.run_id(known[0], seed, known[1]))
    planned = planned_row(config, seed, *known)
    with writing(config.study_dir):
        lock.describe(planned)
        num_concurrent = tables.num_in_flight(Path(config.results_dir), planned["run_id"])
    live = None
    try:
        memory = None if unavailable_reason else _memory(config, planned, session)
        if memory is not None:
            planned |= {"peak_tensors_mib": memory["peak_mib"], "optimizer_state_mib": memory["optimizer_state_mib"]}
        if unavailable_reason:
            result = Result(planned | {"status": "skipped", "reason": unavailable_reason}, [], {})
        elif config.device.name == "fake":
            assert memory is not None
            result = predicted(config, planned, memory)
        else:
            should_prune = pruner(config.trial.history) if config.trial.history else None
            live = LiveLog(config.logger, planned) if config.logger.chosen() else None
            result = run(config, planned, on_progress, num_concurrent, should_prune, live)
    except (UserError, Unavailable) as error:
        if not session.is_sweep:
            if live is not None:
                live.end(planned)
            if not session.rows:
                with writing(config.study_dir):
                    tables.remove_side(config.study_dir, "memory", session.measured)
            raise UserError(str(error)) from error
        status = "skipped" if isinstance(error, Unavailable) else "failed"
        result = Result(planned | {"status": status, "reason": str(error)}, [], {})
    except (Exception, KeyboardInterrupt) as error:
        result = lost(planned, error)
    if live is not None:
        live.end(result.row)
    with writing(config.study_dir):
        for table, rows in result.side.items():
            part = result.row["workload_id" if table == "surfaces" else "run_id"]
            tables.write_side(config.study_dir, table, part, rows)
        tables.write_run(config.study_dir, result.row, result.points, result.details, result.files)
    return result.row


def _memory(config: Config, planned: dict[str, Any], session: Session) -> dict[str, Any] | None:
    """Return the row of `memory` of a cell, measured now unless it exists; None if it is not wanted or fails.

    A run does not need it: an error of the memory pass is kept for the end, and the run shows what is wrong with the cell.
    """
    from bench import tables

    predicted = config.device.name == "fake"
    if not (config.memory or predicted):
        return None
    part = f"{planned['cell_id']}-{planned['environment_id']}"
    if part in session.memory or part in session.no_memory:
        return session.memory.get(part)
    row = None if config.force else tables.find_side(config.study_dir, "memory", part)
    if row is None:
        from bench.execution.memory import memory_of

        try:
            row = memory_of(config, planned)
        except Exception as error:
            if predicted:
                raise
            session.no_memory[part] = f"{type(error).__name__}: {first_line(error)}"
            return None
        with writing(config.study_dir):
            tables.write_side(config.study_dir, "memory", part, [row])
        session.measured.append(part)
    session.memory[part] = row
    return row


LABELLED = ("optimizer", "model", "data", "schedule", "augment", "loss", "regularization", "device", "train")
"""Sections of the configuration that the line about a run shows where they were typed."""


NOT_LABELLED = ("optimizer", "train.epochs", "train.steps", "train.log_every", "train.eval_every", "train.save_best")
"""Keys of these sections that it leaves out."""


def label_of(config: Config, seed: int) -> str:
    """Return a short description of a run: its optimizer, what else was chosen on the command line except the budget, its seed."""
    chosen = []
    for override in config.overrides:
        key = override.lstrip("+~").split("=", 1)[0]
        if key.partition(".")[0] in LABELLED and not key.endswith("_target_") and key not in NOT_LABELLED:
            chosen.append(override.lstrip("+~").removeprefix("optimizer."))
    return " ".join([config.optimizer.name, *chosen, f"seed {seed}"])


def _outcome(row: dict[str, Any]) -> str:
    if row["status"] != "ok":
        return f"{row['status']}: {row['reason']}"
    if row["stage"] == "predicted":
        peak, state = row["peak_tensors_mib"], row["optimizer_state_mib"]
        return f"peak {peak:,.4g} MiB predicted, of it {state:,.4g} MiB of optimizer state; nothing was run"
    accuracy = row.get("final_test_accuracy")
    shown = f", test accuracy {accuracy:.1%}" if accuracy is not None else ""
    return f"val loss {row['final_val_loss']:.4g}{shown}, {row['train_s']:.2f} s of training"
