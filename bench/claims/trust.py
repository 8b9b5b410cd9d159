"""What a ledger may set, and what of it runs code: a ledger may come from a stranger."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any

import yaml

from bench.base.errors import UserError
from bench.base.paths import CONF_DIR
from bench.claims.ledger import Ledger

_TRUSTED = re.compile(r"(models|optimizers|torch\.optim|torch\.nn)\.\w+|(models|optimizers)\.\w+\.\w+")


def check_trust(ledger: Ledger, name: str) -> None:
    """Refuse a ledger that calls code which neither ships with the bench nor is an optimizer or a module of torch.

    Args:
        ledger: Of which nothing has been composed, imported or called.
        name: As it was typed.

    Raises:
        UserError: It names such targets.
    """
    if foreign := sorted({target for targets in foreign_targets(ledger).values() for target in targets}):
        raise UserError(
            f"trust must be true for the ledger {name}, got false: it calls {', '.join(foreign)}, which is code outside bench,"
            " models, optimizers, torch.optim and torch.nn; read that code, then add trust=true"
        )


def foreign_targets(ledger: Ledger) -> dict[str, set[str]]:
    """Return the targets outside what is trusted that a ledger names, by workload; "" for the settings of optimizers.

    A configuration names a target only where an override has the key `_target_`; everything else comes from files that ship.
    """
    texts: dict[str, list[str]] = {key: list(workload.run) for key, workload in ledger.workloads.items()}
    for claim in ledger.claims.values():
        sides = [side for side in (claim.a, *claim.against) if side is not None]
        settings = [text for values in claim.settings.values() for text in values]
        texts.setdefault("", []).extend([*sides, *settings])
    found: dict[str, set[str]] = {}
    for key, written in texts.items():
        foreign = {target for text in written for target in _targets(text) if not is_trusted(target)}
        if foreign:
            found[key] = foreign
    return found


def is_trusted(target: str) -> bool:
    """Tell whether a target is one of a shipped configuration, of `models` or `optimizers`, or torch's."""
    return target in _shipped() or _TRUSTED.fullmatch(target) is not None


def _targets(text: str) -> Iterator[str]:
    """Yield what stands behind each key `_target_` of some overrides; the whole text where that cannot be told."""
    for rest in re.split(r"_target_", text)[1:]:
        named = re.match(r"""["']?\s*[=:]\s*["']?([\w.]+)(?=["']?\s*(?:[,}\s\]]|$))""", rest)
        yield named[1] if named else text


@functools.cache
def _shipped() -> frozenset[str]:
    """Return the targets that configurations of `conf/` name."""
    nodes: list[Any] = [yaml.safe_load(file.read_text()) for file in CONF_DIR.glob("*/*.yaml")]
    return frozenset(node["_target_"] for node in nodes if isinstance(node, dict) and "_target_" in node)
