"""Call what a `_target_` names, with a person's arguments."""

from __future__ import annotations

import inspect
import logging
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate

from bench.base.errors import UserError
from bench.base.text import first_line
from bench.config.identity import present_target
from bench.config.schema import Component
from bench.data.dataset import Dataset, as_dataset
from bench.measure.device import is_out_of_memory

logging.getLogger("hydra.utils").setLevel(logging.CRITICAL)  # It prints what we say in a sentence of our own.

RUNTIME_TARGETS: dict[str, Callable[..., Any]] = {}
"""What targets stand for that no import finds: functions of a running program, see `bench.api.inline_targets`."""


def build_data(config: Component) -> Dataset:
    """Load a data set.

    Raises:
        UserError: The function does not exist, does not take these arguments, fails, or returns
            something else than three splits.
    """
    return as_dataset(call_target("data", config, locate_target("data._target_", config.target)))


class TargetRaised(UserError):
    """A constructor or loader raised; the message is our sentence, `error` what it raised."""

    def __init__(self, sentence: str, error: BaseException) -> None:
        super().__init__(sentence)
        self.error = error


def locate_target(key: str, target: str) -> Callable[..., Any]:
    """Find what a dotted path names.

    Args:
        key: Of the configuration, for the message.
        target: The path.

    Raises:
        UserError: No import finds it, or importing it fails.
    """
    if target in RUNTIME_TARGETS:
        return RUNTIME_TARGETS[target]
    try:
        found = get_object(present_target(target))
    except (Exception, SystemExit) as error:
        cause = error.__cause__ or error
        top = target.split(".")[0]
        ours = f" ({top} is the bench's own package: give your file another name)" if top in _OURS else ""
        raise UserError(
            f"{key} must be a class or function that can be imported, got {target}:"
            f" {type(cause).__name__}: {first_line(cause)}{_where(cause)}{ours}"
        ) from error
    if not callable(found):
        raise UserError(f"{key} must be a class or function, got {target}, a {type(found).__name__}")
    _check_blocklist(key, target)
    return found  # type: ignore[no-any-return]


def _check_blocklist(key: str, target: str) -> None:
    """Refuse what Hydra lets no configuration call.

    Raises:
        UserError: It deletes, moves or executes what its arguments name.
    """
    try:
        instantiate({"_target_": present_target(target), "_partial_": True})
    except InstantiationException as error:
        if "blocklisted" in str(error):
            raise UserError(
                f"{key} must be something that a configuration may call, got {target}, which Hydra blocks because"
                " it deletes, moves or executes what its arguments name; choose a class or function of your own"
            ) from error


_OURS = ("bench", "models", "optimizers")


def target_arguments(factory: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters of a callable by name; none where its signature cannot be read."""
    try:
        return dict(inspect.signature(factory).parameters)
    except (TypeError, ValueError):
        return {}


def call_target(key: str, config: Component, factory: Callable[..., Any], *args: Any, **extra: Any) -> Any:
    """Call a target with a configuration's options and our own arguments.

    Raises:
        UserError: An option is no argument of it, one that it needs is missing, or the call fails.
    """
    known = target_arguments(factory)
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in known.values())
    for option in config.options:
        if known and option not in known and not takes_any:
            names = [n for n, p in known.items() if n not in ("params", "foreach", "fused", *extra)]
            raise UserError(
                f"{key}.{option} must be an argument of {config.target}, got an unknown one;"
                f" its arguments are {', '.join(names) or 'none'}"
            )
    for name, parameter in list(known.items())[len(args) :]:
        needed = parameter.default is parameter.empty and parameter.kind in (
            parameter.POSITIONAL_OR_KEYWORD,
            parameter.KEYWORD_ONLY,
        )
        if needed and name not in config.options and name not in extra:
            raise UserError(f"{key}.{name} must be set for {config.target}, got nothing; add +{key}.{name}=...")
    try:
        options = dict(config.options)
        for name, value in options.items():
            if isinstance(value, dict | list) and "_target_" in str(value):  # an object of its own
                options[name] = instantiate(value, _convert_="all")
        return factory(*args, **options, **extra)
    except (Exception, SystemExit) as error:
        if is_out_of_memory(error):
            raise
        if isinstance(error, ValueError | UserError) and config.target.split(".")[0] in (*_OURS, "torch"):
            subject = str(error).partition(" ")[0].partition("[")[0]
            prefix = "" if "." in subject else f"{key}." if subject in known else f"{key}={config.name}: "
            raise TargetRaised(f"{prefix}{first_line(error)}", error) from error
        raise TargetRaised(
            f"{key}._target_ must be something that can be built, got {config.target}, which raised"
            f" {type(error).__name__}: {first_line(error)}{_where(error)}",
            error,
        ) from error


def _where(error: BaseException) -> str:
    """Return the file and line in which a person's own code raised."""
    not_theirs = {
        Path(__file__).parents[1],
        *(Path(sysconfig.get_path(kind)) for kind in ("stdlib", "purelib", "platlib")),
    }
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<") and not not_theirs & set(Path(frame.filename).parents)
    ]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
