"""seeds=auto: what is decided at each look, who gets more seeds, and that looking often costs no errors."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import made_up
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench import compare, tables
from bench.analysis.bounds import Sample
from bench.analysis.paired import ratio_row
from bench.analysis.section import SectionAnalysis
from bench.analysis.sections import Section, sections
from bench.analysis.sequential import ALIKE, DIFFERENT, OPEN, Looked, looked_at, undecided
from bench.base.errors import UserError
from bench.compose.composer import composed
from bench.config.identity import cell_id
from bench.config.parse import parse
from bench.config.schema import Config, DecideConfig
from bench.execution.session import Session
from bench.report.study.outcome import pair_notes
from bench.sweep.rounds import until_decided
from bench.tables.frames import typed_runs

DELTA = 0.05
NUM_LOOKS = 6


def section(losses: Mapping[tuple[str, float], Sequence[float]], **changes: Any) -> Section:
    """Runs of optimizers at learning rates with these final losses, those of seed 0 first; NaN: it diverged."""
    rows = []
    for (optimizer, lr), values in losses.items():
        for seed, value in enumerate(values):
            ended = {"status": "diverged"} if math.isnan(value) else {"status": "ok", "final_val_loss": value}
            rows.append(made_up.row(optimizer, lr, seed, num_looks=NUM_LOOKS, **ended, **changes))
    (found,) = sections(typed_runs(pd.DataFrame(rows, dtype=object)))
    return found


def around(center: float, spread: float, num: int = 20, seed: int = 0) -> list[float]:
    """Losses around a centre."""
    return list(center * np.exp(spread * np.random.default_rng(seed).standard_normal(num)))


def test_looks_double_up_to_the_most_seeds() -> None:
    assert DecideConfig().looks == [5, 10, 20, 40, 80, 160]
    assert DecideConfig(max_seeds=5).looks == [5]
    assert DecideConfig(max_seeds=30).looks == [5, 10, 20, 30]


def test_auto_is_the_first_seeds_and_the_looks_after_them() -> None:
    config = parse(composed(["seeds=auto", "decide.max_seeds=20"]))
    assert (config.seeds, config.looks) == ([0, 1, 2, 3, 4], [5, 10, 20])
    assert parse(composed(["seeds=4"])).looks == []
    config = parse(composed(["sweep=tuned", "sweep.seeds=auto"]))
    assert (config.sweep.fresh_seeds, config.looks) == ([1, 2, 3, 4, 5], [5, 10, 20, 40, 80, 160])
    assert parse(composed(["sweep=tuned"])).looks == []
    assert cell_id(parse(composed(["seeds=auto", "decide.delta=0.1"])), "cpu") == cell_id(parse(composed()), "cpu")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["seeds=auto", "device=fake"], "seeds must be a number with device=fake, got auto"),
        (["seeds=auto", "decide.max_seeds=4"], "decide.max_seeds must be a whole number from 5 to 10000, got 4"),
        (["seeds=auto", "decide.delta=0"], "decide.delta must be a number above 0, 10 at most"),
        (["seeds=automatic"], "seeds must be a number of seeds from 1 to 10000, auto, or a list"),
        (["sweep=tuned", "sweep.seeds=auto", "sweep.trial_seed=4294967200"], "sweep.trial_seed must leave room for"),
    ],
)
def test_what_cannot_be_is_refused(typed: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse(composed([*typed]))


def test_a_lone_run_has_nothing_to_decide(cli: Callable[..., Any]) -> None:
    done = cli("seeds=auto")
    assert (done.status, done.err) == (2, "bench: seeds must be a number or a list without -m, got auto; add -m\n")
    done = cli("seeds=auto,3", "-m")
    assert "seeds must be one value for all jobs of a sweep" in done.err
    done = cli("seeds=[0],[1]", "train.steps=2", "memory=false", "report=false", "plan=true", "-m")
    assert (done.status, "2 runs" in done.out) == (0, True), "lists of seeds are values like any other"


def test_the_interval_lies_beyond_delta_or_within_or_neither() -> None:
    found = section(
        {
            ("adam", 0.01): around(0.2, 0.02, seed=1),
            ("nadam", 0.01): around(0.2, 0.02, seed=2),
            ("sgd", 1.0): around(0.4, 0.02, seed=3),
            ("rmsprop", 0.01): around(0.21, 0.1, seed=4),
        }
    )
    verdicts = {frozenset((one.a, one.b)): one.verdict for one in looked_at(found, DELTA)}
    assert verdicts[frozenset(("adam", "nadam"))] == ALIKE
    assert all(verdicts[frozenset(("sgd", other))] == DIFFERENT for other in ("adam", "nadam", "rmsprop"))
    assert all(verdicts[frozenset(("rmsprop", other))] == OPEN for other in ("adam", "nadam"))
    assert undecided(looked_at(found, DELTA)) == {"adam", "nadam", "rmsprop"}


def by_interval(logs: np.ndarray) -> str:
    """What Student's interval of the mean log-ratio says, at the level 1 - 0.05 / looks."""
    low, high = stats.t.interval(1 - 0.05 / NUM_LOOKS, len(logs) - 1, logs.mean(), stats.sem(logs))
    margin = math.log1p(DELTA)
    return DIFFERENT if low > margin or high < -margin else ALIKE if -margin <= low and high <= margin else OPEN


@given(st.integers(0, 10**6), st.sampled_from([5, 10, 40]), st.floats(-0.3, 0.3), st.sampled_from([0.01, 0.05, 0.3]))
@settings(max_examples=40)
def test_a_verdict_is_what_the_repeated_interval_says(seed: int, num: int, difference: float, spread: float) -> None:
    logs = difference + spread * np.random.default_rng(seed).standard_normal(num)
    base = around(0.3, 0.5, num, seed + 1)
    (looked,) = looked_at(section({("adam", 0.01): base, ("sgd", 1.0): list(base * np.exp(logs))}), DELTA)
    assert looked.verdict == by_interval(logs)


def test_looks_count_in_p_and_in_the_interval_of_every_report() -> None:
    sample = Sample(*[np.array([0.3, 0.2, 0.25, 0.22, 0.31])] * 2)
    once, often = ratio_row(sample), ratio_row(sample, num_looks=6)
    assert often["p"] == pytest.approx(6 * once["p"])
    assert often["ratio"] == once["ratio"]
    assert often["ratio_low"] < once["ratio_low"] < once["ratio_high"] < often["ratio_high"]
    found = section({("adam", 0.01): around(0.2, 0.05, 5, 1), ("sgd", 1.0): around(0.3, 0.05, 5, 2)})
    (pair,) = SectionAnalysis(found).pairs.itertuples()
    plain = Section(found.title, found.runs.assign(num_looks=pd.NA), found.mixed)
    (alone,) = SectionAnalysis(plain).pairs.itertuples()
    assert pair.p == pytest.approx(NUM_LOOKS * alone.p)
    assert "with at most 6 looks, set beforehand: p counts them all" in pair_notes(SectionAnalysis(found))[0]
    assert "looks" not in pair_notes(SectionAnalysis(plain))[0]


def test_a_setting_that_is_no_better_than_the_best_of_its_optimizer_drops_out() -> None:
    found = section(
        {
            ("adam", 0.01): around(0.2, 0.02, seed=1),
            ("adam", 0.1): around(0.5, 0.02, seed=2),
            ("adam", 0.02): around(0.2, 0.02, seed=3),
            ("adam", 0.03): around(0.21, 0.3, seed=4),
            ("sgd", 1.0): around(0.4, 0.02, seed=5),
        }
    )
    looked = looked_at(found, DELTA)
    rivals = {one.b: one.verdict for one in looked if one.rivals}
    assert {one.a for one in looked if one.rivals} <= set(found.runs["series"])
    assert sorted(rivals.values()) == [ALIKE, ALIKE, OPEN]
    assert rivals["adam lr=0.03"] == OPEN
    assert len([one for one in looked if not one.rivals]) == 1, "optimizers are compared at their best"


def test_runs_that_are_lost_are_looked_at_for_what_they_say() -> None:
    nan = math.nan
    found = section({("adam", 0.01): around(0.2, 0.02, 10, 1), ("sgd", 1.0): [nan] * 10})
    assert [one.verdict for one in looked_at(found, DELTA)] == [DIFFERENT], "it ends no lower than it began"
    found = section({("adam", 0.01): around(0.2, 0.02, 3, 1), ("sgd", 1.0): [nan] * 3})
    assert [one.verdict for one in looked_at(found, DELTA)] == [OPEN], "three are too few by order"
    found = section({("adam", 0.01): [0.2], ("sgd", 1.0): [0.3]})
    assert looked_at(found, DELTA) == []
    found = section(
        {("adam", 0.01): around(-0.2, 0.02, 20, 1), ("sgd", 1.0): around(-0.1, 0.02, 20, 2)},
    )
    assert [one.verdict for one in looked_at(found, DELTA)] == [DIFFERENT], "of negative losses only the order is known"


def test_what_no_seed_changes_is_not_looked_at() -> None:
    alike = {"data": "none", "model_options": '{"function": "beale"}'}
    found = section({("adam", 0.01): [0.2] * 5, ("sgd", 1.0): [0.3] * 5}, **alike)
    assert looked_at(found, DELTA) == []


@pytest.mark.parametrize(("difference", "wrong"), [(0.0, DIFFERENT), (math.log1p(DELTA), ALIKE)])
@pytest.mark.parametrize("spread", [0.02, 0.1])
def test_looking_often_costs_no_errors(difference: float, wrong: str, spread: float) -> None:
    """At most 5 % of races declare equal optimizers different, or optimizers that differ by exactly delta alike."""
    random, looks, num_wrong = np.random.default_rng(0), DecideConfig().looks, 0
    assert len(looks) == NUM_LOOKS
    for _ in range(300):
        logs = difference + spread * random.standard_normal(looks[-1])
        verdicts = [by_interval(logs[:num]) for num in looks]
        num_wrong += next((verdict for verdict in verdicts if verdict != OPEN), OPEN) == wrong
    assert stats.binom.sf(num_wrong - 1, 300, 0.05) > 0.01


class Bowl:
    """Makes runs whose losses are given by a function of optimizer and seed, and remembers what it was asked for."""

    def __init__(self, cells: Sequence[Config], loss: Callable[[str, int], float], seconds: float = 1.0) -> None:
        self.cells, self.loss, self.seconds = cells, loss, seconds
        self.session = Session(is_sweep=True)
        self.asked: list[dict[str, list[int]]] = []

    def __call__(self, seeds: Mapping[int, Sequence[int]]) -> None:
        self.asked.append({self.cells[i].optimizer.name: list(new) for i, new in seeds.items()})
        for i, new in seeds.items():
            config = self.cells[i]
            for seed in new:
                lr = config.optimizer.options["lr"]
                row = made_up.row(config.optimizer.name, lr, seed, num_looks=len(config.looks), total_s=self.seconds)
                row |= {"cell_id": cell_id(config, "cpu"), "run_id": f"{config.optimizer.name}-{seed}-e"}
                self.session.rows[row["run_id"]] = row | {"final_val_loss": self.loss(config.optimizer.name, seed)}


def cells(*typed: str, optimizers: Sequence[str] = ("adam", "nadam", "sgd")) -> list[Config]:
    return [parse(composed(["seeds=auto", f"optimizer={name}", *typed])) for name in optimizers]


def loss(optimizer: str, seed: int) -> float:
    """SGD is far off; Adam and NAdam differ by a little, and vary."""
    center, spread = {"adam": (0.20, 0.1), "nadam": (0.202, 0.1), "sgd": (0.9, 0.02)}[optimizer]
    return float(center * math.exp(spread * np.random.RandomState([seed, len(optimizer)]).randn()))


def test_only_what_is_open_gets_more_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    configs = cells("decide.max_seeds=20")
    bowl = Bowl(configs, loss)
    (said,) = until_decided(configs, 0, bowl, bowl.session)
    both = [list(range(5, 10)), list(range(10, 20))]
    assert bowl.asked[0] == {name: [0, 1, 2, 3, 4] for name in ("adam", "nadam", "sgd")}
    assert bowl.asked[1:] == [{"adam": new, "nadam": new} for new in both]
    assert said == (
        "mlp on w, batch 64, 200 steps, cpu, 20 seeds at most: 2 of 3 comparisons of optimizers are decided, 2 as different by"
        " more than 5 % of the loss, 0 as not; open at decide.max_seeds=20: adam and nadam"
    )
    shown = capsys.readouterr().err.splitlines()
    assert shown[0] == "bench: look 1 of 3 at most, 5 seeds: 2 of 3 comparisons decided; open: nadam and adam"
    assert len(shown) == 3


def test_decisions_rest_on_the_tables_alone() -> None:
    """On what a look is to see, and nothing that was recorded beside it, in whatever order."""
    configs = cells("decide.max_seeds=40", "decide.delta=0.08")
    first, again = Bowl(configs, loss), Bowl(configs, loss)
    said = until_decided(configs, 0, first, first.session)
    again(dict.fromkeys(range(3), range(60)))
    again.session.rows = dict(reversed(again.session.rows.items()))
    again.asked.clear()
    assert until_decided(configs, 0, again, again.session) == said
    assert again.asked == first.asked


def test_it_ends_before_it_would_take_too_long() -> None:
    configs = cells("decide.max_minutes=1")
    bowl = Bowl(configs, loss, seconds=2.0)
    (said,) = until_decided(configs, 0, bowl, bowl.session)
    assert len(bowl.asked) == 2, "15 runs of 2 s, then 10; the next 20 would pass a minute"
    assert "open at decide.max_minutes=1: adam and nadam" in said


def test_nothing_to_decide_is_said() -> None:
    configs = cells(optimizers=["adam"])
    bowl = Bowl(configs, loss)
    (said,) = until_decided(configs, 0, bowl, bowl.session)
    assert "had nothing to decide" in said
    assert len(bowl.asked) == 1
    assert until_decided([], 0, bowl, bowl.session) == []


AUTO = ["seeds=auto", "decide.max_seeds=10", "train.steps=20", "memory=false", "report=false", "study=s"]
SWEEP = ["optimizer=adam,nadam,sgd", "optimizer.lr=0.01", *AUTO, "-m"]


def notes(err: str) -> list[str]:
    return [line for line in err.splitlines() if line.startswith("bench: ")]


def test_a_sweep_is_decided_the_same_again_killed_or_in_parallel(cli: Callable[..., Any]) -> None:
    done = cli(*SWEEP)
    assert done.status == 0, done.err
    said = notes(done.err)
    assert said[0].startswith("bench: look 1 of 2 at most, 5 seeds")
    runs = tables.load("results/s").runs.set_index("run_id")
    assert set(runs["num_looks"]) == {2}
    assert set(runs.groupby("optimizer").size()) <= {5, 10}
    for lost in runs.index[::3]:
        shutil.rmtree(Path("results/s/runs") / str(lost))
    assert notes(cli(*SWEEP).err) == said
    assert set(tables.load("results/s").runs["run_id"]) == set(runs.index)
    parallel = cli(*SWEEP, "study=p", "launcher=pool", "launcher.n_jobs=2")
    assert notes(parallel.err) == said
    assert set(tables.load("results/p").runs["run_id"]) == set(runs.index)


def test_a_tuned_sweep_adds_fresh_seeds(cli: Callable[..., Any]) -> None:
    tuned = ["sweep=tuned", "sweep.trials=3", "optimizer=adam,sgd", "sweep.seeds=auto", *AUTO[1:], "-m"]
    done = cli(*tuned)
    assert done.status == 0, done.err
    assert "look 1 of 2 at most, 5 seeds" in done.err
    runs = tables.load("results/s").runs
    final = runs[runs["stage"] == "final"]
    assert set(final["num_looks"]) == {2}
    assert set(final["seed"]) in ({1, 2, 3, 4, 5}, set(range(1, 11)))
    assert set(runs.loc[runs["stage"] == "single", "seed"]) == {1, 2, 3, 4, 5}
    assert not set(runs.loc[runs["stage"] == "tune", "seed"]) & set(final["seed"])
    assert notes(cli(*tuned).err) == notes(done.err)


def test_a_plan_says_that_it_is_the_first_round(cli: Callable[..., Any]) -> None:
    done = cli(*SWEEP, "plan=true")
    assert "15 runs" in done.out
    assert "the first round of seeds=auto; further ones, up to 10 seeds," in done.out
    assert not Path("results").exists()


def test_compare_takes_auto() -> None:
    keys = {"decide.max_seeds": 10, "decide.delta": 0.5, "memory": False}
    found = compare("mlp", "digits", ["adam", ("sgd", {"lr": 0.001})], seeds="auto", steps=20, settings=keys)
    assert set(found.runs["num_looks"]) == {2}
    assert set(found.runs.groupby("optimizer").size()) <= {5, 10}


def test_open_comparisons_name_both_sides() -> None:
    assert undecided([Looked("a", "b", OPEN), Looked("b", "c", ALIKE), Looked("d", "e", DIFFERENT)]) == {"a", "b"}
