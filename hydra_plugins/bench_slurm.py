"""A sweep on a Slurm cluster: `launcher=slurm`, with the keys of hydra-submitit-launcher."""

from collections.abc import Sequence
from typing import Any

from omegaconf import OmegaConf

from bench.config.schema import Config
from hydra_plugins.bench_launchers import LocalLauncher


class SlurmLauncher(LocalLauncher):
    """Every run as a task of a job array; composed and checked here, before anything is submitted."""

    def __init__(self, **params: Any) -> None:
        super().__init__()
        self._params = {
            key: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
            for key, value in params.items()
        }

    def _run(self, configs: Sequence[Config]) -> list[float]:
        from bench.execution.launchers.slurm import run_on_slurm

        return run_on_slurm(configs, self._params, self.session)
