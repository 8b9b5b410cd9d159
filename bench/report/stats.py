"""Numbers: what the tables say, as pure functions from DataFrames to DataFrames.

Names: a *section* is all runs that may be compared: one workload, one budget, one environment. A
*series* is the runs of one cell, its seeds: what one line of a figure shows.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

LEVEL = 0.95
"""Level of every interval."""

SECTION_KEYS = ("workload_id", "budget", "device", "precision", "num_threads")


@dataclass(frozen=True)
class Section:
    """Runs that may be compared with each other.

    Attributes:
        title: Workload and budget in words.
        runs: Rows of `runs`, with a column `series`.
        mixed: Whether they come from several environments.
    """

    title: str
    runs: pd.DataFrame
    mixed: bool


def sections(runs: pd.DataFrame, mix_environments: bool = False) -> Iterator[Section]:
    """Part the runs by workload, budget, device and, unless asked otherwise, environment.

    Runs that were skipped or failed before their data was read have no workload_id; they stand with
    the runs of the same workload in words.
    """
    runs = runs.copy()
    by_words = (
        runs.dropna(subset=["workload_id"])
        .groupby(["workload", "model_options", "data_options"])["workload_id"]
        .first()
    )
    words = pd.MultiIndex.from_frame(runs[["workload", "model_options", "data_options"]])
    runs["workload_id"] = runs["workload_id"].fillna(
        pd.Series(by_words.reindex(words).to_numpy(), index=runs.index, dtype="string")
    )
    keys = [*SECTION_KEYS, *([] if mix_environments else ["environment_id"])]
    groups = list(runs.groupby(keys, sort=False, dropna=False))
    workloads = runs.groupby("workload")["workload_id"].nunique()
    environments = runs.groupby(list(SECTION_KEYS), dropna=False)["environment_id"].transform("nunique")
    for _, group in groups:
        first = group.iloc[0]
        title = f"{first['workload']}, {first['budget']}, {first['device']}"
        if first["precision"] != "fp32":
            title += f" {first['precision']}"
        if first["num_threads"] != 1:
            title += f", {first['num_threads']} threads"
        if workloads[first["workload"]] > 1:
            title += f" (model {_options(first['model_options'])}, data {_options(first['data_options'])})"
        if not mix_environments and environments[group.index[0]] > 1:
            title += (
                f", on {first['gpu'] if pd.notna(first['gpu']) else first['cpu']} with torch {first['torch_version']}"
            )
        yield Section(title, group.assign(series=series_names(group)), bool(group["environment_id"].nunique() > 1))


def _options(text: str) -> str:
    return ", ".join(f"{key} {value}" for key, value in json.loads(text).items()) or "as is"


def series_names(runs: pd.DataFrame, ignoring: Sequence[str] = ()) -> pd.Series:
    """A name for the cell of each run: its optimizer, and whatever tells its cells apart.

    Args:
        runs: Rows of `runs`.
        ignoring: Columns that shall not tell cells apart.
    """
    cells = _one_run_each(runs, "cell_id")
    hyper = ["lr", *[c for c in runs if c.startswith("hp_")], "implementation"]
    names: dict[str, str] = {}
    for optimizer, group in cells.groupby("optimizer", sort=False):
        varying = [c for c in hyper if c not in ignoring and group[c].nunique(dropna=False) > 1]
        for cell, row in group.iterrows():
            parts = [
                str(row[c]) if c == "implementation" else f"{c.removeprefix('hp_')}={_short(row[c])}"
                for c in varying
                if pd.notna(row[c])
            ]
            names[str(cell)] = " ".join([str(optimizer), *parts])
    # Cells that differ in what no column shows (a class's source, evaluation spacing) are told apart by id.
    alike = pd.Series(names).rename_axis("cell_id").reset_index(name="name")
    alike = alike.merge(cells[[c for c in ignoring if c in cells]].reset_index(), on="cell_id")
    clash = set(alike.loc[alike.duplicated(["name", *ignoring], keep=False), "cell_id"])
    return runs["cell_id"].map(lambda c: f"{names[c]} {c}" if c in clash else names[c]).astype("string")


def _one_run_each(runs: pd.DataFrame, key: str) -> pd.DataFrame:
    """One run for each value of a column, one that ended ok if there is any.

    A run that ended before its optimizer was built does not know which implementation would have run.
    """
    order = runs["status"].ne("ok").sort_values(kind="stable").index
    return runs.loc[order].drop_duplicates(key).set_index(key)


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def mean_interval(values: Sequence[float] | np.ndarray, level: float = LEVEL) -> tuple[float, float, float]:
    """Mean and its Student t interval.

    Args:
        values: One number a run; the missing are left out.
        level: Coverage of the interval, in (0, 1).

    Returns:
        (mean, low, high); the bounds are NaN below two values, all three without any.
    """
    x = np.asarray(values, dtype=float)
    x = x[np.isfinite(x)]
    if len(x) == 0:
        return (math.nan,) * 3
    mean = float(x.mean())
    if len(x) == 1:
        return mean, math.nan, math.nan
    half = float(special.stdtrit(len(x) - 1, 0.5 + level / 2) * x.std(ddof=1) / math.sqrt(len(x)))
    return mean, mean - half, mean + half


def summary(runs: pd.DataFrame) -> pd.DataFrame:
    """One row a series: n, how the runs ended, and metrics, times and memory with their spread.

    Args:
        runs: Rows of one section, with `series`.

    Returns:
        Columns: series, optimizer, num_runs, num_ok, statuses ("3 ok"), and for each quantity q of
        the table its mean q, q_low and q_high (95 % t interval over seeds of the runs that ended ok).
        Sorted by mean final validation loss; series without an ok run come last.
    """
    quantities = (
        "final_train_loss",
        "final_val_loss",
        "best_val_loss",
        "final_test_loss",
        "final_test_accuracy",
        "test_accuracy_at_best_val",
        "step_ms",
        "train_s",
        "peak_rss_mib",
        "peak_allocated_mib",
    )
    rows = []
    for series, group in runs.groupby("series", sort=False):
        ok = group[group["status"] == "ok"]
        counts = group["status"].value_counts()
        row = {
            "series": series,
            "optimizer": group["optimizer"].iloc[0],
            "num_runs": len(group),
            "num_ok": len(ok),
            "statuses": ", ".join(f"{count} {status}" for status, count in counts.items()),
        }
        for quantity in quantities:
            row[quantity], row[f"{quantity}_low"], row[f"{quantity}_high"] = mean_interval(ok[quantity].to_numpy(float))
        rows.append(row)
    table = pd.DataFrame(rows)
    complete = table["num_ok"] == table["num_runs"]
    return (
        table.assign(_incomplete=~complete)
        .sort_values(["_incomplete", "final_val_loss", "series"], kind="stable")
        .drop(columns="_incomplete")
        .reset_index(drop=True)
    )


def leaders(runs: pd.DataFrame) -> list[str]:
    """For each optimizer and implementation, the series that figures show: its best on validation.

    The best has the lowest mean final validation loss over seeds among those whose runs all ended
    ok. Where an optimizer has none, its first series stands for it, so that its failure is seen.
    """
    table = summary(runs)
    cells = _one_run_each(runs, "series")
    implementation = cells["implementation"]
    several = cells.groupby("optimizer")["implementation"].nunique()
    keys = [
        (o, str(implementation[s]) if several[o] > 1 else "")
        for s, o in zip(table["series"], table["optimizer"], strict=True)
    ]
    chosen: dict[tuple[str, str], str] = {}
    for key, series in zip(keys, table["series"], strict=True):
        chosen.setdefault(key, str(series))
    return list(chosen.values())


def paired_ratios(runs: pd.DataFrame, series: Sequence[str], metric: str = "final_val_loss") -> pd.DataFrame:
    """Compare every two series over the seeds that both finished: paired log-ratios, Student's t.

    Intervals are unadjusted; `p_holm` is adjusted over all comparisons of the table.

    Args:
        runs: Rows of one section, with `series`.
        series: What to compare.
        metric: A column of positive numbers.

    Returns:
        Columns: a, b (a is the one with the lower geometric mean over the pairs), num_pairs, ratio
        (of a to b), ratio_low, ratio_high, p, p_holm, told_apart (p_holm < .05). A pair with fewer
        than two seeds in common is left out.
    """
    ok = runs[(runs["status"] == "ok") & (runs[metric] > 0)]
    keys = ["seed", "environment_id"]
    logs = {name: np.log(ok[ok["series"] == name].set_index(keys)[metric].astype(float)) for name in series}
    rows = []
    for i, a in enumerate(series):
        for b in list(series)[i + 1 :]:
            first, second = logs[a].align(logs[b], join="inner")
            difference = (first - second).to_numpy()
            if len(difference) < 2:
                continue
            sign = -1.0 if difference.mean() > 0 else 1.0
            mean, low, high = mean_interval(sign * difference)
            spread = difference.std(ddof=1) / math.sqrt(len(difference))
            if spread > 0:
                p = float(2 * special.stdtr(len(difference) - 1, -abs(mean) / spread))
            else:
                p = 1.0 if mean == 0 else 0.0
            rows.append(
                {
                    "a": a if sign > 0 else b,
                    "b": b if sign > 0 else a,
                    "num_pairs": len(difference),
                    "ratio": math.exp(mean),
                    "ratio_low": math.exp(low),
                    "ratio_high": math.exp(high),
                    "p": p,
                }
            )
    names = ["a", "b", "num_pairs", "ratio", "ratio_low", "ratio_high", "p"]
    table = pd.DataFrame(rows, columns=names)
    table["p_holm"] = holm(table["p"].to_numpy(float))
    table["told_apart"] = table["p_holm"] < 1 - LEVEL
    return table


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's adjusted p-values (Holm 1979): the family-wise error stays below the level.

    Args:
        p: p-values, each in [0, 1].
    """
    order = np.argsort(p, kind="stable")
    factors = len(p) - np.arange(len(p))
    adjusted = np.minimum(1.0, np.maximum.accumulate(p[order] * factors)) if len(p) else p
    result = np.empty(len(p))
    result[order] = adjusted
    return result


def sensitivity(runs: pd.DataFrame, metric: str = "final_val_loss") -> pd.DataFrame:
    """Final loss against learning rate, a line for each choice of the other settings with at least two rates.

    Returns:
        Columns: optimizer, setting (its name without the learning rate), lr, num_runs, num_ok, and
        value, low, high: median and range over seeds, missing where a run did not end ok: a point
        that would flatter the learning rate is not drawn.
    """
    rows = []
    runs = runs[runs["lr"].notna()]
    runs = runs.assign(setting=series_names(runs, ignoring=["lr"])) if len(runs) else runs
    for (optimizer, setting), group in runs.groupby(["optimizer", "setting"], sort=False) if len(runs) else ():
        if group["lr"].nunique() < 2:
            continue
        for lr, at_rate in group.groupby("lr"):
            ok = at_rate[at_rate["status"] == "ok"]
            values = ok[metric].astype(float)
            value, low, high = values.median(), values.min(), values.max()
            if len(ok) < len(at_rate):
                value = low = high = math.nan
            rows.append(
                {
                    "optimizer": optimizer,
                    "setting": setting,
                    "lr": lr,
                    "num_runs": len(at_rate),
                    "num_ok": len(ok),
                    "value": value,
                    "low": low,
                    "high": high,
                }
            )
    return pd.DataFrame(rows, columns=["optimizer", "setting", "lr", "num_runs", "num_ok", "value", "low", "high"])


def bands(curves: pd.DataFrame, x: str) -> pd.DataFrame:
    """Median and range over the seeds of a series, at each point that all of its runs reached.

    Args:
        curves: Rows of `curves` of one split and metric, with `series`.
        x: "step", "epoch" or "train_time_s". Times differ between seeds: the median time is taken
            at each step.

    Returns:
        Columns: series, x, median, low, high, num_runs.
    """
    grouped = curves.groupby(["series", "step"], sort=True)
    table = grouped.agg(
        x=(x, "median"),
        median=("value", "median"),
        low=("value", "min"),
        high=("value", "max"),
        num_runs=("run_id", "nunique"),
    ).reset_index()
    most = table.groupby("series")["num_runs"].transform("max")
    return table[table["num_runs"] == most].drop(columns="step" if x != "step" else []).reset_index(drop=True)


# --- words ----------------------------------------------------------------------------------------


def with_interval(mean: float, low: float, high: float, scale: float = 1.0) -> str:
    """`0.123 ± 0.004`: two digits of the half-width, five of the mean at most; a dash where there is nothing."""
    if not math.isfinite(mean):
        return "—"
    mean, half = mean * scale, (high - low) / 2 * scale
    if not math.isfinite(half):
        return f"{mean:.4g}"
    most = 4 if mean == 0 else max(0, 4 - math.floor(math.log10(abs(mean))))
    digits = most if half <= 0 else min(most, max(0, 1 - math.floor(math.log10(half))))
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def readable_summary(table: pd.DataFrame) -> pd.DataFrame:
    """`summary` as people read it: one text a cell."""

    def cell(row: pd.Series, name: str, scale: float = 1.0) -> str:
        return with_interval(row[name], row[f"{name}_low"], row[f"{name}_high"], scale)

    columns: dict[str, list[str]] = {
        "optimizer": [str(s) for s in table["series"]],
        "runs": [str(s) for s in table["statuses"]],
    }
    wanted = [
        ("train loss", "final_train_loss", 1.0),
        ("val loss", "final_val_loss", 1.0),
        ("test accuracy %", "final_test_accuracy", 100.0),
        ("test loss", "final_test_loss", 1.0),
        ("step ms", "step_ms", 1.0),
        ("training s", "train_s", 1.0),
        ("peak MiB", "peak_rss_mib", 1.0),
        ("GPU peak MiB", "peak_allocated_mib", 1.0),
    ]
    for title, name, scale in wanted:
        if table[name].notna().any() and not (title == "test loss" and "test accuracy %" in columns):
            columns[title] = [cell(row, name, scale) for _, row in table.iterrows()]
    return pd.DataFrame(columns)


def summary_text(runs: pd.DataFrame) -> str:
    """The summary of a study for a terminal."""
    parts = []
    for section in sections(runs):
        table = readable_summary(summary(section.runs))
        widths = [max(len(name), *(len(v) for v in table[name])) for name in table]
        lines = [list(table), *table.to_numpy().tolist()]
        body = "\n".join("  ".join(v.ljust(w) for v, w in zip(line, widths, strict=True)).rstrip() for line in lines)
        parts.append(f"{section.title}\n{body}\n{textwrap.fill(verdict(section), 100)}")
    return "\n\n".join(parts)


def verdict(section: Section) -> str:
    """In a sentence or three: who ends lowest, and from whom that can be told apart."""
    runs = section.runs
    shown = leaders(runs)
    ok = runs[runs["status"] == "ok"]
    if ok.empty:
        return "No run ended ok: there is nothing to compare."
    if ok.groupby("series")["seed"].nunique().max() < 2:
        return "One seed cannot rank anything: run several, for example seeds=[0,1,2]."
    if len(shown) < 2:
        return f"{shown[0]} stands alone: there is nothing to compare it with yet."
    pairs = paired_ratios(runs, shown)
    if pairs.empty:
        return "There is nothing to compare: no two optimizers finished two seeds in common."
    best = shown[0]
    apart: list[str] = []
    together: list[str] = []
    for pair in pairs[(pairs["a"] == best) | (pairs["b"] == best)].itertuples():
        other, flip = (pair.b, False) if pair.a == best else (pair.a, True)
        ratio, low, high = (pair.ratio, pair.ratio_low, pair.ratio_high)
        if not flip:
            ratio, low, high = 1 / ratio, 1 / high, 1 / low
        words = f"{other} ({ratio:.3g} times its loss, 95% interval {low:.3g} to {high:.3g})"
        (apart if pair.told_apart else together).append(words)
    numbers = sorted(set(pairs["num_pairs"]))
    seeds = f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
    sentences = [f"Lowest final validation loss: {best}."]
    if apart:
        sentences.append(f"Told apart from it over {seeds} paired seeds: {'; '.join(apart)}.")
    if together:
        corrected = f" once {len(pairs)} comparisons are allowed for" if len(pairs) > 1 else ""
        sentences.append(f"Cannot be told apart from it over {seeds} paired seeds{corrected}: {'; '.join(together)}.")
    return " ".join(sentences)
