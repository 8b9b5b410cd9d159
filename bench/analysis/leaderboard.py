"""The leaderboard: one row an optimizer, at the best of its settings that were tried."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from bench.analysis.learning import has_learned
from bench.analysis.section import SectionAnalysis
from bench.analysis.sections import is_same_for_every_seed
from bench.analysis.step_costs import baseline_of, newest_session, step_costs

Badge = Literal["best", "tied", "worse", "not compared", "did not learn", "diverged", "did not finish"]


class Relative(NamedTuple):
    """A ratio to another optimizer, with the limits of its simultaneous 95 % interval.

    Attributes:
        ratio: NaN where it is unknown.
        low: Its lower limit, 0 or NaN where there is none.
        high: Its upper limit, inf or NaN where there is none.
        bound: "at least" or "at most" where the ratio is a bound.
        significant: Whether the difference is, after the correction for all comparisons.
    """

    ratio: float = math.nan
    low: float = math.nan
    high: float = math.nan
    bound: str = ""
    significant: bool = False


UNKNOWN = Relative()
ONE = Relative(1.0, 1.0, 1.0)
_OPPOSITE = {"at least": "at most", "at most": "at least"}


def relative(pairs: pd.DataFrame, name: str, other: str, prefix: str = "") -> Relative:
    """Return what a table of comparisons says of one series relative to another.

    Args:
        pairs: What `paired_ratios` or `target_pairs` gave.
        name: The series whose quantity is divided.
        other: The series it is divided by.
        prefix: "time_" for the times of `target_pairs`.
    """
    if name == other:
        return ONE
    if pairs.empty:
        return UNKNOWN
    straight = pairs[(pairs["a"] == name) & (pairs["b"] == other)]
    turned = pairs[(pairs["a"] == other) & (pairs["b"] == name)]
    row = next((rows.iloc[0] for rows in (straight, turned) if len(rows)), None)
    if row is None:
        return UNKNOWN
    ratio, low, high = (float(row[f"{prefix}{key}"]) for key in ("ratio", "adjusted_low", "adjusted_high"))
    bound, significant = str(row["bound"]), bool(row[f"{prefix}significant"])
    if len(straight):
        return Relative(ratio, low, high, bound, significant)
    with np.errstate(divide="ignore"):
        ratio, low, high = (float(np.divide(1.0, number)) for number in (ratio, high, low))
    return Relative(ratio, low, high, _OPPOSITE.get(bound, ""), significant)


class Leaderboard(NamedTuple):
    """One row an optimizer, and what its columns are relative to.

    Attributes:
        rows: See `leaderboard`.
        best: The series that the losses are relative to; None where nothing can be ranked.
        baseline: The series that steps and time to the target are relative to; None without a target.
        step_baseline: The optimizer that the cost of a step is relative to; None where no step was measured.
    """

    rows: pd.DataFrame
    best: str | None
    baseline: str | None
    step_baseline: str | None

    def badged(self, *badges: Badge) -> pd.DataFrame:
        """Return the rows that have one of these badges."""
        return self.rows[self.rows["badge"].isin(badges)]


def board_of(found: SectionAnalysis) -> Leaderboard | None:
    """Return the leaderboard of a section; None where nothing was run."""
    return leaderboard(found) if len(found.section.runs) and not found.section.predicted else None


def leaderboard(found: SectionAnalysis) -> Leaderboard:
    """Return the leaderboard of a section.

    Comparisons are those of `SectionAnalysis.pairs`: every two optimizers, with Holm's correction over all of them. Fewer
    would be counted if each were compared with the best only, but the best is chosen by the same runs, and of equal
    optimizers one would then be called worse too often: simulated with 12 optimizers and 10 seeds, in 14 % of studies
    instead of 5 %.

    Args:
        found: A section with runs; with its curves and step costs where they are at hand.

    Returns:
        A row for each of `SectionAnalysis.leaders`, best first. Columns: series; optimizer; name, unique among the rows; rank:
        optimizers that do not differ significantly from the first of their rank share it, missing where nothing was
        compared or learned; badge; setting, in words; num_tried: settings tried; edge: "lowest", "highest" where its rate is the last one
        tried on that side, or the hyperparameter and the side of a tuned one, else ""; loss, loss_low, loss_high: mean
        final validation loss and its 95 % interval; comparison: `Relative` to the best; accuracy or test_loss with _low
        and _high; num_reached, num_runs and steps_to_target (median); steps, time: `Relative` to the baseline;
        step_cost: `Relative`, of a training step; peak_mib: peak memory in tensors; state_bytes: of optimizer state a
        parameter; statuses: "3 ok, 1 diverged"; log_sd of the comparison with the best.
    """
    runs, shown = found.section.runs, found.leaders
    table = found.summary.set_index("series").loc[shown]
    first = runs.drop_duplicates("series").set_index("series").loc[shown]
    several = first["optimizer"].duplicated(keep=False)
    rows = pd.DataFrame(
        {
            "series": shown,
            "optimizer": first["optimizer"].astype(str).to_numpy(),
            "name": first["optimizer"].where(~several, first["optimizer"] + " " + first["implementation"]).astype(str).to_numpy(),
            "setting": [_setting(found, name, first.loc[name]) for name in shown],
            "settings": first["settings"].to_numpy(),
            "lr": first["lr"].astype(float).to_numpy(),
            "num_tried": [_num_tried(found, name, str(first.loc[name, "optimizer"])) for name in shown],
            "edge": [_edge(found, first.loc[name]) for name in shown],
            "statuses": table["statuses"].to_numpy(),
        }
    )  # fmt: skip
    for name, quantity in (
        ("loss", "final_val_loss"),
        ("accuracy", "final_test_accuracy"),
        ("test_loss", "final_test_loss"),
    ):
        for limit in ("", "_low", "_high"):
            rows[f"{name}{limit}"] = table[f"{quantity}{limit}"].astype(float).to_numpy()
    best = shown[0] if len(shown) and (table["num_ok"] > 0).any() else None
    rows = rows.join(_compared(found, rows, best))
    rows, baseline = _with_targets(found, rows, best)
    rows, step_baseline = _with_step_costs(found, rows, first)
    memory = found.memory_by_part
    memory = memory.set_index("series") if len(memory) else pd.DataFrame()
    for name, column in (("peak_mib", "peak_mib"), ("state_bytes", "state_bytes_per_parameter")):
        rows[name] = memory[column].reindex(shown).astype(float).to_numpy() if len(memory) else math.nan
    order = rows["rank"].astype(float).fillna(math.inf).sort_values(kind="stable").index
    return Leaderboard(rows.loc[order].reset_index(drop=True), best, baseline, step_baseline)


def _setting(found: SectionAnalysis, series: str, run: pd.Series) -> str:
    """Return the learning rate, what else tells the series from others of its optimizer, and what was searched."""
    parts = series.removeprefix(str(run["optimizer"])).split()
    parts = [part for part in parts if part != str(run["implementation"])]
    if pd.notna(run["lr"]) and not any(part.startswith("lr=") for part in parts):
        parts.insert(0, f"lr={run['lr']:g}")
    search = run.get("search")
    if found.section.tuned and isinstance(search, str):
        for name in json.loads(search):
            value = run.get(f"hp_{name}")
            if name != "lr" and value is not None and not (isinstance(value, float) and math.isnan(value)):
                parts.append(f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}")
    return " ".join(parts)


def _num_tried(found: SectionAnalysis, series: str, optimizer: str) -> int:
    if found.section.tuned:
        counts = found.budget.set_index("optimizer")["num_trials"]
        return int(counts.get(optimizer, 0))
    return found.num_settings.get(series, 1)


def _edge(found: SectionAnalysis, run: pd.Series) -> str:
    """Return on which side of the rates tried that of a run lies, if it is the last one there."""
    if found.section.tuned:
        edges = found.edges
        return str(edges.set_index("optimizer")["edge"].get(run["optimizer"], "")) if len(edges) else ""
    runs = found.section.runs
    alike = (runs["optimizer"] == run["optimizer"]) & (runs["implementation"] == run["implementation"])
    rates = runs.loc[alike, "lr"].dropna().astype(float)
    if rates.nunique() < 2:
        return ""
    return {float(rates.min()): "lowest", float(rates.max()): "highest"}.get(float(run["lr"]), "")


def _compared(found: SectionAnalysis, rows: pd.DataFrame, best: str | None) -> pd.DataFrame:
    """Return rank, badge, comparison with the best and its log_sd, by the index of the rows."""
    runs, series = found.section.runs, list(rows["series"])
    fixed = is_same_for_every_seed(runs)
    compared: dict[str, Relative] = dict.fromkeys(series, UNKNOWN)
    if best is not None:
        loss = rows.set_index("series")["loss"]
        compared = {
            name: _exact(loss[name], loss[best]) if fixed else relative(found.pairs, name, best) for name in series
        }
    ranks: list[int | None] = _fixed_ranks(rows) if fixed else _ranks(found.pairs, series)
    learned = _learned(runs, series)
    ranks = [rank if learned[name] else None for name, rank in zip(series, ranks, strict=True)]
    badges = [_badge(name, best, compared[name], learned[name], runs[runs["series"] == name]) for name in series]
    spread = found.pairs.set_index(["a", "b"])["log_sd"] if len(found.pairs) and not fixed else pd.Series(dtype=float)
    log_sd = [float(spread.get((name, best), spread.get((best, name), math.nan))) for name in series]
    return pd.DataFrame(
        {"rank": pd.array(ranks, dtype="Int64"), "badge": badges, "comparison": list(compared.values()), "log_sd": log_sd},
        index=rows.index,
    )  # fmt: skip


def _exact(loss: float, lowest: float) -> Relative:
    """Compare values in which nothing is random."""
    ratio = loss / lowest if lowest > 0 else math.nan
    return Relative(ratio, ratio, ratio, "", bool(loss != lowest and not math.isnan(loss)))


def _fixed_ranks(rows: pd.DataFrame) -> list[int | None]:
    return [None if math.isnan(loss) else int((rows["loss"] < loss).sum()) + 1 for loss in rows["loss"]]


def _ranks(pairs: pd.DataFrame, series: Sequence[str]) -> list[int | None]:
    """Return the rank of each series: those that do not differ significantly from the first of their rank share it.

    Args:
        pairs: Comparisons of every two.
        series: In the order of their losses, lowest first.

    >>> pairs = pd.DataFrame({"a": ["a", "a", "b"], "b": ["b", "c", "c"], "significant": [True, False, True]})
    >>> _ranks(pairs, ["a", "b", "c"])
    [1, 3, 1]
    """
    known = {name for side in ("a", "b") for name in pairs[side]}
    apart = {frozenset((row.a, row.b)): bool(row.significant) for row in pairs.itertuples()}
    ranks: dict[str, int] = {}
    left = [name for name in series if name in known]
    while left:
        head = left[0]
        group = [name for name in left if name == head or not apart.get(frozenset((head, name)), True)]
        ranks |= dict.fromkeys(group, len(ranks) + 1)
        left = [name for name in left if name not in group]
    return [ranks.get(name) for name in series]


def _learned(runs: pd.DataFrame, series: Sequence[str]) -> dict[str, bool]:
    ok = runs[runs["status"] == "ok"].astype({"final_val_loss": float})
    end = ok.groupby("series")["final_val_loss"].median()
    if "first_train_loss" not in runs:
        return dict.fromkeys(series, True)
    start = runs.astype({"first_train_loss": float}).groupby("series")["first_train_loss"].median()
    largest = float((start.reindex(end.index) - end).max()) if len(end) else math.nan
    return {name: has_learned(float(start.get(name, math.nan)), float(end.get(name, math.nan)), largest) for name in series}  # fmt: skip


def _badge(name: str, best: str | None, compared: Relative, learned: bool, runs: pd.DataFrame) -> Badge:
    if not (runs["status"] == "ok").any():
        return "diverged" if (runs["status"] == "diverged").any() else "did not finish"
    if not learned:
        return "did not learn"
    if name == best:
        return "best"
    if compared == UNKNOWN:
        return "not compared"
    return "worse" if compared.significant else "tied"


def _with_targets(found: SectionAnalysis, rows: pd.DataFrame, best: str | None) -> tuple[pd.DataFrame, str | None]:
    """Add steps and time to the target, and return what they are relative to.

    That is the baseline asked for, else SGD if all of its runs reach the target, else the best.
    """
    if found.target is None or is_same_for_every_seed(found.section.runs):
        return rows, None
    table = found.time_to_target.set_index("series").reindex(rows["series"])
    for column in ("num_reached", "num_runs", "steps_to_target"):
        rows[column] = table[column].to_numpy()
    by_optimizer = dict(zip(rows["optimizer"][::-1], rows["series"][::-1], strict=True))
    wanted = found.goal.baseline
    baseline = best if wanted is None else wanted if wanted in set(rows["series"]) else by_optimizer.get(wanted, best)
    sgd = by_optimizer.get("sgd")
    if wanted is None and sgd is not None and table.loc[sgd, "num_reached"] == table.loc[sgd, "num_runs"]:
        baseline = sgd
    if baseline is None:
        return rows, None
    pairs = found.target_pairs
    for name, prefix in (("steps", ""), ("time", "time_")):
        rows[name] = [relative(pairs, series, baseline, prefix) for series in rows["series"]]
    return rows, baseline


def _with_step_costs(
    found: SectionAnalysis, rows: pd.DataFrame, first: pd.DataFrame
) -> tuple[pd.DataFrame, str | None]:
    """Add what a training step costs where one session measured all of these, and return what it is relative to."""
    ids = first["step_cost_id"] if "step_cost_id" in first else pd.Series(dtype="string")
    wanted = [{value} for value in ids.dropna()]
    session = newest_session(found.step_cost_rows, wanted)
    if session is None:
        return rows, None
    costs = step_costs(session).sort_values("num_processes", ascending=False, kind="stable")
    by_id = costs.dropna(subset=["step_cost_id"]).drop_duplicates("step_cost_id").set_index("step_cost_id")
    compared = []
    for series in rows["series"]:
        cost = by_id.loc[ids[series]] if ids.get(series) in by_id.index else None
        if cost is None:
            compared.append(UNKNOWN)
        elif cost["is_baseline"]:
            compared.append(ONE)
        else:
            ratio, low, high = (float(cost[key]) for key in ("train_ratio", "train_ratio_low", "train_ratio_high"))
            compared.append(Relative(ratio, low, high, "", not low <= 1 <= high))
    rows["step_cost"] = compared
    return rows, baseline_of(session)
