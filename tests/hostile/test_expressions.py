"""Conditions, targets and ledgers from a stranger are read; nothing that the command line did not name is executed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cli import reproduce
from bench.tables.query import condition

FRAME = pd.DataFrame(
    {
        "optimizer": pd.Series(["adam", "sgd", None, "sgd"], dtype="string"),
        "lr": [0.1, 0.01, None, 1.0],
        "seed": pd.Series([0, 1, 2, None], dtype="Int64"),
        "compiled_model": pd.Series([True, False, None, False], dtype="boolean"),
    }
)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("optimizer == 'sgd'", [1, 3]),
        ("optimizer != 'sgd'", [0]),
        ("not optimizer == 'sgd'", [0]),
        ("lr > 0.01 and optimizer in ('adam', 'sgd')", [0, 3]),
        ("optimizer not in ['adam']", [1, 2, 3]),
        ("0.01 <= lr < 1", [0, 1]),
        ("lr == None", [2]),
        ("lr != None or seed > 1", [0, 1, 2, 3]),
        ("(lr > .05) & (seed == 0) | compiled_model", [0]),
        ("~compiled_model", [1, 3]),
        ("lr > -1", [0, 1, 3]),
        ("seed == 100000000000000000000000", []),
    ],
)
def test_a_condition_is_what_it_says(text: str, rows: list[int]) -> None:
    assert condition(text, FRAME).to_numpy().nonzero()[0].tolist() == rows


@pytest.mark.parametrize(
    "text",
    [
        "@pd.io.common.os.system('touch owned')", "@Path('owned').touch()", "optimizer.to_pickle('owned')", "__import__('os')",
        "lr.__class__", "(lambda: 1)()", "[x for x in lr]", "lr == open('owned', 'w')", "f'{lr}' == '1'", "lr := 1", "lr == 10**9**9",
        "lr", "1", "", "lr >", "colour == 'red'", "optimizer < 3", "lr is 1", "(" * 900, "not " * 499 + "lr", "lr == " + "1" * 3000,
        "lr == 1j", "lr == b'x'", "lr == [1]", "lr in seed", "compiled_model.all()",
    ],
)  # fmt: skip
def test_anything_else_is_one_sentence_and_is_not_executed(text: str, folder: Path) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        condition(text, FRAME)
    assert not Path("owned").exists()


WORDS = [
    "lr",
    "seed",
    "optimizer",
    "compiled_model",
    "'sgd'",
    "1",
    "-0.5",
    "None",
    "True",
    "and",
    "or",
    "not",
    "in",
    "(",
    ")",
    "[",
    "]",
]
WORDS += [
    "==",
    "!=",
    "<",
    ">=",
    "&",
    "|",
    "~",
    ",",
    "@lr",
    "lr.sum()",
    "f'{lr}'",
    "*",
    "is",
    "if",
    "else",
    "lambda:",
    "\x00",
    "\n",
]


@given(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join) | st.text(max_size=40))
def test_any_text_is_a_condition_or_one_error(text: str) -> None:
    try:
        found = condition(text, FRAME)
    except ValueError:
        return
    assert found.dtype == bool
    assert len(found) == len(FRAME)


CLAIM = """
id: one
source: a stranger
claim: Adam is faster.
reading: Final validation loss.
measures:
  - {quantity: val_loss, says: less, delta: 0.1}
a: %s
against: [sgd]
workloads:
  - mine: {budget: quick, words: theirs, seeds: 2, run: [%s]}
"""


def ledger(run: str, a: str = "adam") -> str:
    Path("theirs").mkdir(exist_ok=True)
    Path("theirs/one.yaml").write_text(CLAIM % (a, run))
    return "theirs"


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    status = reproduce.main(list(arguments))
    return status, "".join(capsys.readouterr())


def test_a_plan_and_a_list_call_nothing_of_a_ledger(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("owned_by_import.py").write_text("open('owned', 'w')\ndef load():\n    open('owned', 'w')\n")
    for run in (
        "model=mlp, data=custom, data._target_=os.system, +data.command='touch owned', train.steps=2",
        "model=mlp, data=custom, data._target_=owned_by_import.load, train.steps=2",
        "data=digits, 'model={_target_: owned_by_import.load, name: x}', train.steps=2",
    ):
        theirs = ledger(run)
        assert said(capsys, "list", theirs)[0] == 0
        status, words = said(capsys, theirs, "plan=true")
        assert status == 0, words
        assert "4 runs" in words
        status, words = said(capsys, theirs)
        assert status == 2
        assert "trust must be true for the ledger theirs, got false: it calls " in words
        assert words.count("\n") == 1
    assert "owned_by_import" not in sys.modules
    assert not Path("owned").exists()


def test_what_hydra_blocks_stays_blocked(
    folder: Path, capsys: pytest.CaptureFixture[str], cli: Callable[..., Any]
) -> None:
    theirs = ledger("model=mlp, data=custom, data._target_=os.system, +data.command='touch owned', train.steps=2")
    assert "which Hydra blocks" in said(capsys, theirs, "trust=true")[1]
    done = cli("data=custom", "data._target_=os.system", "+data.command='touch owned'")
    assert done.status == 2
    assert "data._target_ must be something that a configuration may call, got os.system" in done.err
    assert not Path("owned").exists()


@pytest.mark.parametrize(
    "override",
    [
        "hydra.launcher._target_=x.Y", "hydra/launcher=submitit_slurm", "launcher=slurm", "results_dir=/elsewhere", "study=x", "force=true",
        "+hydra.searchpath=[/elsewhere]", "~launcher", "reports_dir=x", "report=true", "plan=false", "sweep=tuned", "hydra.run.dir=x",
    ],
)  # fmt: skip
def test_a_ledger_sets_what_is_trained_and_nothing_else(
    override: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, words = said(capsys, ledger(f"model=mlp, data=digits, '{override}'"), "plan=true")
    assert status == 2
    assert "what a ledger sets must begin with one of augment, data, " in words
    if "=" in override and "/" not in override and not override.startswith("+h"):
        status, words = said(capsys, ledger("model=mlp, data=digits", a=f"adam {override}"), "plan=true")
        assert status == 2


@pytest.mark.parametrize(
    "content",
    ["&a [*a]", "x: " + "[" * 10_000, "\x00", "a: " + "b" * 2**21, "- 1", "!!python/object/apply:os.system [id]"],
)
def test_an_odd_file_of_a_ledger_is_one_sentence(
    content: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("theirs").mkdir()
    Path("theirs/one.yaml").write_text(content)
    status, words = said(capsys, "list", "theirs")
    assert status == 2
    assert words.startswith("bench.reproduce: ")
    assert words.count("\n") == 1
