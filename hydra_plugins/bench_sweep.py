"""Hydra plugins of the bench: a grid sweeper and a launcher that compose every job once.

Hydra's own compose each job twice, and find a mistake in the last job after the first has run. Here
all jobs are composed and checked, then run in this process one after the other.
"""

import copy
from collections.abc import Sequence
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict

_CONFIGS: dict[str, dict[str, Any]] = {
    "hydra/sweeper/grid": {
        "_target_": "hydra_plugins.bench_sweep.GridSweeper",
        "max_batch_size": None,
        "params": None,
    },
    "hydra/launcher/local": {"_target_": "hydra_plugins.bench_sweep.LocalLauncher"},
}
for _path, _node in _CONFIGS.items():
    _group, _, _name = _path.rpartition("/")
    ConfigStore.instance().store(group=_group, name=_name, node=_node, provider="bench")


class GridSweeper(BasicSweeper):
    """Every combination of the values given, as Hydra's basic sweeper, for any launcher."""

    def sweep(self, arguments: list[str]) -> Any:
        """Launch every combination that the overrides span."""
        assert self.config is not None and self.launcher is not None and self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        results: list[Any] = []
        batches = self.split_arguments(overrides, self.max_batch_size)
        if not any(batches):
            raise HydraException(
                f"the sweep must span at least one job, got none from {' '.join(arguments)}; does a glob match?"
            )
        for batch in batches:
            done = sum(map(len, results))
            results.append(self.launcher.launch(batch, initial_job_idx=done))
            for result in results[-1]:
                _ = result.return_value  # raises where the job did
        return results


class LocalLauncher(BasicLauncher):
    """All jobs in this process, in order: the one whose times can be compared."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Compose and check every job, then run them."""
        from bench.app import config_of, run_cells

        setup_globals()
        composed: dict[tuple[str, ...], DictConfig] = {}
        configs = [config_of(self._compose(list(job), composed), list(job)) for job in job_overrides]
        returns = []
        for job, value in zip(job_overrides, run_cells(configs), strict=True):
            result = JobReturn(overrides=job, status=JobStatus.COMPLETED)
            result.return_value = value
            returns.append(result)
        return returns

    def _compose(self, job: list[str], composed: dict[tuple[str, ...], DictConfig]) -> DictConfig:
        """The configuration of one job: Hydra's for its choice of groups, its plain values on top."""
        assert self.hydra_context is not None and self.config is not None
        loader = self.hydra_context.config_loader
        assert isinstance(loader, ConfigLoaderImpl)
        parsed = OverridesParser.create().parse_overrides(job)
        plain = [override for override in parsed if self._is_plain(override, loader)]
        choice = tuple(str(o.input_line) for o in parsed if o not in plain)
        if choice not in composed:
            base = loader.load_sweep_config(self.config, list(choice))
            HydraConfig.instance().set_config(base)
            with open_dict(base):
                del base["hydra"]
            composed[choice] = base
        config = copy.deepcopy(composed[choice])
        OmegaConf.set_struct(config, True)
        loader._apply_overrides_to_config(plain, config)
        return config

    @staticmethod
    def _is_plain(override: Override, loader: ConfigLoaderImpl) -> bool:
        key = override.key_or_group
        return not (
            override.is_delete()
            or override.package is not None
            or override.is_hydra_override()
            or key.startswith("hydra")
            or loader.repository.group_exists(key)
        )
