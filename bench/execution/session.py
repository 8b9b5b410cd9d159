"""Keep what one command has done so far, and the folders it writes to."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bench.base.console import say
from bench.base.errors import UserError
from bench.config.schema import Config

if TYPE_CHECKING:
    from bench.execution.progress import ProgressReporter


class Launcher(Protocol):
    """A way to carry out many configurations: one after the other, in a pool of processes, on a cluster."""

    def run(self, configs: Sequence[Config], session: Session) -> list[float]:
        """Make all runs of these configurations that do not exist yet.

        Args:
            configs: One a configuration; each is run once for each of its seeds.
            session: The session of the command, which records every run.

        Returns:
            The objective of each configuration, see `bench.execution.cell.objective`.

        Raises:
            UserError: A configuration cannot be run this way, or results cannot be written.
            KeyboardInterrupt: After the runs in flight were recorded.
        """

    def close(self) -> None:
        """End what the launcher started; runs in flight are recorded as interrupted."""


@dataclass
class Session:
    """What one command has done: the rows it recorded, the runs that existed, the studies.

    Attributes:
        rows: By run_id, of runs made and found.
        memory: Rows of `memory` by part; `measured` are those that this command wrote.
        no_memory: Why a part of `memory` is missing, by part.
        notes: Sentences on a tuned sweep that a person should read.
        lost: Sentences on the cells for which no row could be written.
        abandoned: Runs that are not tried again.
        pool: The processes of launcher=pool, once there are any.
        progress: Shows the runs of several sweeps as one; None: each sweep shows its own.
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
    abandoned: frozenset[str] = frozenset()
    pool: Launcher | None = None
    progress: ProgressReporter | None = None
    interrupted: bool = False
    refusal: str | None = None

    def add(self, outcome: Outcome) -> None:
        """Add what another process did."""
        self.rows |= outcome.rows
        self.num_found += outcome.num_found
        self.num_elsewhere += outcome.num_elsewhere
        self.memory |= outcome.memory
        self.no_memory |= outcome.no_memory
        self.measured += outcome.measured


@dataclass(frozen=True)
class Outcome:
    """What a process of a pool did for one cell: the objective, and parts of its session under the same names."""

    value: float
    rows: dict[str, dict[str, Any]]
    num_found: int
    num_elsewhere: int
    memory: dict[str, dict[str, Any]]
    no_memory: dict[str, str]
    measured: list[str]
    refusal: str | None


def open_study(config: Config, session: Session) -> None:
    """Create the study's folder and record what killed processes left there, once for each study of a command.

    Raises:
        UserError: It cannot be written, is of a newer version, or a tracker is not installed.
    """
    from bench import tables

    study_dir = config.study_dir
    if study_dir in session.configs:
        return
    session.configs[study_dir] = config
    if config.logger.chosen():
        from bench.execution.live_log import trackers_of

        trackers_of(config.logger)
    with writing(study_dir):
        study_dir.mkdir(parents=True, exist_ok=True)
        tables.check_study(study_dir)
        found = tables.recover(study_dir)
    for row in found.rows:
        say(f"bench: run {row['run_id']} is recorded as failed: {row['reason']}", sys.stderr)
    for problem in found.problems:
        say(f"bench: {problem}", sys.stderr)


def remove_empty(study_dir: Path) -> None:
    """Remove the study's folders that are empty, so that a refused command leaves nothing behind."""
    for folder in (study_dir / "inflight", study_dir, study_dir.parent):
        with suppress(OSError):
            folder.rmdir()


@contextmanager
def writing(folder: Path, key: str = "results_dir") -> Iterator[None]:
    """Turn an error of the file system into a sentence that names the folder and its key."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{key} must be a folder that can be written, got {folder} ({error.strerror or error});"
            " make room or choose another, the runs recorded before are intact"
        ) from error
