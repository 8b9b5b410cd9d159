"""The page of one run, or of two side by side."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import tables
from bench.cli import diagnose


@pytest.fixture
def study(cli: Callable[..., Any], folder: Path) -> Path:
    cli("optimizer=adam,sgd", "optimizer.lr=0.01", "diagnostics=full", "train.epochs=15", "seeds=1", "study=why", "memory=false",
        "report=false", "-m")  # fmt: skip
    return Path("results/why")


def test_two_runs_side_by_side(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = tables.load(study).runs
    ids = list(runs["run_id"])
    assert diagnose.main([str(study), "--run", *ids, "--page"]) == 0
    (page,) = re.findall(r"page: (.*)", capsys.readouterr().out)
    text = Path(page).read_text()
    for row in runs.itertuples():
        assert f"{row.optimizer}, seed 0" in text and row.run_id in text
        assert f"final validation loss {row.final_val_loss:.4g}" in text
    figures = {path.stem for path in (Path(page).parent / "figures").glob("*.svg")}
    assert {"course", "path", "slices", "plane", "layers-gradient-norm", "layers-dead-units"} <= figures
    assert set(re.findall(r'<figure id="([\w-]+)"', text)) == figures
    assert "learning rate too low" in text and "optimizer.lr=0.1" in text  # what stands out of sgd, and what to try
    assert "sharpness" in re.search(r'id="run-curves">(.*?)</script>', text).group(1)  # type: ignore[union-attr]
    assert "train.batch_size" in text and "http://" not in text.replace("http://www.w3.org", "")
    again = re.search(r"Rebuild: <code>(.*?)</code>", text)
    assert again is not None and again[1].startswith("python -m bench.diagnose results/why --run")


def test_a_run_without_diagnostics_and_one_that_diverged(cli: Callable[..., Any], folder: Path) -> None:
    cli(
        "optimizer=sgd",
        "optimizer.lr=0.1,1e12",
        "train.steps=60",
        "seeds=1",
        "study=s",
        "memory=false",
        "report=false",
        "-m",
    )
    runs = tables.load("results/s").runs.set_index("status")
    for status, words in (("ok", "No diagnostics were recorded"), ("diverged", "the first tensor that was not finite")):
        assert diagnose.main(["results/s", "--run", runs.loc[status, "run_id"], "--page", f"page-{status}"]) == 0
        assert words in Path(f"page-{status}", "index.html").read_text()
        assert {path.stem for path in Path(f"page-{status}", "figures").glob("*.svg")} == {"course"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--page"], "--page must be given with --run"),
        (["--run", "nobody", "--page"], "--run must be the run_id of a run of results/s, got nobody"),
        (["--run", "a", "a", "a", "--page"], "--run must be one run, or two to see side by side, got 3"),
        (["--run", "a", "--page", "file"], "the report must go into a folder of its own, got file"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(
    cli: Callable[..., Any], folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    cli("train.steps=20", "seeds=1", "study=s", "memory=false", "report=false")
    run = tables.load("results/s").runs["run_id"].item()
    Path("file").write_text("mine")
    assert diagnose.main(["results/s", *(run if each == "a" else each for each in arguments)]) == 2
    err = capsys.readouterr().err
    assert said in err and len(err.strip().splitlines()) == 1 and Path("file").read_text() == "mine"


def test_findings_of_one_run_of_several(
    cli: Callable[..., Any], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli("optimizer=sgd", "optimizer.lr=1e12", "train.steps=60", "seeds=3", "study=s", "memory=false", "report=false")
    run = tables.load("results/s").runs["run_id"].iloc[1]
    capsys.readouterr()
    assert diagnose.main(["results/s", "--run", run, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["findings"]
    assert {each["run_id"] for each in found} == {run}
