"""Sentences of the report of claims in English and Chinese, and numbers that read alike in both."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable
from typing import Any

from bench.claims.catalogue import catalogue
from bench.claims.effects.registry import QUANTITIES
from bench.config.capabilities import shipped_optimizers


class Words:
    """The words of one language.

    Args:
        language: One of `bench.claims.catalogue.LANGUAGES`.

    Raises:
        ValueError: There is no such language.

    Examples:
        >>> words = Words("en")
        >>> words("comparisons", num=3)
        '3 comparisons'
        >>> words.side("adam optimizer.lr=0.01")
        'Adam, lr 0.01'
    """

    def __init__(self, language: str) -> None:
        self.language = language
        self._texts = catalogue(language)["words"]
        self.language = language

    def __call__(self, key: str, **values: object) -> str:
        """Return a text of the catalogue with what belongs in its braces."""
        return self._texts[key].format(**values)

    @property
    def is_chinese(self) -> bool:
        """Whether the language is Chinese."""
        return self.language == "zh"

    def of(self, part: Any, name: str) -> Any:
        """Return a text of a ledger; the English one where it has no other."""
        chinese = getattr(part, f"{name}_zh") if self.is_chinese else None
        # lines of a YAML text are joined by spaces, which Chinese does not have
        return re.sub(r"(?<=[，。；：、]) +", "", chinese) if chinese else getattr(part, name)

    @property
    def semicolon(self) -> str:
        """What stands between parts of a sentence."""
        return self("between clauses")

    def listed(self, texts: Iterable[str]) -> str:
        """Texts as one enumeration."""
        return self("between items").join(texts)

    def at(self, at: str) -> str:
        """At which settings something is judged."""
        return self(f"at {at}")

    def first(self, text: str) -> str:
        """Return a text as a sentence or heading begins."""
        return text[:1].upper() + text[1:]

    # --- what is compared ---------------------------------------------------------------------

    def side(self, side: str) -> str:
        """Return `adam optimizer.lr=0.01` as `Adam, lr 0.01`; of several, what the best of them is called."""
        if "|" in side:
            return self("best of", sides=self.listed(map(self.side, side.split("|"))))
        name, *settings = side.split(" ")
        shown = self._texts.get(f"optimizer {name}", _labels().get(name, name))
        parts = [setting.lstrip("+").partition("=") for setting in settings]
        said = [f"{key.rpartition('.')[2]} {value.replace(',', ', ')}" for key, _, value in parts]
        return ", ".join([shown, *said])

    def quantity(self, name: str) -> str:
        """Return a quantity in words."""
        return str(self.of(QUANTITIES[name], "words"))

    # --- effects ------------------------------------------------------------------------------

    def amount(self, value: float, unit: str) -> str:
        """Return a size of an effect, such as a smallest difference, with its unit; a dash where there is none."""
        if not math.isfinite(value):
            return "—"
        return self._in_unit(number(value), "factor" if unit == "ratio" else unit)

    def estimate(self, row: Any) -> str:
        """Return the estimate of a comparison, or the bound of it that is known."""
        if math.isnan(row.estimate):
            return self("no estimate")
        shown = number(row.estimate, row.unit != "ratio")
        shown = self(row.bound, number=shown) if row.bound else shown
        return shown if row.unit == "ratio" else self._in_unit(shown, row.unit)

    def _in_unit(self, shown: str, unit: str) -> str:
        text = self(unit, number=shown)
        is_one = not self.is_chinese and shown.lstrip("+-") == "1"
        return text.removesuffix("s") if is_one else text

    def interval(self, row: Any) -> str:
        """Return the interval of a comparison in brackets; empty where nothing is random, or nothing known."""
        if row.method in ("exact", "none"):
            return ""
        low, high = (number(value, row.unit != "ratio") for value in (row.low, row.high))
        return f"[{low or self('no lower limit')}, {high or self('no upper limit')}]"

    def effect(self, row: Any) -> str:
        """Estimate and interval of a comparison: `0.62 [0.55, 0.7]`."""
        return f"{self.estimate(row)} {self.interval(row)}".rstrip()

    def sentence(self, row: Any) -> str:
        """Estimate and interval of a comparison with what they are of."""
        against = self.opponent(row)
        if math.isnan(row.estimate):
            key = "unknown"
        elif not isinstance(row.b, str):
            key = "of a number"
        else:
            key = "ratio to" if row.unit == "ratio" else "difference to"
        values = {"a": self.side(row.a), "quantity": self.quantity(row.quantity), "b": against}
        return self(key, **values, number=self.estimate(row), interval=self.interval(row)).rstrip()

    def opponent(self, row: Any) -> str:
        """Return what a comparison is with: the other side, or a number."""
        return self.side(row.b) if isinstance(row.b, str) else self("the number", number=number(row.center))


def number(value: float, signed: bool = False) -> str:
    """Three digits of a number, thousands apart; empty where it is infinite or missing."""
    if not math.isfinite(value):
        return ""
    if value == 0:
        return "0"
    sign = "+" if signed else ""
    return f"{value:{sign},.0f}" if 1_000 <= abs(value) < 1e6 else f"{value:{sign}.3g}"


@functools.cache
def _labels() -> dict[str, str]:
    """Return the labels of optimizers, by the option that is their config's name."""
    return {option: str(node.get("label") or option) for option, node in shipped_optimizers().items()}
