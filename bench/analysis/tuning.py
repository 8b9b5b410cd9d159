"""Numbers of tuning: what the trials of a sweep say, as pure functions from DataFrames to DataFrames."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import special

from bench.analysis.bounds import Sample
from bench.analysis.comparisons import summary
from bench.analysis.inference import LEVEL, mean_interval
from bench.analysis.paired import RATIO_COLUMNS, corrected, ratio_row
from bench.analysis.sections import TOLD_APART_BY, Section, leaders, series_names


def sensitivity(runs: pd.DataFrame, metric: str = "final_val_loss") -> pd.DataFrame:
    """Return the final loss against learning rate, for each choice of the other settings with at least two rates.

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


def learning_rate_sensitivity(
    runs: pd.DataFrame, metric: str = "final_val_loss", start: float | None = None
) -> pd.DataFrame:
    """Return the mean final loss at each learning rate, cut off at the loss at initialisation.

    l(lr) = mean over seeds of min(loss, l0). A run that diverged, or has no final loss for another reason than being
    pruned, counts as l0. Pruned runs are left out: what they would have come to is not known.

    Args:
        runs: Rows of one section, or its trials.
        metric: A column of `runs`; lower is better.
        start: l0; None: the median of `first_train_loss`, the loss of the first batch before any update.

    Returns:
        Columns: optimizer, setting (its name without the learning rate), lr (ascending), num_runs, num_ok, value:
        l(lr), missing where all were pruned, and start: l0. Settings with fewer than two rates are left out.

    Raises:
        ValueError: There is no `start`, and none in the table.
    """
    columns = ["optimizer", "setting", "lr", "num_runs", "num_ok", "value", "start"]
    runs = runs[runs["lr"].notna() & runs["status"].isin(("ok", "diverged", "oom", "timeout", "pruned"))]
    if runs.empty:
        return pd.DataFrame(columns=columns)
    if start is None:
        start = float(runs["first_train_loss"].astype(float).median())
        if math.isnan(start):
            raise ValueError("start must be the loss at initialisation, got none in first_train_loss; give it")
    ok = (runs["status"] == "ok").to_numpy(bool)
    loss = runs[metric].astype(float).where(ok)
    value = loss.clip(upper=start).fillna(start).where((runs["status"] != "pruned").to_numpy(bool))
    table = runs.assign(setting=series_names(runs, ignoring=["lr"]), _ok=ok, _value=value)
    table = table.groupby(["optimizer", "setting", "lr"], as_index=False).agg(
        num_runs=("_ok", "size"), num_ok=("_ok", "sum"), value=("_value", "mean")
    )
    several = table.groupby(["optimizer", "setting"])["lr"].transform("size") > 1
    return table[several].assign(start=start).reset_index(drop=True)[columns]


def sensitivity_score(
    table: pd.DataFrame, decades: float = 3.0, between: tuple[float, float] | None = None
) -> pd.DataFrame:
    """Return how much a learning rate off the best costs on average: learning-rate sensitivity.

    E over lr in [a, b] of min(l(lr), l0) - l*, with l* = min over lr in [a, b] of l(lr), lr uniform in log lr: the
    integral by the trapezoid rule over the rates tried, with l interpolated between them in log lr at the ends a and
    b.

    Args:
        table: What `learning_rate_sensitivity` gave.
        decades: Width of [a, b], centred on the best rate in log lr; cut off where nothing was tried.
        between: (a, b) instead, the same for all optimizers; cut off likewise.

    Returns:
        Columns: optimizer, setting, best_lr, best: l*, score (in the unit of the loss, at least 0), low_lr, high_lr:
        the a and b that were covered, decades: log10 of high_lr / low_lr; where it is less than asked for, scores
        compare different ranges.

    References:
        Wortsman et al., "Small-scale proxies for large-scale Transformer training instabilities" (2023), arXiv
        2309.14322.
    """
    rows = []
    for (optimizer, setting), x, loss in _by_rate(table):
        best = int(np.argmin(loss))
        low, high = x[best] - decades / 2, x[best] + decades / 2
        if between is not None:
            low, high = math.log10(between[0]), math.log10(between[1])
        low, high = max(low, float(x[0])), min(high, float(x[-1]))
        if high <= low:
            continue
        inner = x[(x > low) & (x < high)]
        at = np.array([low, *inner, high])
        values = np.interp(at, x, loss)
        best_here = int(np.argmin(values))
        score = float(np.trapezoid(values - values[best_here], at)) / (high - low)
        rows.append(
            {
                "optimizer": optimizer,
                "setting": setting,
                "best_lr": 10.0 ** float(at[best_here]),
                "best": float(values[best_here]),
                "score": score,
                "low_lr": 10.0**low,
                "high_lr": 10.0**high,
                "decades": high - low,
            }
        )
    return pd.DataFrame(
        rows, columns=["optimizer", "setting", "best_lr", "best", "score", "low_lr", "high_lr", "decades"]
    )


def basin_width(table: pd.DataFrame, factor: float = 1.1) -> pd.DataFrame:
    """Return how many decades of learning rate around the best have a loss of at most `factor` times the lowest.

    Between two rates tried, log loss is interpolated in log lr. The basin is the stretch that holds the best rate;
    another one beyond a ridge does not count.

    Args:
        table: What `learning_rate_sensitivity` gave; losses above 0, others are left out.
        factor: Above 1.

    Returns:
        Columns: optimizer, setting, best_lr, best, low_lr, high_lr, decades, and open: "low", "high" or "low, high" where
        the basin reaches the lowest or highest rate tried, so that it is at least as wide; else "".

    >>> rates = pd.DataFrame({"optimizer": "adam", "setting": "", "lr": [1e-4, 1e-3, 1e-2], "value": [0.5, 0.2, 0.21]})
    >>> basin_width(rates)[["best_lr", "decades", "open"]].round(3)
       best_lr  decades  open
    0    0.001    1.104  high
    """
    rows = []
    for (optimizer, setting), x, loss in _by_rate(table):
        best = int(np.argmin(loss))
        if loss[best] <= 0:
            continue
        y = np.log(loss) - math.log(loss[best] * factor)  # at most 0 within the basin
        ends, open_ends = [], []
        for name, step in (("low", -1), ("high", 1)):
            i = best
            while 0 <= i + step < len(x) and y[i + step] <= 0:
                i += step
            if 0 <= i + step < len(x):
                share = y[i] / (y[i] - y[i + step])
                ends.append(float(x[i] + share * (x[i + step] - x[i])))
            else:
                ends.append(float(x[i]))
                open_ends.append(name)
        rows.append(
            {
                "optimizer": optimizer,
                "setting": setting,
                "best_lr": 10.0 ** float(x[best]),
                "best": float(loss[best]),
                "low_lr": 10.0 ** ends[0],
                "high_lr": 10.0 ** ends[1],
                "decades": ends[1] - ends[0],
                "open": ", ".join(open_ends),
            }
        )
    columns = ["optimizer", "setting", "best_lr", "best", "low_lr", "high_lr", "decades", "open"]
    return pd.DataFrame(rows, columns=columns)


def _by_rate(table: pd.DataFrame) -> list[tuple[tuple[str, str], np.ndarray, np.ndarray]]:
    """Return, for each optimizer and setting, log10 of the rates, ascending, and the loss there, where it is known."""
    known = table.dropna(subset=["value"]).sort_values("lr")
    return [
        ((str(optimizer), str(setting)), np.log10(group["lr"].to_numpy(float)), group["value"].to_numpy(float))
        for (optimizer, setting), group in known.groupby(["optimizer", "setting"], sort=False)
        if len(group) > 1
    ]


def best_of_k(values: Sequence[float] | np.ndarray, k: Sequence[int] | None = None) -> pd.DataFrame:
    """Return the expected lowest value of k trials drawn without replacement from the n that were made.

    E[min of k] = sum_i v_(i) C(n - i, k - 1) / C(n, k), with v_(1) <= ... <= v_(n): unbiased for the population that
    the trials were drawn from, where the form with replacement of Dodge et al. (eqs. 7 and 8, F^k) is biased. The
    trials must be
    exchangeable: drawn at random, or a grid whose points are. For a search that learns from its trials it describes
        these trials alone.

    Args:
        values: Loss of each trial, lower is better; NaN or inf for a trial that has none: it counts as worse than any
            other.
        k: Numbers of trials, 1 to n; None: all of them.

    Returns:
        Columns: k, expected (missing where all k drawn can be trials without a loss), low and high: the middle 95 % of
        the lowest of k, inf where that is a trial without a loss.

    References:
        Dodge et al., "Show Your Work: Improved Reporting of Experimental Results" (2019), arXiv 1909.03004; Tang et
        al., "Showing Your Work Doesn't Always Work" (2020), arXiv 2004.13705.

    >>> best_of_k([0.3, 0.1, 0.2]).round(3)
       k  expected  low  high
    0  1     0.200  0.1   0.3
    1  2     0.133  0.1   0.2
    2  3     0.100  0.1   0.1
    """
    v = np.asarray(values, dtype=float)
    v = np.sort(np.where(np.isnan(v), math.inf, v))
    n = len(v)
    rows = []
    for drawn in range(1, n + 1) if k is None else k:
        if not 1 <= drawn <= n:
            raise ValueError(f"k must be from 1 to the {n} trials, got {drawn}; leave it out for all")
        rank = np.arange(1, n - drawn + 2)  # the lowest of k has at least k - 1 values above it
        log_weight = (
            _log_binomial(n - rank, np.full(len(rank), drawn - 1)) - _log_binomial(np.array([n]), np.array([drawn]))[0]
        )
        weight = np.exp(log_weight)
        weight /= weight.sum()
        lowest = v[: len(rank)]
        expected = float(weight @ lowest) if np.isfinite(lowest).all() else math.nan
        below = np.cumsum(weight)
        ends = np.searchsorted(below, np.array([0.5 - LEVEL / 2, 0.5 + LEVEL / 2]) - 1e-12)
        low, high = lowest[np.minimum(ends, len(lowest) - 1)]
        rows.append({"k": drawn, "expected": expected, "low": float(low), "high": float(high)})
    return pd.DataFrame(rows, columns=["k", "expected", "low", "high"])


def _log_binomial(n: np.ndarray, k: np.ndarray) -> np.ndarray:
    return np.asarray(special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1))


def budget_curves(trials: pd.DataFrame, metric: str = "best_val_loss") -> pd.DataFrame:
    """Return what each optimizer's best trial is expected to come to, against the number of trials.

    Args:
        trials: Runs of stage tune (`Section.trials`); trials that did not end ok count as worse than any other.
        metric: What the best trial is chosen by; lower is better.

    Returns:
        Columns: optimizer, k, steps (k times the mean steps of a trial, those given up early with the steps they
        made), expected, low, high as in `best_of_k`, and best_so_far: the lowest of the first k in the order they
        were made in, which for a search that learns from its trials is the curve to read; missing before the first
        that ended ok.
    """
    made = []
    for optimizer, group in trials.groupby("optimizer", sort=False):
        group = _one_run_a_trial(group, metric)
        curve = best_of_k(group["_value"].to_numpy(float))
        steps = float(group["num_steps"].astype(float).fillna(0).mean())
        best = group["_value"].cummin().to_numpy(float)
        made.append(
            curve.assign(
                optimizer=optimizer, steps=curve["k"] * steps, best_so_far=np.where(np.isfinite(best), best, math.nan)
            )
        )
    columns = ["optimizer", "k", "steps", "expected", "low", "high", "best_so_far"]
    return pd.concat(made, ignore_index=True)[columns] if made else pd.DataFrame(columns=columns)


def _one_run_a_trial(trials: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return a row for each trial, in order, with `_value`, its mean loss over seeds: inf where one did not end ok."""
    ok = (trials["status"] == "ok").to_numpy(bool)
    value = trials[metric].astype(float).where(ok).fillna(math.inf)
    table = trials.assign(_value=value, _number=trials["trial"].astype(float), _status=trials["status"])
    return (
        table.sort_values("_number", kind="stable")
        .groupby("cell_id", sort=False)  # not trial: a second sweep counts from 0 again
        .agg(_value=("_value", "mean"), num_steps=("num_steps", "sum"), status=("_status", _worst))
        .reset_index(drop=True)
    )


def _worst(statuses: pd.Series) -> str:
    """Return the status of a trial over its seeds: ok only if all are."""
    return next((str(status) for status in statuses if status != "ok"), "ok")


def tuning_budget(section: Section) -> pd.DataFrame:
    """Return what tuning each optimizer was given, and what came of it.

    Returns:
        Columns: optimizer, num_trials, num_ok, num_pruned, num_lost (ended in another way), steps: of all trials,
        those given up early with the steps they made; num_seeds: fresh seeds that its best trial ended ok on, and
        tuning: in words.
    """
    trials, final = section.trials, section.runs
    named = pd.concat([t[["optimizer", "tuning"]] for t in (trials, final) if len(t)]) if section.tuned else final
    rows = []
    for optimizer in named["optimizer"].unique() if section.tuned else ():
        own = trials[trials["optimizer"] == optimizer] if len(trials) else trials
        table = _one_run_a_trial(own, "best_val_loss") if len(own) else pd.DataFrame(columns=["status", "num_steps"])
        repeated = final[(final["optimizer"] == optimizer) & (final["status"] == "ok")]
        words = named.loc[named["optimizer"] == optimizer, "tuning"].dropna().unique()
        counts = table["status"].value_counts()
        num_ok, num_pruned = int(counts.get("ok", 0)), int(counts.get("pruned", 0))
        rows.append(
            {
                "optimizer": optimizer,
                "num_trials": len(table),
                "num_ok": num_ok,
                "num_pruned": num_pruned,
                "num_lost": len(table) - num_ok - num_pruned,
                "steps": int(table["num_steps"].fillna(0).sum()),
                "num_seeds": int(repeated["seed"].nunique()),
                "tuning": "; ".join(str(text) for text in words),
            }
        )
    columns = ["optimizer", "num_trials", "num_ok", "num_pruned", "num_lost", "steps", "num_seeds", "tuning"]
    return pd.DataFrame(rows, columns=columns)


def is_unequal(budget: pd.DataFrame) -> bool:
    """Tell whether optimizers of a `tuning_budget` had unlike numbers of trials, or were tuned in unlike ways."""
    return bool(budget["num_trials"].nunique() > 1 or budget["tuning"].nunique() > 1)


def edges(runs: pd.DataFrame) -> pd.DataFrame:
    """Find optimizers whose best trial lies on the boundary of what was tried: a wider range might hold a better one.

    Args:
        runs: Rows of a tuned section.

    Returns:
        Columns: optimizer, edge (such as "lr high").
    """
    if "edge" not in runs:
        return pd.DataFrame(columns=["optimizer", "edge"])
    found = runs[runs["edge"].fillna("") != ""]
    return found[["optimizer", "edge"]].drop_duplicates().reset_index(drop=True)


def tuned_table(
    runs: pd.DataFrame, table: pd.DataFrame | None = None, shown: Sequence[str] | None = None
) -> pd.DataFrame:
    """Return the best setting of each optimizer, and what it came to on fresh seeds.

    Args:
        runs: Rows of a tuned section, with `series`.
        table: What `summary` gave of these runs, if it is at hand.
        shown: Their `leaders`, if they are at hand.

    Returns:
        A row for each of `leaders`, in their order: lr, the hp_ columns that are known, trial, edge, and the columns of
        `summary`.
    """
    settings = ["lr", *[c for c in runs if c.startswith("hp_") and runs[c].notna().any()]]
    settings += [c for c in ("trial", "edge") if c in runs]
    table = summary(runs) if table is None else table
    table = table.set_index("series").loc[list(leaders(runs, table) if shown is None else shown)]
    first = runs.drop_duplicates("series").set_index("series")[settings]
    return first.reindex(table.index).join(table).reset_index()


def defaults_against_tuned(
    section: Section, metric: str = "final_val_loss", shown: Sequence[str] | None = None
) -> pd.DataFrame:
    """Compare the tuned setting of each optimizer with its default one, on the same seeds: what tuning buys.

    Args:
        section: A tuned one; its `untuned` holds the runs at defaults.
        metric: A column of positive numbers; lower is better.
        shown: The `leaders` of its runs, if they are at hand.

    Returns:
        Columns: optimizer, default and tuned (means over seeds that ended ok) with _low and _high, num_default_lost
        and num_tuned_lost (runs that did not end ok: they have no pair), and for tuned over default, over common
        seeds, the columns of `bench.analysis.paired.corrected`, with Holm's p over the optimizers; these are
        missing with fewer than two pairs. Optimizers without runs at defaults are left out.
    """
    runs, untuned = section.runs, section.untuned
    keys = ["seed", "environment_id"]
    rows: list[dict[str, object]] = []
    samples: list[Sample] = []
    shown = leaders(runs) if shown is None and len(runs) else shown
    for series in shown or () if len(untuned) else ():
        tuned = runs[runs["series"] == series]
        first = tuned.iloc[0]
        default = untuned[untuned["optimizer"] == first["optimizer"]]
        for column in (c for c in TOLD_APART_BY if c in default):
            same = default[column].isna() if pd.isna(first[column]) else default[column] == first[column]
            default = default[same.fillna(False).to_numpy(bool)]
        if default.empty:
            continue
        row: dict[str, object] = {"optimizer": first["optimizer"]}
        kept = {}
        for name, group in (("default", default), ("tuned", tuned)):
            ok = group[group["status"] == "ok"]
            row |= dict(
                zip((name, f"{name}_low", f"{name}_high"), mean_interval(ok[metric].astype(float)), strict=True)
            )
            row[f"num_{name}_lost"] = len(group) - len(ok)
            kept[name] = np.log(ok[ok[metric] > 0].drop_duplicates(keys).set_index(keys)[metric].astype(float))
        a, b = kept["tuned"].align(kept["default"], join="inner")
        samples.append(Sample((a - b).to_numpy(), (a - b).to_numpy()))
        rows.append(row | ratio_row(samples[-1]))
    names = [f"{name}{bound}" for name in ("default", "tuned") for bound in ("", "_low", "_high")]
    return corrected(rows, samples, ["optimizer", *names, "num_default_lost", "num_tuned_lost", *RATIO_COLUMNS])


def chosen_by(trials: pd.DataFrame) -> tuple[str, str]:
    """Return what the best trials were chosen by, an option of `sweep.select`, and of which target; empty where it is not told.

    Args:
        trials: Rows of `runs` with `tuning`.

    >>> chosen_by(pd.DataFrame({"tuning": ["grid, 9 trials, lr over 4 decades, chosen by steps_to_target of 0.3"]}))
    ('steps_to_target', '0.3')
    """
    said = set(trials["tuning"].dropna()) if "tuning" in trials else set()
    found = [re.search(r"chosen by (\w+)(?: of (\S+))?$", text) for text in said]
    alike = {(match[1], match[2] or "") for match in found if match}
    return alike.pop() if len(alike) == 1 else ("", "")
