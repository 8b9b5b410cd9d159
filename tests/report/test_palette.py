"""Colours and line styles tell optimizers apart, whoever stands beside them and however the reader sees colours."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from bench.base.errors import UserError
from bench.config.capabilities import shipped_optimizers
from bench.plots import palette
from bench.plots.palette import DASHES, OTHERS, colors, line_styles

SHIPPED = [name for name in shipped_optimizers() if name != "custom"]

SIX = ["adam", "sgd", "rmsprop", "nadam", "adamax", "adadelta"]

XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
"""From linear sRGB, IEC 61966-2-1."""

# Machado, Oliveira and Fernandes 2009, severity 1
PROTANOPIA = np.array(
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
)
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)


def lab(colour: tuple[float, float, float], seen: np.ndarray) -> np.ndarray:
    """CIELAB under D65 of an sRGB colour, as an eye sees it that turns linear sRGB by a matrix."""
    srgb = np.array(colour)
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    xyz = XYZ @ np.clip(seen @ linear, 0, 1) / [0.95047, 1.0, 1.08883]
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def distance(first: tuple[float, float, float], second: tuple[float, float, float], seen: np.ndarray) -> float:
    return float(np.linalg.norm(lab(first, seen) - lab(second, seen)))


def test_every_shipped_optimizer_has_a_label_and_a_colour_of_its_own() -> None:
    assert len(SHIPPED) == 16
    nodes = [shipped_optimizers()[name] for name in SHIPPED]
    for key in ("label", "colour"):
        assert len({node[key] for node in nodes}) == len(SHIPPED)


def test_the_measure_of_distance_is_that_of_the_eye() -> None:
    red, green = (0.70, 0.30, 0.20), (0.42, 0.45, 0.18)
    assert distance((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), np.eye(3)) == pytest.approx(100, abs=0.1)
    assert distance(red, green, DEUTERANOPIA) < distance(red, green, np.eye(3)) / 2


@pytest.mark.parametrize(
    ("seen", "least", "least_of_six"), [(np.eye(3), 30, 25), (PROTANOPIA, 18, 13), (DEUTERANOPIA, 18, 10)]
)
def test_every_eye_tells_shipped_optimizers_apart(seen: np.ndarray, least: float, least_of_six: float) -> None:
    found = colors([])
    for first, second in itertools.combinations(SHIPPED, 2):
        far = least_of_six if {first, second} <= set(SIX) else least  # whose colours are seaborn's
        assert distance(found[first], found[second], seen) > far, (first, second)


def test_colours_are_dark_enough_on_white_and_not_black() -> None:
    for colour in [*colors([]).values(), *map(to_rgb, OTHERS)]:
        assert 20 < lab(colour, np.eye(3))[0] < 86


def test_the_six_keep_the_colours_they_always_had() -> None:
    assert [colors(SIX)[name] for name in SIX] == [
        to_rgb(c) for c in ("#0173b2", "#de8f05", "#029e73", "#cc78bc", "#56b4e9", "#949494")
    ]


def test_a_shipped_colour_never_depends_on_the_others() -> None:
    alone = {name: colors([name])[name] for name in SHIPPED}
    crowd = colors([*SHIPPED, *(f"own{i}" for i in range(40))])
    assert {name: crowd[name] for name in SHIPPED} == alone


def test_an_own_optimizer_takes_its_colour_from_its_name() -> None:
    alone = colors(["lion"])["lion"]
    assert alone not in [colors([])[name] for name in SHIPPED]
    assert colors(["lion", *SHIPPED])["lion"] == alone
    assert colors(["sophia", "lion"])["lion"] == alone
    assert len({colors([f"own{i}"])[f"own{i}"] for i in range(60)}) > 12  # not one colour for all


def test_two_of_one_colour_are_parted_and_the_first_keeps_it() -> None:
    by_colour: dict[tuple[float, float, float], list[str]] = {}
    for name in (f"own{i}" for i in range(60)):
        by_colour.setdefault(colors([name])[name], []).append(name)
    colour, (first, second, *_) = next(item for item in by_colour.items() if len(item[1]) > 1)
    assert colors([second, first])[first] == colour == colors([second])[second]
    assert colors([second, first])[second] != colour


@pytest.mark.parametrize("num_own", [8, 24, 100])
def test_every_optimizer_of_a_study_has_a_pair_of_colour_and_line_style(num_own: int) -> None:
    names = [*SHIPPED, *(f"own{i}" for i in range(num_own))]
    runs = pd.DataFrame({"series": names, "optimizer": names})
    styles = line_styles(runs, names, colors(names))
    assert len(set(styles.values())) == len(names)
    assert {styles[name][1] for name in SHIPPED} == {"-"}


@pytest.mark.parametrize("own", [[], [f"own{i}" for i in range(8)], [f"own{i}" for i in range(24)]])
def test_twenty_four_optimizers_are_seen_apart(own: list[str]) -> None:
    names = [*SHIPPED, *own][-24:]
    runs = pd.DataFrame({"series": names, "optimizer": names})
    styles = line_styles(runs, names, colors(names)).values()
    for (first, dash), (second, other) in itertools.combinations(styles, 2):
        if dash == other:
            assert distance(first, second, np.eye(3)) > 17
            assert min(distance(first, second, seen) for seen in (PROTANOPIA, DEUTERANOPIA)) > 10


def test_series_of_one_optimizer_share_its_colour_and_part_by_line_style() -> None:
    runs = pd.DataFrame({"series": [f"adam {i}" for i in range(len(DASHES))], "optimizer": "adam"})
    styles = line_styles(runs, list(runs["series"]), colors(["adam"]))
    assert {colour for colour, _ in styles.values()} == {colors([])["adam"]}
    assert [dash for _, dash in styles.values()] == list(DASHES)


def test_a_colour_that_is_none_is_refused_with_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(palette, "shipped_optimizers", lambda: {"lion": {"name": "lion", "colour": "loud"}})
    palette._declared.cache_clear()
    try:
        with pytest.raises(
            UserError, match=r"^colour must be .*, got 'loud'; write .* into conf/optimizer/lion\.yaml$"
        ):
            colors(["lion"])
    finally:
        palette._declared.cache_clear()


def test_importing_figures_changes_nothing_of_matplotlib() -> None:
    code = """
import matplotlib as mpl, matplotlib.colors, seaborn
def state():
    return dict.copy(mpl.rcParams), dict(mpl.colors.get_named_colors_mapping()), mpl.rcParams._get_backend_or_none()
before = state()
import bench.plots.comparisons, bench.plots.costs, bench.plots.curves, bench.plots.trajectories, bench.plots.tuning
import bench.report.study.render, bench.claims.report.page
from bench.plots.style import panel_grid, style
assert state() == before
with style():
    assert mpl.rcParams["font.size"] == 13 and mpl.rcParams["svg.hashsalt"] == "bench"
    panel_grid(2)[0].savefig("/dev/null", format="svg")
    inside = state()
assert inside[1:] == before[1:] and state() == before
"""
    subprocess.run([sys.executable, "-c", code], check=True)
