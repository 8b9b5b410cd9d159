"""Register the bench's sweeper: every combination of the values given, or a tuned sweep over them.

It works with any launcher. What it makes of the values is `sweep` in the configuration.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from bench.compose.composer import Composer
from bench.config.fields import AUTO
from hydra_plugins.bench_launchers import LocalLauncher

if TYPE_CHECKING:
    from bench.execution.session import Session

ConfigStore.instance().store(
    group="hydra/sweeper",
    name="bench",
    node={"_target_": "hydra_plugins.bench_sweep.BenchSweeper", "max_batch_size": None, "params": None},
    provider="bench",
)


class BenchSweeper(BasicSweeper):
    """Launches every combination of the values given, once each or as the cells of a tuned sweep."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep the session that the job carries."""
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self._session: Session = task_function.session  # type: ignore[attr-defined]

    def sweep(self, arguments: list[str]) -> Any:
        """Launch every combination that the overrides span."""
        assert self.config is not None and self.launcher is not None and self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        for override in overrides:
            key = override.key_or_group
            names_auto = key == "seeds" and AUTO in str(override.input_line)
            alike = key in ("sweep", "launcher", "plan") or key.startswith("decide.") or names_auto
            if alike and override.is_sweep_override():
                raise HydraException(
                    f"{key} must be one value for all jobs of a sweep, got"
                    f" {override.input_line}; give the command once for each"
                )
        batches = self.split_arguments(overrides, self.max_batch_size)
        if not any(batches):
            raise HydraException(
                f"the sweep must span at least one job, got none from {' '.join(arguments)}; does a glob match?"
            )
        self._num_launched = 0
        is_auto = self.config.sweep.name == "product" and self.config.seeds == AUTO
        if self.config.sweep.name == "product" and not self.config.plan and not is_auto:
            return [self._launch(batch) for batch in batches]

        from bench.sweep.launch import in_rounds, show_plan, tuned

        configs = Composer.of_sweep(self.hydra_context, self.config).configs(list(chain.from_iterable(batches)))
        if self.config.plan:
            show_plan(configs)
        else:
            (in_rounds if is_auto else tuned)(configs, self._launch, self._session)
        return []

    def _launch(self, jobs: Sequence[Sequence[str]]) -> list[float]:
        """Launch some jobs; return the objective of each.

        Raises:
            Exception: What the first job raised that raised anything.
        """
        assert self.launcher is not None
        returns: Sequence[JobReturn] = self.launcher.launch(jobs, initial_job_idx=self._num_launched)
        self._num_launched += len(jobs)
        values = [result.return_value for result in returns]
        if not isinstance(self.launcher, LocalLauncher):
            self._collect(jobs)
        return values

    def _collect(self, jobs: Sequence[Sequence[str]]) -> None:
        """Read from the tables what was done, where a launcher of another package ran the jobs."""
        from bench.execution.cell import collect

        assert self.hydra_context is not None and self.config is not None
        collect(Composer.of_sweep(self.hydra_context, self.config).configs(jobs), self._session)
