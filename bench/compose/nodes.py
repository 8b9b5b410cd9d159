"""Turn Hydra's nodes into typed configurations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bench.base.errors import UserError
from bench.config.parse import parse
from bench.config.schema import Config

if TYPE_CHECKING:
    from omegaconf import DictConfig


def config_of(node: DictConfig, overrides: Sequence[str]) -> Config:
    """Return a composed configuration as a typed one.

    Raises:
        UserError: A value is not what its key takes.
    """
    return parse(plain(node), list(overrides))


def plain(node: DictConfig) -> dict[str, Any]:
    """Return a composed configuration as plain dicts and lists, without Hydra's own part.

    Raises:
        UserError: A value refers to what is not there.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from bench.compose.errors import unresolvable

    try:
        container = OmegaConf.to_container(node, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(unresolvable(node) or str(error)) from None
    assert isinstance(container, dict)
    container.pop("hydra", None)
    return {str(key): value for key, value in container.items()}
