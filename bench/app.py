"""The command `python -m bench`: from Hydra's configuration to runs, tables and a report."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.config import CONF_DIR, Config, cell_id, parse

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from bench.progress import Progress
    from bench.tables import Claim

OK, NOT_ALL_OK, REFUSED, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses: every run ok or skipped; some run was not; the command was refused; Ctrl-C."""


class Refused(Exception):
    """The command cannot be carried out; the text is the sentence for the person who gave it."""


@dataclass
class Session:
    """What one command did: the rows it recorded, the runs it found done, and where."""

    is_sweep: bool = False
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    num_found: int = 0
    num_elsewhere: int = 0
    configs: dict[Path, Config] = field(default_factory=dict)
    interrupted: bool = False
    refusal: str | None = None


_session = Session()


def main() -> int:
    """Carry out the command line; return the exit status."""
    _put_multirun_last()
    return _command()


def _put_multirun_last() -> None:
    """Hydra takes overrides on one side of `-m` only."""
    flags = [argument for argument in sys.argv[1:] if argument in ("-m", "--multirun")]
    sys.argv[1:] = [argument for argument in sys.argv[1:] if argument not in flags] + flags[:1]


def _command() -> int:
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from bench.mistakes import sentence

    global _session
    _session = Session(is_sweep=any(flag in sys.argv for flag in ("-m", "--multirun")))
    full_error = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing and exiting.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="config")(job)()
    except KeyboardInterrupt:
        _session.interrupted = True
    except (Refused, HydraException, OmegaConfBaseException) as error:
        if full_error == "1":
            raise
        _session.refusal = str(error) if isinstance(error, Refused) else sentence(error, _session.is_sweep)
    except ValueError as error:  # Hydra's own, for combinations that it does not take
        if full_error == "1":
            raise
        _session.refusal = f"the command must be one that Hydra can compose, got: {' '.join(str(error).split())}; see python -m bench --help"
    finally:
        if full_error is None:
            del os.environ["HYDRA_FULL_ERROR"]
    status = OK
    try:
        status = _finish()
    except KeyboardInterrupt:
        _session.interrupted = True
    except Refused as error:
        _session.refusal = _session.refusal or str(error)
    if _session.interrupted:
        print("bench: interrupted; what was done is kept, and the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    if _session.refusal:
        print(f"bench: {_session.refusal}", file=sys.stderr)
        return REFUSED
    return status


def job(node: DictConfig) -> float:
    """One Hydra job, under any launcher: the runs of one cell.

    Returns:
        The cell's objective: its mean final validation loss, infinite unless every run ended ok.
    """
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    try:
        typed = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
        assert isinstance(typed, list)
        return run_cells([config_of(node, [str(override) for override in typed])])[0]
    except Refused as error:  # Hydra would print lines of its own about it.
        _session.refusal = str(error)
        return float("inf")


def config_of(node: DictConfig, overrides: Sequence[str]) -> Config:
    """A composed configuration as a typed one.

    Raises:
        Refused: A value is not what its key takes.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from bench.mistakes import unresolvable

    try:
        container = OmegaConf.to_container(node, resolve=True)
    except OmegaConfBaseException as error:
        raise Refused(unresolvable(node) or str(error)) from None
    assert isinstance(container, dict)
    container.pop("hydra", None)
    try:
        return parse({str(key): value for key, value in container.items()}, list(overrides))
    except ValueError as error:
        raise Refused(str(error)) from None


def run_cells(configs: Sequence[Config]) -> list[float]:
    """Make all runs of these cells that do not exist yet, one after the other.

    Returns:
        The objective of each cell, as `job` gives it.

    Raises:
        Refused: A lone cell cannot be built, or results cannot be written.
        KeyboardInterrupt: After the run in flight was recorded.
    """
    from bench.progress import Progress

    progress = Progress(sum(len(config.seeds) for config in configs))
    try:
        return [_run_cell(config, progress) for config in configs]
    finally:
        progress.close()


def _run_cell(config: Config, progress: Progress) -> float:
    from bench import tables
    from bench.environment import environment, environment_id

    study_dir = config.study_dir
    if study_dir not in _session.configs:
        _session.configs[study_dir] = config
        with _writing(study_dir):
            study_dir.mkdir(parents=True, exist_ok=True)
            tables.check_study(study_dir)
            for row in tables.recover(study_dir):
                print(f"bench: run {row['run_id']} is recorded as failed: {row['reason']}", file=sys.stderr)
    device, lacking = _device_name(config)
    if lacking and not _session.is_sweep:
        raise Refused(lacking)
    where = environment(device if not lacking else "cpu")
    ids = cell_id(config, device), environment_id(where)
    rows = [_run(config, seed, (*ids, where, device), lacking, progress) for seed in config.seeds]
    losses = [row["final_val_loss"] if row and row["status"] == "ok" else float("inf") for row in rows]
    return sum(losses) / len(losses)


def _run(
    config: Config,
    seed: int,
    known: tuple[str, str, dict[str, Any], str],
    lacking: str | None,
    progress: Progress,
) -> dict[str, Any] | None:
    """The row of one run: as it stands where it is done, else made now; None where another process is at it."""
    from bench import tables

    label, study_dir = _label(config, seed), config.study_dir
    run_id = f"{known[0]}-{seed}-{known[1]}"
    with _writing(study_dir):
        row = _done(config, run_id)
        if row is None:
            import bench.run  # noqa: F401  (seconds; not while a run is claimed)
        claim = None if row else tables.Claim.take(study_dir, run_id)
    if claim is None and row is None:
        _session.num_elsewhere += 1
        progress.end(label, "left to another process, which is working on it")
        return None
    if claim is not None:
        try:
            row = _done(config, run_id)  # another process may have finished it since
            if row is None:
                row = _session.rows[run_id] = _make(config, seed, known, lacking, progress.start(label), claim)
                progress.end(label, _outcome(row))
                if row["status"] == "interrupted":
                    raise KeyboardInterrupt
                return row
        finally:
            claim.release()
    assert row is not None
    _session.rows[run_id] = row
    _session.num_found += 1
    progress.end(label, f"exists already ({row['status']})")
    return row


def _done(config: Config, run_id: str) -> dict[str, Any] | None:
    """The row of a run that need not be made again."""
    from bench import tables

    row = None if config.force else tables.find(config.study_dir, run_id)
    if row is not None and row["status"] == "timeout":
        limit, before = config.train.time_limit_s, row["time_limit_s"]
        return row if limit is not None and limit <= before else None
    return row


def _make(
    config: Config,
    seed: int,
    known: tuple[str, str, dict[str, Any], str],
    lacking: str | None,
    tell: Callable[[int, int, float], None],
    claim: Claim,
) -> dict[str, Any]:
    """Make a run, whatever becomes of it, and record it."""
    from bench import tables
    from bench.device import Unavailable
    from bench.run import Result, lost, planned_row, run

    planned = planned_row(config, seed, *known)
    with _writing(config.study_dir):
        claim.describe(planned)
    try:
        result = (
            Result(planned | {"status": "skipped", "reason": lacking}, [], {})
            if lacking
            else run(config, planned, tell)
        )
    except (ValueError, Unavailable) as error:
        if not _session.is_sweep:
            raise Refused(str(error)) from error
        status = "skipped" if isinstance(error, Unavailable) else "failed"
        result = Result(planned | {"status": status, "reason": str(error)}, [], {})
    except (Exception, KeyboardInterrupt) as error:
        result = lost(planned, error)
    with _writing(config.study_dir):
        tables.write_run(config.study_dir, result.row, result.points, result.details)
    return result.row


def _device_name(config: Config) -> tuple[str, str | None]:
    """The device that a cell runs on, and why it can't where it can't. No torch for the CPU."""
    if config.device.name == "cpu":
        return "cpu", None
    from bench.device import Unavailable, resolve

    try:
        return resolve(config.device.name).type, None
    except Unavailable as error:
        return config.device.name, str(error)


def _label(config: Config, seed: int) -> str:
    """A run in words: its optimizer and what else was chosen on the command line, less the budget."""
    chosen = []
    for override in config.overrides:
        key = override.lstrip("+~").split("=", 1)[0]
        if (
            key.partition(".")[0] in ("optimizer", "model", "data", "device")
            and not key.endswith("_target_")
            and key != "optimizer"
        ):
            chosen.append(override.lstrip("+~").removeprefix("optimizer."))
    return " ".join([config.optimizer.name, *chosen, f"seed {seed}"])


def _outcome(row: dict[str, Any]) -> str:
    if row["status"] != "ok":
        return f"{row['status']}: {row['reason']}"
    accuracy = row.get("final_test_accuracy")
    shown = f", test accuracy {accuracy:.1%}" if accuracy is not None else ""
    return f"val loss {row['final_val_loss']:.4g}{shown}, {row['train_s']:.2f} s of training"


def _finish() -> int:
    """Build the tables of every study touched, print what came out, and write the reports."""
    if not _session.configs:
        return OK
    if _session.refusal and not _session.rows:
        for folder in (
            f for study_dir in _session.configs for f in (study_dir / "inflight", study_dir, study_dir.parent)
        ):
            with suppress(OSError):
                folder.rmdir()  # only where it is empty
        return REFUSED
    from bench import tables
    from bench.report.stats import summary_text

    for study_dir, config in _session.configs.items():
        with _writing(study_dir):
            study = tables.build(study_dir)
        for problem in study.problems:
            print(f"bench: {problem}", file=sys.stderr)
        if study.runs.empty:
            continue
        print(f"\n{summary_text(study.runs)}\n")
        print(f"tables: {study_dir}{os.sep}")
        if config.report and not (_session.interrupted or _session.refusal):
            from bench.report.render import write_report

            report_dir = Path(config.reports_dir) / config.study
            with _writing(report_dir, "reports_dir"):
                write_report(study, study_dir, report_dir)
            print(f"report: {report_dir / 'index.html'}")
    if _session.num_found:
        print(f"{_session.num_found} of these runs existed already and were not repeated (force=true repeats them).")
    if _session.num_elsewhere:
        print(f"{_session.num_elsewhere} runs were left to another process that is working on them.")
    return OK if all(row["status"] in ("ok", "skipped") for row in _session.rows.values()) else NOT_ALL_OK


@contextmanager
def _writing(folder: Path, key: str = "results_dir") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Refused(
            f"{key} must be a folder that can be written, got {folder} ({error.strerror or error});"
            " make room or choose another, the runs recorded before are intact"
        ) from error
    except ValueError as error:
        raise Refused(str(error)) from error
