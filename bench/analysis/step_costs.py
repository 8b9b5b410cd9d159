"""What one step of each optimizer costs: means over processes, ratios, and the session they come from."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd
from scipy import special

from bench.analysis.inference import LEVEL, mean_interval, p_value, with_holm
from bench.analysis.quality import is_undisturbed

MIN_PROCESSES = 5
"""Fresh processes below which a step cost ranks nothing."""


IMPLEMENTATIONS = ("forloop", "foreach", "fused", "compiled")
"""Those of torch that people use; the reference rules are there to be read."""


STEP_COST_KEYS = ("workload_id", "device", "precision", "num_threads", "environment_id")


def step_costs(rows: pd.DataFrame) -> pd.DataFrame:
    """Summarise each optimizer and implementation of a session: medians over its replicates, and ratios with intervals.

    Replicates whose timing was contended are left out. A ratio is the mean over a process's builds of the
    log-ratio to the baseline, its interval Student's t over processes; p is Holm's over the session.

    Args:
        rows: Rows of the side table `step_costs`.

    Returns:
        The columns of `rows` that are one per optimizer and implementation, and num_processes,
        num_replicates, quality (clean, noisy, contended), step_us with quartiles step_us_q1 and
        step_us_q3, train_step_us with _low and _high, medians of the other times, ratio and train_ratio
        with _low and _high, p_holm, significant, and ranked: whether enough processes were uncontended. Sorted by step_us within a session; rows that were not
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
        made.append(with_holm(table).sort_values("step_us", kind="stable"))
    return pd.concat(made, ignore_index=True) if made else pd.DataFrame(columns=["session_id", "step_cost_id"])


_KEPT = (
    "session_id", "started_at", "study", "workload", "optimizer", "optimizer_options", "implementation", "model", "data",
    "baseline", "num_parameters", "batch_size", "torch_version", "cpu", "gpu", "command", *STEP_COST_KEYS,
)  # fmt: skip
"""Columns that all rows of an optimizer and implementation share."""


_MEDIANS = (
    "step_host_us", "data_us", "zero_grad_us", "forward_us", "backward_us", "optimizer_us", "timer_share", "construct_ms",
    "first_step_ms", "state_mib", "least_traffic_mib", "bandwidth_gib_per_s", "last_cache_mib", "limit_share",
)  # fmt: skip


def _step_cost(group: pd.DataFrame) -> dict[str, object]:
    """Summarise the rows of one optimizer and implementation of a session."""
    first = group.iloc[0]
    measured = group[group["status"] == "ok"]
    used = measured[is_undisturbed(measured)]
    num_processes = used["process"].nunique()
    is_baseline = len(measured) > 0 and str(first["baseline"]) == f"{first['optimizer']}/{first['implementation']}"
    compared = not is_baseline and num_processes >= MIN_PROCESSES
    return {
        **{key: first[key] for key in _KEPT},
        "status": "ok" if len(measured) else first["status"],
        "reason": None if len(measured) else first["reason"],
        "step_cost_id": measured["step_cost_id"].iloc[0] if len(measured) else None,
        "num_processes": num_processes,
        "num_replicates": len(used),
        "num_contended": len(measured) - len(used),
        "quality": _quality(measured, used),
        **_times(used if len(used) else measured),
        "compile_s": measured["compile_s"].astype(float).max() if measured["compile_s"].notna().any() else math.nan,
        **_ratios(used, compared),
        "is_baseline": is_baseline,
        "ranked": compared,
    }


def _quality(measured: pd.DataFrame, used: pd.DataFrame) -> str | None:
    """Return how far the times of an optimizer can be trusted: clean, noisy or contended; None: nothing was measured."""
    if measured.empty:
        return None
    if used["process"].nunique() < MIN_PROCESSES:
        return "contended" if len(used) < len(measured) else "noisy"
    return "clean" if (used["timing_quality"] == "clean").mean() >= 0.5 else "noisy"


def _times(shown: pd.DataFrame) -> dict[str, object]:
    """Return the median and the quartiles of a step, the medians of its parts, and the mean of a training step."""
    times = shown["step_us"].astype(float)
    by_process = np.log(shown.astype({"train_step_us": float}).groupby("process")["train_step_us"].median())
    names = ("train_step_us", "train_step_us_low", "train_step_us_high")
    return {
        "step_us": times.median(),
        "step_us_q1": times.quantile(0.25),
        "step_us_q3": times.quantile(0.75),
        **{name: shown[name].astype(float).median() for name in _MEDIANS},
        **dict(zip(names, _exp(mean_interval(by_process)), strict=True)),
    }


def _ratios(used: pd.DataFrame, compared: bool) -> dict[str, object]:
    """Return the ratios to the baseline, of a step alone and of a training step, and, where it is compared, p."""
    row: dict[str, object] = {}
    for name, column in (("ratio", "step_ratio"), ("train_ratio", "train_step_ratio")):
        interval = mean_interval(_by_process(used, column))
        row |= dict(zip((name, f"{name}_low", f"{name}_high"), _exp(interval), strict=True))
    logs = _by_process(used, "step_ratio")
    return row | {
        "p": p_value(logs) if compared else math.nan,
        "log_sd": float(logs.std(ddof=1)) if compared else math.nan,
    }


def _by_process(rows: pd.DataFrame, column: str) -> np.ndarray:
    """Return the mean log of a column over the builds of each process."""
    logs = np.log(rows[column].astype(float))
    return np.asarray(logs.groupby(rows["process"].astype(int)).mean(), dtype=float)


def _exp(values: Sequence[float]) -> list[float]:
    return [math.exp(value) for value in values]


def latest_session(costs: pd.DataFrame) -> pd.DataFrame:
    """Keep the newest session of `step_costs` for each workload, device and environment; whole ones go first."""
    sessions = costs.groupby([*STEP_COST_KEYS, "session_id", "started_at"], dropna=False, as_index=False).agg(
        whole=("num_processes", lambda n: n.max() >= MIN_PROCESSES)
    )
    sessions = sessions.sort_values(["whole", "started_at"]).drop_duplicates(list(STEP_COST_KEYS), keep="last")
    return costs[costs["session_id"].isin(sessions["session_id"])]


def baseline_of(rows: pd.DataFrame) -> str:
    """Return the optimizer that a session's ratios are taken to."""
    known = rows["baseline"].dropna()
    return str(known.iloc[0]).partition("/")[0] if len(known) else "the baseline"


def rule_and_implementation(rows: pd.DataFrame) -> pd.DataFrame:
    """Split differences between steps into those of the update rule and those of its implementation.

    Comparisons of fewer than MIN_PROCESSES uncontended processes are left out.

    Args:
        rows: Rows of the side table `step_costs`, of one session.

    Returns:
        Columns: optimizer; kind: "training", a training step with it over one with the baseline in the same implementation;
        "rule", its step alone over the baseline's, the limit of that ratio for models whose passes cost nothing; or
        "implementation", its step by for-loop over its own in that implementation; implementation;
        ratio, ratio_low, ratio_high: Student's t over processes, replicates paired, unadjusted;
        num_processes.
    """
    names = ["optimizer", "kind", "implementation", "ratio", "ratio_low", "ratio_high", "num_processes"]
    used = rows[(rows["status"] == "ok") & is_undisturbed(rows) & rows["implementation"].isin(IMPLEMENTATIONS)]
    if used.empty:
        return pd.DataFrame(columns=names)
    logs, training = (_pivoted(used, column) for column in ("step_ratio", "train_step_ratio"))
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
            for kind, of in (("training", training), ("rule", logs)):
                pair = [(name, implementation) for name in (optimizer, baseline)]
                if optimizer != baseline and set(pair) <= set(of.columns):
                    compare(optimizer, kind, implementation, of[pair[0]] - of[pair[1]])
            if implementation != "forloop" and "forloop" in own:
                compare(optimizer, "implementation", implementation, own["forloop"] - own[implementation])
    return pd.DataFrame(made, columns=names)


def _pivoted(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return logarithms of a ratio, a row a replicate, a column an optimizer and implementation."""
    return np.log(
        rows.astype({column: float}).pivot_table(
            index=["process", "build"], columns=["optimizer", "implementation"], values=column, sort=False
        )
    )


def smallest_difference(costs: pd.DataFrame, power: float = 0.8) -> float:
    """Return the smallest relative difference of two steps that a session like this one finds with that power.

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


def newest_session(rows: pd.DataFrame, wanted: Sequence[Collection[str]]) -> pd.DataFrame | None:
    """Return the newest session of step costs that timed all that is wanted, undisturbed.

    Args:
        rows: Rows of the side table `step_costs`, of any sessions.
        wanted: For each thing to be timed, the values of `step_cost_id` that stand for it.

    Returns:
        Rows of the session that ended ok and that nothing disturbed; at least `MIN_PROCESSES` of its processes timed
        all of `wanted`. None where there is no such session, or nothing is wanted.
    """
    if rows.empty or not wanted:
        return None
    usable = rows[(rows["status"] == "ok") & is_undisturbed(rows)]
    sessions = sorted(usable.groupby("session_id"), key=lambda item: item[1]["started_at"].max(), reverse=True)
    for _, session in sessions:
        processes = (set(session.loc[session["step_cost_id"].isin(ids), "process"]) for ids in wanted)
        if len(set.intersection(*processes)) >= MIN_PROCESSES:
            return session
    return None


def is_timed(rows: pd.DataFrame, wanted: Sequence[Collection[str]]) -> bool:
    """Tell whether some session timed all that is wanted, disturbed or not.

    Args:
        rows: Rows of the side table `step_costs`, of any sessions.
        wanted: As for `newest_session`.
    """
    if rows.empty or not wanted:
        return False
    measured = rows[rows["status"] == "ok"]
    sessions = (set(measured.loc[measured["step_cost_id"].isin(ids), "session_id"]) for ids in wanted)
    return bool(set.intersection(*sessions))


def step_times(runs: pd.DataFrame, series: Sequence[str], step_cost_rows: pd.DataFrame) -> pd.DataFrame | None:
    """Return the separately measured, interleaved time of a training step of each series.

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
    if not set(series) <= set(ids.index):
        return None
    session = newest_session(step_cost_rows, [{ids[name]} for name in series])
    if session is None:
        return None
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
