"""Figures: what is drawn is what the tables hold, and what has no data is not drawn."""

from __future__ import annotations

import io
import math
import re
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from made_up import row
from matplotlib.figure import Figure
from matplotlib.text import Text

from bench.plots import comparisons, palette, style, tuning
from bench.plots import curves as plots_curves
from bench.report.document import picture_of

NAMES = ["adam", "sgd"]
PALETTE = palette.colors(NAMES)


def lines(figure: Figure, marker: str, panel: int = 0) -> list[tuple[float, ...]]:
    return [
        tuple(np.asarray(line.get_xdata(), dtype=float))
        for line in figure.axes[panel].lines
        if line.get_marker() == marker
    ]


def targets(**changes: list[float]) -> pd.DataFrame:
    table = {
        "series": NAMES, "num_reached": [2, 1], "mean_steps": [20.0, math.nan], "mean_steps_low": [15.0, math.nan],
        "mean_steps_high": [27.0, math.nan], "time_to_target_s": [0.2, math.nan], "time_to_target_s_low": [0.1, math.nan],
        "time_to_target_s_high": [0.4, math.nan], "end_to_end_s": [0.3, 0.5],
    }  # fmt: skip
    return pd.DataFrame(table | changes)


EACH = pd.DataFrame(
    {
        "series": ["adam", "adam", "sgd", "sgd"], "optimizer": ["adam", "adam", "sgd", "sgd"], "reached": [True, True, True, False],
        "steps_to_target": [10.0, 40.0, 30.0, math.nan], "censored_at": [math.nan] * 3 + [100.0], "end_to_end_s": [0.3, 0.3, 0.5, math.nan],
    }
)  # fmt: skip


def test_a_censored_run_is_an_open_arrow_at_the_steps_it_had() -> None:
    figure = comparisons.targets_figure(EACH, targets(), PALETTE, True)
    assert figure is not None
    (arrow,) = (line for line in figure.axes[0].lines if line.get_marker() == ">" and len(line.get_xdata()))
    assert list(arrow.get_xdata()) == [100.0]
    assert arrow.get_markerfacecolor() == "white"
    assert (20.0,) in lines(figure, "D")
    assert (15.0, 27.0) in lines(figure, "None")
    assert (0.1, 0.4) in lines(figure, "None", 1)
    assert "steps × measured step time" in figure.axes[1].get_xlabel()


def test_end_to_end_times_say_that_they_rank_nothing() -> None:
    figure = comparisons.targets_figure(EACH, targets(), PALETTE, False)
    assert figure is not None
    assert figure.axes[1].get_xlabel() == "end to end (s), not ranked"
    assert lines(figure, "D", 1) == []
    assert comparisons.targets_figure(EACH.assign(reached=False), targets(), PALETTE, False) is None


def test_every_status_has_a_letter_of_its_own() -> None:
    letters = [letter for _, letter in comparisons.STATUS_CELLS.values()]
    assert len(set(letters)) == len(letters)
    runs = pd.DataFrame(
        [
            row("adam", 0.1, 0), row("adam", 0.1, 1, status="diverged"), row("adam", 0.1, 2, status="diverged"),
            row("adam", 0.01, 0), row("sgd", 0.1, 0, status="oom"), row("sgd", 0.01, 0, status="pruned"),
        ]
    )  # fmt: skip
    figure = comparisons.status_figure(runs, "lr", "learning rate")
    assert figure is not None
    texts = {text.get_text() for text in figure.axes[0].texts if isinstance(text, Text)}
    assert texts == {"2D", "✓", "M", "P"}
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["0.01", "0.1"]
    assert comparisons.status_figure(runs[runs["lr"] == 0.1], "lr", "learning rate") is None


def test_the_basin_is_open_where_nothing_was_tried_beyond() -> None:
    table = pd.DataFrame(
        {
            "optimizer": "adam",
            "setting": "adam",
            "lr": [0.01, 0.1],
            "value": [1.0, 2.0],
            "low": [1.0, 2.0],
            "high": [1.0, 2.0],
        }
    )
    basin = pd.DataFrame([{"optimizer": "adam", "setting": "adam", "low_lr": 0.01, "high_lr": 0.02, "open": "low"}])
    figure = tuning.sensitivity_figure(table, basin, "val loss", PALETTE)
    assert figure is not None
    assert lines(figure, "<") == [(0.01,)]
    assert lines(figure, "|") == [(0.02,)]
    assert tuning.sensitivity_figure(table.head(0), basin, "val loss", PALETTE) is None


def test_trials_without_a_loss_leave_the_axis_finite() -> None:
    curves = pd.DataFrame(
        {
            "optimizer": "adam", "k": [1, 2, 3], "expected": [math.nan, 0.5, 0.4], "low": [0.3, 0.3, 0.3],
            "high": [math.inf, math.inf, 0.5],
        }
    )  # fmt: skip
    figure = tuning.budget_figure(curves, "val loss", PALETTE)
    assert figure is not None
    low, high = figure.axes[0].get_ylim()
    assert 0.1 < low < 0.4
    assert 0.5 < high < 1
    assert (1.0,) in lines(figure, "x")
    assert tuning.budget_figure(curves.head(1), "val loss", PALETTE) is None


def test_defaults_are_open_tuned_is_filled_and_the_ratio_has_its_interval() -> None:
    table = pd.DataFrame(
        [{"optimizer": "adam", "default": 0.4, "tuned": 0.2, "ratio": 0.5, "ratio_low": 0.4, "ratio_high": 0.6}]
    )
    figure = tuning.defaults_figure(table, PALETTE)
    assert figure is not None
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o" and len(line.get_xdata())]
    assert [(float(d.get_xdata()[0]), d.get_markerfacecolor() == "white") for d in dots] == [(0.4, True), (0.2, False)]
    assert (0.4, 0.6) in lines(figure, "None", 1)
    assert tuning.defaults_figure(table.head(0), PALETTE) is None


def test_the_pareto_front_is_filled() -> None:
    points = pd.DataFrame(
        {"series": NAMES, "optimizer": NAMES, "x": [1.0, 2.0], "y": [1.0, 3.0], "front": [True, False]}
    )
    figure = comparisons.pareto_figure(points, "s", "MiB", PALETTE)
    assert figure is not None
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o" and len(line.get_xdata())]
    assert [d.get_markerfacecolor() == "white" for d in dots] == [False, True]
    assert comparisons.pareto_figure(points.assign(y=[1.0, math.nan]), "s", "MiB", PALETTE) is None


def test_a_profile_steps_where_its_corners_are() -> None:
    profile = pd.DataFrame({"submission": ["adam"] * 3, "tau": [1.0, 2.0, 4.0], "share": [0.0, 0.5, 0.5]})
    (line,) = comparisons.profile_figure(profile, PALETTE).axes[0].lines
    assert line.get_drawstyle() == "steps-post"
    assert list(line.get_xdata()) == [1.0, 2.0, 4.0]


@pytest.mark.parametrize("num_seeds", [3, 50])
def test_of_many_seeds_some_are_drawn_and_the_median_is_over_all(num_seeds: int) -> None:
    runs = pd.DataFrame([{**row("adam", 0.1, seed), "series": "adam"} for seed in range(num_seeds)])
    points = [(run, step, "val", "loss", 1.0 + i) for i, run in enumerate(runs["run_id"]) for step in (0, 10)]
    curves = pd.DataFrame(points, columns=["run_id", "step", "split", "metric", "value"]).assign(epoch=1.0)
    figure = plots_curves.curves_figure(runs, curves, ["adam"], "loss", "step", PALETTE)
    assert figure is not None
    (axis,) = figure.axes
    faint = max((c for c in axis.collections if hasattr(c, "get_segments")), key=lambda c: len(c.get_segments()))
    assert len(faint.get_segments()) == min(num_seeds, style.MAX_FAINT_RUNS)
    (median,) = axis.lines
    assert list(median.get_ydata()) == [(1 + num_seeds) / 2] * 2


def test_epochs_stand_above_steps_where_a_step_is_the_same_part_of_one() -> None:
    runs = pd.DataFrame(
        [{**row(name, 0.1, 0), "run_id": run, "series": name} for run, name in (("a", "adam"), ("b", "sgd"))]
    )
    curves = pd.DataFrame(
        {
            "run_id": ["a"] * 3 + ["b"] * 3,
            "step": [0, 10, 20] * 2,
            "split": "val",
            "metric": "loss",
            "value": [3.0, 2, 1] * 2,
        }
    ).assign(epoch=lambda table: table["step"] / 10)
    for changed, num in (
        (curves, 1),
        (curves.assign(epoch=curves["epoch"] * np.where(curves["run_id"] == "a", 1, 2)), 0),
    ):
        figure = plots_curves.curves_figure(runs, changed, ["adam", "sgd"], "loss", "step", PALETTE)
        assert figure is not None
        figure.savefig(io.BytesIO())
        tops = list(figure.axes[0].child_axes)
        assert len(tops) == num
        for top in tops:
            assert top.get_xlabel() == "epoch"
            assert np.allclose(top.get_xlim(), np.divide(figure.axes[0].get_xlim(), 10))


def test_a_picture_keeps_its_texts_and_every_place_to_a_tenth_of_a_point() -> None:
    figure = Figure(figsize=(4, 3))
    axis = figure.subplots()
    x = np.linspace(0, 12.345678, 40)
    axis.plot(x, np.sin(x) * 123.456789)
    axis.set_xticks([1.0625, 12.345678], ["1.0625", "12.345678"])
    axis.set_title('Mean\n  of 3.14159 "L 2.71828" <b>')
    whole = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(whole, format="svg")
    small = picture_of(figure, "sine", "A sine. More").svg
    assert len(small) < 0.85 * len(whole.getvalue())
    trees = [ElementTree.fromstring(each) for each in (whole.getvalue(), small)]
    texts = [[each.text for each in tree.iter() if each.tag.endswith(("text", "tspan"))] for tree in trees]
    assert texts[0] == texts[1] and "1.0625" in texts[0] and "12.345678" in texts[0]
    paths = [[each.get("d") for each in tree.iter() if each.tag.endswith("path")] for tree in trees]
    assert len(paths[0]) == len(paths[1]) > 5
    for before, after in zip(*paths, strict=True):
        places = [[float(number) for number in re.findall(r"-?\d+\.?\d*", each or "")] for each in (before, after)]
        assert np.allclose(*places, rtol=0, atol=0.1)
