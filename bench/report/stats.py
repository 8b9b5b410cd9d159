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
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

LEVEL = 0.95
"""Level of every interval."""

TOLD_APART_BY = (
    "schedule", "implementation", "augment", "order", "init_from", "clip_norm", "l1", "accumulate", "weights_only_decay",
    "compiled_model",
)  # fmt: skip
"""Columns of `runs` beside the hyperparameters that tell cells of one optimizer apart; some are newer than others."""

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

    @property
    def predicted(self) -> bool:
        """Whether nothing was run: memory is predicted from shapes."""
        return bool((self.runs["stage"] == "predicted").all())


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
            title += _differing(first, runs[runs["workload"] == first["workload"]])
        if not mix_environments and environments[group.index[0]] > 1:
            title += (
                f", on {first['gpu'] if pd.notna(first['gpu']) else first['cpu']} with torch {first['torch_version']}"
            )
        yield Section(title, group.assign(series=series_names(group)), bool(group["environment_id"].nunique() > 1))


def _differing(row: pd.Series, alike: pd.DataFrame) -> str:
    """What tells a workload from others of the same name: in brackets, led by a space."""
    kinds = alike.drop_duplicates("workload_id")
    told = []
    for kind in ("model", "data"):
        options = [json.loads(text) for text in kinds[f"{kind}_options"]]
        for key, value in json.loads(row[f"{kind}_options"]).items():
            if len({json.dumps(other.get(key)) for other in options}) > 1:
                told.append(f"{kind} {key} {value}")
    if "loss" in kinds and kinds["loss"].nunique() > 1 and pd.notna(row["loss"]):
        told.append(f"loss {row['loss']}")
    if not told and kinds["data_fingerprint"].nunique() > 1 and pd.notna(row["data_fingerprint"]):
        told.append(f"data {row['data_fingerprint']}")
    return f" ({', '.join(told)})" if told else ""


def _options(text: str) -> str:
    return ", ".join(f"{key} {value}" for key, value in json.loads(text).items()) or "as is"


def series_names(runs: pd.DataFrame, ignoring: Sequence[str] = ()) -> pd.Series:
    """A name for the cell of each run: its optimizer, and whatever tells its cells apart.

    Args:
        runs: Rows of `runs`.
        ignoring: Columns that shall not tell cells apart.
    """
    cells = _one_run_each(runs, "cell_id")
    hyper = ["lr", *[c for c in runs if c.startswith("hp_")], *[c for c in TOLD_APART_BY if c in runs]]
    names: dict[str, str] = {}
    for optimizer, group in cells.groupby("optimizer", sort=False):
        group = group.assign(**{kind: _with_options(group, kind) for kind in ("schedule", "augment") if kind in group})
        varying = [c for c in hyper if c not in ignoring and group[c].nunique(dropna=False) > 1]
        for cell, row in group.iterrows():
            parts = [
                str(row[c]) if c in ("implementation", "schedule") else f"{c.removeprefix('hp_')}={_short(row[c])}"
                for c in varying
                if pd.notna(row[c])
            ]
            names[str(cell)] = " ".join([str(optimizer), *parts])
    # Cells that differ in what no column shows (a class's source, evaluation spacing) are told apart by id.
    alike = pd.Series(names).rename_axis("cell_id").reset_index(name="name")
    alike = alike.merge(cells[[c for c in ignoring if c in cells]].reset_index(), on="cell_id")
    clash = set(alike.loc[alike.duplicated(["name", *ignoring], keep=False), "cell_id"])
    return runs["cell_id"].map(lambda c: f"{names[c]} {c}" if c in clash else names[c]).astype("string")


def _with_options(cells: pd.DataFrame, kind: str) -> list[str]:
    """Schedules, or augmentations, by name, with their settings where the same one has several."""
    if f"{kind}_options" not in cells:
        return [str(name) for name in cells[kind]]
    options = cells[f"{kind}_options"].fillna("{}")
    several = options.groupby(cells[kind]).transform("nunique") > 1
    return [
        f"{name} ({_options(text)})" if apart else str(name)
        for name, text, apart in zip(cells[kind], options, several, strict=True)
    ]


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
        "final_train_gap",
        "final_val_loss",
        "best_val_loss",
        "final_test_loss",
        "final_test_accuracy",
        "test_accuracy_at_best_val",
        "num_steps",
        "num_evaluations",
        "step_ms",
        "train_s",
        "latency_ms",
        "latency_batch_ms",
        "peak_rss_mib",
        "peak_allocated_mib",
    )
    runs = runs.reindex(columns=list(dict.fromkeys([*runs, *quantities])))  # tables made by hand may lack some
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
    if (runs["stage"] == "predicted").all():  # nothing was trained that could be best
        return [str(name) for name in table["series"]]
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
            rows.append(
                {
                    "a": a if sign > 0 else b,
                    "b": b if sign > 0 else a,
                    "num_pairs": len(difference),
                    "ratio": math.exp(mean),
                    "ratio_low": math.exp(low),
                    "ratio_high": math.exp(high),
                    "p": p_value(difference),
                }
            )
    names = ["a", "b", "num_pairs", "ratio", "ratio_low", "ratio_high", "p"]
    table = pd.DataFrame(rows, columns=names)
    table["p_holm"] = holm(table["p"].to_numpy(float))
    table["told_apart"] = table["p_holm"] < 1 - LEVEL
    return table


def p_value(differences: np.ndarray) -> float:
    """Two-sided p of Student's t test that the mean of at least two paired differences is 0."""
    mean, n = float(differences.mean()), len(differences)
    spread = float(differences.std(ddof=1)) / math.sqrt(n)
    return float(2 * special.stdtr(n - 1, -abs(mean) / spread)) if spread > 0 else float(mean == 0)


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


# --- paths over a surface ---------------------------------------------------------------------------


def paths(runs: pd.DataFrame, trajectories: pd.DataFrame, series: Sequence[str]) -> pd.DataFrame:
    """The path of each series over the plane, that of its first seed, as far as it is finite.

    Args:
        runs: Rows of one section, with `series`.
        trajectories: Rows of the side table `trajectories`.
        series: Which, and in what order.

    Returns:
        Columns: series, status, step, x, y, value; by step within a series. Series without a path are
        left out.
    """
    known = runs[runs["series"].isin(series) & runs["run_id"].isin(trajectories["run_id"])]
    first = known.sort_values("seed", kind="stable").drop_duplicates("series")[["run_id", "series", "status"]]
    table = first.merge(trajectories.dropna(subset=["x", "y"]), on="run_id")
    rank = table["series"].map({name: i for i, name in enumerate(series)})
    table = table.assign(_rank=rank).sort_values(["_rank", "step"], kind="stable")
    return table[["series", "status", "step", "x", "y", "value"]].reset_index(drop=True)


def surface(surfaces: pd.DataFrame, workload_id: object) -> pd.DataFrame | None:
    """A function on its grid: a row for each y, a column for each x, both ascending; None where it is not known.

    Args:
        surfaces: Rows of the side table `surfaces`, of any workloads.
        workload_id: Which.
    """
    rows = surfaces[surfaces["workload_id"] == workload_id] if pd.notna(workload_id) else surfaces.iloc[:0]
    grid = rows.drop_duplicates(["x", "y"]).pivot(index="y", columns="x", values="value").sort_index(axis=1)
    return grid if min(grid.shape) > 1 and grid.notna().any(axis=None) else None


def lowest_point(grid: pd.DataFrame) -> tuple[float, float, float]:
    """(x, y, value) where a `surface` is lowest."""
    row, column = np.unravel_index(np.nanargmin(grid.to_numpy(float)), grid.shape)
    return float(grid.columns[column]), float(grid.index[row]), float(grid.iloc[int(row), int(column)])


def path_words(table: pd.DataFrame) -> str:
    """Where each path of `paths` ends, in a sentence."""
    ends = table.groupby("series", sort=False).last()
    return "; ".join(
        f"{name} {'ends' if row['status'] == 'ok' else str(row['status'])} at ({row['x']:.3g}, {row['y']:.3g})"
        + (f", value {row['value']:.3g}" if pd.notna(row["value"]) else "")
        for name, row in ends.iterrows()
    )


# --- step costs -----------------------------------------------------------------------------------

MIN_PROCESSES = 5
"""Fresh processes below which a step cost ranks nothing."""

IMPLEMENTATIONS = ("forloop", "foreach", "fused", "compiled")
"""Those of torch that people use; the reference rules are there to be read."""

STEP_COST_KEYS = ("workload_id", "device", "precision", "num_threads", "environment_id")


def step_costs(rows: pd.DataFrame) -> pd.DataFrame:
    """One row an optimizer and implementation of a session: medians over its replicates, and ratios with intervals.

    Replicates whose timing was contended are left out. A ratio is the mean over a process's builds of the
    log-ratio to the baseline, its interval Student's t over processes; p is Holm's over the session.

    Args:
        rows: Rows of the side table `step_costs`.

    Returns:
        The columns of `rows` that are one per optimizer and implementation, and num_processes,
        num_replicates, quality (clean, noisy, contended), step_us with quartiles step_us_q1 and
        step_us_q3, train_step_us with _low and _high, medians of the other times, ratio and train_ratio
        with _low and _high, p_holm, told_apart, and ranked: whether enough processes were uncontended. Sorted by step_us within a session; rows that were not
        measured come last.
    """
    made = []
    for _, session in rows.groupby("session_id", sort=False):
        table = pd.DataFrame(
            [
                _step_cost(group.reset_index(drop=True))
                for _, group in session.groupby(["optimizer", "optimizer_options", "implementation"], sort=False)
            ]
        )
        table["p_holm"] = math.nan
        tested = table["p"].notna()
        table.loc[tested, "p_holm"] = holm(table.loc[tested, "p"].to_numpy(float))
        table["told_apart"] = table["p_holm"] < 1 - LEVEL
        made.append(table.sort_values("step_us", kind="stable"))
    return pd.concat(made, ignore_index=True) if made else pd.DataFrame(columns=["session_id", "step_cost_id"])


def _step_cost(group: pd.DataFrame) -> dict[str, object]:
    first = group.iloc[0]
    kept = [
        "session_id", "started_at", "study", "workload", "optimizer", "optimizer_options", "implementation", "model", "data",
        "baseline", "num_parameters", "batch_size", "torch_version", "cpu", "gpu", "command", *STEP_COST_KEYS,
    ]  # fmt: skip
    row: dict[str, object] = {key: first[key] for key in kept}
    measured = group[group["status"] == "ok"]
    used = measured[measured["timing_quality"] != "contended"]
    clean = (used["timing_quality"] == "clean").mean() if len(used) else 0.0
    num_processes = used["process"].nunique()
    if len(measured) == 0:
        quality = None
    elif num_processes < MIN_PROCESSES:
        quality = "contended" if len(used) < len(measured) else "noisy"
    else:
        quality = "clean" if clean >= 0.5 else "noisy"
    row |= {
        "status": "ok" if len(measured) else first["status"],
        "reason": None if len(measured) else first["reason"],
        "step_cost_id": measured["step_cost_id"].iloc[0] if len(measured) else None,
        "num_processes": num_processes,
        "num_replicates": len(used),
        "num_contended": len(measured) - len(used),
        "quality": quality,
    }
    shown = used if len(used) else measured
    times = shown["step_us"].astype(float)
    row |= {"step_us": times.median(), "step_us_q1": times.quantile(0.25), "step_us_q3": times.quantile(0.75)}
    columns = (
        "step_host_us", "data_us", "zero_grad_us", "forward_us", "backward_us", "optimizer_us", "timer_share",
        "construct_ms", "first_step_ms", "state_mib", "least_traffic_mib", "bandwidth_gib_per_s", "last_cache_mib",
        "limit_share",
    )  # fmt: skip
    row |= {name: shown[name].astype(float).median() for name in columns}
    row["compile_s"] = measured["compile_s"].astype(float).max() if measured["compile_s"].notna().any() else math.nan
    by_process = np.log(shown.astype({"train_step_us": float}).groupby("process")["train_step_us"].median())
    row |= dict(
        zip(("train_step_us", "train_step_us_low", "train_step_us_high"), _exp(mean_interval(by_process)), strict=True)
    )
    is_baseline = len(measured) > 0 and first["baseline"] == f"{first['optimizer']}/{first['implementation']}"
    for name, column in (("ratio", "step_ratio"), ("train_ratio", "train_step_ratio")):
        logs = _by_process(used, column)
        mean, low, high = mean_interval(logs)
        row |= dict(zip((name, f"{name}_low", f"{name}_high"), _exp((mean, low, high)), strict=True))
        if name == "ratio":
            compared = not is_baseline and num_processes >= MIN_PROCESSES
            row |= {
                "p": p_value(logs) if compared else math.nan,
                "log_sd": float(logs.std(ddof=1)) if compared else math.nan,
            }
    return row | {"is_baseline": is_baseline, "ranked": not is_baseline and num_processes >= MIN_PROCESSES}


def _by_process(rows: pd.DataFrame, column: str) -> np.ndarray:
    """Mean log of a column over the builds of each process."""
    logs = np.log(rows[column].astype(float))
    return np.asarray(logs.groupby(rows["process"].astype(int)).mean(), dtype=float)


def _exp(values: Sequence[float]) -> list[float]:
    return [math.exp(value) for value in values]


def latest_session(costs: pd.DataFrame) -> pd.DataFrame:
    """Of `step_costs`, the newest session for each workload, device and environment; whole ones go first."""
    sessions = costs.groupby([*STEP_COST_KEYS, "session_id", "started_at"], dropna=False, as_index=False).agg(
        whole=("num_processes", lambda n: n.max() >= MIN_PROCESSES)
    )
    sessions = sessions.sort_values(["whole", "started_at"]).drop_duplicates(list(STEP_COST_KEYS), keep="last")
    return costs[costs["session_id"].isin(sessions["session_id"])]


def rule_and_implementation(rows: pd.DataFrame) -> pd.DataFrame:
    """How much of a difference between steps is the update rule, and how much its implementation.

    Comparisons of fewer than MIN_PROCESSES uncontended processes are left out.

    Args:
        rows: Rows of the side table `step_costs`, of one session.

    Returns:
        Columns: optimizer; kind: "rule", its step over the baseline's in the same implementation, or
        "implementation", its step by for-loop over its own in that implementation; implementation;
        ratio, ratio_low, ratio_high: Student's t over processes, replicates paired, unadjusted;
        num_processes.
    """
    names = ["optimizer", "kind", "implementation", "ratio", "ratio_low", "ratio_high", "num_processes"]
    used = rows[
        (rows["status"] == "ok")
        & (rows["timing_quality"] != "contended")
        & rows["implementation"].isin(IMPLEMENTATIONS)
    ]
    if used.empty:
        return pd.DataFrame(columns=names)
    logs = np.log(
        used.astype({"step_ratio": float}).pivot_table(
            index=["process", "build"], columns=["optimizer", "implementation"], values="step_ratio", sort=False
        )
    )
    baseline = baseline_of(rows)
    made: list[dict[str, object]] = []

    def compare(optimizer: str, kind: str, implementation: str, difference: pd.Series) -> None:
        each = difference.dropna().groupby("process").mean()
        if len(each) >= MIN_PROCESSES:
            ratios = dict(zip(("ratio", "ratio_low", "ratio_high"), _exp(mean_interval(each)), strict=True))
            row = {"optimizer": optimizer, "kind": kind, "implementation": implementation}
            made.append({**row, **ratios, "num_processes": len(each)})

    for optimizer in sorted(set(logs.columns.get_level_values(0)), key=lambda name: (name == baseline, name)):
        own = logs[optimizer]
        for implementation in (name for name in IMPLEMENTATIONS if name in own):
            if optimizer != baseline and baseline in logs and implementation in logs[baseline]:
                compare(optimizer, "rule", implementation, own[implementation] - logs[baseline][implementation])
            if implementation != "forloop" and "forloop" in own:
                compare(optimizer, "implementation", implementation, own["forloop"] - own[implementation])
    return pd.DataFrame(made, columns=names)


def smallest_difference(costs: pd.DataFrame, power: float = 0.8) -> float:
    """The smallest relative difference of two steps that a session like this one finds with that power.

    Of one comparison taken alone: from the median over its comparisons of the spread between
    processes, two-sided at 5 %, not adjusted for their number.

    Args:
        costs: What `step_costs` gave, of one session.
        power: In (0, 1).

    Returns:
        0.02 for two percent; NaN where there is nothing to compare.
    """
    compared = costs[costs["log_sd"].notna()]
    if compared.empty:
        return math.nan
    n = int(compared["num_processes"].median())
    t = special.stdtrit(n - 1, 0.5 + LEVEL / 2) + special.stdtrit(n - 1, power)
    return float(math.expm1(t * compared["log_sd"].median() / math.sqrt(n)))


# --- time to target -------------------------------------------------------------------------------


def step_times(runs: pd.DataFrame, series: Sequence[str], step_cost_rows: pd.DataFrame) -> pd.DataFrame | None:
    """The separately measured, interleaved time of a training step of each series.

    Args:
        runs: Rows of one section, with `series`.
        series: Which must all be measured, in one session.
        step_cost_rows: Rows of the side table `step_costs`.

    Returns:
        From the newest session that measured all of them uncontended: columns series, step_s, log_se (standard error
        of its log), df (degrees of freedom). None where there is no such session.
    """
    ids = runs[runs["series"].isin(series)].dropna(subset=["step_cost_id"]).drop_duplicates("series")
    ids = ids.set_index("series")["step_cost_id"]
    if step_cost_rows.empty or not set(series) <= set(ids.index):
        return None
    ok = step_cost_rows[(step_cost_rows["status"] == "ok") & (step_cost_rows["timing_quality"] != "contended")]
    enough = ok.groupby(["session_id", "step_cost_id"])["process"].transform("nunique") >= MIN_PROCESSES
    for _, session in sorted(
        ok[enough].groupby("session_id"), key=lambda pair: pair[1]["started_at"].max(), reverse=True
    ):
        if not set(ids[list(series)]) <= set(session["step_cost_id"]):
            continue
        made = []
        for name in series:
            logs = _by_process(session[session["step_cost_id"] == ids[name]], "train_step_us")
            made.append(
                {
                    "series": name,
                    "step_s": 1e-6 * math.exp(float(logs.mean())),
                    "log_se": float(logs.std(ddof=1)) / math.sqrt(len(logs)),
                    "df": len(logs) - 1,
                }
            )
        return pd.DataFrame(made)
    return None


def half_width(df: float) -> float:
    """Standard errors on either side of a mean in its interval."""
    return float(special.stdtrit(df, 0.5 + LEVEL / 2))


def target_loss(runs: pd.DataFrame) -> tuple[float, str] | None:
    """The validation loss to reach: the median final one of the series with the second lowest; and which that is.

    At least two series get there, so that there is something to compare; None where fewer ended ok.
    """
    ok = runs[(runs["status"] == "ok") & (runs["stage"] != "predicted")]
    medians = ok.astype({"final_val_loss": float}).groupby("series")["final_val_loss"].median().dropna().sort_values()
    return (float(medians.iloc[1]), str(medians.index[1])) if len(medians) > 1 else None


def time_to_target(
    runs: pd.DataFrame, curves: pd.DataFrame, series: Sequence[str], target: float, times: pd.DataFrame | None
) -> pd.DataFrame:
    """Steps, and time, until the validation loss is at most the target for the first time.

    Steps are known to the spacing of evaluations. A run that never gets there is censored: it counts as
    longer than any, and a series of which half or more are censored has no median.

    Args:
        runs: Rows of one section, with `series`.
        curves: Rows of `curves`.
        series: What to show.
        target: The loss to reach.
        times: What `step_times` gave: then time is steps x step time, and both uncertainties go into its
            interval. None: no time but the end-to-end one.

    Returns:
        Columns: series, num_runs, num_reached, steps_to_target (median over seeds; NaN where censored),
        time_to_target_s with _low and _high (of the geometric mean of steps, where all seeds got there), and
        end_to_end_s: median training time of the runs at that point, uncontended ones only.
    """
    losses = curves[(curves["split"] == "val") & (curves["metric"] == "loss") & (curves["value"] <= target)]
    first = losses.sort_values("step").drop_duplicates("run_id").set_index("run_id")
    made = []
    for name in series:
        group = runs[(runs["series"] == name) & runs["status"].isin(("ok", "diverged", "timeout", "oom"))]
        reached = group[group["run_id"].isin(first.index)]
        at = first.loc[reached["run_id"]]
        row: dict[str, object] = {"series": name, "num_runs": len(group), "num_reached": len(reached)}
        row |= {
            "steps_to_target": math.nan,
            "time_to_target_s": math.nan,
            "time_to_target_s_low": math.nan,
            "time_to_target_s_high": math.nan,
            "end_to_end_s": math.nan,
        }
        if 2 * len(reached) > len(group):
            steps = np.full(len(group), math.inf)
            steps[: len(at)] = at["step"].to_numpy(float)
            row["steps_to_target"] = median = float(np.median(steps))
            fair = (reached["timing_quality"] != "contended").fillna(True).to_numpy(bool)
            if fair.any() and math.isfinite(median):
                row["end_to_end_s"] = float(np.median(at["train_time_s"].to_numpy(float)[fair]))
            if times is not None and name in set(times["series"]):
                row |= _times_to_target(at["step"].to_numpy(float), len(group), times.set_index("series").loc[name])
        made.append(row)
    return pd.DataFrame(made)


def _times_to_target(steps: np.ndarray, num_runs: int, step_time: pd.Series) -> dict[str, float]:
    """Steps x step time; the interval carries both uncertainties (delta method on logs, Welch and Satterthwaite)."""
    if len(steps) < num_runs or (steps <= 0).any():
        return {}
    logs = np.log(steps)
    mean = float(logs.mean()) + math.log(step_time["step_s"])
    result = {"time_to_target_s": math.exp(mean)}
    if len(steps) > 1:
        parts = [
            (float(logs.var(ddof=1)) / len(logs), len(logs) - 1),
            (float(step_time["log_se"]) ** 2, step_time["df"]),
        ]
        variance = sum(v for v, _ in parts)
        df = variance**2 / sum(v**2 / d for v, d in parts) if variance > 0 else 1.0
        half = half_width(df) * math.sqrt(variance)
        result |= {"time_to_target_s_low": math.exp(mean - half), "time_to_target_s_high": math.exp(mean + half)}
    return result


# --- words ----------------------------------------------------------------------------------------


def with_interval(mean: float, low: float, high: float, scale: float = 1.0) -> str:
    """`0.123 ± 0.004`: two digits of the half-width, five of the mean at most; a dash where there is nothing."""
    if not math.isfinite(mean):
        return "—"
    mean, half = mean * scale, (high - low) / 2 * scale
    if not math.isfinite(half):
        return f"{mean:.4g}"
    if max(abs(mean), half) < 1e-4 and (mean or half):
        return f"{mean:.3g} ± {half:.2g}"
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
        ("gap to optimum", "final_train_gap", 1.0),
        ("val loss", "final_val_loss", 1.0),
        ("test accuracy %", "final_test_accuracy", 100.0),
        ("test loss", "final_test_loss", 1.0),
        ("step ms", "step_ms", 1.0),
        ("training s", "train_s", 1.0),
        ("latency ms", "latency_ms", 1.0),
        ("latency of a batch ms", "latency_batch_ms", 1.0),
        ("peak MiB", "peak_rss_mib", 1.0),
        ("GPU peak MiB", "peak_allocated_mib", 1.0),
    ]
    for title, name, scale in wanted:
        if table[name].notna().any() and not (title == "test loss" and "test accuracy %" in columns):
            columns[title] = [cell(row, name, scale) for _, row in table.iterrows()]
    evaluations = table["num_evaluations"]
    if (evaluations.notna() & (evaluations != table["num_steps"])).any():
        columns["gradients computed"] = [f"{value:,.0f}" if pd.notna(value) else "—" for value in evaluations]
    return pd.DataFrame(columns)


def summary_text(runs: pd.DataFrame, memory: pd.DataFrame) -> str:
    """The summary of a study for a terminal.

    Args:
        runs: The table `runs`.
        memory: The side table `memory`.
    """
    parts = []
    for section in sections(runs):
        if section.predicted:
            body = "\n".join(_aligned(readable_memory(memory_of(section.runs, memory, leaders(section.runs)))))
            parts.append(f"{section.title}\n{body}\n{textwrap.fill(verdict(section), 100)}")
            continue
        body = "\n".join(_aligned(readable_summary(summary(section.runs))))
        parts.append(f"{section.title}\n{body}\n{textwrap.fill(verdict(section), 100)}")
    return "\n\n".join(parts)


def is_same_for_every_seed(runs: pd.DataFrame) -> bool:
    """Whether nothing in these runs is random: a given function, from a given start, and seeds that end alike."""
    if not ((runs["data"] == "none").all() and all("function" in json.loads(o) for o in runs["model_options"])):
        return False
    return bool((runs.groupby("series")["final_val_loss"].nunique() <= 1).all())


def verdict(section: Section) -> str:
    """In a sentence or three: who ends lowest, and from whom that can be told apart."""
    runs = section.runs
    if section.predicted:
        return "Memory predicted from shapes: nothing was run, nothing is ranked."
    shown = leaders(runs)
    ok = runs[runs["status"] == "ok"]
    if ok.empty:
        return "No run ended ok: there is nothing to compare."
    if is_same_for_every_seed(runs):
        ends = ok[ok["series"].isin(shown)].groupby("series")["final_val_loss"].first().astype(float).sort_values()
        listed = ", ".join(f"{name} ({value:.3g})" for name, value in ends.items())
        return f"Nothing is random here, so one run of each says all. Final values, lowest first: {listed}."
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


def readable_step_costs(costs: pd.DataFrame) -> pd.DataFrame:
    """`step_costs` of one session as people read it: one text a cell, what was measured only."""
    ok = costs[costs["status"] == "ok"]
    columns: dict[str, list[str]] = {
        "optimizer": [str(name) for name in ok["optimizer"]],
        "implementation": [str(name) for name in ok["implementation"]],
        "step µs": [
            f"{_digits(m)} ({_digits(a)} to {_digits(b)})"
            for m, a, b in ok[["step_us", "step_us_q1", "step_us_q3"]].to_numpy()
        ],
    }
    baseline = str(costs["baseline"].dropna().iloc[0]).replace("/", " ") if ok["baseline"].notna().any() else ""
    columns[f"× {baseline}"] = [_ratio(row) for row in ok.itertuples()]
    columns["training step µs"] = [_digits(value) for value in ok["train_step_us"]]
    columns["of it step %"] = [f"{100 * value:.0f}" for value in ok["optimizer_us"] / ok["train_step_us"]]
    optional = [
        ("step by host clock µs", ok["step_host_us"].where(ok["device"] != "cpu"), _digits),
        ("state bytes/parameter", ok["state_mib"] * 2**20 / ok["num_parameters"].astype(float), lambda v: f"{v:.1f}"),
        ("share of the memory limit %", 100 * ok["limit_share"], lambda v: f"{v:.0f}"),
        ("first step ms", ok["first_step_ms"].where(ok["compile_s"].isna()), _digits),
        ("compile s", ok["compile_s"], lambda v: f"{v:.1f}"),
    ]
    for title, values, form in optional:
        if values.notna().any():
            columns[title] = [form(value) if pd.notna(value) else "" for value in values]
    columns["timing"] = [
        f"{row.quality}, {row.num_processes} processes, {row.num_replicates} builds" for row in ok.itertuples()
    ]
    return pd.DataFrame(columns)


def _digits(value: float) -> str:
    return f"{value:,.{max(0, 2 - math.floor(math.log10(value)))}f}" if value > 0 else f"{value:g}"


def _ratio(row: Any) -> str:
    if row.is_baseline:
        return "1"
    if not row.ranked:
        return "contended" if math.isnan(row.ratio) else f"{row.ratio:.3g} (not ranked)"
    return f"{row.ratio:.3g} [{row.ratio_low:.3g}, {row.ratio_high:.3g}]{'' if row.told_apart else ' not told apart'}"


def readable_parts(parts: pd.DataFrame, kind: str) -> pd.DataFrame:
    """`rule_and_implementation` of one kind as people read it: a row an optimizer, a column an implementation."""
    made: dict[str, dict[str, str]] = {}
    for row in parts[parts["kind"] == kind].itertuples():
        text = f"{row.ratio:.3g} [{row.ratio_low:.3g}, {row.ratio_high:.3g}]"
        made.setdefault(str(row.optimizer), {})[str(row.implementation)] = text
    columns = [name for name in IMPLEMENTATIONS if any(name in row for row in made.values())]
    return pd.DataFrame(
        [{"optimizer": optimizer, **{name: row.get(name, "") for name in columns}} for optimizer, row in made.items()]
    )


def smallest_difference_words(costs: pd.DataFrame) -> str:
    """The smallest difference that a session of step costs sees, in a sentence; empty where there is none."""
    smallest = smallest_difference(costs)
    if math.isnan(smallest):
        return ""
    return (
        "The smallest difference between two steps that this measurement sees with 80 % power, one comparison"
        f" taken alone: {100 * smallest:.1f} %."
    )


def absent_words(costs: pd.DataFrame) -> list[str]:
    """What was not measured, and why, a sentence each."""
    absent = costs[costs["status"] != "ok"]
    words = []
    for (implementation, status), group in absent.groupby(["implementation", "status"], sort=False):
        names, reasons = sorted(group["optimizer"]), list(dict.fromkeys(group["reason"].dropna()))
        words.append(
            f"{', '.join(names)} {implementation}: {', '.join([status, *reasons[:1]])}"
            + ("; the others alike." if len(reasons) > 1 else ".")
        )
    contended = int(costs["num_contended"].sum())
    if contended:
        words.append(
            f"{contended} timings were contended and left out; what keeps fewer than {MIN_PROCESSES} processes is not"
            " ranked: repeat on a quiet machine, or with more replicates."
        )
    return words


def step_cost_text(rows: pd.DataFrame) -> str:
    """Step costs of one session for a terminal.

    Args:
        rows: Rows of the side table `step_costs`, of one session.
    """
    costs = step_costs(rows)
    lines = [f"One optimizer step: {rows['workload'].iloc[0]}, {rows['device'].iloc[0]}"]
    if (costs["status"] == "ok").any():
        lines += _aligned(readable_step_costs(costs))
    parts = rule_and_implementation(rows)
    for kind, title in (
        ("rule", f"The update rule: a step over {baseline_of(rows)}'s in the same implementation"),
        ("implementation", "The implementation: a step by for-loop over the same optimizer's in"),
    ):
        table = readable_parts(parts, kind)
        if len(table):
            lines += ["", title, *_aligned(table)]
    words = [smallest_difference_words(costs), *absent_words(costs)]
    return "\n".join([*lines, "", *(textwrap.fill(sentence, 110) for sentence in words if sentence)])


def baseline_of(rows: pd.DataFrame) -> str:
    """The optimizer that a session's ratios are taken to."""
    known = rows["baseline"].dropna()
    return str(known.iloc[0]).partition("/")[0] if len(known) else "the baseline"


def _aligned(table: pd.DataFrame) -> list[str]:
    """A table of texts in columns of equal width."""
    widths = [max(len(name), *(len(v) for v in table[name])) for name in table]
    lines = [list(table), *table.to_numpy().tolist()]
    return ["  ".join(v.ljust(w) for v, w in zip(line, widths, strict=True)).rstrip() for line in lines]


def readable_targets(table: pd.DataFrame) -> pd.DataFrame:
    """`time_to_target` as people read it: one text a cell."""
    columns: dict[str, list[str]] = {
        "optimizer": [str(name) for name in table["series"]],
        "reached by": [f"{row.num_reached} of {row.num_runs}" for row in table.itertuples()],
        "steps": [f"{v:,.0f}" if math.isfinite(v) else "not reached" for v in table["steps_to_target"]],
    }
    if table["time_to_target_s"].notna().any():
        columns["steps × step time, s"] = [
            "" if math.isnan(mean) else f"{mean:.3g}" + (f" [{low:.3g}, {high:.3g}]" if math.isfinite(low) else "")
            for mean, low, high in table[
                ["time_to_target_s", "time_to_target_s_low", "time_to_target_s_high"]
            ].to_numpy()
        ]
    columns["end to end, s"] = [f"{v:.3g}" if math.isfinite(v) else "" for v in table["end_to_end_s"]]
    return pd.DataFrame(columns)


MEMORY_PARTS = ("parameters", "gradients", "optimizer_state", "activations", "temporaries", "buffers", "inputs")
"""Columns <part>_mib of the side table `memory`, which add up to its peak."""


def memory_unit(memory: pd.DataFrame) -> tuple[float, str]:
    """What to multiply MiB by, and the unit that comes out: KiB where all is small."""
    return (1024.0, "KiB") if memory["peak_mib"].max() < 1 else (1.0, "MiB")


def readable_memory(memory: pd.DataFrame) -> pd.DataFrame:
    """Rows of the side table `memory`, with `series`, as people read them: one text a cell."""
    scale, unit = memory_unit(memory)

    def texts(column: str) -> list[str]:
        return ["0" if v == 0 else f"{v:,.0f}" if v >= 100 else f"{v:.3g}" for v in scale * memory[column]]

    return pd.DataFrame(
        {
            "optimizer": [str(name) for name in memory["series"]],
            f"peak {unit}": texts("peak_mib"),
            "at its": [str(phase) for phase in memory["peak_phase"]],
            **{part.replace("_", " "): texts(f"{part}_mib") for part in MEMORY_PARTS},
            "extra in step": texts("step_temporaries_mib"),
            "state bytes/parameter": [f"{value:.1f}" for value in memory["state_bytes_per_parameter"]],
            **({"process": texts("rss_increase_mib")} if memory["rss_increase_mib"].notna().all() else {}),
        }
    )


def memory_of(runs: pd.DataFrame, memory: pd.DataFrame, series: Sequence[str]) -> pd.DataFrame:
    """Rows of the side table `memory` of these series, in their order, with `series`."""
    cells = runs[runs["series"].isin(series)].drop_duplicates("series")[["series", "cell_id", "environment_id"]]
    found = cells.merge(memory, on=["cell_id", "environment_id"], how="inner")
    return found.set_index("series").reindex([s for s in series if s in set(found["series"])]).reset_index()
