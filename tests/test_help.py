"""What --help says: every key and every option, in two screens, and nothing that is not so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from bench.base.paths import CONF_DIR
from bench.compose.help import COLUMNS, MODELS, overview
from bench.config.keys import leaves
from bench.config.parse import group_options

TWO_SCREENS = 100


@pytest.mark.parametrize("name", MODELS)
def test_every_key_stands_there_with_its_default_and_what_it_does(name: str) -> None:
    text = overview(name)
    node = yaml.safe_load((CONF_DIR / f"{name}.yaml").read_text())
    for key, default in leaves({key: value for key, value in node.items() if key not in ("defaults", "hydra")}):
        shown = yaml.safe_dump(default, default_flow_style=True, width=1000).strip().removesuffix("...").strip()
        (line,) = [line for line in text.splitlines() if line.startswith(f"  {key}={shown}")]
        assert line.removeprefix(f"  {key}={shown}").strip(), f"{key} says nothing"


@pytest.mark.parametrize("name", MODELS)
def test_it_is_two_screens_at_most(name: str) -> None:
    lines = overview(name).splitlines()
    assert len(lines) <= TWO_SCREENS
    assert max(map(len, lines)) <= COLUMNS + 10


def test_it_names_every_group_and_option_and_the_other_commands(cli: Callable[..., Any]) -> None:
    done = cli("--help")
    assert done.status == 0
    for group in ("optimizer", "model", "data", "schedule", "augment", "diagnostics", "device", "launcher", "sweep"):
        assert f"  {group}=" in done.out
        for option in group_options(group):
            assert option in done.out
    for command in ("report", "compare", "diagnose", "export", "step_cost", "reproduce", "studies", "workloads"):
        assert f"python -m bench.{command}" in done.out
    assert "a whole number from 1 to 10^12" in done.out


def test_a_group_is_described_by_a_line_an_option(cli: Callable[..., Any]) -> None:
    done = cli("--help", "schedule")
    assert [line.split()[0] for line in done.out.splitlines()[1:] if line[2] != " "] == group_options("schedule")
    assert "Half a cosine" in done.out
    assert "the budget in epochs" in cli("--help", "train").out
    assert "train.epochs=20" in cli("train.epochs=5", "--help").out


def test_what_it_does_not_know_is_refused_with_a_guess(cli: Callable[..., Any]) -> None:
    done = cli("--help", "optimzer")
    assert done.status == 2
    assert done.err == "bench: did you mean optimizer? --help must be given a group or a key, got optimzer\n"
