"""Figures and tables as a paper needs them: sizes to the point, every panel whole, LaTeX that compiles as it stands."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from bench.plots.style import one_legend, panel_grid, style
from bench.report import __main__ as command
from bench.report.export import PNG_DPI, STYLES, Export, fit_legends, latex_table


def two_panels() -> Figure:
    with style():
        figure, axes = panel_grid(2)
        for axis in axes:
            for number in range(4):
                axis.plot([0, 1], [number, number + 1], label=f"an optimizer with a long name {number}")
        one_legend(figure, axes)
    return figure


@pytest.fixture
def folder_of_export(tmp_path: Path) -> Path:
    for name in ("figures", "tables"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.mark.parametrize("name", STYLES)
def test_a_figure_has_the_width_that_its_name_says_in_every_format(folder_of_export: Path, name: str) -> None:
    export = Export(folder_of_export, STYLES[name])
    with style():
        export.figure("loss", two_panels())
    for width_name, inches in export.style.widths.items():
        found = list((folder_of_export / "figures").glob(f"loss*-{width_name}.svg"))
        assert found
        for path in found:
            svg = path.read_text()
            size = [float(re.search(rf'<svg [^>]*\b{side}="([\d.]+)"', svg)[1]) for side in ("width", "height")]  # type: ignore[index]
            assert size[0] == pytest.approx(96 * inches, abs=0.01)
            (box,) = re.findall(rb"MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", path.with_suffix(".pdf").read_bytes())
            assert float(box[0]) == pytest.approx(72 * inches, abs=0.01)
            with Image.open(path.with_suffix(".png")) as image:
                assert image.width == pytest.approx(PNG_DPI * inches, abs=1)
                assert image.info["dpi"][0] == pytest.approx(PNG_DPI, rel=1e-3)


def test_panels_that_would_be_too_narrow_are_figures_of_their_own(folder_of_export: Path) -> None:
    with style():
        Export(folder_of_export, STYLES["paper"]).figure("loss", two_panels())
    names = {path.stem for path in (folder_of_export / "figures").iterdir()}
    assert names == {"loss-panel-1-one-column", "loss-panel-2-one-column", "loss-two-columns"}


def test_a_legend_fits_the_figure_whose_it_is() -> None:
    with style():
        figure = two_panels()
        figure.set_size_inches(4, 4)
        assert figure.legends[0].get_window_extent().width > figure.bbox.width
        fit_legends(figure)
        figure.draw_without_rendering()  # type: ignore[no-untyped-call]
        assert figure.legends[0].get_window_extent().width <= figure.bbox.width
        assert [text.get_text()[-1] for text in figure.legends[0].get_texts()] == list("0123")


def test_what_would_be_latex_in_a_cell_is_escaped() -> None:
    text = latex_table(pd.DataFrame({"a_b & c": ["50 %", r"\input{x}", "$x^2$ #1 {~}"]}))
    assert r"a\_b \& c" in text
    assert r"50 \%" in text
    assert r"\textbackslash input\{x\}" in text
    assert r"\$x\textasciicircum 2\$ \#1 \{\textasciitilde \}" in text


def test_the_command_exports_every_figure_and_table_of_the_page(cli: Callable[..., Any], folder: Path) -> None:
    cli("optimizer=adam,sgd", "train.steps=20", "seeds=2", "study=s", "report=false", "-m")
    assert command.main(["results/s", "--export", "paper"]) == 0
    drawn = {path.stem for path in Path("reports/s/figures").glob("*.svg")}
    exported = {path.stem for path in Path("paper/figures").glob("*.pdf")}
    assert all(any(name.startswith(f"{one}-") for name in exported) for one in drawn)
    tables = {path.stem for path in Path("paper/tables").glob("*.tex")}
    assert {"leaderboard", "summary", "comparisons", "runs"} <= tables
    for suffix in ("csv", "md"):
        assert {path.stem for path in Path("paper/tables").glob(f"*.{suffix}")} == tables
    assert r"\toprule" in Path("paper/tables/leaderboard.tex").read_text()
    assert pd.read_csv("paper/tables/leaderboard.csv")["optimizer"].tolist() == ["adam", "sgd"]


def test_what_is_in_the_way_of_an_export_is_kept_and_named(
    cli: Callable[..., Any], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli("optimizer=adam,sgd", "train.steps=5", "seeds=2", "study=s", "report=false", "-m")
    mine = Path("paper/tables/leaderboard.tex")
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    assert command.main(["results/s", "--export", "paper"]) == 2
    assert "would replace" in capsys.readouterr().err
    assert mine.read_text() == "mine"
    assert not Path("reports/s").exists(), "nor is half of it written"
    assert command.main(["results/s", "--export", "mine.py"]) == 2
    assert "must go into a folder of its own, got mine.py" in capsys.readouterr().err
