"""What is true of an optimizer whatever its settings, as its config in `conf/optimizer/` declares it."""

from __future__ import annotations

import functools
from typing import Any

import yaml
from pydantic import ValidationError

from bench.base.errors import UserError
from bench.base.paths import CONF_DIR
from bench.config.messages import error_sentence
from bench.config.schema import Capabilities, OptimizerConfig

METADATA = ("label", "colour", "capabilities", "search")
"""Keys of an optimizer's config that say something about it. They are no arguments of its class and no part of an id."""


def capabilities_of(optimizer: OptimizerConfig) -> Capabilities:
    """Return what an optimizer declares; where it declares nothing, what the shipped config of its class does."""
    return optimizer.capabilities or shipped_capabilities(optimizer.target)


def shipped_capabilities(target: str) -> Capabilities:
    """Return what the first shipped config of a class declares; nothing for a class that none names."""
    return next((found for node, found in _declared() if node["_target_"] == target), Capabilities())


def optimizers_with_reference() -> list[str]:
    """Return the names of the classes of the shipped configs that declare a reference rule, sorted."""
    return sorted({node["_target_"].rpartition(".")[2] for node, found in _declared() if found.reference is not None})


@functools.cache
def shipped_optimizers() -> dict[str, dict[str, Any]]:
    """Return the configs of optimizers that ship, by option, as they stand in their files."""
    files = sorted((CONF_DIR / "optimizer").glob("*.yaml"))
    return {file.stem: yaml.safe_load(file.read_text()) for file in files}


@functools.cache
def _declared() -> list[tuple[dict[str, Any], Capabilities]]:
    declared = []
    for option, node in shipped_optimizers().items():
        try:
            declared.append((node, Capabilities(**node.get("capabilities", {}))))
        except ValidationError as error:
            sentence = error_sentence(error, Capabilities, "optimizer.capabilities.", {})
            raise UserError(f"conf/optimizer/{option}.yaml: {sentence}") from None
    return declared
