"""Overrides and ledgers drawn at random: each is taken, or refused in one sentence; nothing is executed or written."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hostile.folders import ODD_VALUES, listing, no_hang
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bench.base.errors import UserError
from bench.claims import ledger as ledgers
from bench.claims.needs import learning_rates, ledger_plan, planned_sweeps
from bench.compose.command_line import run_command_line, typed_overrides
from bench.compose.composer import composed
from bench.compose.nodes import config_of
from bench.config.parse import group_options

NUM_MUTATIONS = int(os.environ.get("BENCH_NUM_MUTATIONS", "200")) // 2
"""Half of them of overrides, half of ledgers."""

GROUPS = ["augment", "data", "device", "launcher", "model", "optimizer", "schedule", "sweep"]

VALUES = [
    "", "null", "true", "0", "-1", "1e400", "-1e-400", "nan", "inf", "9" * 400, "0x10", "1_000", "1e12", "'", '"', "''", "a b", "\\", "[", "]",
    "{", "{}", "[]", "[[]]", "[1,", "{a:1}", "{a:{b:[1,2]}}", "a=b", "=", ",", "a,b", "[a,b],[c]", "glob(*)", "range(1,4)", "choice(a,b)",
    "interval(0,1)", "sort(3,1)", "shuffle(a)", "int(1)", "float(x)", "json_str([1])", "tag(x,1)", "extend_list(1)", "${", "${}", "${x}",
    "${optimizer.lr}", "${optimizer}", "${.lr}", "${..}", "${oc.env:NONE}", "${oc.env:HOME}", "${oc.decode:'['}", "${oc.create:{a:1}}",
    "${hydra:runtime.cwd}", "${now:%Y}", "???", "../../x", "/etc/passwd", "~", "os.system", "builtins.eval", "x" * 10_000, "\u202e", "é",
    "\x1b[2J", "\x00", "\n", "a\nb", "#", "@", "!!python/object/apply:os.system [id]", "[" * 500 + "]" * 500, "[" + "1," * 5000 + "1]",
]  # fmt: skip
"""Values that a person, or a script that goes wrong, may give to any key."""


def flattened(node: dict[str, Any], before: str = "") -> Iterator[str]:
    """Yield the dotted keys of a configuration."""
    for key, value in node.items():
        yield f"{before}{key}"
        if isinstance(value, dict):
            yield from flattened(value, f"{before}{key}.")


def override(rng: random.Random, keys: list[str]) -> str:
    """Draw an override: an option of a group, or any value for any key, added, replaced or removed."""
    if rng.random() < 0.25:
        group = rng.choice(GROUPS)
        return f"{group}={rng.choice(group_options(group) if rng.random() < 0.7 else VALUES)}"
    key = rng.choice(
        [*keys, "", "x", "a.b.c", "optimizer.", ".lr", "train..steps", "optimizer@x", "hp_x", "é", "__class__"]
    )
    prefix = rng.choice(["", "", "", "+", "++", "~"])
    return f"{prefix}{key}={rng.choice(VALUES)}" if rng.random() < 0.95 else f"{prefix}{key}"


def try_overrides(rng: random.Random, keys: list[str]) -> bool:
    """Give some overrides to the command line, and return whether they are taken; where not, one sentence says why."""
    words = [override(rng, keys) for _ in range(rng.choice([1, 1, 2, 3]))]
    configs: list[Any] = []

    def job(node: Any) -> float:
        configs.append(config_of(node, typed_overrides()))
        return 0.0

    try:
        with no_hang():
            refusal = run_command_line("config", job, words)
    except Exception as error:
        raise AssertionError(words) from error
    assert (refusal is None) == (len(configs) == 1), (words, refusal)
    if refusal is not None:
        assert "Traceback" not in refusal
        assert refusal.count("\n") <= "".join(words).count("\n"), (words, refusal)
        assert len(refusal) < 1000 + sum(map(len, words)), (words, refusal)
    return refusal is None


def test_overrides_are_taken_or_refused_in_one_sentence(folder: Path) -> None:
    before, keys, taken = listing(folder), list(flattened(composed())), []

    @given(st.randoms(use_true_random=True))
    @settings(max_examples=NUM_MUTATIONS, phases=[Phase.generate])
    def typed(rng: random.Random) -> None:
        taken.append(try_overrides(rng, keys))

    typed()
    assert any(taken)
    assert listing(folder) == before


@pytest.mark.parametrize("word", ["model=[1]", "optimizer=[1,2]", "data=[true]"])
def test_what_hydra_itself_stumbles_over_is_one_sentence(word: str, folder: Path) -> None:
    refusal = run_command_line("config", lambda node: 0.0, [word])
    assert refusal is not None
    assert refusal.startswith("the command must be one that Hydra can compose, got: ")


def test_an_option_of_any_length_is_refused(folder: Path) -> None:
    refusal = run_command_line("config", lambda node: 0.0, [f"schedule={'x' * 10_000}"])
    assert refusal is not None
    assert refusal.startswith(
        "every option of a group must be the name of a file, got one that is too long, schedule=xxx"
    )
    assert len(refusal) < 500


def test_a_side_of_any_length_is_refused_by_its_name(folder: Path) -> None:
    with pytest.raises(UserError, match="must have a search.lr in its config"):
        learning_rates("a" * 100_000)


def mutated(node: Any, rng: random.Random) -> None:
    """Change, remove or add one entry somewhere in what a YAML file holds."""
    places: list[tuple[Any, Any]] = []

    def walk(at: Any) -> None:
        for key in at if isinstance(at, dict) else range(len(at)):
            places.append((at, key))
            if isinstance(at[key], dict | list):
                walk(at[key])

    walk(node)
    holder, key = rng.choice(places)
    way = rng.choice(["odd", "odd", "word", "word", "removed", "added"])
    if way == "removed":
        del holder[key]
    elif way == "added" and isinstance(holder, dict):
        holder[rng.choice(["x", "id", "kind", "trust", "_target_"])] = rng.choice(FITTING)
    else:
        holder[key] = rng.choice(FITTING if way == "odd" else VALUES[:-2])


FITTING = [value for value in ODD_VALUES if value != "\ud800" and value != 10**400]
"""Odd values that a YAML file can hold."""


def try_ledger(rng: random.Random, folder: Path) -> bool:
    """Read and plan a ledger that was tampered with, and return whether it is taken; where not, one sentence says why."""
    claims = sorted((ledgers.CLAIMS_DIR / "articles").glob("[0-9]*.yaml"))
    shared = ledgers.CLAIMS_DIR / ledgers.WORKLOADS_FILE
    path = rng.choice([*claims, shared])
    node = yaml.safe_load(path.read_text())
    for _ in range(rng.choice([1, 1, 3])):
        mutated(node, rng)
    theirs = folder / "theirs"
    shutil.rmtree(theirs, ignore_errors=True)
    theirs.mkdir()
    claim = path if path != shared else rng.choice(claims)
    (theirs / claim.name).write_text(claim.read_text())
    (theirs / path.name).write_text(yaml.safe_dump(node, allow_unicode=True))
    before, refusal = listing(folder), None
    try:
        with no_hang():
            ledger = ledgers.load(str(theirs))
            ledger_plan(planned_sweeps(ledger, 1, (5,)), 1, ledger, {}, (5,))
    except UserError as error:
        refusal = str(error)
        assert refusal.count("\n") == 0, (path.name, refusal)
        assert len(refusal) < 12_000, (path.name, refusal)
    except Exception as error:
        raise AssertionError(f"{path.name}: {node}") from error
    assert listing(folder) == before
    return refusal is None


def test_ledgers_are_taken_or_refused_in_one_sentence(folder: Path) -> None:
    taken = []

    @given(st.randoms(use_true_random=True))
    @settings(max_examples=NUM_MUTATIONS, phases=[Phase.generate])
    def read(rng: random.Random) -> None:
        taken.append(try_ledger(rng, folder))

    read()
    assert any(taken)
