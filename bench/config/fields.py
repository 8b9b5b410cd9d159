"""Types of single values in a configuration, each with its range."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A node of the configuration: no unknown keys, no silent conversion of types."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


Positive = Annotated[int, Field(ge=1, le=10**12, description="a whole number from 1 to 10^12")]


NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False, description="a finite number of at least 0")]


UnitFloat = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, description="a number from 0 to 1")]


Beta = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False, description="a number from 0 up to, not including, 1")]


Flag = Annotated[bool, Field(description="true or false")]


Folder = Annotated[str, Field(min_length=1, description="the path of a folder")]


DOTTED_PATH = r"^[^\W\d]\w*(\.[^\W\d]\w*)+$"


Target = Annotated[
    str, Field(pattern=DOTTED_PATH, description="the dotted path of a class or function, such as my_file.MyClass")
]


Name = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}$",
        description="a name of letters, digits, '_', '-', '+' and '.', 100 at most, not starting with '.'",
    ),
]


Seed = Annotated[int, Field(ge=0, lt=2**32, description="a whole number from 0 to 4294967295")]


def valid(value: Any, holds: bool) -> Any:
    """Return the value if it holds.

    Raises:
        ValueError: It does not.
    """
    if not holds:
        raise ValueError
    return value


def one_of(names: Iterable[str]) -> AfterValidator:
    """Return what holds a value to be one of these names."""
    allowed = frozenset(names)
    return AfterValidator(lambda value: valid(value, value in allowed))


def one_of_or_own(names: Iterable[str]) -> AfterValidator:
    """Return what holds a value to be one of these names, or the dotted path of something of a person's own."""
    allowed = frozenset(names)
    return AfterValidator(lambda value: valid(value, value in allowed or re.match(DOTTED_PATH, value) is not None))


def listing(names: Iterable[str], words: str = "one of") -> str:
    """Return the names in the words of an error: "one of a, b"."""
    return f"{words} {', '.join(names)}"


MOST_SEEDS = 10**4


AUTO = "auto"
"""In place of a number of seeds: as many as it takes."""

FIRST_LOOK = 5
"""Seeds after which comparisons are looked at for the first time."""


def numbered_seeds(value: Any) -> Any:
    """Return a number of seeds, or auto, as the list of those to begin with, 0, 1, ...; anything else as it is."""
    value = first_number(value)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return list(range(value)) if is_number and 1 <= value <= MOST_SEEDS else value


def first_number(value: Any) -> Any:
    """Return the number of seeds to begin with in place of auto; anything else as it is."""
    return FIRST_LOOK if value == AUTO else value


def named_in_text(value: Any) -> Any:
    """Return a text of names with commas between them as a list of these names."""
    return [name.strip() for name in value.split(",")] if isinstance(value, str) else value


Need = Literal["closure", "create_graph", "evaluation_weights"]


PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False, description="a finite number above 0")]


Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False, description="a number from 0 up to, not including, 1")]


InnerShare = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False, description="a number between 0 and 1")]


Count = Annotated[int, Field(ge=0, le=10**9, description="a whole number of at least 0")]


Stretch = Annotated[float, Field(ge=1e-6, le=1, allow_inf_nan=False, description="a number from 1e-6 to 1")]
"""A part of a budget that is at least a step of a long one."""

PositiveShare = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False, description="a number above 0, 1 at most")]
