"""The leaderboard in words: its headline, its columns as texts, and what limits it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from bench.analysis.leaderboard import Badge, Leaderboard, Relative
from bench.analysis.memory import memory_unit
from bench.analysis.section import SectionAnalysis
from bench.analysis.sections import is_same_for_every_seed
from bench.report.formatting import with_interval

NOT_REPEATED = "No trial was repeated on fresh seeds yet, and trials alone do not rank optimizers."
DECIDING = (
    "rank", "optimizer", "verdict", "val loss", "× ", "best setting", "setting", "steps ×", "time ×", "step cost", "peak", "test", "state",
    "runs", "steps to", "of",
)  # fmt: skip
"""How the columns of a leaderboard begin, those that decide first."""


LOST: tuple[Badge, ...] = ("did not learn", "diverged", "did not finish")
MOST_NAMED = 3
"""Optimizers that the headline names one by one."""


def headline(found: SectionAnalysis, board: Leaderboard | None) -> str:
    """Return who reaches the lowest loss, who is not distinguishable from it, and how much higher the others end.

    Args:
        found: A section.
        board: Its leaderboard; None where nothing was run.
    """
    section, runs = found.section, found.section.runs
    if section.predicted:
        return "Memory was predicted from shapes: nothing was run, so nothing is ranked."
    if board is None or runs.empty:
        return NOT_REPEATED
    if board.best is None:
        return "No run ended ok: there is nothing to compare."
    rows = board.rows.set_index("series")
    best = rows.loc[board.best]
    if is_same_for_every_seed(runs):
        ends = board.rows.dropna(subset=["loss"]).sort_values("loss")
        listed = ", ".join(
            f"{row.name_} ({row.loss:.3g})" for row in ends.rename(columns={"name": "name_"}).itertuples()
        )
        return f"Nothing is random here, so one run of each is enough. Final values, lowest first: {listed}."
    if runs[runs["status"] == "ok"].groupby("series")["seed"].nunique().max() < 2:
        return "One seed cannot rank anything: run several, for example seeds=5."
    if len(rows) < 2:
        return f"{best['name']} is the only optimizer so far: there is nothing to compare it with."
    said = [f"{best['name']} reaches the lowest validation loss ({best['loss']:.3g}{_of_whom(found, board)})"]
    if best["badge"] == "did not learn":
        said = [f"No optimizer learned: the lowest validation loss is that of {best['name']} ({best['loss']:.3g})"]
    tied = [str(row["name"]) for _, row in board.badged("tied").iterrows()]
    if tied:
        said.append(f"{listed_names(tied)} {'is' if len(tied) == 1 else 'are'} not distinguishable from it")
    said += _ends_higher(board)
    for badge in LOST:
        names = [str(name) for name in board.badged(badge)["name"] if name != best["name"]]
        said += [f"{listed_names(names)} {badge}"] if names else []
    unmet = [str(name) for name in board.badged("not compared")["name"]]
    said += (
        [f"{listed_names(unmet)} cannot be compared with it, because fewer than two seeds are paired"] if unmet else []
    )
    return "; ".join(said) + "."


def _of_whom(found: SectionAnalysis, board: Leaderboard) -> str:
    """Return which runs the lowest loss is taken over, where those are not all; led by a comma."""
    summary = found.summary.set_index("series").loc[found.leaders]
    best = summary.loc[board.best]
    if best["num_ok"] < best["num_runs"]:
        return ", over the runs that ended ok"
    if (summary["final_val_loss"] < best["final_val_loss"]).any():
        return ", among those whose runs all ended ok"
    return ""


def _ends_higher(board: Leaderboard) -> list[str]:
    """Return how much higher the worse ones end, a clause."""
    worse = board.badged("worse")
    known = [(str(row["name"]), row["comparison"].ratio) for _, row in worse.iterrows()]
    if not known:
        return []
    ratios = [ratio for _, ratio in known if math.isfinite(ratio)]
    if len(known) <= MOST_NAMED or len(ratios) < len(known):
        listed = [f"{name} ends {higher(ratio)}" for name, ratio in known[:MOST_NAMED]]
        rest = [name for name, _ in known[MOST_NAMED:]]
        return [*listed, *([f"{listed_names(rest)} end higher"] if rest else [])]
    names = listed_names([name for name, _ in known])
    return [f"{names} end {higher(min(ratios))} to {higher(max(ratios))}"]


def higher(ratio: float) -> str:
    """Return a ratio above 1 in words.

    >>> higher(1.042), higher(7.31), higher(float("nan"))
    ('4.2% higher', '7.3 times as high', 'higher')
    """
    if not math.isfinite(ratio):
        return "higher"
    return f"{100 * (ratio - 1):.2g}% higher" if ratio < 1.995 else f"{ratio:.2g} times as high" if ratio < 99.5 else f"{ratio:,.0f} times as high"  # fmt: skip


def listed_names(names: Sequence[str]) -> str:
    """Return names with commas, and "and" before the last.

    >>> listed_names(["adam", "nadam", "sgd"])
    'adam, nadam and sgd'
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def relative_text(value: Relative) -> str:
    """Return a ratio with its simultaneous interval as text; a dash where it is unknown.

    >>> relative_text(Relative(1.28, 0.44, 3.7)), relative_text(Relative(2.7, 0.0, float("inf"), "at least"))
    ('1.28 [0.44, 3.7]', '≥ 2.7')
    """
    if not math.isfinite(value.ratio):
        return "—"
    if value.ratio == value.low == value.high:
        return f"{value.ratio:.3g}"
    sign = {"at least": "≥ ", "at most": "≤ "}.get(value.bound, "")
    low, high = value.low, value.high
    open_low, open_high = not (math.isfinite(low) and low > 0), not math.isfinite(high)
    if open_low and open_high:
        return f"{sign}{value.ratio:.3g}"
    return f"{sign}{value.ratio:.3g} [{'0' if open_low else f'{low:.3g}'}, {'∞' if open_high else f'{high:.3g}'}]"


def edge_mark(row: pd.Series) -> str:
    """Return the mark of a setting that lies at the end of what was tried."""
    return {"lowest": "‹", "highest": "›"}.get(row["edge"], "‹›" if row["edge"] else "")


def readable_leaderboard(board: Leaderboard) -> pd.DataFrame:
    """Return the leaderboard as people read it: one text a cell, the columns that decide first.

    Columns that hold nothing are left out. A setting at the end of the range that was tried is marked ‹ or ›.
    """
    rows = board.rows
    scale, unit = memory_unit(rows)
    several = (rows["num_tried"] > 1).any()

    def texts(column: str, form: str, factor: float = 1.0) -> list[str]:
        return [form.format(factor * value) if math.isfinite(value) else "—" for value in rows[column]]

    def spread(name: str, factor: float = 1.0) -> list[str]:
        limits = [f"{name}{limit}" for limit in ("", "_low", "_high")]
        return [with_interval(mean, low, high, factor) for mean, low, high in rows[limits].to_numpy(float)]

    def names_of(series: str | None) -> str:
        named = rows.loc[rows["series"] == series, "name"]
        return str(named.iloc[0]) if len(named) else str(series)

    columns: dict[str, list[str]] = {
        "rank": ["—" if pd.isna(rank) else str(rank) for rank in rows["rank"]],
        "optimizer": list(rows["name"]),
        "verdict": list(rows["badge"]),
        "best setting" if several else "setting": [f"{row['setting']} {edge_mark(row)}".strip() for _, row in rows.iterrows()],
        **({"of": [str(num) for num in rows["num_tried"]]} if several else {}),
        "val loss": spread("loss"),
        f"× {names_of(board.best)}": [relative_text(value) for value in rows["comparison"]],
    }  # fmt: skip
    if rows["accuracy"].notna().any():
        columns["test accuracy %"] = spread("accuracy", 100)
    elif rows["test_loss"].notna().any():
        columns["test loss"] = spread("test_loss")
    if board.baseline is not None:
        columns["steps to target"] = [
            f"{row.steps_to_target:,.0f}" if math.isfinite(row.steps_to_target) else "not reached"
            for row in rows.itertuples()
        ]
        base = names_of(board.baseline)
        columns[f"steps × {base}"] = [relative_text(value) for value in rows["steps"]]
        columns[f"time × {base}"] = [relative_text(value) for value in rows["time"]]
    if "step_cost" in rows:
        columns[f"step cost × {board.step_baseline}"] = [relative_text(value) for value in rows["step_cost"]]
    columns[f"peak {unit} in tensors"] = texts("peak_mib", "{:,.3g}", scale)
    columns["state bytes/parameter"] = texts("state_bytes", "{:.1f}")
    columns["runs"] = list(rows["statuses"])

    def says_something(name: str, texts: list[str]) -> bool:
        own = {"1"} if "×" in name and len(rows) > 1 else set()  # an optimizer relative to itself
        return not set(texts) <= {"—", *own}

    return pd.DataFrame({name: texts for name, texts in columns.items() if says_something(name, texts)})


def overall_headline(board: pd.DataFrame) -> str:
    """Return who has the best mean rank over all workloads, in a sentence."""
    best = board[board["mean_rank"] == board["mean_rank"].min()]
    names = listed_names([str(name) for name in best["name"]])
    has = "has the best mean rank" if len(best) == 1 else "share the best mean rank"
    return f"Over {board['num_workloads'].iloc[0]} workloads, {names} {has} ({best['mean_rank'].iloc[0]:.3g})."


def readable_overall(board: pd.DataFrame) -> pd.DataFrame:
    """Return the leaderboard over workloads as people read it: one text a cell."""
    best = str(board["name"].iloc[0])
    columns = {
        "optimizer": [str(name) for name in board["name"]],
        "mean rank": [f"{rank:.3g}" for rank in board["mean_rank"]],
        f"losses × {best}": [
            "1" if row.name_ == best else "—" if pd.isna(row.ratio) else _interval(row.ratio, row.low, row.high)
            for row in board.rename(columns={"name": "name_"}).itertuples()
        ],
        "profile score": ["—" if pd.isna(score) else f"{score:.2f}" for score in board["score"]],
    }
    return pd.DataFrame({name: texts for name, texts in columns.items() if set(texts) != {"—"}})


def _interval(ratio: float, low: float, high: float) -> str:
    return f"{ratio:.3g}" + (f" [{low:.3g}, {high:.3g}]" if low == low and high == high else "")
