"""Compose the jobs of a sweep, once for each choice of groups."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict


class Composer:
    """Composes jobs of one sweep."""

    def __init__(self, context: HydraContext, config: DictConfig) -> None:
        setup_globals()
        assert isinstance(context.config_loader, ConfigLoaderImpl)
        self._loader, self._config = context.config_loader, config
        self._composed: dict[tuple[str, ...], DictConfig] = {}

    def __call__(self, job: Sequence[str]) -> DictConfig:
        """The configuration of one job: Hydra's for its choice of groups, its plain values on top."""
        parsed = OverridesParser.create().parse_overrides(list(job))
        plain = [override for override in parsed if self._is_plain(override)]
        choice = tuple(str(o.input_line) for o in parsed if o not in plain)
        if choice not in self._composed:
            base = self._loader.load_sweep_config(self._config, list(choice))
            HydraConfig.instance().set_config(base)
            with open_dict(base):
                del base["hydra"]
            self._composed[choice] = base
        config = copy.deepcopy(self._composed[choice])
        OmegaConf.set_struct(config, True)
        self._loader._apply_overrides_to_config(plain, config)
        return config

    def _is_plain(self, override: Override) -> bool:
        key = override.key_or_group
        return not (
            override.is_delete()
            or override.package is not None
            or override.is_hydra_override()
            or key.startswith("hydra")
            or self._loader.repository.group_exists(key)
        )
