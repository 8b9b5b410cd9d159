"""Compose configurations of `conf/` from overrides, reading each choice of groups once."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from bench.base.errors import UserError
from bench.base.paths import CONF_DIR
from bench.compose.errors import sentence
from bench.compose.nodes import config_of, plain
from bench.config.schema import Config


class Composer:
    """Compose configurations: Hydra's for a choice of groups, plain values on top of a copy of it.

    Args:
        loader: Reads `conf/`.
        load: Composes a choice of groups, given as overrides.
    """

    def __init__(self, loader: ConfigLoaderImpl, load: Callable[[list[str]], DictConfig]) -> None:
        setup_globals()
        self._loader, self._load = loader, load
        self._composed: dict[tuple[str, ...], DictConfig] = {}

    @classmethod
    def of_sweep(cls, context: HydraContext, config: DictConfig) -> Composer:
        """Return the composer of the jobs of a sweep that Hydra has begun.

        Args:
            context: What Hydra hands to sweepers and launchers.
            config: The configuration of the whole sweep.
        """
        loader = context.config_loader
        assert isinstance(loader, ConfigLoaderImpl)

        def load(choice: list[str]) -> DictConfig:
            base = loader.load_sweep_config(config, choice)
            HydraConfig.instance().set_config(base)
            return base

        return cls(loader, load)

    @classmethod
    def of_file(cls, config_name: str) -> Composer:
        """Return a composer for use without a command line; no global state of Hydra is left changed.

        Args:
            config_name: A file of `conf/`, without suffix.
        """
        loader = ConfigLoaderImpl(create_config_search_path(str(CONF_DIR)))
        return cls(loader, lambda choice: loader.load_configuration(config_name, choice, RunMode.RUN, from_shell=False))

    def __call__(self, overrides: Sequence[str]) -> DictConfig:
        """Return the configuration of one job.

        Args:
            overrides: As on the command line, each with a single value.
        """
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        values = [override for override in parsed if self._is_value(override)]
        choice = tuple(str(o.input_line) for o in parsed if o not in values)
        if choice not in self._composed:
            base = self._load(list(choice))
            with open_dict(base):
                del base["hydra"]
            self._composed[choice] = base
        config = copy.deepcopy(self._composed[choice])
        OmegaConf.set_struct(config, True)
        self._loader._apply_overrides_to_config(values, config)
        return config

    def configs(self, jobs: Sequence[Sequence[str]]) -> list[Config]:
        """Return the typed configuration of each job, all checked before any is run.

        Raises:
            UserError: A value is not what its key takes.
        """
        return [config_of(self(job), job) for job in jobs]

    def option(self, group: str, name: str) -> DictConfig:
        """Return an option of a group, as it stands in its file."""
        found = self._loader.repository.load_config(f"{group}/{name}")
        assert found is not None and isinstance(found.config, DictConfig)
        return found.config

    def _is_value(self, override: Override) -> bool:
        """Return whether an override sets a value, and neither chooses a group nor concerns Hydra."""
        key = override.key_or_group
        return not (
            override.is_delete()
            or override.is_sweep_override()
            or override.package is not None
            or override.is_hydra_override()
            or key.startswith("hydra")
            or self._loader.repository.group_exists(key)
        )


def composed(overrides: Sequence[str] | Mapping[str, Any] = (), config_name: str = "config") -> dict[str, Any]:
    """Return a configuration as plain dicts and lists, composed without a command line.

    Args:
        overrides: As on the command line, or values by dotted key.
        config_name: A file of `conf/`, without suffix.

    Raises:
        UserError: `conf/` has no such option or key.
    """
    if isinstance(overrides, Mapping):
        overrides = [f"{key}={value}" for key, value in overrides.items()]
    before = version.getbase()
    version.setbase("1.3")
    try:
        return plain(_composer(config_name)(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(sentence(error, is_sweep=False)) from None
    finally:
        version.VersionBase.instance().version_base = before


def option(group: str, name: str) -> dict[str, Any]:
    """Return an option of a group of `conf/`, as it stands in its file, as plain dicts and lists."""
    return plain(_composer("config").option(group, name))


@functools.cache
def _composer(config_name: str) -> Composer:
    return Composer.of_file(config_name)
