"""Colours and line styles: what tells optimizers, and the settings of one optimizer, from each other in every figure."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterable, Sequence

import pandas as pd
from matplotlib.colors import is_color_like, to_rgb

from bench.base.errors import UserError
from bench.config.capabilities import shipped_optimizers

Color = tuple[float, float, float]


LineStyle = str | tuple[int, tuple[float, ...]]


DASHES: tuple[LineStyle, ...] = (
    "-", "--", ":", "-.", (0, (7, 2, 1, 2, 1, 2)), (0, (1, 3)), (0, (9, 3)), (0, (4, 1, 1, 1, 1, 1, 1, 1)),
)  # fmt: skip
"""Line styles in the order in which series of one colour take them."""


OTHERS = (
    "#496d3d", "#dbc29e", "#55e749", "#799eff", "#e77949", "#9231ce", "#b6006d", "#ce24b6",
    "#317986", "#24dbf3", "#317900", "#00c279", "#0055f3", "#aa6ddb", "#e7aaaa", "#6d3131",
)  # fmt: skip
"""Colours of optimizers whose configuration names none.

They and those in `conf/optimizer/` were chosen one after another, each as far as possible from all before it in CIELAB, for normal vision as
well as for simulated protanopia and deuteranopia (Machado, Oliveira and Fernandes 2009, severity 1); the first are seaborn's
"colorblind" palette.
"""


@functools.cache
def _declared() -> dict[str, Color]:
    """Return the colours that configurations of optimizers name, by the name of the optimizer.

    Raises:
        UserError: A configuration names something that is not a colour.
    """
    found = {}
    for option, node in shipped_optimizers().items():
        colour = node.get("colour")
        if colour is None:
            continue
        if not is_color_like(colour):
            raise UserError(
                f"colour must be a name or a hexadecimal number of a colour, got {colour!r};"
                f' write one such as "#0072b2" into conf/optimizer/{option}.yaml'
            )
        found[str(node["name"])] = to_rgb(colour)
    return found


def colors(optimizers: Iterable[str]) -> dict[str, Color]:
    """Return a colour for each optimizer.

    The colour of an optimizer with a configuration stands there and never depends on the others. Any other takes its colour
    from its name: where two would take the same, the second in alphabetical order takes the next free one, until all
    of OTHERS are taken. Of optimizers that share a colour, `line_styles` tells their curves apart.

    Args:
        optimizers: Names of optimizers, such as those of one study.

    Examples:
        >>> palette = colors(["adam", "lion"])
        >>> palette["adam"] == colors(["adam", "sgd"])["adam"]
        True
        >>> palette["lion"] in {palette[name] for name in palette if name != "lion"}
        False
    """
    chosen = dict(_declared())
    own = sorted(set(map(str, optimizers)) - set(chosen))
    free: set[int] = set()
    for name in own:
        free = free or set(range(len(OTHERS)))
        first = zlib.crc32(name.encode()) % len(OTHERS)
        place = min(free, key=lambda i: (i - first) % len(OTHERS))
        free.remove(place)
        chosen[name] = to_rgb(OTHERS[place])
    return chosen


def line_styles(
    runs: pd.DataFrame, series: Sequence[str], palette: dict[str, Color]
) -> dict[str, tuple[Color, LineStyle]]:
    """Return the colour and the line style of each series: a pair of its own.

    Args:
        runs: Columns series and optimizer.
        series: The series of the figure, in the order in which they take line styles.
        palette: A colour for each optimizer.
    """
    of = runs.drop_duplicates("series").set_index("series")["optimizer"]
    return styles_of([(name, str(of[name])) for name in series], palette)


def styles_of(series: Iterable[tuple[str, str]], palette: dict[str, Color]) -> dict[str, tuple[Color, LineStyle]]:
    """Return the colour and the line style of each series, given as pairs (series, optimizer).

    Series of one colour, whether of one optimizer or of several, take line styles in turn.

    Examples:
        >>> styles_of([("adam fused", "adam"), ("adam foreach", "adam")], {"adam": (0.0, 0.0, 1.0)})
        {'adam fused': ((0.0, 0.0, 1.0), '-'), 'adam foreach': ((0.0, 0.0, 1.0), '--')}
    """
    seen: dict[Color, int] = {}
    styles = {}
    for name, optimizer in series:
        color = palette[optimizer]
        styles[name] = (color, DASHES[seen.get(color, 0) % len(DASHES)])
        seen[color] = seen.get(color, 0) + 1
    return styles
