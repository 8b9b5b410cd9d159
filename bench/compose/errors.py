"""Turn Hydra's errors about a command line into one sentence."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bench.base.paths import CONF_DIR
from bench.base.text import guess, shortened
from bench.config.parse import group_options


def sentence(error: Exception, is_sweep: bool) -> str:
    """Return one sentence on what is wrong, where, and what to do.

    Args:
        error: A HydraException or an OmegaConfBaseException.
        is_sweep: Whether the command was given with -m: then nothing of it was run.
    """
    text = " ".join(str(error).split())
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(error, MissingConfigException) and error.options is not None:
        return _missing_option(error.missing_cfg_file or "", error.options)
    if isinstance(error, OverrideParseException):
        why = shortened(text.partition(" See https")[0])
        return (
            f"every argument must be key=value, got {shortened(repr(error.override))} ({why});"
            " put quotes around a value with spaces or brackets"
        )
    if match := re.search(r"Could not override '?([\w/]+)'?\.? No match", text):
        return _unknown_group(match[1])
    if match := re.search(r"Could not override '([^']+)'", text):
        return _unknown_key(match[1], getattr(cause, "parent_node", None), is_sweep)
    if match := re.search(r"Ambiguous value for argument '([^']+)'", text):
        key, _, value = match[1].partition("=")
        return f"{key} must be one value without -m, got {value}; add -m to run each, or quote a value that has a comma"
    return shortened(text if cause is error else f"{text}: {' '.join(str(cause).split())}", 1000)


def _missing_option(path: str, options: Sequence[str]) -> str:
    """Return the sentence about an option that its group does not have, given as group/option."""
    group, _, option = path.rpartition("/")
    if option == "submitit_slurm":
        return (
            "launcher must be local or pool where hydra-submitit-launcher is not installed, got slurm;"
            " pip install 'optbench[slurm]'"
        )
    own = f", or {group}=custom for a class of your own" if "custom" in options else ""
    meant = guess(option, sorted(options), f"{group}={{}}")
    return f"{meant}{group} must be one of {', '.join(sorted(options))}, got {option}; choose one{own}"


def _unknown_group(name: str) -> str:
    """Return the sentence about a group that does not exist, or not for this command."""
    if group_options(name):
        instead = "name them in a list, such as optimizers=[adam,sgd]" if name == "optimizer" else "leave it out"
        return f"{name} must be left out, got a group that this command does not have; {instead}"
    groups = sorted(path.name for path in CONF_DIR.iterdir() if group_options(path.name))
    return f"{guess(name, groups)}{name} must be a group ({', '.join(groups)}), got an unknown one; choose one of these"


def _unknown_key(wrong: str, node: object, is_sweep: bool) -> str:
    """Return the sentence about a dotted key that its parent, `node` where Hydra found it, does not have."""
    parent, _, name = wrong.rpartition(".")
    parent_keys = OmegaConf.to_container(node) if isinstance(node, DictConfig) else {}
    assert isinstance(parent_keys, dict)
    keys = [str(key) for key in parent_keys if key not in ("_target_", "hydra")]
    where = parent if isinstance(node, DictConfig) and node._key() == parent.rpartition(".")[2] else "the configuration"
    if parent in ("optimizer", "model", "data"):
        where = f"{parent}={parent_keys.get('name')}"
    advice = "nothing of this sweep was run, set it only where it exists" if is_sweep else "choose one of these"
    meant = guess(wrong, _dotted_keys(node, parent, keys))
    return f"{meant}{wrong} must be a key of {where} ({', '.join(keys)}), got {name}; {advice}"


def _dotted_keys(node: object, parent: str, keys: Sequence[str]) -> list[str]:
    """Return the keys beside a wrong one, and all others of the configuration, by their whole names."""
    beside = [f"{parent}.{key}" if parent else key for key in keys]
    if not isinstance(node, DictConfig):
        return beside
    found: list[str] = []

    def collect(value: object, name: str) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                collect(inner, f"{name}.{key}" if name else str(key))
        elif not name.startswith("hydra.") and not name.endswith("_target_") and ".search." not in name:
            found.append(name)

    collect(OmegaConf.to_container(node._get_root(), resolve=False), "")
    return [*beside, *found]


def unresolvable(node: DictConfig, parents: str = "") -> str | None:
    """Return a sentence about the first value whose interpolation cannot be resolved, or None."""
    for name in map(str, node):
        key = f"{parents}{name}"
        try:
            value = node[name]
        except OmegaConfBaseException as error:
            typed = OmegaConf.to_container(node, resolve=False)
            assert isinstance(typed, dict)
            why = str(error).partition("\n")[0]
            return f"{key} must be a value that can be resolved, got {typed[name]} ({why}); give a plain value"
        if isinstance(value, DictConfig) and (found := unresolvable(value, f"{key}.")):
            return found
    return None
