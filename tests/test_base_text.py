"""Small pieces of text."""

from __future__ import annotations

import pytest

from bench.base.text import duration, first_line, one_line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"), (0.4, "0 s"), (1.0, "1 s"), (89.0, "89 s"), (90.0, "2 min"), (3600.0, "60 min"),
        (5399.0, "90 min"), (5400.0, "1.5 h"), (360_000.0, "100.0 h"), (864_000.0, "10 days"),
        (1e8, "3 years"), (1e11, "3,169 years"),
    ],
)  # fmt: skip
def test_durations_are_to_plan_by(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_an_error_on_one_line() -> None:
    error = ValueError("\n  shapes do\n  not match \n")
    assert first_line(error) == "shapes do"
    assert one_line(error) == "shapes do not match"
    assert first_line(ValueError()) == one_line(ValueError(" \n")) == "(no message)"
