"""The page of one run, or of two side by side."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from browsers import assert_accessible

from bench import tables
from bench.analysis.comparisons import grid_of
from bench.cli import diagnose
from bench.report.run_charts import course_chart, layers_chart, planes_chart

if TYPE_CHECKING:
    from playwright.sync_api import Browser


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


def test_charts_of_a_run_are_drawn_and_tell_their_numbers(
    study: Path, capsys: pytest.CaptureFixture[str], browser: Browser
) -> None:
    runs = tables.load(study).runs
    assert diagnose.main([str(study), "--run", *runs["run_id"], "--page"]) == 0
    (page_path,) = re.findall(r"page: (.*)", capsys.readouterr().out)
    page = browser.new_context(viewport={"width": 1200, "height": 900}).new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(Path(page_path).resolve().as_uri())
    for name in ("course", "path", "slices", "plane", "layers-weight-norm"):
        figure = page.locator(f"figure#{name}")
        figure.scroll_into_view_if_needed()
        figure.locator(".canvas svg").wait_for()
    course = page.locator("figure#course .canvas svg")
    titles = course.locator(".role-title-text text").all_text_contents()
    assert {"train loss", "val loss", "weight norm", "sharpness"} <= set(titles)
    points = course.locator(".mark-symbol path")
    assert points.count() > 50
    points.nth(3).hover(force=True)
    tip = page.locator("#vg-tooltip-element")
    tip.wait_for()
    assert {"run", "step"} <= set(tip.locator("th").all_text_contents())
    maps = page.locator("figure#layers-weight-norm")
    maps.locator("select").select_option("gradient_norm")
    maps.locator(".role-legend-title text", has_text="gradient norm").wait_for()
    assert_accessible(page)
    page.set_viewport_size({"width": 360, "height": 740})
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert set(said) == set()


def test_a_plane_has_a_field_for_each_of_its_points() -> None:
    grid = [{"series": "adam", "kind": "plane", "x": x, "y": y, "value": x * x + 2 * y * y, "step": None}
            for x in (-1.0, 0.0, 1.0) for y in (-0.5, 0.0, 0.5)]  # fmt: skip
    data = json.loads(planes_chart(pd.DataFrame(grid), "plane", {"adam": ("#000000", "-")}, "caption"))
    cells = [row for row in data["rows"] if row["of"] == "cell"]
    assert {(row["x"], row["x2"]) for row in cells} == {(-1.5, -0.5), (-0.5, 0.5), (0.5, 1.5)}
    assert len(cells) == 9 == grid_of(pd.DataFrame(grid)).size  # type: ignore[union-attr]
    (lowest,) = (row for row in cells if row["loss"] == "0")
    assert lowest["above"] == 0.5 and (lowest["x"], lowest["y"]) == (
        -0.5,
        -0.25,
    )  # the smallest above it: log of 0 is none
    assert planes_chart(pd.DataFrame(grid), "path_plane", {"adam": ("#000000", "-")}, "caption") == ""


def test_the_course_marks_findings_and_maps_leave_out_steps_evenly() -> None:
    curves = pd.DataFrame({"series": "adam", "step": range(500), "split": "train", "metric": "loss", "value": 1.0})
    recorded = pd.DataFrame(
        {"series": "adam", "step": range(0, 500, 2), "layer": "a", "name": "weight_norm", "value": 2.0}
    )
    styles = {"adam": ("#000000", "-")}
    data = json.loads(course_chart(curves, recorded, styles, [("adam", 7, "1")], "caption"))
    assert [title for title, _ in data["panels"]] == ["train loss"]  # nothing was recorded of the whole
    assert [row["step"] for row in data["rows"] if "mark" in row] == [7]
    assert len(data["rows"]) <= 201
    steps = [row["step"] for row in json.loads(layers_chart(recorded, ["adam"]))["rows"]]
    assert len(steps) == 60 and (steps[0], steps[-1]) == (0, 498)
    assert layers_chart(recorded.assign(layer=""), ["adam"]) == ""


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
        page = Path(f"page-{status}", "index.html").read_text()
        assert words in page
        chart = json.loads(re.search(r'id="course-chart">(.*?)</script>', page).group(1))  # type: ignore[union-attr]
        assert "No diagnostics were recorded" in chart["caption"], "it stands in the place of the figure's"
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
