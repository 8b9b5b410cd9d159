"""The examples, run as a reader runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "examples" / "compare_your_model.py"
NOTEBOOK = ROOT / "examples" / "compare_your_model.ipynb"
VERDICT = re.compile(r"\w+ reaches the lowest validation loss")

nbformat = pytest.importorskip("nbformat", reason="notebooks need nbformat, nbclient and ipykernel")
nbclient = pytest.importorskip("nbclient", reason="notebooks need nbformat, nbclient and ipykernel")
pytest.importorskip("ipykernel", reason="notebooks need nbformat, nbclient and ipykernel")


def text_of(output: Any) -> str:
    return output["text"] if output["output_type"] == "stream" else "".join(map(str, output["data"].values()))


def test_the_script_says_who_wins_and_writes_a_report(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert VERDICT.search(done.stdout)
    assert "[45/45]" in done.stderr
    assert (tmp_path / "loss.png").stat().st_size > 10_000
    assert "small_cnn on given-data" in (tmp_path / "report" / "index.html").read_text()


def test_the_notebook_runs_and_shows_what_it_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    stored, ran = nbformat.read(NOTEBOOK, as_version=4), nbformat.read(NOTEBOOK, as_version=4)
    for cell in ran.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(ran, timeout=300, kernel_name="python3", resources=resources).execute()
    for old, new in zip(stored.cells, ran.cells, strict=True):
        if old.cell_type == "code":
            kinds = [
                {kind for output in cell.outputs if output["output_type"] != "stream" for kind in output["data"]}
                for cell in (old, new)
            ]
            assert kinds[0] == kinds[1], old.source
    shown = "".join(text_of(output) for cell in ran.cells for output in cell.get("outputs", []))
    assert VERDICT.search(shown)
    assert (tmp_path / "report" / "index.html").is_file()


def test_the_stored_notebook_is_small_whole_and_of_no_machine() -> None:
    assert NOTEBOOK.stat().st_size < 300_000
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert [output for output in outputs if "image/png" in output.get("data", {})]
    shown = "".join(text_of(output) for output in outputs if "image/png" not in output.get("data", {}))
    assert VERDICT.search(shown)
    assert not re.search(r"/(home|tmp|root|Users|usr|opt|work|var)/|site-packages|C:\\", shown)


def test_script_and_notebook_show_the_same_code() -> None:
    """The functions and the call stand in both, word for word."""
    script = SCRIPT.read_text()
    cells = [cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    assert sum(cell in script for cell in cells) >= 2
    call = next(cell for cell in cells if cell.startswith("found = compare("))
    assert "".join(call.removesuffix("found").split()) in "".join(script.split())
