"""Search spaces, trials, the best of them, edges, and the whole of a tuned sweep over a made-up objective."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from bench import tables
from bench.analysis.targets import steps_to_target
from bench.base.errors import UserError
from bench.base.paths import CONF_DIR
from bench.config.identity import cell_id
from bench.config.parse import parse
from bench.config.schema import OPTIMIZERS, Config, OptimizerConfig, SweepConfig
from bench.execution import pruning
from bench.execution.session import Session
from bench.sweep import tuned
from bench.sweep.search import Search, Trial
from bench.sweep.search_space import Range, shares, space
from bench.sweep.tuned import TunedSweep, tried


@functools.cache
def _composed(overrides: tuple[str, ...]) -> str:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return json.dumps(OmegaConf.to_container(compose("config", list(overrides)), resolve=True))


def composed(*overrides: str) -> dict[str, Any]:
    node: dict[str, Any] = json.loads(_composed(overrides))
    return node


def cell(optimizer: str = "adam", *overrides: str) -> Config:
    typed = [f"optimizer={optimizer}", "sweep=tuned", *overrides]
    return parse(composed(*typed), typed)


# --- ranges and points ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_is_searched_over_the_same_width_around_its_centre(name: str) -> None:
    config = cell(name)
    (axis,) = space(config.optimizer, config.sweep)
    low, high = axis.ends
    assert high / low == pytest.approx(10**4, rel=1e-3)
    assert math.sqrt(low * high) == pytest.approx(config.optimizer.search["lr"].center, rel=1e-3)


def test_a_decay_rate_is_even_in_its_distance_from_one() -> None:
    axis = Range("beta2", 1e-4, 1e-2, one_minus=True)
    assert [axis.at(share) for share in (0, 0.5, 1)] == [0.9999, 0.999, 0.99]
    assert axis.ends == (0.99, 0.9999)


@given(st.floats(1e-8, 1e3), st.floats(0.1, 8), st.floats(0, 1))
def test_a_value_lies_in_its_range(low: float, decades: float, share: float) -> None:
    axis = Range("lr", low, low * 10**decades)
    first, last = axis.ends
    assert first <= axis.at(share) <= last


def test_a_persons_optimizer_is_searched_around_the_learning_rate_given() -> None:
    mine = OptimizerConfig(target="a.B", name="B", options={"lr": 0.02}, implementation="default")
    (axis,) = space(mine, SweepConfig(decades=2.0))
    assert axis.ends == (0.002, 0.2)
    with pytest.raises(UserError, match=r"^sweep.over must name something .* which has nothing, got momentum; add"):
        space(mine, SweepConfig(over=["momentum"]))


def test_a_rate_that_has_no_distance_from_one_is_refused() -> None:
    config = cell("adam", "optimizer.search.beta1.center=1.5", "sweep.over=[beta1]")
    with pytest.raises(UserError, match=r"^optimizer.search.beta1.center must be below 1 .*, got 1.5; lower it"):
        space(config.optimizer, config.sweep)


@given(st.sampled_from(["random", "halton"]), st.integers(1, 40), st.integers(1, 40), st.integers(1, 3))
def test_more_trials_begin_with_the_fewer(method: str, few: int, more: int, axes: int) -> None:
    few, more = sorted((few, more))
    longer = shares(method, more, axes, seed=7)
    assert longer.shape == (more, axes)
    assert np.array_equal(longer[:few], shares(method, few, axes, seed=7))
    assert (longer >= 0).all()
    assert (longer < 1).all()


def test_halton_is_the_radical_inverse() -> None:
    def inverse(n: int, base: int) -> float:
        value, digit = 0.0, 1 / base
        while n:
            n, rest = divmod(n, base)
            value, digit = value + rest * digit, digit / base
        return value

    expected = [[inverse(n, 2), inverse(n, 3)] for n in range(1, 12)]
    assert shares("halton", 11, 2).tolist() == [pytest.approx(point) for point in expected]


def test_a_grid_is_a_cube_with_its_ends() -> None:
    assert shares("grid", 5, 1)[:, 0].tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert {tuple(p) for p in shares("grid", 9, 2)} == set(itertools.product([0, 0.5, 1], repeat=2))
    with pytest.raises(
        UserError, match=r"^sweep.trials must be a whole number to the power of 2, .* such as 9, got 10; or"
    ):
        shares("grid", 10, 2)


@pytest.mark.parametrize("method", ["grid", "random", "halton"])
def test_optimizers_try_the_same_places_of_their_ranges(method: str) -> None:
    """So that luck in sampling is shared."""
    places = []
    for name in ("adam", "sgd"):
        search = Search(cell(name, f"sweep.method={method}"))
        (axis,) = search.space
        places.append([math.log10(t.setting["lr"] / axis.low) for t in search.trials])
    assert len(places[0]) == 9
    assert places[0] == pytest.approx(places[1], abs=1e-3)


# --- what is best, and where it lies --------------------------------------------------------------


def with_values(values: list[float], name: str = "adam", *overrides: str) -> Search:
    search = Search(cell(name, f"sweep.trials={len(values)}", *overrides))
    for trial, value in zip(search.ask(), values, strict=True):
        search.tell(trial, value, {})
    return search


def test_the_best_is_the_lowest_of_those_that_ended_ok_and_of_equals_the_first() -> None:
    assert with_values([3.0, math.inf, 1.0, 1.0]).best.number == 2  # type: ignore[union-attr]
    assert with_values([math.inf, math.inf]).best is None
    assert with_values([math.inf, math.inf]).edges() == {}


@given(st.lists(st.floats(0.1, 9), min_size=3, max_size=9, unique=True))
def test_only_a_best_trial_at_an_end_lies_on_an_edge(values: list[float]) -> None:
    search = with_values(values)
    at = int(np.argmin(values))
    expected = {0: {"lr": "low"}, len(values) - 1: {"lr": "high"}}.get(at, {})
    assert search.edges() == expected


@given(st.lists(st.floats(0.1, 9), min_size=5, max_size=9, unique=True), st.sampled_from(OPTIMIZERS))
@settings(max_examples=30)
def test_widening_adds_the_same_number_on_the_side_of_the_best(values: list[float], name: str) -> None:
    search = with_values(values, name)
    best, before = search.best, {t.setting["lr"] for t in search.trials}
    assert best is not None
    search.widen("lr")
    new = [t.setting["lr"] for t in search.ask()]
    assert len(new) == round((len(values) - 1) / 4)
    assert not before & set(new)
    if search.edges().get("lr") == "high" or best.setting["lr"] == max(before):
        assert min(new) > max(before)
        assert max(new) == pytest.approx(10 * max(before), rel=1e-3)
    if best.setting["lr"] == min(before):
        assert max(new) < min(before)
        assert min(new) == pytest.approx(min(before) / 10, rel=1e-3)


def test_what_is_searched_may_not_be_set_by_hand() -> None:
    with pytest.raises(UserError, match=r"^optimizer.lr must be left to sweep=tuned, .*; leave it out"):
        Search(cell("adam", "optimizer.lr=0.1"))
    with pytest.raises(UserError, match=r"^optimizer.betas must be left to sweep=tuned"):
        Search(cell("adam", "optimizer.betas=[0.8,0.99]", "sweep.over=[beta1]"))
    Search(cell("adam", "optimizer.weight_decay=0.1"))


def test_what_is_searched_of_a_class_of_ones_own_is_a_setting_that_it_has() -> None:
    mine = ("optimizer._target_=a.B", "+optimizer.search.beta1.center=0.9", "sweep.over=[beta1]")
    with pytest.raises(UserError, match=r"^optimizer.search.beta1 must be of a setting .* got none named betas; add"):
        Search(cell("custom", *mine))
    search = Search(cell("custom", *mine, "+optimizer.betas=[0.9,0.99]"))
    assert search.overrides({"beta1": 0.8}) == ["optimizer.betas=[0.8, 0.99]"]


def test_nothing_is_tuned_where_memory_is_predicted() -> None:
    with pytest.raises(UserError, match=r"^device must be one that trains with sweep=tuned, got fake; leave"):
        TunedSweep([cell("adam", "device=fake")])


def test_elements_of_lists_are_set_in_their_list() -> None:
    search = Search(cell("adam", "sweep.over=[lr,beta2]"))
    typed = search.overrides({"lr": 0.01, "beta2": 0.99})
    assert typed == ["optimizer.lr=0.01", "optimizer.betas=[0.9, 0.99]"]
    changed = tried(search.config, {"lr": 0.01, "beta2": 0.99}, "tune")
    as_typed = parse(composed("optimizer=adam", *typed, "+trial.stage=tune"))
    assert cell_id(changed, "cpu") == cell_id(as_typed, "cpu")


# --- the whole sweep ------------------------------------------------------------------------------


class Bowl:
    """Makes jobs: the objective is the distance of the learning rate, in decades, from the best one."""

    def __init__(self, best: dict[str, float]) -> None:
        self.best = best
        self.jobs: list[list[str]] = []

    def __call__(self, jobs: list[list[str]]) -> list[float]:
        self.jobs += jobs
        values = []
        for typed in jobs:
            config = parse(composed(*typed), typed)
            assert config.trial.tuning
            values.append(abs(math.log10(config.optimizer.options["lr"] / self.best[config.optimizer.name])))
        return values

    def of(self, stage: str) -> list[Config]:
        return [c for c in (parse(composed(*typed), typed) for typed in self.jobs) if c.trial.stage == stage]


def test_a_tuned_sweep_repeats_the_best_trial_of_each_on_seeds_that_no_trial_had() -> None:
    bowl = Bowl({"adam": 0.01, "sgd": 0.9})
    sweep = TunedSweep([cell("adam"), cell("sgd")])
    sweep.carry_out(bowl, Session(is_sweep=True))
    trials, finals, untuned = bowl.of("tune"), bowl.of("final"), bowl.of("single")
    assert [c.optimizer.name for c in trials] == ["adam", "sgd"] * 9, "in turn: an interrupt leaves equal budgets"
    assert {tuple(c.seeds) for c in trials} == {(0,)}
    assert [c.trial.number for c in trials if c.optimizer.name == "sgd"] == list(range(9))
    assert {c.optimizer.name: c.optimizer.options["lr"] for c in finals} == {"adam": 0.01, "sgd": 1.0}
    assert all(c.seeds == list(range(1, 11)) for c in (*finals, *untuned))
    assert {c.optimizer.name: c.optimizer.options["lr"] for c in untuned} == {"adam": 0.001, "sgd": 0.001}
    assert {c.trial.tuning for c in (*trials, *finals)} == {
        "grid, 9 trials, lr over 4 decades, chosen by final_val_loss"
    }
    assert json.loads(finals[0].trial.search or "") == {"lr": [1e-05, 0.1]}
    assert [c.trial.edge for c in finals] == [None, None]
    assert sweep.sentences() == []


def test_a_best_trial_on_the_edge_is_said_and_widening_is_the_same_for_all() -> None:
    best = {"adam": 0.01, "sgd": 400.0}
    bowl = Bowl(best)
    sweep = TunedSweep([cell("adam"), cell("sgd")])
    sweep.carry_out(bowl, Session(is_sweep=True))
    assert {c.optimizer.name: c.trial.edge for c in bowl.of("final")} == {"adam": None, "sgd": "lr high"}
    (said,) = sweep.sentences()
    assert said.startswith("the best lr of sgd is the highest tried (10): a better one may lie beyond")
    bowl = Bowl(best)
    TunedSweep([cell("adam", "sweep.extend=true"), cell("sgd", "sweep.extend=true")]).carry_out(
        bowl, Session(is_sweep=True)
    )
    tried_by = {name: [c for c in bowl.of("tune") if c.optimizer.name == name] for name in best}
    assert len(tried_by["adam"]) == len(tried_by["sgd"]) == 9 + 2 * 2
    assert {c.optimizer.name: c.optimizer.options["lr"] for c in bowl.of("final")} == {"adam": 0.01, "sgd": 316.2}
    assert {c.trial.edge for c in bowl.of("final")} == {None}


def test_widening_ends_where_there_is_no_end() -> None:
    bowl = Bowl({"sgd": 1e30})
    sweep = TunedSweep([cell("sgd", "sweep.extend=true")])
    sweep.carry_out(bowl, Session(is_sweep=True))
    assert len(bowl.of("tune")) == 9 + 2 * tuned.MAX_WIDENED
    assert bowl.of("final")[0].trial.edge == "lr high"


def test_an_optimizer_whose_trials_all_fail_is_said_and_not_repeated() -> None:
    made: list[list[str]] = []

    def launch(jobs: list[list[str]]) -> list[float]:
        made.extend(jobs)
        return [math.inf] * len(jobs)

    sweep = TunedSweep([cell("adam", "sweep.untuned=false")])
    sweep.carry_out(launch, Session(is_sweep=True))
    assert not any("+trial.stage=final" in typed for typed in made)
    assert sweep.sentences() == ["no trial of adam ended ok, so there is none to repeat; see the reasons in the table"]


def test_of_several_workloads_it_is_said_which() -> None:
    sweep = TunedSweep([cell("adam", "sweep.untuned=false"), cell("adam", "sweep.untuned=false", "model=logistic")])
    sweep.carry_out(lambda jobs: [math.inf] * len(jobs), Session(is_sweep=True))
    assert [said.partition(" ended ok")[0] for said in sweep.sentences()] == [
        "no trial of adam for mlp on digits",
        "no trial of adam for logistic on digits",
    ]


def test_seeds_by_hand_are_refused() -> None:
    with pytest.raises(UserError, match=r"^seeds must be left out with sweep=tuned, got seeds=\[5\]; sweep.trial_seed"):
        TunedSweep([cell("adam", "seeds=[5]")])


def test_without_optuna_tpe_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "optuna" else real(name, *a))
    with pytest.raises(
        UserError, match=r"^sweep.method must be one of grid, random, halton where Optuna .*'optbench\[tpe\]'"
    ):
        TunedSweep([cell("adam", "sweep.method=tpe")])


# --- Optuna ---------------------------------------------------------------------------------------

optuna = pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="Optuna is not installed")


def searched(value: Callable[[dict[str, float]], float], num: int = 25) -> list[Trial]:
    search = Search(cell("adam", "sweep.method=tpe", f"sweep.trials={num}"))
    while asked := search.ask():
        (trial,) = asked
        search.tell(trial, value(trial.setting), {})
    return search.trials


@optuna
def test_tpe_goes_to_where_values_are_low_the_same_way_each_time() -> None:
    def bowl(setting: dict[str, float]) -> float:
        return abs(math.log10(setting["lr"]) + 4.0)

    first, again = searched(bowl), searched(bowl)
    assert [t.setting for t in first] == [t.setting for t in again]
    assert len(first) == 25
    late, early = ([bowl(t.setting) for t in part] for part in (first[15:], first[:10]))
    assert np.median(late) < 0.5 * np.median(early)


@optuna
def test_trials_that_fail_do_not_end_a_search() -> None:
    assert len(searched(lambda setting: math.inf if setting["lr"] > 1e-3 else setting["lr"])) == 25


@optuna
def test_a_trial_above_the_median_of_those_before_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "history.json"
    pruning.write_history(path, [{10: 1.0 + i, 20: 0.5 + i} for i in range(5)])
    should_prune = pruning.pruner(str(path))
    assert not should_prune(10, 2.9)
    assert not should_prune(20, 2.4)
    should_prune = pruning.pruner(str(path))
    assert should_prune(10, 3.1)
    pruning.write_history(path, [{10: 1.0 + i} for i in range(pruning.NUM_BEFORE_PRUNING - 1)])
    assert not pruning.pruner(str(path))(10, 99.0)
    with pytest.raises(UserError, match=r"^trial.history must be a file .*, got .*absent"):
        pruning.pruner(str(tmp_path / "absent"))


def test_the_newest_run_of_a_cell_is_found(tmp_path: Path) -> None:
    def row(environment: str, started: str) -> dict[str, Any]:
        return {
            "run_id": f"c-0-{environment}", "cell_id": "c", "environment_id": environment, "study": "s", "stage": "tune",
            "status": "ok", "started_at": started, "seed": 0, "workload": "m on d", "budget": "1 step", "model": "m",
            "model_options": "{}", "data": "d", "data_options": "{}", "optimizer": "adam", "device": "cpu", "precision": "fp32",
            "num_threads": 1,
        }  # fmt: skip

    tables.write_run(tmp_path, row("a", "2026-01-02"), [(1, 0.1, "val", "loss", 2.0, 0.1)], {})
    tables.write_run(tmp_path, row("b", "2026-01-01"), [], {})
    found = tables.latest(tmp_path, "c", 0)
    assert found is not None
    assert found[0]["environment_id"] == "a"
    assert found[1]["value"].tolist() == [2.0]
    assert tables.latest(tmp_path, "c", 1) is None
    assert set(tables.recorded(tmp_path)["run_id"]) == {"c-0-a", "c-0-b"}
    tables.build(tmp_path)
    assert set(tables.recorded(tmp_path)["run_id"]) == {"c-0-a", "c-0-b"}


@pytest.mark.parametrize(
    "typed", [["sweep.select=steps_to_target"], ["sweep.target=0.3"], ["sweep.select=train_loss", "sweep.target=0.3"]]
)
def test_a_target_and_a_choice_by_speed_go_together(typed: list[str]) -> None:
    with pytest.raises(
        UserError, match=r"^sweep.target must be set with sweep.select=steps_to_target or time_to_target"
    ):
        parse(composed("sweep=tuned", *typed))


@pytest.mark.parametrize("select", ["train_loss", "steps_to_target", "time_to_target"])
def test_the_best_trial_is_the_one_with_the_lowest_of_what_is_asked_for(select: str, cli: Callable[..., Any]) -> None:
    target = [] if select == "train_loss" else ["sweep.target=1.5"]
    words = ["optimizer=adam", "sweep.trials=4", "sweep.seeds=1", "sweep.untuned=false", "memory=false", "study=s"]
    done = cli("sweep=tuned", f"sweep.select={select}", *target, *words, "train.epochs=4", "train.eval_every=3", "-m")
    assert done.status == 0, done.err
    study = tables.load("results/s")
    trials = study.runs[study.runs["stage"] == "tune"]
    if target:
        steps = steps_to_target(trials.assign(series="adam"), study.curves, 1.5).set_index("run_id")
        assert steps["reached"].sum() > 0, "some trial gets there"
        value = steps["crossed_at" if select == "steps_to_target" else "crossed_s"].where(steps["reached"])
    else:
        value = trials.set_index("run_id")["final_train_loss"].astype(float)
    best = trials.set_index("run_id").loc[value.idxmin(), "lr"]
    (final,) = study.runs.loc[study.runs["stage"] == "final", "lr"]
    assert final == best
    report = Path("reports/s/report.md").read_text()
    if target:
        assert "to a validation loss of 1.5; others may end at a lower loss" in report
    else:
        assert "chosen by final training loss; others may need fewer steps or less time" in report


def test_of_trials_that_do_not_reach_the_target_the_nearest_is_best(cli: Callable[..., Any]) -> None:
    words = ["optimizer=adam", "sweep.trials=4", "sweep.seeds=1", "sweep.untuned=false", "memory=false", "report=false"]
    done = cli(
        "sweep=tuned", "sweep.select=steps_to_target", "sweep.target=0.001", *words, "train.steps=30", "study=s", "-m"
    )
    assert done.status == 0, done.err
    runs = tables.load("results/s").runs.astype({"final_val_loss": float})
    trials = runs[runs["stage"] == "tune"]
    assert (trials["final_val_loss"] > 0.001).all()
    (final,) = runs.loc[runs["stage"] == "final", "lr"]
    assert final == trials.loc[trials["final_val_loss"].idxmin(), "lr"]


def made_trials(values: Sequence[Sequence[float]], num_seeds: int = 3) -> Search:
    """A search over learning rates, with what its trials gave on each seed."""
    config = parse(composed("sweep=tuned", f"sweep.seeds_per_trial={num_seeds}", f"sweep.trials={len(values)}"))
    search = Search(config)
    for trial, known in zip(search.trials, values, strict=True):
        search.tell(trial, known[0], {})
        trial.repeated = dict(enumerate(known[1:], start=1))
    return search


def test_the_best_third_is_made_on_every_seed_of_trials() -> None:
    search = made_trials([[v] for v in (9, 8, 2, 1, 3, 7, 6, 5, math.inf)])
    again = [(trial.number, seed) for trial, seed in search.repeats()]
    assert again == [(3, 1), (3, 2), (2, 1), (2, 2), (4, 1), (4, 2)]
    for trial, seed in search.repeats():
        trial.repeated[seed] = 4.0 if trial.number == 3 else trial.value
    assert search.repeats() == []
    assert search.best is not None and search.best.number == 2, "by the mean over seeds, not by the luck of the first"
    assert made_trials([[v] for v in (3, 1, 2)], num_seeds=1).repeats() == []


@pytest.mark.parametrize(
    ("values", "best"),
    [
        ([[9], [5, 5, 5], [1, 1.2, 1.1], [1.05, 1.1, 1.2], [1.1, 1.0, 1.25], [9]], 3),  # alike: the middle of three
        ([[9], [5, 5, 5], [1, 1.2, 1.1], [2, 2.2, 2.1], [1.1, 1.0, 1.25], [9]], 2),  # a gap: the lowest
        ([[1, 1, 1], [1.3, 1.2, 1.4], [1.5, 1.6, 1.7], [9], [9], [9]], 0),  # clearly lowest, though at the end
        (
            [[9], [1, math.inf, 1], [2, 2, 2], [2.1, 2.2, 2.3], [9], [9]],
            2,
        ),  # one that lost a run comes after all others
        ([[9], [1, 1.2, 1.1], [1.05, 1.15, 1.15], [5, 5, 5], [9], [9]], 1),  # of two alike the lower mean
        ([[math.inf]] * 6, None),
    ],
)
def test_of_rates_that_are_as_good_the_middle_one_is_taken(values: list[list[float]], best: int | None) -> None:
    found = made_trials(values).best
    assert (None if found is None else found.number) == best


def test_noise_among_rates_as_good_moves_the_choice_less_with_several_seeds() -> None:
    random = np.random.default_rng(0)
    truth = np.array([2.0, 1.0, 0.5, 0.33, 0.3, 0.33, 0.5, 1.0, 2.0])

    def spread(num_seeds: int) -> float:
        chosen = []
        for _ in range(800):
            values = truth[:, None] * np.exp(random.normal(0, 0.15, (9, num_seeds)))
            search = made_trials([[v] for v in values[:, 0]], num_seeds)
            for trial, seed in search.repeats():
                trial.repeated[seed] = values[trial.number, seed]
            assert search.best is not None
            chosen.append(search.best.number)
        return float(np.std(chosen))

    assert spread(3) < 0.85 * spread(1)


def test_trials_on_several_seeds_run_and_resume(cli: Callable[..., Any]) -> None:
    words = ["optimizer=adam,sgd", "sweep=tuned", "sweep.trials=3", "sweep.seeds_per_trial=2", "sweep.seeds=2"]
    words += ["sweep.untuned=false", "memory=false", "report=false", "train.steps=10", "study=s", "-m"]
    done = cli(*words)
    assert done.status == 0, done.err
    runs = tables.load("results/s").runs
    trials = runs[runs["stage"] == "tune"]
    assert sorted(trials["seed"].unique()) == [0, 1]
    assert len(trials) == 2 * (3 + 3), "the best third, three at least, on another seed"
    assert sorted(runs.loc[runs["stage"] == "final", "seed"].unique()) == [2, 3], "seeds that no trial saw"
    assert trials["tuning"].str.endswith("chosen by final_val_loss on 2 seeds").all()
    planned = cli(*words, "plan=true")
    assert "16 runs, of which 16 exist and 0 are to be made" in planned.out
    again = cli(*words)
    assert again.status == 0 and len(tables.load("results/s").runs) == len(runs)
