"""The command `python -m bench`: from Hydra's configuration to runs, tables and a report."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from bench.config import CONF_DIR, Config, LauncherConfig, cell_id, parse

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from bench.pool import Pool
    from bench.progress import Shown
    from bench.tables import Claim

OK, NOT_ALL_OK, REFUSED, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses: every run ok or skipped; some run was not; the command was refused; Ctrl-C."""


class Refused(Exception):
    """The command cannot be carried out; the text is the sentence for the person who gave it."""


@dataclass
class Session:
    """What one command did: the rows it recorded, the runs it found done, and where.

    Attributes:
        rows: By run_id, of runs made and found.
        memory: Rows of `memory` by part; `measured` are those that this command wrote.
        no_memory: Why there is none, by part.
        notes: What a person should know of a tuned sweep, a sentence each.
        lost: What became of cells of which not even a row could be written, a sentence each.
        given_up: Runs that are not tried again.
        pool: The processes of launcher=pool, once there are any.
    """

    is_sweep: bool = False
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    num_found: int = 0
    num_elsewhere: int = 0
    configs: dict[Path, Config] = field(default_factory=dict)
    memory: dict[str, dict[str, Any]] = field(default_factory=dict)
    no_memory: dict[str, str] = field(default_factory=dict)
    measured: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    given_up: frozenset[str] = frozenset()
    pool: Pool | None = None
    interrupted: bool = False
    refusal: str | None = None

    def add(self, outcome: Outcome) -> None:
        """Take over what another process did."""
        self.rows |= outcome.rows
        self.num_found += outcome.num_found
        self.num_elsewhere += outcome.num_elsewhere
        self.memory |= outcome.memory
        self.no_memory |= outcome.no_memory
        self.measured += outcome.measured


@dataclass(frozen=True)
class Outcome:
    """What a process made of one cell: its objective, and the parts of its session of the same names."""

    value: float
    rows: dict[str, dict[str, Any]]
    num_found: int
    num_elsewhere: int
    memory: dict[str, dict[str, Any]]
    no_memory: dict[str, str]
    measured: list[str]
    refusal: str | None


MULTIRUN = ("-m", "--multirun")
"""Flags of Hydra's command line that ask for a sweep."""


def compose(config_name: str, job: Callable[[DictConfig], Any], arguments: Sequence[str]) -> str | None:
    """Have Hydra compose a command line, and call a job with each configuration.

    Args:
        config_name: A file of `conf/`, without suffix.
        job: What is called. Launchers and sweepers find its attributes on their task function.
        arguments: The command line: overrides and Hydra's flags, in any order.

    Returns:
        The sentence about what is wrong with the command, or None.
    """
    from hydra import version
    from hydra._internal.utils import _run_hydra, get_args_parser
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from bench.mistakes import sentence

    full_error = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing and exiting.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    refusals: list[str] = []

    @functools.wraps(job)
    def guarded(node: DictConfig) -> Any:
        try:
            return job(node)
        except Refused as error:  # Hydra would print lines of its own about it.
            refusals.append(str(error))
            return float("inf")

    is_sweep = any(flag in arguments for flag in MULTIRUN)
    parser = get_args_parser()
    # Hydra takes overrides on one side of `-m` only.
    ordered = [argument for argument in arguments if argument not in MULTIRUN] + ["-m"] * is_sweep
    try:
        version.setbase("1.3")
        with _claims_are_no_group():
            _run_hydra(parser.parse_args(ordered), parser, guarded, str(CONF_DIR), config_name)
    except (Refused, HydraException, OmegaConfBaseException) as error:
        if full_error == "1":
            raise
        return str(error) if isinstance(error, Refused) else sentence(error, is_sweep)
    except ValueError as error:  # Hydra's own, for combinations that it does not take
        if full_error == "1":
            raise
        said = " ".join(str(error).split())
        return f"the command must be one that Hydra can compose, got: {said}; see --help"
    finally:
        if full_error is None:
            del os.environ["HYDRA_FULL_ERROR"]
    return refusals[0] if refusals else None


@contextmanager
def _claims_are_no_group() -> Iterator[None]:
    """Keep `conf/claims`, which is data, out of the groups that --help lists."""
    from hydra._internal.hydra import Hydra

    listed = Hydra.list_all_config_groups

    def groups(self: Hydra, parent: str = "") -> list[str]:
        return [group for group in listed(self, parent) if group.partition("/")[0] != "claims"]

    Hydra.list_all_config_groups = groups  # type: ignore[method-assign]
    try:
        yield
    finally:
        Hydra.list_all_config_groups = listed  # type: ignore[method-assign]


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the command `python -m bench`.

    Args:
        arguments: The command line; by default that of this process.

    Returns:
        The exit status.
    """
    typed = list(sys.argv[1:] if arguments is None else arguments)
    warnings.showwarning = _show_warning
    session = Session(is_sweep=any(flag in typed for flag in MULTIRUN))
    if "launcher=pool" in typed and session.is_sweep:
        prepare_pool()
    try:
        session.refusal = compose("config", hydra_job(session), typed)
    except KeyboardInterrupt:
        session.interrupted = True
    finally:
        if session.pool is not None:
            session.pool.close(now=True)
    status = OK
    try:
        status = _finish(session)
    except KeyboardInterrupt:
        session.interrupted = True
    except Refused as error:
        session.refusal = session.refusal or str(error)
    if session.interrupted:
        print("bench: interrupted; finished runs are saved, run the same command again to resume", file=sys.stderr)
        return INTERRUPTED
    if session.refusal:
        print(f"bench: {session.refusal}", file=sys.stderr)
        return REFUSED
    return status


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Say what a loader warns of in a line of ours; all else as Python does."""
    if category is UserWarning and str(message).startswith("data"):
        print(f"bench: {message}", file=sys.stderr)
    else:
        print(warnings.formatwarning(message, category, filename, lineno, line), end="", file=file or sys.stderr)


def hydra_job(session: Session) -> Callable[[DictConfig], float]:
    """Return the function that Hydra calls for each job, under any launcher: it makes the runs of one cell.

    The function has the session as its attribute `session`, which our launchers and sweeper use. It returns
    the cell's objective, see `objective`, and raises `Refused` where the cell cannot be run.
    """

    def job(node: DictConfig) -> float:
        from hydra.core.hydra_config import HydraConfig
        from hydra.types import RunMode

        config = config_of(node, typed_overrides())
        if HydraConfig.get().mode != RunMode.MULTIRUN:
            if config.plan:
                show_plan([config])
                return float("inf")
            for key, default in (("sweep", "product"), ("launcher", "local")):
                if (chosen := getattr(config, key).name) != default:
                    raise Refused(f"{key} must be {default} without -m, got {chosen}; add -m")
        elif not str(HydraConfig.get().launcher._target_).startswith("hydra_plugins.bench_"):
            config = config.model_copy(update={"launcher": LauncherConfig(name="other")})
        return run_cells([config], session)[0]

    job.session = session  # type: ignore[attr-defined]
    return job


def typed_overrides() -> list[str]:
    """The overrides that led to the configuration Hydra has just composed, as they were typed."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    typed = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    assert isinstance(typed, list)
    return [str(override) for override in typed]


def config_of(node: DictConfig, overrides: Sequence[str]) -> Config:
    """A composed configuration as a typed one.

    Raises:
        Refused: A value is not what its key takes.
    """
    try:
        return parse(plain(node), list(overrides))
    except ValueError as error:
        raise Refused(str(error)) from None


def plain(node: DictConfig) -> dict[str, Any]:
    """A composed configuration as plain dicts and lists, without Hydra's own part.

    Raises:
        Refused: A value refers to what is not there.
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
    return {str(key): value for key, value in container.items()}


def run_cells(configs: Sequence[Config], session: Session) -> list[float]:
    """Make all runs of these cells that do not exist yet, one after the other.

    Args:
        configs: The cells.
        session: The command at hand; it is told of every run.

    Returns:
        The objective of each cell, as `job` gives it.

    Raises:
        Refused: A lone cell cannot be built, or results cannot be written.
        KeyboardInterrupt: After the run in flight was recorded.
    """
    from bench.progress import progress

    shown = progress(sum(len(seeds_of(config)) for config in configs))
    try:
        return [_run_cell(config, session, shown) for config in configs]
    finally:
        shown.close()


def sweep(overrides: Sequence[str], pool: Pool | None = None) -> Session:
    """Carry out one sweep of several from within a program: what `python -m bench <overrides> -m` runs.

    Tables and reports are left to the caller, and so are the processes of a pool.

    Args:
        overrides: What would be typed.
        pool: The processes of launcher=pool that an earlier sweep began.

    Returns:
        What it did; `refusal` says why it did nothing, if so.

    Raises:
        KeyboardInterrupt: After the run in flight was recorded.
    """
    session = Session(is_sweep=True, pool=pool)
    session.refusal = compose("config", hydra_job(session), [*overrides, "-m"])
    return session


def prepare_pool() -> None:
    """Start the process that those of a pool are forked from: it imports torch while jobs are composed here."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # it takes these over; a run sets torch's own
    multiprocessing.get_context("forkserver").set_forkserver_preload(["bench.forkserver"])
    forkserver.ensure_running()


def run_in_pool(configs: Sequence[Config], session: Session) -> list[float]:
    """`run_cells`, with several cells at a time, each in a process of the pool.

    Raises:
        Refused: As `run_cells`, or there are fewer cores than threads.
    """
    from bench.pool import Pool, check

    check(configs)
    if session.pool is None:
        session.pool = Pool(configs[0].launcher.n_jobs)
    return session.pool.run_cells(configs, session)


def collect(configs: Sequence[Config], session: Session) -> None:
    """Take over what jobs of these cells recorded that a launcher not of ours made, in whatever processes.

    Raises:
        Refused: A study cannot be read.
    """
    from bench import tables
    from bench.environment import device_name

    for config in configs:
        open_study(config, session)
        cell = cell_id(config, device_name(config)[0])
        for seed in seeds_of(config):
            found = tables.latest(config.study_dir, cell, seed)
            if found is None:
                session.lost.append(f"{label_of(config, seed)} left no row; see what its job printed")
            else:
                session.rows[found[0]["run_id"]] = found[0]


def tuned(configs: Sequence[Config], launch: Callable[[list[list[str]]], list[float]], session: Session) -> None:
    """Carry out a tuned sweep over these cells.

    Args:
        configs: One of each cell.
        launch: Makes jobs, given by their overrides, and gives the objective of each.
        session: The command at hand.

    Raises:
        Refused: They cannot be tuned.
    """
    from bench.tuning import TunedSweep

    try:
        sweep = TunedSweep(configs)
    except ValueError as error:
        raise Refused(str(error)) from None
    sweep.carry_out(launch)
    session.notes += sweep.sentences()


def show_plan(configs: Sequence[Config]) -> None:
    """Print what these cells would run.

    Raises:
        Refused: They cannot be tuned, or a study cannot be read.
    """
    from bench.plan import plan_text

    try:
        print(plan_text(configs))
    except ValueError as error:
        raise Refused(str(error)) from None


def run_on_slurm(configs: Sequence[Config], params: Mapping[str, Any], session: Session) -> list[float]:
    """`run_cells`, each run as a job of a Slurm cluster.

    Args:
        configs: The cells.
        params: The keys of `hydra.launcher`.
        session: The command at hand.

    Raises:
        Refused: As `run_cells`, or Slurm does not take the jobs.
        KeyboardInterrupt: After the jobs were cancelled.
    """
    from bench import slurm

    return slurm.run_cells(configs, params, session)


def work(config: Config, given_up: frozenset[str], progress: Shown) -> Outcome:
    """Make the runs of one cell in a process of a pool.

    Args:
        config: The cell.
        given_up: Its runs that are not tried again.
        progress: Told of each run.
    """
    warnings.showwarning = _show_warning
    did = Session(is_sweep=True, configs={config.study_dir: config}, given_up=given_up)
    value, refusal = float("inf"), None
    try:
        value = _run_cell(config, did, progress)
    except Refused as error:
        refusal = str(error)
    return Outcome(value, did.rows, did.num_found, did.num_elsewhere, did.memory, did.no_memory, did.measured, refusal)


def open_study(config: Config, session: Session) -> None:
    """Make the study's folder and look what earlier processes left there, once.

    Raises:
        Refused: It cannot be written, or is of a newer version.
    """
    from bench import tables

    study_dir = config.study_dir
    if study_dir in session.configs:
        return
    session.configs[study_dir] = config
    with writing(study_dir):
        study_dir.mkdir(parents=True, exist_ok=True)
        tables.check_study(study_dir)
        for row in tables.recover(study_dir):
            print(f"bench: run {row['run_id']} is recorded as failed: {row['reason']}", file=sys.stderr)


def _run_cell(config: Config, session: Session, progress: Shown) -> float:
    from bench.environment import device_name, environment, environment_id

    open_study(config, session)
    device, lacking = device_name(config)
    if lacking and not session.is_sweep:
        raise Refused(lacking)
    where = environment(device if not lacking else "cpu")
    ids = cell_id(config, device), environment_id(where)
    known = (*ids, where, device)
    rows = [_run(config, seed, known, lacking, session, progress) for seed in seeds_of(config)]
    return objective(config, rows)


def objective(config: Config, rows: Sequence[Mapping[str, Any] | None]) -> float:
    """The mean over some runs of a cell of what `sweep.select` names; infinite unless every one ended ok.

    Raises:
        Refused: The data has no classes to be wrong about.
    """
    ended = [row for row in rows if row and row["status"] == "ok" and row["stage"] != "predicted"]
    if len(ended) < len(rows):
        return float("inf")
    select = config.sweep.select
    if select == "val_error" and any(row.get("final_val_accuracy") is None for row in ended):
        raise Refused(
            f"sweep.select must be final_val_loss or best_val_loss for data={config.data.name}, got val_error: there are"
            " no classes"
        )
    values = [1 - row["final_val_accuracy"] if select == "val_error" else row[select] for row in ended]
    return float(sum(values)) / len(rows)


def seeds_of(config: Config) -> list[int]:
    """The seeds to run: one where memory is predicted, which no seed changes."""
    return config.seeds[:1] if config.device.name == "fake" else config.seeds


def _run(
    config: Config,
    seed: int,
    known: tuple[str, str, dict[str, Any], str],
    lacking: str | None,
    session: Session,
    progress: Shown,
) -> dict[str, Any] | None:
    """The row of one run: as it stands where it is done, else made now; None where another process is at it."""
    from bench import tables

    label, study_dir = label_of(config, seed), config.study_dir
    run_id = f"{known[0]}-{seed}-{known[1]}"
    with writing(study_dir):
        row = _done(config, run_id, session)
        if row is None:
            import bench.run  # noqa: F401  (seconds; not while a run is claimed)
        claim = None if row else tables.Claim.take(study_dir, run_id)
    if claim is None and row is None:
        session.num_elsewhere += 1
        progress.end(label, "left to another process, which is working on it")
        return None
    if claim is not None:
        try:
            row = _done(config, run_id, session)  # another process may have finished it since
            if row is None:
                row = session.rows[run_id] = _make(config, seed, known, lacking, progress.start(label), claim, session)
                progress.end(label, _outcome(row))
                if row["status"] == "interrupted":
                    raise KeyboardInterrupt
                return row
        finally:
            claim.release()
    assert row is not None
    session.rows[run_id] = row
    session.num_found += 1
    if row["status"] == "ok":
        _memory(config, row, session)  # a study from before there was any has none
    progress.end(label, f"exists already ({row['status']})")
    return row


def _done(config: Config, run_id: str, session: Session) -> dict[str, Any] | None:
    """The row of a run that need not be made again."""
    from bench import tables

    if run_id in session.given_up:
        given_up: dict[str, Any] = tables.read_record(tables.run_folder(config.study_dir, run_id))["run"]
        return given_up
    row = None if config.force else tables.find(config.study_dir, run_id)
    if row is not None and row["status"] == "timeout":
        limit, before = config.train.time_limit_s, row["time_limit_s"]
        return row if limit is not None and limit <= before else None
    if row is not None and row["status"] == "ok" and row["stage"] != "predicted" and not _has_all(config, row):
        return None
    return row


def _has_all(config: Config, row: dict[str, Any]) -> bool:
    """Whether a run left all that is asked for beside its result: metrics on request, and the best weights."""
    from bench import tables

    kept = tables.run_folder(config.study_dir, row["run_id"]) / "best.pt"
    return set(config.metrics) <= _recorded(row) and (kept.is_file() or not config.train.save_best)


def _recorded(row: dict[str, Any]) -> set[str]:
    return set(filter(None, (row.get("metrics") or "").split(",")))


def _with_all(config: Config, run_id: str) -> Config:
    """The same cell, to leave at least what this run left before: it takes its place."""
    from bench import tables

    row = tables.find(config.study_dir, run_id)
    if row is None:
        return config
    kept = (tables.run_folder(config.study_dir, run_id) / "best.pt").is_file()
    train = config.train.model_copy(update={"save_best": config.train.save_best or kept})
    return config.model_copy(update={"train": train, "metrics": sorted({*config.metrics, *_recorded(row)})})


def _make(
    config: Config,
    seed: int,
    known: tuple[str, str, dict[str, Any], str],
    lacking: str | None,
    tell: Callable[[int, int, float], None],
    claim: Claim,
    session: Session,
) -> dict[str, Any]:
    """Make a run, whatever becomes of it, and record it."""
    from bench import tables
    from bench.device import Unavailable
    from bench.run import Result, lost, planned_row, predicted, run
    from bench.tuning import pruner

    config = _with_all(config, f"{known[0]}-{seed}-{known[1]}")
    planned = planned_row(config, seed, *known)
    with writing(config.study_dir):
        claim.describe(planned)
        num_beside = tables.num_in_flight(Path(config.results_dir), planned["run_id"])
    try:
        memory = None if lacking else _memory(config, planned, session)
        if memory is not None:
            planned |= {"peak_tensors_mib": memory["peak_mib"], "optimizer_state_mib": memory["optimizer_state_mib"]}
        if lacking:
            result = Result(planned | {"status": "skipped", "reason": lacking}, [], {})
        elif config.device.name == "fake":
            assert memory is not None
            result = predicted(config, planned, memory)
        else:
            give_up = pruner(config.trial.history) if config.trial.history else None
            result = run(config, planned, tell, num_beside, give_up)
    except (ValueError, Unavailable) as error:
        if not session.is_sweep:
            if not session.rows:
                with writing(config.study_dir):
                    tables.remove_side(config.study_dir, "memory", session.measured)
            raise Refused(str(error)) from error
        status = "skipped" if isinstance(error, Unavailable) else "failed"
        result = Result(planned | {"status": status, "reason": str(error)}, [], {})
    except (Exception, KeyboardInterrupt) as error:
        result = lost(planned, error)
    with writing(config.study_dir):
        for table, rows in result.side.items():
            part = result.row["workload_id" if table == "surfaces" else "run_id"]
            tables.write_side(config.study_dir, table, part, rows)
        tables.write_run(config.study_dir, result.row, result.points, result.details, result.files)
    return result.row


def _memory(config: Config, planned: dict[str, Any], session: Session) -> dict[str, Any] | None:
    """The row of `memory` of a cell: as it stands, else measured now; None where it is not wanted or fails.

    A run goes on without it; what is wrong with the cell, the run itself will say.
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
        from bench.build import first_line
        from bench.run import memory_of

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
NOT_LABELLED = ("optimizer", "train.epochs", "train.steps", "train.log_every", "train.eval_every", "train.save_best")
"""What the line about a run tells, where it was typed: keys of the first, but for the second."""


def label_of(config: Config, seed: int) -> str:
    """A run in words: its optimizer and what else was chosen on the command line, less the budget."""
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


def _finish(session: Session) -> int:
    """Build the tables of every study touched, print what came out, and write the reports."""
    if not session.configs:
        return OK
    if session.refusal and not session.rows:
        for study_dir in session.configs:
            remove_empty(study_dir)
        return REFUSED
    from bench import tables
    from bench.report.words import summary_text

    for study_dir, config in session.configs.items():
        with writing(study_dir):
            study = tables.build(study_dir)
        for problem in study.problems:
            print(f"bench: {problem}", file=sys.stderr)
        if study.runs.empty:
            continue
        print(f"\n{summary_text(study.runs, tables.load_side(study_dir, 'memory'))}\n")
        print(f"tables: {study_dir}{os.sep}")
        if config.report and not (session.interrupted or session.refusal):
            from bench.report.render import write_report

            report_dir = Path(config.reports_dir) / config.study
            with writing(report_dir, "reports_dir"):
                write_report(study, study_dir, report_dir)
            print(f"report: {report_dir / 'index.html'}")
    ran = {f"{row['cell_id']}-{row['environment_id']}": row for row in session.rows.values() if row["status"] == "ok"}
    for part, why in session.no_memory.items():
        if part in ran:
            print(f"bench: peak memory of {ran[part]['optimizer']} was not measured: {why}", file=sys.stderr)
    for sentence in (*session.notes, *session.lost):
        print(f"bench: {sentence}", file=sys.stderr)
    if session.num_found:
        print(f"{session.num_found} of these runs existed already and were not repeated (force=true repeats them).")
    if session.num_elsewhere:
        print(f"{session.num_elsewhere} runs were left to another process that is working on them.")
    fine = all(row["status"] in ("ok", "skipped", "pruned") for row in session.rows.values())
    return OK if fine and not session.lost else NOT_ALL_OK


def remove_empty(study_dir: Path) -> None:
    """Leave nothing behind of a refused command: take away the study's folders that are empty."""
    for folder in (study_dir / "inflight", study_dir, study_dir.parent):
        with suppress(OSError):
            folder.rmdir()


@contextmanager
def writing(folder: Path, key: str = "results_dir") -> Iterator[None]:
    """Turn an error of writing there, or of what is written, into a sentence."""
    try:
        yield
    except OSError as error:
        raise Refused(
            f"{key} must be a folder that can be written, got {folder} ({error.strerror or error});"
            " make room or choose another, the runs recorded before are intact"
        ) from error
    except ValueError as error:
        raise Refused(str(error)) from error
