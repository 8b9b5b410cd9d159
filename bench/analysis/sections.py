"""What may be compared with what.

Names: a *section* is all runs that may be compared: one workload, one budget, one environment, all
tuned or none of them. A *series* is the runs of one cell, its seeds: what one line of a figure shows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pandas as pd

from bench.analysis.comparisons import summary

TOLD_APART_BY = (
    "schedule", "implementation", "augment", "order", "init_from", "clip_norm", "l1", "accumulate", "weights_only_decay",
    "compiled_model",
)  # fmt: skip
"""Columns of `runs` beside the hyperparameters that tell cells of one optimizer apart; some are newer than others."""


SECTION_KEYS = ("workload_id", "budget", "device", "precision", "num_threads")


@dataclass(frozen=True)
class Section:
    """Runs that may be compared with each other.

    Selection stands apart from evaluation: what ranks in a tuned section are runs of stage final, on
    seeds that no choice was made on. The trials that the choice was made on are kept beside them.

    Attributes:
        title: Workload and budget in words.
        runs: Rows of `runs`, with a column `series`. Empty, but with all columns, where a sweep was
            interrupted before anything was repeated on fresh seeds.
        mixed: Whether they come from several environments.
        trials: Runs of stage tune, with `series`: what was tried. They never rank. Empty in other sections.
        untuned: In a tuned section, runs of stage single at default settings, or at those that a person's own
            optimizer was given, with `series`.
    """

    title: str
    runs: pd.DataFrame
    mixed: bool
    trials: pd.DataFrame = field(default_factory=pd.DataFrame)
    untuned: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def predicted(self) -> bool:
        """Whether nothing was run: memory is predicted from shapes."""
        return bool((self.runs["stage"] == "predicted").any() and (self.runs["stage"] == "predicted").all())

    @property
    def tuned(self) -> bool:
        """Whether these are the best settings of a tuned sweep, or its trials so far."""
        return len(self.trials) > 0 or bool((self.runs["stage"] == "final").any())


def sections(runs: pd.DataFrame, mix_environments: bool = False) -> Iterator[Section]:
    """Part the runs by workload, budget, device, whether they were tuned and, unless asked otherwise, environment.

    Runs that were skipped or failed before their data was read have no workload_id; they stand with
    the runs of the same workload in words. A tuned section comes before that of the runs that were not.
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
        yield from _by_stage(title, group)


def _by_stage(title: str, group: pd.DataFrame) -> Iterator[Section]:
    """Yield what was tuned, and what was not, of runs that are alike in everything else."""
    trials, final = _named(group[group["stage"] == "tune"]), _named(group[group["stage"] == "final"])
    others = _named(group[~group["stage"].isin(("tune", "final"))])
    if len(trials) or len(final):
        as_configured = (others["settings"] == "default") | others["tuning"].notna()
        defaults = others[(others["stage"] == "single") & as_configured]
        yield Section(f"{title}, tuned", final, bool(final["environment_id"].nunique() > 1), trials, defaults)
        title += ", not tuned"
    if len(others):
        yield Section(title, others, bool(others["environment_id"].nunique() > 1))


def _named(runs: pd.DataFrame) -> pd.DataFrame:
    return runs.assign(series=series_names(runs) if len(runs) else pd.Series(dtype="string"))


def _differing(row: pd.Series, alike: pd.DataFrame) -> str:
    """Return what tells a workload from others of the same name: in brackets, led by a space."""
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
    """Name the cell of each run: its optimizer, and whatever tells its cells apart.

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
    # Cells that differ only in what no column shows (a class's source, evaluation spacing) get their id as a suffix.
    alike = pd.Series(names).rename_axis("cell_id").reset_index(name="name")
    alike = alike.merge(cells[[c for c in ignoring if c in cells]].reset_index(), on="cell_id")
    clash = set(alike.loc[alike.duplicated(["name", *ignoring], keep=False), "cell_id"])
    return runs["cell_id"].map(lambda c: f"{names[c]} {c}" if c in clash else names[c]).astype("string")


def _with_options(cells: pd.DataFrame, kind: str) -> list[str]:
    """Name schedules, or augmentations, with their settings where the same one has several."""
    if f"{kind}_options" not in cells:
        return [str(name) for name in cells[kind]]
    options = cells[f"{kind}_options"].fillna("{}")
    several = options.groupby(cells[kind]).transform("nunique") > 1
    return [
        f"{name} ({_options(text)})" if apart else str(name)
        for name, text, apart in zip(cells[kind], options, several, strict=True)
    ]


def _one_run_each(runs: pd.DataFrame, key: str) -> pd.DataFrame:
    """Keep one run for each value of a column, one that ended ok if there is any.

    A run that ended before its optimizer was built does not know which implementation would have run.
    """
    order = runs["status"].ne("ok").sort_values(kind="stable").index
    return runs.loc[order].drop_duplicates(key).set_index(key)


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def leaders(runs: pd.DataFrame, table: pd.DataFrame | None = None) -> list[str]:
    """Return, for each optimizer and implementation, the series that figures show: its best on validation.

    The best has the lowest mean final validation loss over seeds among those whose runs all ended
    ok. Where an optimizer has none, its first series stands for it, so that its failure is seen.

    Args:
        runs: Rows of one section, with `series`.
        table: What `summary` gave of these runs, if it is at hand.
    """
    table = summary(runs) if table is None else table
    if table.empty:
        return []
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


def num_settings(runs: pd.DataFrame, shown: Sequence[str]) -> dict[str, int]:
    """Return, for each leader, how many settings of its optimizer and implementation it was chosen from by these runs.

    Args:
        runs: Rows of one section, with `series`.
        shown: What `leaders` gave of them.
    """
    group = optimizer_of(runs)
    sizes = group.map(group.value_counts())
    return {name: int(sizes[name]) for name in shown if name in sizes}


def optimizer_of(runs: pd.DataFrame) -> pd.Series:
    """Return, by series, its optimizer, and its implementation where the optimizer has several: what has one leader.

    Args:
        runs: Rows of one section, with `series`.
    """
    cells = _one_run_each(runs, "series")
    keys = [str(implementation) for implementation in cells["implementation"]]
    several = cells.groupby("optimizer")["implementation"].transform("nunique") > 1
    return pd.Series(keys, cells.index).where(several, "") + " " + cells["optimizer"].astype(str)


def num_looks(runs: pd.DataFrame) -> dict[str, int]:
    """Return, for each series, at how many numbers of seeds it was to be looked at whether they are enough: 1 unless seeds=auto.

    Args:
        runs: Rows of one section, with `series`.
    """
    if "num_looks" not in runs:
        return {}
    most = runs.groupby("series", sort=False)["num_looks"].max().dropna()
    return {str(name): int(count) for name, count in most.items()}


def is_same_for_every_seed(runs: pd.DataFrame) -> bool:
    """Tell whether nothing in these runs is random: a given function from a given start, and seeds that end alike."""
    if runs.empty or not (
        (runs["data"] == "none").all() and all("function" in json.loads(o) for o in runs["model_options"])
    ):
        return False
    return bool((runs.groupby("series")["final_val_loss"].nunique() <= 1).all())
