"""Numbers: what the tables say, as pure functions from DataFrames to DataFrames."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import special

LEVEL = 0.95
"""Level of every interval."""


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
    spread = [f"{quantity}{bound}" for quantity in quantities for bound in ("", "_low", "_high")]
    table = pd.DataFrame(rows, columns=["series", "optimizer", "num_runs", "num_ok", "statuses", *spread])
    complete = table["num_ok"] == table["num_runs"]
    return (
        table.assign(_incomplete=~complete)
        .sort_values(["_incomplete", "final_val_loss", "series"], kind="stable")
        .drop(columns="_incomplete")
        .reset_index(drop=True)
    )


def paired_ratios(runs: pd.DataFrame, series: Sequence[str], metric: str = "final_val_loss") -> pd.DataFrame:
    """Compare every two series over the seeds that both finished: paired log-ratios, see `mean_log_ratio`.

    Intervals are unadjusted; `p_holm` is adjusted over all comparisons of the table.

    Args:
        runs: Rows of one section, with `series`.
        series: What to compare.
        metric: A column of positive numbers.

    Returns:
        Columns: a, b (a is the one with the lower geometric mean over the pairs), num_pairs, ratio
        (of a to b), ratio_low, ratio_high, p, log_sd (of the paired log-ratios), method (t or bootstrap), p_holm,
        told_apart (p_holm < .05). A pair with fewer than two seeds in common is left out.
    """
    ok = runs[(runs["status"] == "ok") & (runs[metric] > 0)]
    keys = ["seed", "environment_id"]
    logs = {name: np.log(ok[ok["series"] == name].set_index(keys)[metric].astype(float)) for name in series}
    rows = []
    for i, a in enumerate(series):
        for b in list(series)[i + 1 :]:
            first, second = logs[a].align(logs[b], join="inner")
            difference = first - second
            if len(difference) < 2:
                continue
            lower_first = difference.mean() <= 0
            strata = difference.index.get_level_values("environment_id").to_numpy()
            found = mean_log_ratio((difference if lower_first else -difference).to_numpy(), strata)
            rows.append({"a": a if lower_first else b, "b": b if lower_first else a, **found})
    table = pd.DataFrame(rows, columns=["a", "b", *RATIO_COLUMNS])
    return with_holm(table)


RATIO_COLUMNS = ("num_pairs", "ratio", "ratio_low", "ratio_high", "p", "log_sd", "method")
"""What `mean_log_ratio` gives."""

MIN_BOOTSTRAP_PAIRS = 20
"""Pairs from which intervals come from a bootstrap; below, resampling undercovers and Student's t holds better."""

NUM_RESAMPLES = 4_999


def mean_log_ratio(differences: np.ndarray, strata: np.ndarray | None = None) -> dict[str, float | int | str]:
    """Ratio of two paired quantities, its interval, and p of no difference.

    The ratio is exp(m), m the mean of the differences d_i = log a_i - log b_i. Below 20 pairs the interval
    is Student's t. From 20 on it is that of a studentised bootstrap: d is resampled within each stratum,
    T* = (m* - m) / se*, the interval is [m - q_hi se, m - q_lo se] with the quantiles q of T*, and p is the share of
    |T*| at least as large as |m| / se. It has a random generator of its own, always seeded alike.

    Args:
        differences: d_i, at least two finite numbers.
        strata: A label for each, such as the environment it was measured in; None for one stratum.

    Returns:
        The keys of RATIO_COLUMNS.

    References:
        Davison and Hinkley, "Bootstrap Methods and their Application" (1997), sections 3.2 (strata) and 5.2
        (studentised).
    """
    n = len(differences)
    mean, low, high = mean_interval(differences)
    p, method = p_value(differences), "t"
    spread = float(differences.std(ddof=1))
    if n >= MIN_BOOTSTRAP_PAIRS and spread > 0:
        scaled = _studentised(differences, np.zeros(n) if strata is None else strata)
        error = _stratified_error(differences, np.zeros(n) if strata is None else strata)
        if scaled is not None and error > 0:
            q_low, q_high = np.quantile(scaled, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
            low, high, method = mean - q_high * error, mean - q_low * error, "bootstrap"
            p = float((1 + (np.abs(scaled) >= abs(mean) / error).sum()) / (1 + len(scaled)))
    values = (n, math.exp(mean), _safe_exp(low), _safe_exp(high), p, spread, method)
    return dict(zip(RATIO_COLUMNS, values, strict=True))


def _stratified_error(values: np.ndarray, strata: np.ndarray) -> float:
    """Standard error of the mean of a stratified sample."""
    groups = [values[strata == label] for label in np.unique(strata)]
    return math.sqrt(sum(len(g) * float(g.var(ddof=1)) for g in groups if len(g) > 1)) / len(values)


def _studentised(values: np.ndarray, strata: np.ndarray) -> np.ndarray | None:
    """T* of resamples within strata; None where strata are too small to resample."""
    random = np.random.default_rng(0)
    total, variance = np.zeros(NUM_RESAMPLES), np.zeros(NUM_RESAMPLES)
    for label in np.unique(strata):
        group = values[strata == label]
        if len(group) < 2:
            return None
        drawn = group[random.integers(len(group), size=(NUM_RESAMPLES, len(group)))]
        total += drawn.sum(axis=1)
        variance += len(group) * drawn.var(axis=1, ddof=1)
    known = variance > 0
    n = len(values)
    return np.asarray((total[known] / n - values.mean()) / (np.sqrt(variance[known]) / n))


def _safe_exp(value: float) -> float:
    """Of an interval's bound: two pairs that hardly agree can put it beyond what a float holds."""
    return math.exp(value) if value < 700 else math.inf


def with_holm(table: pd.DataFrame) -> pd.DataFrame:
    """A table of comparisons with a column p, and p_holm (Holm's over all with a p) and told_apart (p_holm < .05)."""
    p_holm = np.full(len(table), math.nan)
    tested = table["p"].notna().to_numpy(bool)
    p_holm[tested] = holm(table["p"].to_numpy(float)[tested])
    return table.assign(p_holm=p_holm, told_apart=p_holm < 1 - LEVEL)


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


def not_told_apart_groups(pairs: pd.DataFrame, order: Sequence[str]) -> list[list[str]]:
    """Maximal groups of series of which no two can be told apart.

    A series may stand in several groups: if a and b cannot be told apart, nor b and c, a and c still may. Two that
    were not compared cannot be told apart either. The groups are the maximal cliques of that relation, found by
    splitting a group at each pair that is told apart and dropping what another group holds (insert and absorb).

    Args:
        pairs: What `paired_ratios` gave: columns a, b, told_apart.
        order: The series, best first.

    Returns:
        Each group in that order; groups by their members' ranks.

    References:
        Piepho, "An algorithm for a letter-based representation of all-pairwise comparisons" (2004), J. Comput. Graph.
        Stat. 13.
    """
    rank = {name: i for i, name in enumerate(order)}
    groups: list[frozenset[str]] = [frozenset(order)] if rank else []
    for pair in pairs[pairs["told_apart"].astype(bool)].itertuples():
        if pair.a not in rank or pair.b not in rank:
            continue
        split = []
        for group in groups:
            split += [group - {pair.a}, group - {pair.b}] if {pair.a, pair.b} <= group else [group]
        distinct = list(dict.fromkeys(split))
        groups = [group for group in distinct if not any(group < other for other in distinct)]
    return sorted((sorted(group, key=rank.__getitem__) for group in groups), key=lambda g: [rank[name] for name in g])


def group_letters(groups: Sequence[Sequence[str]], order: Sequence[str]) -> dict[str, str]:
    """Letters for each series: two that share one cannot be told apart (compact letter display).

    Args:
        groups: What `not_told_apart_groups` gave; the first is letter a.
        order: The series.
    """
    names = [(chr(ord("a") + i % 26)) * (1 + i // 26) for i in range(len(groups))]
    return {
        name: "".join(letter for letter, group in zip(names, groups, strict=True) if name in group) for name in order
    }


class Probability(NamedTuple):
    """An estimated probability and its interval."""

    p: float
    low: float
    high: float


def probability_better(
    a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray, level: float = LEVEL
) -> Probability:
    """Probability that a run of A ends lower than a run of B: P(A < B) + P(A = B) / 2.

    p is the Mann-Whitney statistic over n_a n_b. The interval is Newcombe's method 5, all q with |q - p| <= t
    sqrt(V(q)), V(q) = q (1 - q) (1 + N ((1 - q) / (2 - q) + q / (1 + q))) / (n_a n_b), N = (n_a + n_b) / 2 - 1: it
    keeps its width where p is 0 or 1. Unlike there, t is Student's with n_a + n_b - 2 degrees of freedom, not the
    normal quantile: three runs each do not overlap one time in ten by chance, and must not exclude 1/2 then. Runs
    count as independent; pairing by seed makes the interval wider than needed.

    Args:
        a: Final losses of A, one a run; inf for a run that has none.
        b: Those of B.
        level: Coverage of the interval, in (0, 1).

    Returns:
        p, low, high in [0, 1]; NaN without runs.

    Raises:
        ValueError: A value is NaN; a lost run is inf.

    References:
        Vargha and Delaney (2000), J. Educ. Behav. Stat. 25; Newcombe, "Confidence intervals for an effect size
        measure based on the Mann-Whitney statistic, part 2" (2006), Stat. Med. 25, method 5.
    """
    x, y = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if np.isnan(x).any() or np.isnan(y).any():
        raise ValueError("losses must be numbers, got NaN; give inf for a run that has none")
    if len(x) == 0 or len(y) == 0:
        return Probability(math.nan, math.nan, math.nan)
    below = np.searchsorted(np.sort(y), x, side="right"), np.searchsorted(np.sort(y), x, side="left")
    p = float(1 - (below[0] + below[1]).sum() / (2 * len(x) * len(y)))
    quantile = float(special.stdtrit(max(1, len(x) + len(y) - 2), 0.5 + level / 2))
    n = (len(x) + len(y)) / 2 - 1

    def inside(q: float) -> bool:
        variance = q * (1 - q) * (1 + n * ((1 - q) / (2 - q) + q / (1 + q))) / (len(x) * len(y))
        return abs(q - p) <= quantile * math.sqrt(variance)

    return Probability(p, _edge_of(inside, p, 0.0), _edge_of(inside, p, 1.0))


def _edge_of(inside: Callable[[float], bool], start: float, end: float) -> float:
    """Where an interval that holds `start` ends on the way to `end`, by bisection."""
    if start == end:
        return end
    near, far = start, end
    for _ in range(60):
        middle = (near + far) / 2
        near, far = (middle, far) if inside(middle) else (near, middle)
    return near


def seeds_needed(log_sd: float, ratio: float, power: float = 0.8, level: float = LEVEL) -> int:
    """Paired seeds that tell two optimizers apart, for a given true ratio of their losses.

    The smallest n with P(|T| > t_crit) >= power, T noncentral t with n - 1 degrees of freedom and noncentrality
    sqrt(n) |log ratio| / log_sd: the exact power of the paired t test, of one comparison taken alone.

    Args:
        log_sd: Standard deviation of the paired log-ratios over seeds, above 0 (`log_sd` of `paired_ratios`).
        ratio: The true ratio to be seen, such as 1.02 or 0.98.
        power: Probability of seeing it, in (0, 1).
        level: 1 less the error rate of the test, in (0, 1).

    Returns:
        At least 2.

    Raises:
        ValueError: log_sd is not above 0; ratio is not above 0, or is 1: no number of seeds shows that.
    """
    if not log_sd > 0 or not ratio > 0 or ratio == 1:
        raise ValueError(
            f"log_sd must be above 0 and ratio above 0 and not 1, got {log_sd:g} and {ratio:g}; give others"
        )
    effect = abs(math.log(ratio)) / log_sd
    low, high = 1, 2
    while _power(effect, high, level) < power:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _power(effect, middle, level) >= power else (middle, high)
    return high


def detectable_ratio(log_sd: float, num_seeds: int, power: float = 0.8, level: float = LEVEL) -> float:
    """The smallest ratio above 1 that this many paired seeds tell from 1: the inverse of `seeds_needed`.

    Args:
        log_sd: Standard deviation of the paired log-ratios over seeds.
        num_seeds: Pairs, at least 2.
        power: Probability of seeing it, in (0, 1).
        level: 1 less the error rate of the test, in (0, 1).
    """
    most = 1.0
    while _power(most, num_seeds, level) < power:
        most *= 2
    return _safe_exp(log_sd * _edge_of(lambda effect: _power(effect, num_seeds, level) < power, 0.0, most))


def _power(effect: float, n: int, level: float) -> float:
    """Power of the two-sided paired t test: effect is the mean difference over its standard deviation."""
    shift = effect * math.sqrt(n)
    critical = float(special.stdtrit(n - 1, 0.5 + level / 2))
    if shift > 4 * critical + 8:  # above 1 - 1e-5; far beyond, SciPy's noncentral t may not come to an end
        return 1.0
    # above 6 the other tail is below 1e-9, and SciPy may give NaN for it
    wrong_side = float(special.nctdtr(n - 1, shift, -critical)) if shift < 6 else 0.0
    return 1 - float(special.nctdtr(n - 1, shift, critical)) + wrong_side


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


# --- paths over a surface -------------------------------------------------------------------------


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


def baseline_of(rows: pd.DataFrame) -> str:
    """The optimizer that a session's ratios are taken to."""
    known = rows["baseline"].dropna()
    return str(known.iloc[0]).partition("/")[0] if len(known) else "the baseline"


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


class Target(NamedTuple):
    """A loss to reach, and where it comes from, in words."""

    value: float
    words: str


class Goal(NamedTuple):
    """How the target of every section is chosen: a loss, or the baseline whose loss it is; by default neither."""

    value: float | None = None
    baseline: str | None = None

    def target(self, runs: pd.DataFrame, shown: Sequence[str]) -> Target | None:
        """The target of one section, by `target_loss`; None where its baseline was not run there.

        Args:
            runs: Rows of one section, with `series`.
            shown: The series that figures show, of which the default rule takes one.
        """
        if self.baseline is None:
            return target_loss(runs[runs["series"].isin(shown)], self.value)
        there = self.baseline in set(runs["series"]) | set(runs["optimizer"])
        return target_loss(runs, baseline=self.baseline) if there else None


SECOND_LOWEST = Goal()
"""The default rule of `target_loss`."""


def target_loss(runs: pd.DataFrame, value: float | None = None, baseline: str | None = None) -> Target | None:
    """The validation loss to reach: given, or the median final one over seeds of a named baseline.

    By default the baseline is the series with the second lowest median, so that at least two get there and there is
    something to compare.

    Args:
        runs: Rows of one section, with `series`.
        value: The loss itself.
        baseline: A series, or an optimizer, of which then the series with the lowest median counts.

    Returns:
        None where no run of the baseline, or fewer than two series, ended ok.

    Raises:
        ValueError: `value` is not finite, or there is no such baseline.
    """
    if value is not None:
        if not math.isfinite(value):
            raise ValueError(f"target must be a finite number, got {value}; give a loss")
        return Target(float(value), "as given")
    known = runs[runs["stage"] != "predicted"]
    ok = known[known["status"] == "ok"].astype({"final_val_loss": float})
    medians = ok.groupby("series")["final_val_loss"].median().dropna().sort_values()
    if baseline is None:
        if len(medians) < 2:
            return None
        return Target(float(medians.iloc[1]), f"the median final one of {medians.index[1]}, the second lowest")
    named = known[(known["series"] == baseline) | (known["optimizer"] == baseline)]["series"].unique()
    if len(named) == 0:
        there = ", ".join(sorted(set(known["optimizer"]) | set(known["series"])))
        raise ValueError(f"baseline must be an optimizer or series of the study, got {baseline}; choose of {there}")
    lowest = medians.reindex(named).dropna().sort_values()
    return Target(float(lowest.iloc[0]), f"the median final one of {lowest.index[0]}") if len(lowest) else None


def steps_to_target(
    runs: pd.DataFrame, curves: pd.DataFrame, target: float, metric: str = "loss", split: str = "val"
) -> pd.DataFrame:
    """Steps of each run until an evaluation first reaches the target.

    Reached means at most the target, or at least it for accuracy. A run that never gets there is censored: it needs
    more than `censored_at` steps, and counts as longer than any that did. A run that diverged would not have got
    there in the rest of its budget either. Runs that ended for another reason than their own (failed, interrupted)
    say nothing and are left out.

    Args:
        runs: Rows of one section, with `series`.
        curves: Rows of `curves`.
        target: The value to reach.
        metric: Of `curves`.
        split: Of `curves`.

    Returns:
        One row a run: run_id, series, optimizer, seed, environment_id, reached, steps_to_target (missing where
        censored), censored_at (missing where reached), resolution: steps since the evaluation before, or between the
        last two, since the crossing itself lies in between; end_to_end_s: training time at that point, missing
        where the processor was contended or runs were made side by side.
    """
    wanted = ["run_id", "series", "optimizer", "seed", "environment_id", "status", "num_steps", "num_steps_budget"]
    table = runs[runs["status"].isin(("ok", "diverged", "timeout", "oom"))]
    alone = _timed_alone(table)
    table = table.reindex(columns=wanted).assign(_alone=alone)
    points = curves[
        (curves["split"] == split) & (curves["metric"] == metric) & curves["run_id"].isin(table["run_id"])
    ].sort_values(["run_id", "step"], kind="stable")
    points = points.assign(resolution=points.groupby("run_id")["step"].diff().astype(float))
    there = points["value"] >= target if metric.endswith("accuracy") else points["value"] <= target
    first = points[there].drop_duplicates("run_id").set_index("run_id")
    last = points.drop_duplicates("run_id", keep="last").set_index("run_id")
    at = first.reindex(table["run_id"])
    reached = at["step"].notna().to_numpy()
    made = table["num_steps"].astype(float).to_numpy()
    made = np.where(np.isnan(made), last["step"].reindex(table["run_id"]).astype(float).to_numpy(), made)
    budget = table["num_steps_budget"].astype(float).to_numpy()
    never = np.where((table["status"] == "diverged").to_numpy(bool), np.fmax(budget, made), made)
    return table[["run_id", "series", "optimizer", "seed", "environment_id"]].assign(
        reached=reached,
        steps_to_target=at["step"].astype(float).to_numpy(),
        censored_at=np.where(reached, math.nan, never),
        resolution=np.where(reached, at["resolution"], last["resolution"].reindex(table["run_id"])).astype(float),
        end_to_end_s=np.where(table["_alone"], at["train_time_s"].astype(float), math.nan),
    ).reset_index(drop=True)  # fmt: skip


def _timed_alone(runs: pd.DataFrame) -> np.ndarray:
    """Whether the times of each run can stand: not contended, and by the launcher that makes one run at a time."""
    alone = runs["timing_quality"].fillna("") != "contended"
    if "launcher" in runs:
        alone &= runs["launcher"].fillna("local") == "local"
    return np.asarray(alone, dtype=bool)


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
        Columns: series, num_runs, num_reached, steps_to_target (median over seeds; missing where censored),
        mean_steps with _low and _high (geometric mean and its t interval) and time_to_target_s with _low and _high
        (mean_steps x step time), both where all seeds got there, end_to_end_s: median training time of the runs at
        that point, of those timed alone, and resolution: median steps between evaluations there.
    """
    each = steps_to_target(runs[runs["series"].isin(series)], curves, target)
    made = []
    for name in series:
        group = each[each["series"] == name]
        reached = group[group["reached"]]
        steps = group["steps_to_target"].fillna(math.inf).to_numpy(float)
        row: dict[str, object] = {"series": name, "num_runs": len(group), "num_reached": len(reached)}
        row |= dict.fromkeys(
            (
                "steps_to_target", "mean_steps", "mean_steps_low", "mean_steps_high",
                "time_to_target_s", "time_to_target_s_low", "time_to_target_s_high", "end_to_end_s",
            ),
            math.nan,
        )  # fmt: skip
        row["resolution"] = group["resolution"].median()
        if 2 * len(reached) > len(group):
            row["steps_to_target"] = float(np.median(steps))
            row["end_to_end_s"] = reached["end_to_end_s"].median()
            if len(reached) == len(group) and (steps > 0).all():
                means = [_safe_exp(value) for value in mean_interval(np.log(steps))]
                row |= dict(zip(("mean_steps", "mean_steps_low", "mean_steps_high"), means, strict=True))
            if times is not None and name in set(times["series"]):
                row |= _times_to_target(
                    reached["steps_to_target"].to_numpy(float), len(group), times.set_index("series").loc[name]
                )
        made.append(row)
    return pd.DataFrame(made)


def target_pairs(
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    series: Sequence[str],
    target: float,
    times: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Compare every two series by steps to the target, and by time, over their common seeds.

    Where both runs of every pair got there, as in `mean_log_ratio`. With a censored pair there is no interval, but an
    exact sign test: of two runs the one that got there first wins, a pair in which both are censored, or both took as
    many steps, says nothing. Then the ratio is that of the geometric means with each censored run at the steps it is
    known to exceed: if only b's are censored, a's ratio to b is at most that; if both have censored runs, there is
    none.

    Time is steps x step time: the two step times' errors are added to those of the steps, as if independent, though
    they were measured side by side: the interval is rather too wide. With a censored pair the sign test of time takes
    step times as known.

    Args:
        runs: Rows of one section, with `series`.
        curves: Rows of `curves`.
        series: What to compare.
        target: The loss to reach.
        times: What `step_times` gave, or None: then the columns of time are missing values.

    Returns:
        Columns: a, b (a is the one with more pairs won, or fewer steps), num_pairs, num_censored (one of the two),
        num_both_censored, wins_a, wins_b, ratio (of a's steps to b's), ratio_low, ratio_high, bound ("" or "at
        most"), test (t, bootstrap or sign), p, p_holm, told_apart, and for time time_ratio, _low, _high, time_p,
        time_p_holm, time_told_apart. Fewer than two common seeds: left out.
    """
    each = steps_to_target(runs[runs["series"].isin(series)], curves, target)
    keys = ["seed", "environment_id"]
    by_series = {name: each[each["series"] == name].set_index(keys) for name in series}
    step_times = None if times is None else times.set_index("series")
    rows = []
    for i, a in enumerate(series):
        for b in list(series)[i + 1 :]:
            both = by_series[a].add_suffix("_a").join(by_series[b].add_suffix("_b"), how="inner")
            if len(both) >= 2:
                rows.append(_target_pair(a, b, both, step_times))
    columns = [
        "a", "b", "num_pairs", "num_censored", "num_both_censored", "wins_a", "wins_b", "ratio", "ratio_low", "ratio_high", "bound",
        "test", "p", "time_ratio", "time_ratio_low", "time_ratio_high", "time_p",
    ]  # fmt: skip
    table = with_holm(pd.DataFrame(rows, columns=columns))
    time = with_holm(table[["time_p"]].rename(columns={"time_p": "p"}))
    return table.assign(time_p_holm=time["p_holm"], time_told_apart=time["told_apart"])


def _target_pair(a: str, b: str, both: pd.DataFrame, times: pd.DataFrame | None) -> dict[str, object]:
    """A row of `target_pairs`; `both` has a row a common seed, and columns of `steps_to_target` with _a and _b."""
    steps_a, steps_b = (both[f"steps_to_target_{s}"].fillna(math.inf).to_numpy(float) for s in "ab")
    won_a, won_b = int((steps_a < steps_b).sum()), int((steps_b < steps_a).sum())
    known = np.isfinite(steps_a) & np.isfinite(steps_b)
    positive = bool((steps_a > 0).all() and (steps_b > 0).all())
    # a run that is censored needs more steps than it was given
    least_a = both["steps_to_target_a"].fillna(both["censored_at_a"]).to_numpy(float)
    least_b = both["steps_to_target_b"].fillna(both["censored_at_b"]).to_numpy(float)
    logs = np.log(least_a) - np.log(least_b) if positive else np.full(len(both), math.nan)
    more = 0 if known.all() else won_b - won_a
    if more > 0 or (more == 0 and logs.mean() > 0):
        a, b, steps_a, steps_b, won_a, won_b, logs = b, a, steps_b, steps_a, won_b, won_a, -logs
    finite_a, finite_b = np.isfinite(steps_a), np.isfinite(steps_b)
    row: dict[str, object] = {
        "a": a,
        "b": b,
        "num_pairs": len(both),
        "num_censored": int((finite_a != finite_b).sum()),
        "num_both_censored": int((~finite_a & ~finite_b).sum()),
        "wins_a": won_a,
        "wins_b": won_b,
        "bound": "",
        **dict.fromkeys(("ratio", "ratio_low", "ratio_high"), math.nan),
        **dict.fromkeys(("time_ratio", "time_ratio_low", "time_ratio_high", "time_p"), math.nan),
    }
    if known.all() and positive:
        found = mean_log_ratio(logs, both.index.get_level_values("environment_id").to_numpy())
        row |= {key: found[key] for key in ("ratio", "ratio_low", "ratio_high", "p")} | {"test": found["method"]}
    else:
        row |= {"test": "sign", "p": sign_test(won_a, won_b)}
        if finite_a.all() and positive:
            row |= {"ratio": math.exp(logs.mean()), "bound": "at most"}
    if times is not None and {a, b} <= set(times.index):
        row |= _time_ratio(row, logs, steps_a, steps_b, times.loc[a], times.loc[b])
    return row


def _time_ratio(
    row: dict[str, object], logs: np.ndarray, steps_a: np.ndarray, steps_b: np.ndarray, a: pd.Series, b: pd.Series
) -> dict[str, float]:
    """The columns of time of `target_pairs`: Welch and Satterthwaite over steps and both step times."""
    shift = math.log(a["step_s"] / b["step_s"])
    if row["test"] == "sign":
        time_a, time_b = steps_a * a["step_s"], steps_b * b["step_s"]
        p = sign_test(int((time_a < time_b).sum()), int((time_b < time_a).sum()))
        bound = {"time_ratio": math.exp(logs.mean() + shift)} if row["bound"] else {}
        return {"time_p": p, **bound}
    mean = float(logs.mean()) + shift
    parts = [
        (float(logs.var(ddof=1)) / len(logs), len(logs) - 1),
        *((float(t["log_se"]) ** 2, float(t["df"])) for t in (a, b)),
    ]
    variance = sum(v for v, _ in parts)
    if variance == 0:
        return {
            **dict.fromkeys(("time_ratio", "time_ratio_low", "time_ratio_high"), math.exp(mean)),
            "time_p": float(mean == 0),
        }
    df = variance**2 / sum(v**2 / d for v, d in parts)
    half = half_width(df) * math.sqrt(variance)
    return {
        "time_ratio": math.exp(mean),
        "time_ratio_low": _safe_exp(mean - half),
        "time_ratio_high": _safe_exp(mean + half),
        "time_p": float(2 * special.stdtr(df, -abs(mean) / math.sqrt(variance))),
    }


def sign_test(wins: int, losses: int) -> float:
    """Two-sided p of the exact sign test: this many wins and losses, ties left out; 1 without any."""
    n = wins + losses
    return min(1.0, 2 * float(special.bdtr(min(wins, losses), n, 0.5))) if n else 1.0


class Disagreement(NamedTuple):
    """The winner by steps to the target is not the winner by time. Ratios are those of the former to the latter."""

    by_steps: str
    by_time: str
    steps_ratio: float
    steps_ratio_low: float
    steps_ratio_high: float
    steps_told_apart: bool
    time_ratio: float
    time_ratio_low: float
    time_ratio_high: float
    time_told_apart: bool


def winners_disagree(targets: pd.DataFrame, pairs: pd.DataFrame) -> Disagreement | None:
    """The winners by steps and by time to the target, where they differ.

    Both are read from means over seeds of series that all got there and whose step times are known.

    Args:
        targets: What `time_to_target` gave.
        pairs: What `target_pairs` gave of the same series.

    Returns:
        None where they agree, or where fewer than two series can be compared.
    """
    known = targets[targets["mean_steps"].notna() & targets["time_to_target_s"].notna()].set_index("series")
    if len(known) < 2:
        return None
    by_steps, by_time = str(known["mean_steps"].idxmin()), str(known["time_to_target_s"].idxmin())
    pair = pairs[pairs["a"].isin((by_steps, by_time)) & pairs["b"].isin((by_steps, by_time))]
    if by_steps == by_time or pair.empty or known["mean_steps"].nunique() == 1:
        return None
    row = pair.iloc[0]
    flip = row["a"] != by_steps
    found: dict[str, float] = {}
    for name in ("ratio", "time_ratio"):
        ratio, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
        found |= dict(
            zip(
                (name, f"{name}_low", f"{name}_high"),
                (1 / ratio, 1 / high, 1 / low) if flip else (ratio, low, high),
                strict=True,
            )
        )
    return Disagreement(
        by_steps, by_time, found["ratio"], found["ratio_low"], found["ratio_high"], bool(row["told_apart"]),
        found["time_ratio"], found["time_ratio_low"], found["time_ratio_high"], bool(row["time_told_apart"]),
    )  # fmt: skip


def area_under_curve(
    runs: pd.DataFrame, curves: pd.DataFrame, metric: str = "loss", split: str = "val"
) -> pd.DataFrame:
    """Mean height of each run's curve: the area under it by the trapezoid rule, over the steps it spans.

    area = 1 / (s_n - s_1) sum_i (s_i+1 - s_i) (v_i + v_i+1) / 2, over evaluations v_i at steps s_i, from the first to
    the last. A run that did not end ok, or was stopped before its budget, has none: its curve is shorter than the
    others'.

    Args:
        runs: Rows of one section, with `series`.
        curves: Rows of `curves`.
        metric: Of `curves`.
        split: Of `curves`.

    Returns:
        One row a run: run_id, series, optimizer, seed, area (in the unit of the metric; missing without two
        evaluations).
    """
    points = curves[(curves["split"] == split) & (curves["metric"] == metric)].sort_values(
        ["run_id", "step"], kind="stable"
    )
    runs_of = points["run_id"]
    width = points["step"].astype(float).groupby(runs_of).diff()
    height = (points["value"] + points["value"].groupby(runs_of).shift()) / 2
    total = (width * height).groupby(runs_of).sum(min_count=1)
    # a missing value in between is a gap in the curve, never skipped
    whole = points["value"].notna().groupby(runs_of).all()
    area = (total / width.groupby(runs_of).sum()).where(whole)
    table = runs[["run_id", "series", "optimizer", "seed"]].reset_index(drop=True)
    done = (runs["status"] == "ok").to_numpy(bool)
    if "num_steps_budget" in runs:
        steps, budget = (runs[name].astype(float).to_numpy() for name in ("num_steps", "num_steps_budget"))
        done = done & ~(steps < budget)
    return table.assign(area=area.reindex(table["run_id"]).astype(float).where(done).to_numpy())


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


# --- memory ---------------------------------------------------------------------------------------

MEMORY_PARTS = ("parameters", "gradients", "optimizer_state", "activations", "temporaries", "buffers", "inputs")
"""Columns <part>_mib of the side table `memory`, which add up to its peak."""


def memory_unit(memory: pd.DataFrame) -> tuple[float, str]:
    """What to multiply MiB by, and the unit that comes out: KiB where all is small."""
    return (1024.0, "KiB") if memory["peak_mib"].max() < 1 else (1.0, "MiB")


def memory_of(runs: pd.DataFrame, memory: pd.DataFrame, series: Sequence[str]) -> pd.DataFrame:
    """Rows of the side table `memory` of these series, in their order, with `series`."""
    cells = runs[runs["series"].isin(series)].drop_duplicates("series")[["series", "cell_id", "environment_id"]]
    found = cells.merge(memory, on=["cell_id", "environment_id"], how="inner")
    return found.set_index("series").reindex([s for s in series if s in set(found["series"])]).reset_index()
