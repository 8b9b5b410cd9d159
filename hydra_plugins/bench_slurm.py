"""Carry out a sweep on a Slurm cluster: `launcher=slurm`, with the keys of hydra-submitit-launcher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from bench.config.schema import Config
from hydra_plugins.bench_launchers import LocalLauncher

if TYPE_CHECKING:
    from bench.execution.session import Launcher


class SlurmLauncher(LocalLauncher):
    """Runs each run as a task of a job array; all are composed and checked before anything is submitted."""

    def __init__(self, **params: Any) -> None:
        super().__init__()
        self._params = {
            key: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
            for key, value in params.items()
        }

    def _launcher(self, configs: Sequence[Config]) -> Launcher:
        from bench.execution.launchers.slurm import Slurm

        return Slurm(self._params)
