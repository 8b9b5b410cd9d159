"""Figures and tables of a report as a paper or a talk needs them: `python -m bench.report ... --export DIR`."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report.document import Block
from bench.report.markdown import markdown_table
from bench.tables.csv import write_csv

DRAWN_FONT_PT = 13
"""Size of the labels of figures as they are drawn, see `bench.plots.style.style`."""


PNG_DPI = 300


MOST_SQUEEZED = 0.6
"""Of its height a figure keeps at least this share, however narrow it becomes."""


MOST_INCHES = 100.0


MOST_NARROWED = 0.8
"""Of the width for which they were drawn, panels side by side keep at least this share."""


@dataclass(frozen=True)
class Style:
    """Where figures are to be shown.

    Attributes:
        font_pt: Size of the labels, in points.
        widths: Of figures, in inches, by the names that the files get.
    """

    font_pt: float
    widths: dict[str, float]


STYLES: dict[str, Style] = {
    "paper": Style(8, {"one-column": 3.4, "two-columns": 7.0}),
    "slides": Style(16, {"half": 6.0, "full": 12.3}),
}
"""Columns as those of IEEE and ACM; slides of 13.3 by 7.5 inches."""


@dataclass(frozen=True)
class Export:
    """Write figures as SVG, PDF and PNG, and tables as CSV, Markdown and LaTeX.

    Attributes:
        folder: Where they go, with figures/ and tables/.
        style: For what the figures are.
    """

    folder: Path
    style: Style

    def figure(self, name: str, figure: Figure) -> None:
        """Write a figure in each width; labels have the size of the style, unless they leave no room for panels.

        Where panels that stand side by side would become too narrow, each is a figure of its own: -panel-1 and so on.

        Args:
            name: Of the files, before -one-column.svg and so on.
            figure: With its size as drawn for the page; it is not to be used afterwards.

        Raises:
            OSError: A file cannot be written.
        """
        drawn_width, height = figure.get_size_inches()
        scale = self.style.font_pt / DRAWN_FONT_PT
        figure.set_layout_engine("constrained")
        for suffix, inches in sorted(self.style.widths.items(), key=lambda item: -item[1]):
            width = inches / scale
            figure.set_size_inches(width, height * min(1.0, max(MOST_SQUEEZED, width / drawn_width)))
            panels = panels_of(figure) if width < MOST_NARROWED * drawn_width else []
            if not panels:
                self._write(f"{name}-{suffix}", figure, inches)
                continue
            figure.set_size_inches(width, height)
            for number, panel in enumerate(panels, 1):
                show_only(figure, panel, panels)
                self._write(f"{name}-panel-{number}-{suffix}", figure, inches)

    def _write(self, name: str, figure: Figure, inches: float) -> None:
        """Write a figure, scaled to a width; where its labels leave no room for panels, it is drawn larger first."""
        import vl_convert

        fit_legends(figure)
        while not has_room(figure) and figure.get_size_inches().max() < MOST_INCHES:
            width, height = figure.get_size_inches()
            figure.set_size_inches(1.25 * width, 1.25 * height)
        scale = inches / figure.get_size_inches()[0]
        path = self.folder / "figures" / name
        width, height = scale * figure.get_size_inches()
        svg = _svg(figure)
        path.with_name(f"{name}.svg").write_text(_resized(svg, 96 * width, 96 * height), encoding="utf-8")
        path.with_name(f"{name}.pdf").write_bytes(vl_convert.svg_to_pdf(_resized(svg, 72 * width, 72 * height)))
        figure.savefig(path.with_name(f"{name}.png"), dpi=PNG_DPI * scale, pil_kwargs={"dpi": (PNG_DPI, PNG_DPI)})

    def tables(self, prefix: str, blocks: Iterable[Block]) -> None:
        """Write the tables of some blocks, as the page shows them.

        Args:
            prefix: Of the names of files, "2-" for the second section.
            blocks: Those without a table are left out.

        Raises:
            OSError: A file cannot be written.
        """
        for block in blocks:
            if block.table is None or block.table.empty:
                continue
            path = self.folder / "tables" / f"{prefix}{block.key}"
            write_csv(block.table, path.with_name(f"{path.name}.csv"))
            path.with_name(f"{path.name}.md").write_text(f"{markdown_table(block.table)}\n", encoding="utf-8")
            path.with_name(f"{path.name}.tex").write_text(latex_table(block.table), encoding="utf-8")


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _resized(svg: str, width: float, height: float) -> str:
    """Return an SVG with another width and height, everything in it scaled.

    Args:
        svg: Whose first element has both, and a viewBox.
        width: In pixels of SVG, 96 an inch, or in what a converter to PDF takes for points, 72 an inch.
        height: Likewise.
    """
    for name, value in (("width", width), ("height", height)):
        svg = re.sub(rf'(<svg [^>]*?\b{name}=)"[^"]*"', rf'\g<1>"{value:.2f}"', svg, count=1)
    return svg


def panels_of(figure: Figure) -> list[Axes]:
    """Return the panels of a figure that stand side by side and can stand alone; none where there are no such."""
    axes = [axis for axis in figure.axes if axis.get_subplotspec() is not None]
    grids = {axis.get_subplotspec().get_gridspec() for axis in axes}  # type: ignore[union-attr]
    is_row = len(axes) == len(figure.axes) > 1 and len(grids) == 1 and next(iter(grids)).nrows == 1
    return axes if is_row else []


def has_room(figure: Figure) -> bool:
    """Return whether what stands around the panels leaves room for them."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        try:
            figure.draw_without_rendering()
        except UserWarning:
            return False
    return True


def show_only(figure: Figure, panel: Axes, panels: Sequence[Axes]) -> None:
    """Give one panel of a row the whole width of the figure, and hide the others."""
    for axis in panels:
        axis.set_visible(axis is panel)
        axis.set_in_layout(axis is panel)
    panel.set_subplotspec(figure.add_gridspec(1, 1)[0])
    panel.tick_params(labelleft=True)
    names = [label.get_text() for label in panels[0].get_yticklabels()]
    if any(names) and not any(label.get_text() for label in panel.get_yticklabels()):
        panel.set_yticks(panels[0].get_yticks(), names)  # names of rows, which stand beside the first panel alone


def fit_legends(figure: Figure) -> None:
    """Draw the legends beside the panels again, in as many columns as fit the width of the figure."""
    for legend in list(figure.legends):
        handles = [handle for handle in legend.legend_handles if handle is not None]
        names = [text.get_text() for text in legend.get_texts()]
        place: Any = f"outside {getattr(legend, '_outside_loc', None) or 'upper'} center"
        for columns in range(len(names), 0, -1):
            legend.remove()
            legend = figure.legend(handles, names, loc=place, ncols=columns, frameon=False)
            if legend.get_window_extent().width <= figure.bbox.width:
                break


def latex_table(table: pd.DataFrame) -> str:
    r"""Return a table of texts as LaTeX, with the rules of booktabs; what would be LaTeX in a cell is escaped.

    Example:
        >>> print(latex_table(pd.DataFrame({"optimizer": ["adam"], "loss, %": ["0.1 ± 0.02"]})))
        \begin{tabular}{ll}
        \toprule
        optimizer & loss, \% \\
        \midrule
        adam & 0.1 ± 0.02 \\
        \bottomrule
        \end{tabular}
        <BLANKLINE>
    """
    return str(table.to_latex(index=False, escape=True))
