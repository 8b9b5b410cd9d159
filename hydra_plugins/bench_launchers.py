"""Register the bench's own launchers: one run at a time, or several side by side.

Here all jobs are composed and checked before the first of them runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus

from bench.compose.composer import Composer
from bench.config.schema import Config

if TYPE_CHECKING:
    from bench.execution.session import Launcher, Session

for _name in ("Local", "Pool"):
    ConfigStore.instance().store(
        group="hydra/launcher",
        name=_name.lower(),
        node={"_target_": f"hydra_plugins.bench_launchers.{_name}Launcher"},
        provider="bench",
    )


class LocalLauncher(BasicLauncher):
    """Runs all jobs in this process, in order: the launcher whose times can be compared."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Compose and check every job, then run them."""
        assert self.hydra_context is not None and self.config is not None
        configs = Composer.of_sweep(self.hydra_context, self.config).configs(job_overrides)
        returns = []
        for job, value in zip(job_overrides, self._launcher(configs).run(configs, self.session), strict=True):
            result = JobReturn(overrides=job, status=JobStatus.COMPLETED)
            result.return_value = value
            returns.append(result)
        return returns

    @property
    def session(self) -> Session:
        """The session of the command, which the job carries."""
        session: Session = self.task_function.session  # type: ignore[union-attr]
        return session

    def _launcher(self, configs: Sequence[Config]) -> Launcher:
        from bench.execution.launchers.local import Local

        return Local()


class PoolLauncher(LocalLauncher):
    """Runs `launcher.n_jobs` jobs at a time, in long-lived processes."""

    def _launcher(self, configs: Sequence[Config]) -> Launcher:
        from bench.execution.launchers.pool import Pool, check

        check(configs)
        if self.session.pool is None:
            self.session.pool = Pool(configs[0].launcher.n_jobs)
        return self.session.pool
