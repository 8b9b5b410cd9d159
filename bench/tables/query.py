"""Conditions on the columns of a table, as a person types them; they are read as such, and never executed.

    lr > 0.01 and optimizer in ("adam", "sgd")
    not (status == "ok") or 0.1 <= final_val_loss < 0.5 or hp_momentum == None

A condition consists of comparisons (`== != < <= > >= in`, `not in`) between columns, numbers, texts, True, False and None,
joined by `and`, `or`, `not` and parentheses. A comparison with a missing value is neither true nor false, as in SQL, and
such rows are left out; `== None` finds them.
"""

from __future__ import annotations

import ast
import difflib
import operator
from collections.abc import Callable
from typing import Any

import pandas as pd

MAX_CHARACTERS = 2_000
"""Length above which a condition is not read."""


_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def condition(text: str, frame: pd.DataFrame) -> pd.Series:
    """Return which rows of a frame fulfil a condition.

    Args:
        text: The condition.
        frame: With the columns that it names.

    Raises:
        ValueError: It is none, or names no column of the frame, or compares what cannot be compared.

    >>> frame = pd.DataFrame({"optimizer": ["adam", "sgd", "sgd"], "lr": [0.1, 0.1, None]})
    >>> condition("optimizer == 'sgd' and lr < 0.5", frame).tolist()
    [False, True, False]
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"it has {len(text):,} characters, more than {MAX_CHARACTERS:,}")
    try:
        tree = ast.parse(text.strip(), mode="eval")
        found = _Reader(frame).truth(tree.body)
    except (SyntaxError, MemoryError, RecursionError):
        raise ValueError("it cannot be read") from None
    return found.fillna(False).astype(bool)


class _Reader:
    """Evaluates the parts of a condition on a frame, three-valued."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    def truth(self, node: ast.expr) -> pd.Series:
        """Return where a part is true, false or unknown."""
        if isinstance(node, ast.BoolOp):
            joined, *others = map(self.truth, node.values)
            for other in others:
                joined = joined & other if isinstance(node.op, ast.And) else joined | other
            return joined
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.BitOr):
            left, right = self.truth(node.left), self.truth(node.right)
            return left & right if isinstance(node.op, ast.BitAnd) else left | right
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.Invert):
            return ~self.truth(node.operand)
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            joined = pd.Series(True, index=self._frame.index, dtype="boolean")
            for left, op, right in zip(sides, node.ops, sides[1:], strict=False):
                joined = joined & self._compared(left, op, right)
            return joined
        if isinstance(node, ast.Name) and pd.api.types.is_bool_dtype(column := self._column(node.id)):
            return column.astype("boolean")
        raise ValueError(f"{ast.unparse(node):.80} is no comparison")

    def _compared(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> pd.Series:
        if isinstance(op, ast.In | ast.NotIn):
            if not isinstance(right, ast.List | ast.Tuple | ast.Set):
                raise ValueError(f"{ast.unparse(right):.80} is no list of values")
            among = self._series(left).isin([self._constant(value) for value in right.elts]).astype("boolean")
            return among if isinstance(op, ast.In) else ~among
        for one, other in ((left, right), (right, left)):
            if isinstance(other, ast.Constant) and other.value is None and isinstance(op, ast.Eq | ast.NotEq):
                missing = self._series(one).isna().astype("boolean")
                return missing if isinstance(op, ast.Eq) else ~missing
        if type(op) not in _COMPARE:
            raise ValueError(f"{ast.unparse(left):.40} must be compared by == != < <= > >= or in")
        first, second = self._value(left), self._value(right)
        try:
            found = _COMPARE[type(op)](first, second)
        except TypeError:
            raise ValueError(f"{ast.unparse(left):.40} and {ast.unparse(right):.40} cannot be compared") from None
        series = found if isinstance(found, pd.Series) else pd.Series(found, index=self._frame.index)
        series = series.astype("boolean")
        for value in (first, second):
            if isinstance(value, pd.Series):
                series = series.mask(value.isna())
        return series

    def _value(self, node: ast.expr) -> Any:
        return self._column(node.id) if isinstance(node, ast.Name) else self._constant(node)

    def _series(self, node: ast.expr) -> pd.Series:
        value = self._value(node)
        return value if isinstance(value, pd.Series) else pd.Series([value] * len(self._frame), index=self._frame.index)

    def _column(self, name: str) -> pd.Series:
        if name not in self._frame:
            near = difflib.get_close_matches(name, map(str, self._frame), n=3)
            guess = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ValueError(f"there is no column {name:.80}{guess}")
        column: pd.Series = self._frame[name]
        return column

    def _constant(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bool | int | float):
            return node.value
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            value = self._constant(node.operand)
            if isinstance(value, int | float):
                return -value if isinstance(node.op, ast.USub) else value
        raise ValueError(f"{ast.unparse(node):.80} is neither a column nor a number, text, True, False or None")
