"""Studies in the trackers people use: read back by each tracker's own reader, live and exported, and never twice."""

from __future__ import annotations

import importlib
import json
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import commands
import pandas as pd
import pytest
from PIL import Image

from bench import tables
from bench.cli import export
from bench.config.loggers import TRACKERS
from bench.execution import live_log

pytestmark = pytest.mark.filterwarnings("ignore")

MAKE = (
    "optimizer=adam,sgd",
    "train.steps=20",
    "seeds=1",
    "study=s",
    "memory=false",
    "report=false",
    "diagnostics=light",
    "-m",
)


class Read(NamedTuple):
    """A run as a tracker gives it back: its points by tag, its settings and its status."""

    points: dict[str, list[tuple[int, float]]]
    settings: dict[str, Any]
    status: str


def command(*arguments: str) -> str:
    """Carry out a command in a process of its own, as trackers keep their folders a process long; return what it says."""
    process = commands.Command(*arguments, cwd=Path.cwd())
    out, err = process.communicate(240)
    assert process.returncode == 0, out + err
    return out + err


def from_tensorboard() -> dict[str, Read]:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    hparams = pytest.importorskip("tensorboard.plugins.hparams.plugin_data_pb2")
    found = {}
    for folder in Path("tensorboard/s").iterdir():
        if folder.name == "report":
            continue
        reader = accumulators.EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
        reader.Reload()
        points = {tag: [(e.step, e.value) for e in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}
        content = reader.summary_metadata["_hparams_/session_start_info"].plugin_data.content
        info = hparams.HParamsPluginData.FromString(content).session_start_info.hparams
        settings = {name: value.string_value or value.number_value for name, value in info.items()}
        status = reader.Tensors("status/text_summary")[0].tensor_proto.string_val[0].decode()
        found[folder.name] = Read(points, settings, status)
    return found


def from_mlflow() -> dict[str, Read]:
    tracking = pytest.importorskip("mlflow.tracking")
    client = tracking.MlflowClient(f"sqlite:///{Path('mlflow.db').resolve()}")
    experiment = client.get_experiment_by_name("s")
    found = {}
    for run in client.search_runs([experiment.experiment_id]):
        name = run.data.tags["mlflow.runName"]
        if name == "report":
            continue
        assert name not in found, "a run stands there twice"
        points = {
            tag: sorted((each.step, each.value) for each in client.get_metric_history(run.info.run_id, tag))
            for tag in run.data.metrics
        }
        assert run.info.status == {"ok": "FINISHED"}.get(run.data.tags["status"], "FAILED")
        found[name] = Read(points, run.data.params, run.data.tags["status"])
    return found


def records_of(path: Path) -> list[Any]:
    """Return the records of a file of W&B: a log of LevelDB, in blocks of 32 KiB, of its protocol buffers."""
    from wandb.proto import wandb_internal_pb2

    data, place, parts, found = path.read_bytes(), 7, b"", []
    while place + 7 <= len(data):
        if 2**15 - place % 2**15 < 7:
            place += 2**15 - place % 2**15
            continue
        _, size, kind = struct.unpack("<IHB", data[place : place + 7])
        parts += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last part
            found.append(wandb_internal_pb2.Record.FromString(parts))
            parts = b""
    return found


def from_wandb() -> dict[str, Read]:
    pytest.importorskip("wandb")
    found = {}
    for path in Path("wandb/wandb").glob("offline-run-*/*.wandb"):
        points: dict[str, list[tuple[int, float]]] = {}
        settings: dict[str, Any] = {}
        name, status = "", ""
        for record in records_of(path):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                name = record.run.display_name
                settings |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
            elif kind == "history":
                row = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
                step = record.history.step.num
                for tag, value in row.items():
                    if not tag.startswith("_"):
                        points.setdefault(tag, []).append((step, value))
            elif kind == "summary":
                for item in record.summary.update:
                    key, value = item.key or item.nested_key[0], json.loads(item.value_json)
                    status = value if key == "status" else status
                    if key.startswith("result/"):
                        points[key] = [(0, value)]
        if name == "report":
            continue
        assert name not in found, "a run stands there twice"
        found[name] = Read(points, settings, status)
    return found


def from_trackio() -> dict[str, Read]:
    pytest.importorskip("trackio")
    code = (
        "import json; from trackio.sqlite_storage import SQLiteStorage as S;"
        "print(json.dumps({r: [S.get_logs('s', r), S.get_run_config('s', r)] for r in S.get_runs('s')}, default=str))"
    )
    environment = {"TRACKIO_DIR": str(Path("trackio").resolve()), "PATH": "", "HOME": str(Path.cwd())}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    found = {}
    for name, (rows, settings) in json.loads(done.stdout.splitlines()[-1]).items():
        points: dict[str, list[tuple[int, float]]] = {}
        for row in rows:
            for tag, value in row.items():
                if "/" in tag:
                    points.setdefault(tag, []).append((row["step"], value))
        found[name] = Read(points, settings, settings["status"])
    return found


READERS: dict[str, Callable[[], dict[str, Read]]] = {
    "tensorboard": from_tensorboard, "mlflow": from_mlflow, "wandb": from_wandb, "trackio": from_trackio,
}  # fmt: skip


def check_same(read: dict[str, Read]) -> None:
    """Hold what a tracker gives back to the tables: every run once, every point once."""
    whole, layers = tables.load("results/s"), tables.load_side("results/s", "diagnostics").fillna({"layer": ""})
    runs = whole.runs.set_index("run_id")
    assert set(read) == set(runs.index)
    for name, found in read.items():
        own = whole.curves[whole.curves["run_id"] == name]
        for (split, metric), rows in own.groupby(["split", "metric"]):
            ordered = rows.sort_values("step")
            told = found.points[f"{split}/{metric}"]
            assert [step for step, _ in told] == ordered["step"].tolist()
            assert [value for _, value in told] == pytest.approx(ordered["value"].tolist(), rel=1e-6)
        recorded = layers[(layers["run_id"] == name) & (layers["layer"] == "layers.1")]
        for diagnostic, rows in recorded.groupby("name"):
            told = found.points[f"diagnostics/{diagnostic}/layers.1"]
            assert [value for _, value in told] == pytest.approx(rows.sort_values("step")["value"].tolist(), rel=1e-6)
        final = found.points["result/final_val_loss"]
        assert [value for _, value in final] == pytest.approx([runs.loc[name, "final_val_loss"]], rel=1e-6)
        assert str(found.settings["optimizer"]) == runs.loc[name, "optimizer"]
        assert float(found.settings["lr"]) == pytest.approx(runs.loc[name, "lr"])
        assert found.status == runs.loc[name, "status"]


@pytest.fixture
def study(cli: Callable[..., Any], folder: Path) -> Path:
    cli(*MAKE)
    return Path("results/s")


@pytest.fixture
def fresh() -> Iterator[None]:
    """Trackers are kept a process long; here a test long."""
    for kept in (live_log._opened, live_log._lost):
        kept.clear()
    yield
    for kept in (live_log._opened, live_log._lost):
        kept.clear()


def test_trackers_give_back_every_point_once_live_made_again_and_exported(folder: Path) -> None:
    there = [name for name in TRACKERS if importlib.util.find_spec(name)]
    if not there:
        pytest.skip("no tracker is installed")
    said = command("bench", f"logger=[{','.join(there)}]", *MAKE)
    for name in there:
        assert f"\n{name}: " in said
        check_same(READERS[name]())
    command("bench", f"logger=[{','.join(there)}]", "force=true", "launcher=pool", "launcher.n_jobs=2", *MAKE)
    for name in there:
        check_same(READERS[name]())
    figures = Path("reports/s/figures")
    figures.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(figures / "loss.png")
    for name in there:
        if name == "trackio":  # one folder a process
            assert "2 runs and 1 figures written" in command("bench.export", "results/s", "--to", name)
        else:
            assert export.main(["results/s", "--to", name]) == 0
        check_same(READERS[name]())
    for name in set(there) & {"tensorboard", "mlflow", "wandb"}:
        assert FIGURES[name]() == ["loss"]


def figures_in_tensorboard() -> list[str]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator("tensorboard/s/report")
    reader.Reload()
    return list(reader.Tags()["images"])


def figures_in_mlflow() -> list[str]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{Path('mlflow.db').resolve()}")
    experiment = client.get_experiment_by_name("s").experiment_id
    (report,) = client.search_runs([experiment], "tags.`mlflow.runName` = 'report'")
    return [Path(each.path).stem for each in client.list_artifacts(report.info.run_id)]


def figures_in_wandb() -> list[str]:
    (path,) = Path("wandb/wandb").glob("offline-run-*-s-report/files/media/images/*.png")
    return [path.name.partition("_")[0]]


FIGURES = {"tensorboard": figures_in_tensorboard, "mlflow": figures_in_mlflow, "wandb": figures_in_wandb}


def test_figures_of_a_report_go_along_live(folder: Path) -> None:
    pytest.importorskip("tensorboard")
    command("bench", "logger=tensorboard", "train.steps=20", "seeds=1", "memory=false", "study=s")
    assert "loss-step" in figures_in_tensorboard()


class Failing:
    """A tracker that breaks, or hangs, at a chosen call."""

    where = "nowhere"

    def __init__(self, at: str, hangs: bool = False) -> None:
        self.at, self.hangs, self.calls = at, hangs, list[str]()

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name == self.at:
            if self.hangs:
                time.sleep(60)
            raise ConnectionError("the server is gone")

    def begin(self, run: Any) -> Failing:
        self._called("begin")
        return self

    def add(self, points: Any) -> None:
        self._called("add")

    def end(self, status: str, results: Any) -> None:
        self._called("end")

    def add_figures(self, study: str, figures: Any) -> None:
        self._called("add_figures")


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("at", ["open", "begin", "add", "end", "add_figures"])
@pytest.mark.parametrize("hangs", [False, True])
def test_losing_a_tracker_never_costs_a_run(
    cli: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch, at: str, hangs: bool
) -> None:
    broken = Failing(at, hangs)
    training = ("train.steps=30", "seeds=1", "memory=false", f"report={str(at == 'add_figures').lower()}")

    def opened(name: str, options: Any) -> Failing:
        broken._called("open")
        return broken

    monkeypatch.setattr(live_log, "open_tracker", opened)
    monkeypatch.setattr(live_log, "LIMIT_S", 0.2)
    monkeypatch.setattr(live_log, "EVERY_S", 0.0)
    cli(*training, "study=plain")
    outcome = cli(*training, "study=live", "logger=tensorboard")
    assert outcome.status == 0
    reason = "no answer within 0.2 s" if hangs else "ConnectionError: the server is gone"
    assert outcome.err.count(f"bench: logger=tensorboard: {reason}; training goes on without it\n") == 1
    plain, live = (tables.load(f"results/{name}").curves for name in ("plain", "live"))
    columns = ["run_id", "step", "split", "metric", "value"]
    pd.testing.assert_frame_equal(plain[columns], live[columns])


@pytest.mark.usefixtures("fresh")
def test_the_end_of_a_run_that_did_not_end_well_is_told(
    cli: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, int]] = []

    class Telling(Failing):
        def add(self, points: Any) -> None:
            told.append(("points", len(points)))

        def end(self, status: str, results: Any) -> None:
            told.append((status, len(results)))

    monkeypatch.setattr(live_log, "open_tracker", lambda name, options: Telling(""))
    for trouble, status in (("raise", "failed"), ("interrupt", "interrupted"), ("blowup", "diverged")):
        told.clear()
        cli("optimizer=custom", "optimizer._target_=mine.Mine", f"+optimizer.trouble={trouble}", "seeds=1", "study=s",
            "logger=mlflow", "report=false", "memory=false", "train.steps=40")  # fmt: skip
        assert [name for name, _ in told][-1] == status and told[0][0] == "points"
    told.clear()
    cli("optimizer=custom", "optimizer._target_=mine.Mine", "+optimizer.trouble=constructor", "seeds=1", "study=t",
        "logger=mlflow", "report=false", "memory=false")  # fmt: skip
    assert [name for name, _ in told] == ["failed"]


@pytest.mark.usefixtures("fresh")
def test_a_tracker_that_is_not_installed_is_refused_before_anything_runs(
    cli: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bench.trackers.wandb", None)
    outcome = cli("logger=wandb", "train.steps=5", "report=false")
    assert outcome.status == 2 and not Path("results").exists()
    assert "bench: logger must be a tracker that is installed, got wandb" in outcome.err
    assert "pip install 'optbench[wandb]'" in outcome.err


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("logger=tensorbord", "logger"),
        ("logger.mlflow.uri=x", "logger.mlflow"),
        ("+logger.tensorboard.port=3", "logger.tensorboard.port"),
        ("logger=wandb logger.wandb.mode=on", "logger.wandb.mode must be one of offline, online"),
        ("logger=mlflow logger.mlflow.uri=''", "logger.mlflow.uri must be the address of a store"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_logger_is_one_sentence(
    cli: Callable[..., Any], folder: Path, typed: str, said: str
) -> None:
    outcome = cli(*typed.split(), "train.steps=5", "report=false")
    assert outcome.status == 2 and said in outcome.err and "Traceback" not in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


def test_its_server_shows_the_runs(study: Path) -> None:
    pytest.importorskip("tensorboard")
    command("bench.export", str(study), "--to", "tensorboard")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["--logdir", "tensorboard/s", "--host", "127.0.0.1", "--port", str(port), "--load_fast", "false"]
    server = subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    def ask(path: str, body: bytes | None = None) -> Any:
        with suppress(OSError):
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(f"http://127.0.0.1:{port}/data/plugin/{path}", body, headers)
            return json.loads(urllib.request.urlopen(request, timeout=5).read())
        return {}

    try:
        wanted, shown = set(tables.load(study).runs["run_id"]), dict[str, Any]()
        for _ in range(120):
            shown = ask("scalars/tags")
            if wanted == set(shown):
                break
            time.sleep(0.5)
        assert wanted == set(shown)
        assert all("val/loss" in tags for tags in shown.values())
        experiment = ask("hparams/experiment", b"{}")
        assert {"optimizer", "lr"} <= {each["name"] for each in experiment["hparamInfos"]}
    finally:
        server.kill()
        server.wait()


def test_what_cannot_be_exported_is_one_sentence(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export.main(["results/none", "--to", "tensorboard"]) == 2
    Path("file").write_text("mine")
    assert export.main([str(study), "--to", "tensorboard", "--out", "file"]) == 2
    err = capsys.readouterr().err
    assert "bench.export: --out must be a place that can be written, got file" in err
    if importlib.util.find_spec("mlflow"):
        assert export.main([str(study), "--to", "mlflow", "--out", "nothing://here"]) == 2
        assert (
            "bench.export: --out must be a place that mlflow can write, got nothing://here (" in capsys.readouterr().err
        )
    assert Path("file").read_text() == "mine"
