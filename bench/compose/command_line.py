"""Have Hydra compose a command line and call a job with each configuration."""

from __future__ import annotations

import errno
import functools
import itertools
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.base.errors import UserError
from bench.base.paths import CONF_DIR
from bench.base.text import shortened

if TYPE_CHECKING:
    from omegaconf import DictConfig


MULTIRUN = ("-m", "--multirun")
"""Flags of Hydra's command line that ask for a sweep."""


JSON = "--json"
"""Flag, of ours, that prints what a command concluded as JSON."""


MAX_DEPTH = 50
"""Brackets inside each other that an argument may have: Hydra's parser calls itself for each."""


LONGEST_SENTENCE = 2_000
"""Characters of what Hydra says, which repeats values of any length."""


def _depth(text: str) -> int:
    """Return the largest number of brackets that are open at once."""
    return max(itertools.accumulate({"[": 1, "{": 1, "(": 1}.get(c, -1 if c in "]})" else 0) for c in text), default=0)


def run_command_line(config_name: str, job: Callable[[DictConfig], Any], arguments: Sequence[str]) -> str | None:
    """Have Hydra compose a command line, and call a job with each configuration.

    Args:
        config_name: A file of `conf/`, without suffix.
        job: What is called. Launchers and sweepers find its attributes on their task function.
        arguments: The command line: overrides and Hydra's flags, in any order.

    Returns:
        The sentence about what is wrong with the command, or None.
    """
    from hydra import version
    from hydra._internal.utils import _run_hydra, get_args_parser
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from bench.compose.errors import sentence

    for argument in arguments:
        if _depth(argument) > MAX_DEPTH:
            return f"every argument must have at most {MAX_DEPTH} brackets inside each other, got {shortened(argument)}; use fewer"
    full_error = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing and exiting.
    refusals: list[str] = []

    @functools.wraps(job)
    def guarded(node: DictConfig) -> Any:
        try:
            return job(node)
        except UserError as error:  # Hydra would print lines of its own about it.
            refusals.append(str(error))
            return float("inf")

    is_sweep = any(flag in arguments for flag in MULTIRUN)
    parser = get_args_parser()
    # Hydra takes overrides on one side of `-m` only.
    ordered = [argument for argument in arguments if argument not in MULTIRUN] + ["-m"] * is_sweep
    try:
        version.setbase("1.3")
        parsed = parser.parse_args(ordered)
        with _adapted(
            composes_twice=parsed.config_dir is not None or any("hydra" in each for each in parsed.overrides)
        ):
            _run_hydra(parsed, parser, guarded, str(CONF_DIR), config_name)
    except (UserError, HydraException, OmegaConfBaseException) as error:
        if full_error == "1":
            raise
        return str(error) if isinstance(error, UserError) else shortened(sentence(error, is_sweep), LONGEST_SENTENCE)
    except (ValueError, TypeError, AttributeError, AssertionError) as error:  # Hydra's own, for what it does not take
        frames = traceback.extract_tb(error.__traceback__)
        if full_error == "1" or "hydra" not in Path(frames[-1].filename).parts:
            raise
        said = shortened(" ".join(str(error).split()), LONGEST_SENTENCE)
        return f"the command must be one that Hydra can compose, got: {said}; see --help"
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        longest = max(arguments, key=len)
        return f"every option of a group must be the name of a file, got one that is too long, {shortened(longest)}; choose a listed one"
    finally:
        if full_error is None:
            del os.environ["HYDRA_FULL_ERROR"]
    return refusals[0] if refusals else None


@contextmanager
def _adapted(composes_twice: bool) -> Iterator[None]:
    """Hide `conf/claims`, which is data, from the groups that --help lists, and have Hydra compose once.

    Args:
        composes_twice: Compose everything once before, as Hydra does, to see whether `hydra.mode` is set; `conf/` does not set it.
    """
    from hydra._internal.hydra import Hydra

    listed, found_mode = Hydra.list_all_config_groups, Hydra.get_mode

    def groups(self: Hydra, parent: str = "") -> list[str]:
        return [group for group in listed(self, parent) if group.partition("/")[0] != "claims"]

    def mode(self: Hydra, config_name: str | None, overrides: list[str]) -> Any:
        return found_mode(self, config_name, overrides) if composes_twice else None

    Hydra.list_all_config_groups, Hydra.get_mode = groups, mode  # type: ignore[method-assign]
    try:
        yield
    finally:
        Hydra.list_all_config_groups, Hydra.get_mode = listed, found_mode  # type: ignore[method-assign]


def typed_overrides() -> list[str]:
    """Return the overrides that led to the configuration Hydra has just composed, as they were typed."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    typed = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    assert isinstance(typed, list)
    return [str(override) for override in typed]
