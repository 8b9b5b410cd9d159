"""Studies in the trackers people use: read back by the tracker's own reader, and never twice."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bench import tables
from bench.cli import export

event_accumulator = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator", reason="TensorBoard is not installed"
)


@pytest.fixture
def study(cli: Callable[..., Any], folder: Path) -> Path:
    cli(
        "optimizer=adam,sgd",
        "train.steps=20",
        "seeds=2",
        "study=s",
        "memory=false",
        "report=false",
        "diagnostics=light",
        "-m",
    )
    return Path("results/s")


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    reader = event_accumulator.EventAccumulator(str(run), size_guidance={"scalars": 0})
    reader.Reload()
    return {tag: [(event.step, event.value) for event in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_reads_every_point_once_however_often_it_is_exported(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, layers = tables.load(study), tables.load_side(study, "diagnostics")
    for _ in range(2):
        assert export.main([str(study), "--to", "tensorboard"]) == 0
    assert "4 runs: tensorboard/s" in capsys.readouterr().out
    assert {path.name for path in Path("tensorboard/s").iterdir()} == set(whole.runs["run_id"])
    for run in whole.runs["run_id"]:
        found = scalars(Path("tensorboard/s") / run)
        own = whole.curves[(whole.curves["run_id"] == run)].sort_values("step")
        val = own[(own["split"] == "val") & (own["metric"] == "loss")]
        assert [step for step, _ in found["val/loss"]] == val["step"].tolist()
        assert [value for _, value in found["val/loss"]] == pytest.approx(val["value"].tolist(), rel=1e-6)
        recorded = layers[
            (layers["run_id"] == run) & (layers["name"] == "gradient_norm") & (layers["layer"] == "layers.1")
        ]
        assert len(found["diagnostics/gradient_norm/layers.1"]) == len(recorded) == 2
        assert found["result/final_val_loss"][0][1] == pytest.approx(
            whole.runs.set_index("run_id").loc[run, "final_val_loss"], rel=1e-6
        )


@pytest.mark.filterwarnings("ignore")
def test_its_server_shows_the_runs(study: Path) -> None:
    export.main([str(study), "--to", "tensorboard"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["--logdir", "tensorboard/s", "--host", "127.0.0.1", "--port", str(port), "--load_fast", "false"]
    server = subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wanted, shown = set(tables.load(study).runs["run_id"]), dict[str, Any]()
        for _ in range(120):
            with suppress(OSError):
                answer = urllib.request.urlopen(f"http://127.0.0.1:{port}/data/plugin/scalars/tags", timeout=5)
                shown = json.loads(answer.read())
            if wanted == set(shown):
                break
            time.sleep(0.5)
        assert wanted == set(shown)
        assert all("val/loss" in tags for tags in shown.values())
    finally:
        server.kill()
        server.wait()


def test_what_cannot_be_exported_is_one_sentence(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export.main(["results/none", "--to", "tensorboard"]) == 2
    Path("file").write_text("mine")
    assert export.main([str(study), "--to", "tensorboard", "--out", "file"]) == 2
    err = capsys.readouterr().err
    assert "bench.export: --out must be a folder that can be written, got file" in err
    assert Path("file").read_text() == "mine"
