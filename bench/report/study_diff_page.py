"""The comparison of two studies as one HTML file."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from bench.analysis.study_diff import TwoStudies
from bench.base.version import __version__
from bench.plots.palette import colors
from bench.plots.study_diff import differences_figure
from bench.plots.style import style
from bench.report.charts import differences_chart
from bench.report.document import Block, picture_of
from bench.report.explorer import chart_library
from bench.report.study.render import templates
from bench.report.study_diff import conclusion, head, method, readable_comparisons


@style()
def html(found: TwoStudies, names: tuple[str, str], tolerance: float, fail_on: Sequence[str]) -> str:
    """Return the comparison as a page; arguments as for `bench.report.study_diff.text`."""
    table = found.comparisons.assign(optimizer=found.comparisons["series"].str.partition(" ")[0])
    palette = colors(table["optimizer"])
    blocks = []
    for number, (workload, group) in enumerate(table.groupby("workload", sort=False), 1):
        name = f"differences-{number}"
        figure = differences_figure(group, tolerance, palette)
        caption = (
            f"Quantities of B relative to A with 95 % intervals; the band is the tolerance of {100 * tolerance:.3g} %."
        )
        chart = differences_chart(group, tolerance, palette)
        pictures = [] if figure is None else [picture_of(figure, name, caption, chart)]
        blocks.append(Block(name, str(workload), readable_comparisons(group), pictures=pictures, anchor=name))
    for letter, cells in zip("AB", found.only, strict=True):
        if cells:
            key = f"only-{letter.lower()}"
            blocks.append(Block(key, f"Only in {letter}", notes=cells, anchor=key))
    blocks.append(Block("method", "Method", notes=method(found, tolerance), anchor="method"))
    has_charts = any(picture.chart for block in blocks for picture in block.pictures)
    command = ["python", "-m", "bench.compare", *names, "--tolerance", f"{tolerance:g}", "--fail-on", ",".join(fail_on)]
    context = {
        "title": "Two studies",
        "subject": f"{names[1]} relative to {names[0]}",
        "headline": conclusion(found, tolerance, fail_on),
        "lines": head(found, names),
        "blocks": blocks,
        "curves": "",
        "library": chart_library() if has_charts else "",
        "files": "",
        "command": shlex.join(command),
        "version": __version__,
    }
    return templates().get_template("plain.html.j2").render(context)
