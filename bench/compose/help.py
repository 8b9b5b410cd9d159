"""What `--help` prints: commands, groups and their options, keys with what they do, what they take, and their defaults."""

from __future__ import annotations

import functools
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import yaml
from pydantic import BaseModel

from bench.base.console import say
from bench.base.errors import OK, REFUSED
from bench.base.paths import CONF_DIR
from bench.base.text import guess
from bench.config.keys import comments, headline, leaves
from bench.config.messages import described
from bench.config.parse import group_options
from bench.config.schema import Config, StepCostConfig

HELP = ("-h", "--help")
"""Flags that ask for it."""


COLUMNS, INDENT = 110, 26


COMMANDS = {
    "config": """\
Train models with different optimizers and compare loss, time and memory.

  python -m bench optimizer=adam,sgd -m                compare two optimizers
  python -m bench optimizer.lr=1e-3,1e-2 -m            sweep a setting (-m: every combination)
  python -m bench study=mine seeds=5                   name the study, choose how many seeds
  python -m bench sweep=tuned optimizer=adam,sgd -m    tune each equally, then compare on fresh seeds
  python -m bench optimizer=custom optimizer._target_=my_file.MyOptimizer +optimizer.lr=0.01    your own class

Further commands, each with its own --help:
  python -m bench.report results/STUDY       write the report of a study again, export its figures
  python -m bench.diagnose results/STUDY     say what is wrong with its runs, and what to try
  python -m bench.export results/STUDY       write it for TensorBoard, MLflow, W&B or Trackio
  python -m bench.compare STUDY_A STUDY_B    compare two studies, with an exit status for CI
  python -m bench.step_cost                  measure what one step of each optimizer costs
  python -m bench.reproduce articles         judge published claims about Adam
  python -m bench.studies list               list, rename and remove studies
  python -m bench.workloads                  what there is to train on, and what can run here""",
    "step_cost": """\
Measure what one step of each optimizer and implementation costs, paired and interleaved.

  python -m bench.step_cost model=mlp 'optimizers=[adam,sgd]' 'implementations=[foreach,fused]'
  python -m bench.step_cost 'optimizers=[adam,{name:sgd,momentum:0.9}]'
  python -m bench.step_cost 'optimizers=[sgd,{_target_:my_file.MyOptimizer,lr:0.01}]'""",
}
"""What each command does, by the name of its configuration."""


ENDS = {
    "config": """\
Flags: -m every combination, --all every setting in the terminal, --json the conclusions as JSON, --version.
Exit status: 0 every run ended ok or was skipped, 1 some run did not, 2 the command was refused, 130 interrupted.
Tab completion: eval "$(optbench -sc install=bash)\"""",
    "step_cost": "Exit status: 0 everything was measured or skipped, 1 something failed, 2 the command was refused.",
}


MODELS: dict[str, type[BaseModel]] = {"config": Config, "step_cost": StepCostConfig}


def say_help(program: str, config_name: str, typed: Sequence[str]) -> int:
    """Print the help on a command, or on one of its groups or keys; return the exit status.

    Args:
        program: Its name, before an error.
        config_name: "config" or "step_cost".
        typed: The command line; what is no flag names a group or a key, and a value after "=" does not matter.
    """
    topics = [word.partition("=")[0].lstrip("+~") for word in typed if not word.startswith("-")]
    if not topics:
        say(overview(config_name))
        return OK
    for topic in topics:
        lines = list(_about(config_name, topic))
        if not lines:
            names = [*_groups(config_name), *(key for key, _ in _keys(config_name))]
            say(f"{program}: {guess(topic, names)}--help must be given a group or a key, got {topic}", sys.stderr)
            return REFUSED
        say("\n".join(lines))
    return OK


def overview(config_name: str) -> str:
    """Return the help on a command."""
    groups = [
        _entry(f"{group}={default or ''}", ", ".join(group_options(group)))
        for group, default in _groups(config_name).items()
    ]
    keys = [_about_key(config_name, key, default) for key, default in _keys(config_name)]
    parts = [
        COMMANDS[config_name],
        "\n".join(["Groups, with their defaults (--help optimizer describes the options of one):", *groups]),
        "\n".join(["Keys, with their defaults:", *keys]),
        ENDS[config_name],
    ]
    return "\n\n".join(parts)


def _about(config_name: str, topic: str) -> Iterator[str]:
    """Yield the lines of help on a group, a key, or the keys below one."""
    groups = _groups(config_name)
    if topic in groups:
        yield f"{topic}=OPTION, by default {groups[topic] or 'none of them'}:"
        for option in group_options(topic):
            yield _entry(option, headline(CONF_DIR / topic / f"{option}.yaml"))
    for key, default in _keys(config_name):
        if key == topic or key.startswith(f"{topic}."):
            yield _about_key(config_name, key, default)


def _about_key(config_name: str, key: str, default: Any) -> str:
    meaning = _comments(config_name).get(key, "")
    takes = described(MODELS[config_name], key.split("."))
    if takes and takes != "true or false" and takes not in meaning:
        meaning = f"{meaning} ({takes})" if meaning else takes
    text = yaml.safe_dump(default, default_flow_style=True, width=1000).strip().removesuffix("...").strip()
    return _entry(f"{key}={text}", meaning)


def _entry(name: str, meaning: str) -> str:
    """Return a name and what it means, in two columns."""
    first = f"  {name}"
    start, rest = first.ljust(max(INDENT, len(first) + 2)), " " * INDENT
    filled = textwrap.fill(meaning, COLUMNS, initial_indent=start, subsequent_indent=rest, break_on_hyphens=False)
    return filled or first


@functools.cache
def _node(config_name: str) -> dict[str, Any]:
    """Return what the file of a command's configuration holds."""
    node: dict[str, Any] = yaml.safe_load((CONF_DIR / f"{config_name}.yaml").read_text(encoding="utf-8"))
    return node


@functools.cache
def _comments(config_name: str) -> dict[str, str]:
    """Return what the file of a command's configuration says of each key."""
    return comments(CONF_DIR / f"{config_name}.yaml")


def _groups(config_name: str) -> dict[str, str | None]:
    """Return the groups of a command, each with the option that it has by default."""
    entries = _node(config_name)["defaults"]
    chosen = {key: value for entry in entries if isinstance(entry, dict) for key, value in entry.items()}
    return {key: value for key, value in chosen.items() if not key.startswith("override ")}


def _keys(config_name: str) -> list[tuple[str, Any]]:
    """Return the keys of a command that belong to no option of a group, each with its default."""
    return list(leaves({key: value for key, value in _node(config_name).items() if key not in ("defaults", "hydra")}))
