"""Carry out sweeps: the job that Hydra calls, tuned sweeps, and sweeps from within a program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from bench.base.console import say
from bench.base.errors import UserError
from bench.compose.command_line import run_command_line, typed_overrides
from bench.compose.nodes import config_of
from bench.config.schema import Config, LauncherConfig
from bench.execution.cell import run_cells
from bench.execution.session import Session

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from bench.execution.launchers.pool import Pool
    from bench.execution.progress import ProgressReporter


def hydra_job(session: Session) -> Callable[[DictConfig], float]:
    """Return the function that Hydra calls for each job, under any launcher: it makes the runs of one cell.

    The function has the session as its attribute `session`, which our launchers and sweeper use. It returns
    the cell's objective, see `objective`, and raises `UserError` where the cell cannot be run.
    """

    def job(node: DictConfig) -> float:
        from hydra.core.hydra_config import HydraConfig
        from hydra.types import RunMode

        config = config_of(node, typed_overrides())
        if HydraConfig.get().mode != RunMode.MULTIRUN:
            if config.plan:
                show_plan([config])
                return float("inf")
            if config.looks:
                raise UserError("seeds must be a number or a list without -m, got auto; add -m")
            for key, default in (("sweep", "product"), ("launcher", "local")):
                if (chosen := getattr(config, key).name) != default:
                    raise UserError(f"{key} must be {default} without -m, got {chosen}; add -m")
        elif not str(HydraConfig.get().launcher._target_).startswith("hydra_plugins.bench_"):
            config = config.model_copy(update={"launcher": LauncherConfig(name="other")})
        return run_cells([config], session)[0]

    job.session = session  # type: ignore[attr-defined]
    return job


def run_sweep(overrides: Sequence[str], pool: Pool | None = None, progress: ProgressReporter | None = None) -> Session:
    """Carry out one sweep of several from within a program: the one that `python -m bench <overrides> -m` runs.

    The caller builds tables and reports, and ends the processes of a pool.

    Args:
        overrides: The overrides as on the command line.
        pool: The processes of launcher=pool that an earlier sweep began.
        progress: Shows the runs of all sweeps; by default each sweep shows its own.

    Returns:
        The session of the sweep; its `refusal` says why nothing was run, if so.

    Raises:
        KeyboardInterrupt: After the run in flight was recorded.
    """
    session = Session(is_sweep=True, pool=pool, progress=progress)
    session.refusal = run_command_line("config", hydra_job(session), [*overrides, "-m"])
    return session


def in_rounds(configs: Sequence[Config], launch: Callable[[list[list[str]]], list[float]], session: Session) -> None:
    """Carry out a sweep with seeds=auto over these cells; arguments as of `tuned`."""
    from bench.sweep.jobs import made_by, typed
    from bench.sweep.rounds import until_decided

    jobs = [typed(config) for config in configs]
    session.notes += until_decided(configs, 0, made_by(launch, jobs, len(configs[0].looks)), session)


def tuned(configs: Sequence[Config], launch: Callable[[list[list[str]]], list[float]], session: Session) -> None:
    """Carry out a tuned sweep over these cells.

    Args:
        configs: One of each cell.
        launch: Makes jobs, given by their overrides, and returns the objective of each.
        session: The session of the command.

    Raises:
        UserError: They cannot be tuned.
    """
    from bench.sweep.tuned import TunedSweep

    session.notes += TunedSweep(configs).carry_out(launch, session)


def show_plan(configs: Sequence[Config]) -> None:
    """Print what these cells would run.

    Raises:
        UserError: They cannot be tuned, or a study cannot be read.
    """
    from bench.sweep.plan import plan_text

    say(plan_text(configs))
