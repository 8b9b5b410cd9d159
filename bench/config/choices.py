"""Groups that name one of several implementations: the settings of each are stated once, where it is defined."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from bench.base.errors import UserError
from bench.config.augmentation import AUGMENTATIONS
from bench.config.messages import error_sentence
from bench.config.schedules import SCHEDULES


def settings_model(name: str, function: Callable[..., Any]) -> type[BaseModel]:
    """Return the model of what a function takes by keyword: its parameters with a default, their ranges from annotations.

    Args:
        name: Of the model.
        function: A function, or a class by its constructor.
    """
    hints = get_type_hints(function.__init__ if inspect.isclass(function) else function, include_extras=True)
    parameters = inspect.signature(function).parameters.values()
    fields: dict[str, Any] = {p.name: (hints[p.name], p.default) for p in parameters if p.default is not p.empty}
    return create_model(name, __config__=ConfigDict(strict=True, extra="forbid"), **fields)


CHOICES: dict[str, Mapping[str, type[BaseModel]]] = {
    "schedule": {name: settings_model(name, function) for name, function in SCHEDULES.items()},
    "augment": AUGMENTATIONS,
}
"""The options of each such group, with the model of their settings."""


def checked_settings(group: str, option: str, settings: Mapping[str, Any]) -> BaseModel:
    """Check the settings of an option.

    Args:
        group: A key of `CHOICES`.
        option: One of its options.
        settings: As configured.

    Raises:
        UserError: The option has no such setting, or a value is out of its range.
    """
    model = CHOICES[group][option]
    if unknown := [name for name in settings if name not in model.model_fields]:
        known = ", ".join(model.model_fields) or "none"
        raise UserError(f"{group}.{unknown[0]} must be left out with {group}={option}, got it; its options are {known}")
    try:
        return model(**settings)
    except ValidationError as error:
        raise UserError(error_sentence(error, model, f"{group}.", {group: option})) from None
