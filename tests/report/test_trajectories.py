"""Paths over a surface, and what else only some runs have: gaps, evaluations, metrics on request, new columns."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from bench import tables
from bench.analysis import comparisons, sections
from bench.analysis.leaderboard import leaderboard
from bench.analysis.section import SectionAnalysis
from bench.analysis.study import StudyAnalysis
from bench.plots import curves as plots_curves
from bench.plots import trajectories
from bench.plots.palette import colors
from bench.report import formatting
from bench.report.study import sentences
from bench.report.study import tables as study_tables
from bench.report.study.leaderboard import headline
from bench.report.study.render import write_report

START, LOWEST = (-1.2, 1.0), (1.0, 1.0)


def rosenbrock(x: float, y: float) -> float:
    return (1 - x) ** 2 + 100 * (y - x * x) ** 2


def make_study(folder: Path, runs: list[dict[str, Any]], metrics: tuple[str, ...] = ()) -> Path:
    study = folder / "results" / "s"
    for changes in runs:
        cell = "-".join(str(v) for k, v in changes.items() if k not in ("seed", "status", "reason"))
        row: dict[str, Any] = {
            "run_id": re.sub(r"[^\w.-]+", "_", f"{cell}-{changes.get('seed', 0)}"), "cell_id": cell, "environment_id": "e", "study": "s",
            "stage": "single", "status": "ok", "workload": "rosenbrock on none, batch 1", "workload_id": "w", "budget": "100 steps",
            "model": "rosenbrock", "model_options": '{"function": "rosenbrock"}', "data": "none", "data_options": "{}",
            "data_fingerprint": "f", "loss": "mean", "implementation": "forloop", "settings": "default", "schedule": "constant",
            "device": "cpu", "precision": "fp32", "lr": 0.001, "seed": 0, "batch_size": 1, "num_threads": 1, "num_parameters": 2,
            "num_train": 1, "num_val": 1, "num_test": 1, "num_steps_budget": 100, "num_steps": 100, "final_val_loss": 0.5,
            "final_test_loss": 0.5, "step_ms": 1.0, "train_s": 0.02, "cpu": "CPU", "num_cores": 2, "os": "Linux",
            "torch_version": "2.15.0", "python_version": "3.11.7", "command": "python -m bench", **changes,
        }  # fmt: skip
        wanted = [("train", "loss"), ("val", "loss"), *(("train", metric) for metric in metrics)]
        points = [(s, float(s), split, m, 2.0 / (s + 1), 0.001 * s) for s in (1, 50, 100) for split, m in wanted]
        tables.write_run(study, row, points, {})
    return study


def add_paths(study: Path, shift: float = 0.0, size: int = 21) -> None:
    """A straight path to the minimum for each run, and the surface once a run, as runs write them."""
    for run_id, seed in tables.load(study).runs[["run_id", "seed"]].itertuples(index=False):
        rows = []
        for step in range(0, 101, 10):
            share = step / 100
            x, y = ((1 - share) * a + share * b + shift * int(seed) for a, b in zip(START, LOWEST, strict=True))
            rows.append({"run_id": run_id, "step": step, "x": x, "y": y, "value": rosenbrock(x, y)})
        tables.write_side(study, "trajectories", str(run_id), rows)
        grid = [(x, y) for x in np.linspace(-2, 2, size) for y in np.linspace(-1, 3, size)]
        surface = [{"workload_id": "w", "x": float(x), "y": float(y), "value": rosenbrock(x, y)} for x, y in grid]
        tables.write_side(study, "surfaces", str(run_id), surface)


def report(study: Path, **options: Any) -> Path:
    out = study.parent.parent / "reports" / "s"
    write_report(StudyAnalysis(tables.load(study), study, **options), out)
    return out


def section(study: Path) -> sections.Section:
    (only,) = sections.sections(tables.load(study).runs)
    return only


def said_of(part: sections.Section) -> str:
    found = SectionAnalysis(part)
    return headline(found, leaderboard(found))


def lines(figure: Any) -> list[dict[str, tuple[float, float]]]:
    """Of each panel, the last point of each path by its label."""
    return [
        {
            str(line.get_label()): tuple(np.asarray(line.get_xydata())[-1])
            for line in axis.get_lines()
            if not str(line.get_label()).startswith("_")
        }
        for axis in figure.axes
        if axis.get_label() != "<colorbar>"
    ]


def test_the_report_draws_every_path_to_where_it_ends(tmp_path: Path) -> None:
    study = make_study(tmp_path, [{"optimizer": o} for o in ("adam", "sgd")])
    add_paths(study)
    out = report(study)
    page, markdown = (out / "index.html").read_text(), (out / "report.md").read_text()
    for text in (page, markdown):
        assert "adam ends at (1, 1), value 0; sgd ends at (1, 1), value 0." in text
        assert "its lowest value on the grid, 0 at (1, 1)" in text
    assert (out / "figures" / "trajectory.png").stat().st_size > 10_000
    drawn = re.search(
        r'<figure id="trajectory">\s*<div[^>]*>\s*<img src="data:image/svg\+xml,([^"]+)" alt="The path', page
    )
    assert drawn is not None, "the figure stands in the page, with words for those who do not see it"
    assert unquote_to_bytes(drawn[1]) == (out / "figures" / "trajectory.svg").read_bytes()
    kept = pd.read_csv(out / "tables" / "trajectories.csv")
    assert list(kept.columns) == ["run_id", "step", "x", "y", "value"]
    assert len(kept) == 22


def test_a_smaller_report_takes_the_figure_away_again(tmp_path: Path) -> None:
    study = make_study(tmp_path, [{"optimizer": "adam"}, {"optimizer": "sgd"}], ("gap", "grad_norm"))
    add_paths(study)
    out = report(study)
    assert {path.stem for path in (out / "figures").iterdir()} >= {"trajectory", "gap", "grad-norm"}
    (study / "trajectories" / "adam-0.parquet").unlink()
    report(study, where="optimizer == 'adam'")
    assert not (out / "figures" / "trajectory.svg").exists()
    assert not (out / "tables" / "trajectories.csv").exists()
    assert not (out / "figures" / "gap.svg").exists() or (out / "figures" / "gap.svg").stat().st_size


def test_a_study_without_paths_has_no_such_figure(tmp_path: Path) -> None:
    out = report(make_study(tmp_path, [{"optimizer": "adam"}]))
    assert not (out / "figures" / "trajectory.svg").exists()
    assert "The path of each" not in (out / "report.md").read_text()


def test_paths_are_those_of_the_first_seed_in_the_order_asked_for(tmp_path: Path) -> None:
    study = make_study(tmp_path, [{"optimizer": o, "seed": s} for o in ("adam", "sgd") for s in (7, 3)])
    add_paths(study, shift=0.1)
    found = comparisons.paths(section(study).runs, tables.load_side(study, "trajectories"), ["sgd", "adam"])
    assert list(found["series"].drop_duplicates()) == ["sgd", "adam"]
    for _, path in found.groupby("series"):
        assert path["step"].tolist() == list(range(0, 101, 10))
        assert path["x"].iloc[0] == pytest.approx(START[0] + 0.3)
    text = (report(study) / "report.md").read_text()
    assert "First seed of each optimizer." in text


def test_the_surface_is_the_grid_that_was_written_whoever_wrote_it(tmp_path: Path) -> None:
    study = make_study(tmp_path, [{"optimizer": o} for o in ("adam", "sgd")])
    add_paths(study)
    surfaces = tables.load_side(study, "surfaces")
    grid = comparisons.surface(surfaces, "w")
    assert grid is not None
    assert grid.shape == (21, 21)
    assert grid.loc[3.0, -2.0] == rosenbrock(-2, 3), "rows are y, columns are x"
    assert comparisons.lowest_point(grid) == (1.0, 1.0, 0.0)
    assert comparisons.surface(surfaces, "another") is None
    assert comparisons.surface(surfaces, pd.NA) is None
    assert comparisons.surface(surfaces.iloc[:0], "w") is None


def test_a_surface_that_is_not_a_number_somewhere_still_has_a_lowest_point() -> None:
    grid = pd.DataFrame([[math.nan, 5.0], [-3.0, 4.0]], index=[0.0, 1.0], columns=[10.0, 20.0])
    assert comparisons.lowest_point(grid) == (10.0, 1.0, -3.0)


@pytest.mark.parametrize(("num", "panels"), [(1, 1), (3, 1), (4, 4), (5, 5), (7, 7)])
def test_up_to_three_paths_share_a_panel_and_more_have_one_each_over_the_same_axes(
    tmp_path: Path, num: int, panels: int
) -> None:
    study = make_study(tmp_path, [{"optimizer": f"o{i}"} for i in range(num)])
    add_paths(study)
    runs = section(study).runs
    paths = comparisons.paths(runs, tables.load_side(study, "trajectories"), [f"o{i}" for i in range(num)])
    grid = comparisons.surface(tables.load_side(study, "surfaces"), "w")
    figure = trajectories.trajectory_figure(runs, paths, grid, colors(runs["optimizer"]))
    assert figure is not None
    found = lines(figure)
    assert len(found) == panels
    assert [len(panel) for panel in found] == ([num] if panels == 1 else [1] * num)
    assert all(end == pytest.approx(LOWEST) for panel in found for end in panel.values())
    assert sorted(name for panel in found for name in panel) == [f"o{i}" for i in range(num)]
    for axis in figure.axes:
        if axis.get_label() != "<colorbar>":
            assert (axis.get_xlim(), axis.get_ylim()) == ((-2.0, 2.0), (-1.0, 3.0))
    plt.close(figure)


def test_a_path_keeps_its_colour_and_a_lost_one_is_marked_and_said(tmp_path: Path) -> None:
    study = make_study(tmp_path, [{"optimizer": "adam"}, {"optimizer": "sgd", "status": "diverged", "reason": "far"}])
    add_paths(study)
    runs = section(study).runs
    paths = comparisons.paths(runs, tables.load_side(study, "trajectories"), ["adam", "sgd"])
    assert "sgd diverged at (1, 1)" in sentences.path_words(paths)
    palette = colors(["adam", "sgd"])
    figure = trajectories.trajectory_figure(runs, paths, None, palette)
    assert figure is not None
    by_name = {str(line.get_label()): line for line in figure.axes[0].get_lines()}
    assert {name: by_name[name].get_color() for name in palette if name in by_name} == {
        name: palette[name] for name in ("adam", "sgd")
    }
    markers = [line.get_marker() for line in figure.axes[0].get_lines()]
    assert markers.count("o") == 2
    assert markers.count("s") == 1
    assert markers.count("X") == 1
    legends = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert {"adam", "sgd", "start", "end", "did not end ok"} == set(legends)
    plt.close(figure)


def test_a_path_that_left_the_finite_numbers_is_drawn_as_far_as_it_came(tmp_path: Path) -> None:
    study = make_study(tmp_path, [{"optimizer": "sgd", "status": "diverged", "reason": "far"}])
    rows = [
        {"run_id": "sgd-0", "step": 0, "x": 0.0, "y": 0.0, "value": 1.0},
        {"run_id": "sgd-0", "step": 1, "x": 1e30, "y": -1e30, "value": 1e38},
    ]
    tables.write_side(study, "trajectories", "sgd-0", rows)
    out = report(study)
    assert "sgd diverged at (1e+30, -1e+30), value 1e+38." in (out / "report.md").read_text()


def test_a_flat_surface_is_drawn_too(tmp_path: Path) -> None:
    study = make_study(tmp_path, [{"optimizer": "adam"}])
    add_paths(study)
    flat = [{"workload_id": "w", "x": float(x), "y": float(y), "value": 2.0} for x in range(3) for y in range(3)]
    tables.write_side(study, "surfaces", "adam-0", flat)
    assert (report(study) / "figures" / "trajectory.svg").is_file()


def test_thousands_of_points_make_a_small_figure_that_keeps_the_jumps() -> None:
    slow = np.column_stack([np.linspace(0, 1, 10_000), np.zeros(10_000)])
    jump = np.array([[0.0, 0.0], [0.0, 5.0], [0.0, 0.0]])
    kept = trajectories._apart(np.concatenate([jump, slow]), 0.01)
    assert len(kept) < 120
    assert kept[1].tolist() == [0.0, 5.0]
    assert kept[-1].tolist() == [1.0, 0.0]
    assert trajectories._apart(jump[:1], 0.01).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_one_seed_says_all_where_nothing_is_random(tmp_path: Path) -> None:
    both = [{"optimizer": "adam", "final_val_loss": 0.25}, {"optimizer": "sgd", "final_val_loss": 1e-9}]
    assert said_of(section(make_study(tmp_path / "a", both))) == (
        "Nothing is random here, so one run of each is enough. Final values, lowest first: sgd (1e-09), adam (0.25)."
    )
    random = [row | {"model_options": "{}"} for row in both]
    assert "One seed cannot rank anything" in said_of(section(make_study(tmp_path / "b", random)))


@pytest.mark.parametrize(
    ("column", "one", "other", "names"),
    [
        ("augment", "none", "crop", ["adam augment=none", "adam augment=crop"]),
        ("order", "reshuffled", "frozen", ["adam order=reshuffled", "adam order=frozen"]),
        ("init_from", None, "best.pt", ["adam", "adam init_from=best.pt"]),
        ("clip_norm", None, 1.0, ["adam", "adam clip_norm=1"]),
        ("l1", 0.0, 1e-4, ["adam l1=0", "adam l1=0.0001"]),
        ("accumulate", 1, 4, ["adam accumulate=1", "adam accumulate=4"]),
        ("weights_only_decay", False, True, ["adam weights_only_decay=False", "adam weights_only_decay=True"]),
        ("compiled_model", False, True, ["adam compiled_model=False", "adam compiled_model=True"]),
    ],
)
def test_cells_are_told_apart_by_what_varies_and_old_tables_do_without(
    tmp_path: Path, column: str, one: Any, other: Any, names: list[str]
) -> None:
    runs = tables.load(
        make_study(tmp_path, [{"optimizer": "adam", column: one, "cell_id": "a", "run_id": "a-0"},
                              {"optimizer": "adam", column: other, "cell_id": "b", "run_id": "b-0"}])
    ).runs  # fmt: skip
    assert list(sections.series_names(runs)) == names
    old = runs.drop(columns=[column])
    assert list(sections.series_names(old)) == ["adam a", "adam b"]
    assert list(sections.series_names(runs.iloc[:1])) == ["adam"]


def test_gap_evaluations_and_latency_are_in_the_summary_where_there_are_any(tmp_path: Path) -> None:
    extra = {"num_evaluations": 320, "final_train_gap": 0.02, "latency_ms": 0.5, "latency_batch_ms": 4.0}
    rows: list[dict[str, Any]] = [{"optimizer": "adam", "num_evaluations": 100}, {"optimizer": "lbfgs"} | extra]
    table = study_tables.readable_summary(
        comparisons.summary(section(make_study(tmp_path / "a", rows)).runs)
    ).set_index("optimizer")
    assert table.loc["lbfgs", "gap to optimum"] == "0.02"
    assert table.loc["adam", "gap to optimum"] == "—"
    assert table.loc["lbfgs", "gradients computed"] == "320"
    assert table.loc["adam", "gradients computed"] == "100"
    assert table.loc["lbfgs", "latency ms"] == "0.5"
    assert table.loc["lbfgs", "latency of a batch ms"] == "4"
    seeds = [
        {"optimizer": "adam", "seed": s, "final_train_gap": 0.01 * (s + 1), "num_evaluations": 100, "cell_id": "c"}
        for s in (0, 1, 2)
    ]
    runs = section(make_study(tmp_path / "b", seeds)).runs
    plain = study_tables.readable_summary(comparisons.summary(runs))
    assert plain["gap to optimum"].tolist() == ["0.020 ± 0.025"]
    assert not {"gradients computed", "latency ms", "latency of a batch ms"} & set(plain)
    old = runs.drop(columns=["final_train_gap", "num_evaluations", "latency_ms", "latency_batch_ms"])
    assert "gap to optimum" not in study_tables.readable_summary(comparisons.summary(old))


def test_tiny_numbers_stay_readable() -> None:
    assert formatting.with_interval(1.234e-9, 1.204e-9, 1.264e-9) == "1.23e-09 ± 3e-11"
    assert formatting.with_interval(1.234e-9, 1.234e-9, 1.234e-9) == "1.23e-09 ± 0"
    assert formatting.with_interval(0.0, 0.0, 0.0) == "0.0000 ± 0.0000"


@pytest.mark.parametrize("low", [0.5, 1e-2, 1e-4, 1e-7, 1e-13])
def test_a_loss_over_any_number_of_decades_has_numbers_on_its_axis(tmp_path: Path, low: float) -> None:
    study = make_study(tmp_path, [{"optimizer": "adam"}])
    curves = tables.load(study).curves
    curves.loc[curves["step"] == 100, "value"] = low
    runs = section(study).runs
    figure = plots_curves.curves_figure(runs, curves, ["adam"], "loss", "step", colors(["adam"]))
    assert figure is not None
    for axis in figure.axes:
        ticks = [tick for tick in axis.get_yticks() if axis.get_ylim()[0] <= tick <= axis.get_ylim()[1]]
        assert 2 <= len(ticks) <= 10
    plt.close(figure)


def test_metrics_on_request_have_a_figure_each(tmp_path: Path) -> None:
    metrics = ("gap", "grad_norm", "update_ratio", "distance")
    study = make_study(tmp_path, [{"optimizer": "adam"}], metrics)
    out = report(study)
    for name in ("gap", "grad-norm", "update-ratio", "distance"):
        assert (out / "figures" / f"{name}.svg").is_file()
        assert f"](figures/{name}.svg)" in (out / "report.md").read_text()
    runs = section(study).runs
    figure = plots_curves.curves_figure(
        runs, tables.load(study).curves, ["adam"], "grad_norm", "step", colors(["adam"])
    )
    assert figure is not None
    (axis,) = figure.axes
    assert (axis.get_ylabel(), axis.get_yscale()) == ("norm of the gradient", "log")
    plt.close(figure)
    bare = {path.stem for path in (report(make_study(tmp_path / "b", [{"optimizer": "adam"}])) / "figures").iterdir()}
    assert not bare & {"gap", "grad-norm", "update-ratio", "distance"}
