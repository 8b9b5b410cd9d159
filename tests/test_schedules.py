"""Schedules: against torch's own, at their ends, and in training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from bench import tables
from bench.base.errors import UserError
from bench.config import schedules
from bench.config.schedules import SCHEDULES, Plateau
from bench.training.schedules import Schedule

Cli = Callable[..., Any]
SHORT = ["train.epochs=4", "seeds=[0]", "report=false"]


def sgd(lr: float = 0.5) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=lr)


def rates_of_torch(make: Callable[[torch.optim.Optimizer], Any], num_steps: int) -> list[float]:
    optimizer = sgd(1.0)
    scheduler, rates = make(optimizer), []
    for _ in range(num_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("ours", "torchs"),
    [
        (schedules.step(40, every=0.25, gamma=0.5), lambda o: lr_scheduler.StepLR(o, 10, 0.5)),
        (schedules.cosine(40, final=0.1), lambda o: lr_scheduler.CosineAnnealingLR(o, 40, eta_min=0.1)),
        (
            schedules.one_cycle(40, peak=0.3, start=0.04, final=4e-6),
            lambda o: lr_scheduler.OneCycleLR(o, 1.0, 40, pct_start=0.3, cycle_momentum=False),
        ),
        (
            schedules.one_cycle(57, peak=0.45, start=0.2, final=0.01),
            lambda o: lr_scheduler.OneCycleLR(
                o, 1.0, 57, pct_start=0.45, cycle_momentum=False, div_factor=5, final_div_factor=20
            ),
        ),
    ],
)
def test_they_are_torchs(ours: schedules.Factor, torchs: Callable[[torch.optim.Optimizer], Any]) -> None:
    num_steps = 57 if ours(0) == pytest.approx(0.2) else 40
    assert [ours(step) for step in range(num_steps)] == pytest.approx(rates_of_torch(torchs, num_steps), abs=1e-9)


@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=60), st.integers(0, 4), st.sampled_from([0.0, 1e-4, 0.1]))
def test_plateau_is_torchs(losses: list[float], patience: int, threshold: float) -> None:
    optimizer = sgd(1.0)
    torchs = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=patience, threshold=threshold, eps=0)
    ours = Plateau(100, gamma=0.5, patience=patience, threshold=threshold)
    for loss in losses:
        torchs.step(loss)
        ours.observe(loss)
        assert ours(0) == pytest.approx(optimizer.param_groups[0]["lr"])


@given(st.sampled_from(sorted(SCHEDULES)), st.integers(1, 500))
def test_factors_lie_between_0_and_1_and_reach_1(name: str, num_steps: int) -> None:
    factor = SCHEDULES[name](num_steps)
    values = [factor(step) for step in range(num_steps)]
    assert all(-1e-12 <= value <= 1 + 1e-12 for value in values)
    if num_steps >= 20:
        assert max(values) > 0.95


def test_shapes() -> None:
    up_and_down = schedules.warmup_cosine(100, warmup=0.1, final=0.25)
    assert [up_and_down(0), up_and_down(9), up_and_down(10), up_and_down(100)] == pytest.approx([0.1, 1, 1, 0.25])
    root = schedules.inverse_sqrt(100, warmup=0.04)
    assert [root(0), root(3), root(15), root(99)] == pytest.approx([0.25, 1, 0.5, 0.2])
    assert schedules.step(3, every=0.01)(2) == pytest.approx(0.01), "a stretch is at least a step"


def test_every_group_keeps_its_own_rate() -> None:
    optimizer = torch.optim.SGD(
        [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (1.0, 0.1)], lr=1.0
    )
    schedule = Schedule("cosine", {"final": 0.0}, 10, optimizer)
    schedule.set(5)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.5, 0.05])
    schedule.set(0)
    assert [group["lr"] for group in optimizer.param_groups] == [1.0, 0.1]


def test_configs_and_functions_agree() -> None:
    import inspect

    import yaml

    from bench.base.paths import CONF_DIR
    from bench.config.choices import CHOICES

    assert set(CHOICES["schedule"]) == set(SCHEDULES) == {path.stem for path in (CONF_DIR / "schedule").glob("*.yaml")}
    for name, function in SCHEDULES.items():
        node = yaml.safe_load((CONF_DIR / "schedule" / f"{name}.yaml").read_text())
        assert node.pop("name") == name
        defaults = {k: p.default for k, p in inspect.signature(function).parameters.items() if k != "num_steps"}
        assert node == defaults


# --- in training ----------------------------------------------------------------------------------


def test_a_schedule_is_recorded_and_changes_the_curve(cli: Cli) -> None:
    assert cli("schedule=constant,cosine,plateau", "optimizer=sgd", "optimizer.lr=0.1", *SHORT, "-m").status == 0
    runs = tables.load("results/digits-mlp").runs.set_index("schedule")
    assert runs["final_val_loss"].nunique() == 2, "nothing is flat in four epochs: plateau is constant here"
    assert runs.loc["constant", "final_val_loss"] == runs.loc["plateau", "final_val_loss"]
    assert json.loads(runs.loc["cosine", "schedule_options"]) == {"final": 0.0}
    assert runs["first_train_loss"].nunique() == 1


def test_a_cosine_over_the_budget_is_a_bare_loop_with_torchs(cli: Cli) -> None:
    """The same batches, by hand: lr of step t is cos at t."""
    from contextlib import nullcontext

    from bench.data import digits
    from bench.data.dataset import as_dataset
    from bench.measure.clock import Stopwatch
    from bench.training.learner import Learner
    from bench.training.loop import train
    from bench.training.plan import TrainingPlan
    from bench.training.trace import Trace
    from models.logistic import LogisticRegression

    data = as_dataset(digits.load())
    plan = TrainingPlan(34, 64, 10, 1000, 1e4, None, 5, nullcontext())
    ours = LogisticRegression((1, 8, 8), 10)
    optimizer = torch.optim.SGD(ours.parameters(), lr=0.5)
    learner = Learner(ours, optimizer, schedule=Schedule("cosine", {"final": 0.0}, 34, optimizer))
    train(learner, data, plan, Stopwatch(torch.device("cpu")), Trace())
    bare = LogisticRegression((1, 8, 8), 10)
    optimizer = torch.optim.SGD(bare.parameters(), lr=0.5)
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, 34)
    batches = data.shuffled(64, 5)
    for _ in range(34):
        optimizer.zero_grad()
        batch, wanted = next(batches)
        torch.nn.functional.cross_entropy(bare(batch), wanted).backward()
        optimizer.step()
        scheduler.step()
    assert torch.allclose(ours.linear.weight, bare.linear.weight, atol=1e-6)


def test_plateau_falls_in_training() -> None:
    """Nothing is learnt at rate 0: every evaluation but the first is one too many."""
    from contextlib import nullcontext

    from bench.data import digits
    from bench.data.dataset import as_dataset
    from bench.measure.clock import Stopwatch
    from bench.training.learner import Learner
    from bench.training.loop import train
    from bench.training.plan import TrainingPlan
    from bench.training.trace import Trace
    from models.logistic import LogisticRegression

    data = as_dataset(digits.load())
    model = LogisticRegression((1, 8, 8), 10)
    optimizer = torch.optim.SGD([{"params": model.parameters(), "lr": 0.0}, {"params": [torch.zeros(1)], "lr": 1.0}])
    schedule = Schedule("plateau", {"gamma": 0.5, "patience": 0}, 40, optimizer)
    plan = TrainingPlan(40, 64, 10, 10, 1e4, None, 5, nullcontext())
    train(Learner(model, optimizer, schedule=schedule), data, plan, Stopwatch(torch.device("cpu")), Trace())
    assert optimizer.param_groups[1]["lr"] == 0.25, "evaluations at 10, 20, 30; what the last one says comes too late"


def test_what_has_no_learning_rate(cli: Cli, folder: Path) -> None:
    (folder / "rateless.py").write_text(
        "import torch\n"
        "class Rateless(torch.optim.SGD):\n"
        "    def __init__(self, params):\n"
        "        super().__init__(params, lr=0.1)\n"
        "        for group in self.param_groups:\n"
        "            group['lr'] = None\n"
    )
    done = cli("schedule=cosine", "optimizer=custom", "optimizer._target_=rateless.Rateless", *SHORT, "memory=false")
    assert done.status != 0
    optimizer = sgd()
    optimizer.param_groups[0]["lr"] = None
    with pytest.raises(UserError, match="schedule must be constant for SGD, got cosine: it has no learning rate"):
        Schedule("cosine", {}, 10, optimizer)


def test_a_compiled_step_takes_a_schedule_and_is_not_compiled_again(cli: Cli) -> None:
    from torch._dynamo.utils import counters

    common = ["schedule=warmup_cosine", "optimizer=adam,sgd", "seeds=[0]", "memory=false", "report=false", "-m"]
    graphs = []
    for steps in (5, 60):
        counters.clear()
        cli("optimizer.implementation=compiled", f"train.steps={steps}", f"study=s{steps}", *common)
        graphs.append(counters["stats"]["unique_graphs"])
    done = cli("optimizer.implementation=forloop", "train.steps=60", "study=s60", *common)
    runs = tables.load("results/s60").runs
    if (runs["status"] == "skipped").any():
        pytest.skip("there is no compiler")
    assert done.status == 0
    found = runs.pivot_table(index="optimizer", columns="implementation", values="final_val_loss")
    assert found["compiled"].tolist() == pytest.approx(found["forloop"].tolist(), rel=1e-4)
    constant = cli("optimizer=adam,sgd", "train.steps=60", "seeds=[0]", "memory=false", "report=false", "study=c", "-m")
    assert constant.status == 0
    others = tables.load("results/c").runs.set_index("optimizer")["final_val_loss"]
    assert abs(found.loc["adam", "compiled"] / others["adam"] - 1) > 0.1, "the schedule did something"
    assert graphs[1] == graphs[0] > 0, "60 rates, and no more was compiled than for 5"


def test_settings_tell_series_apart(cli: Cli) -> None:
    from bench.analysis import sections

    cli("schedule=constant,cosine", *SHORT, "-m")
    cli("schedule=cosine", "schedule.final=0.5", *SHORT)
    (section,) = sections.sections(tables.load("results/digits-mlp").runs)
    assert set(section.runs["series"]) == {"adam constant", "adam cosine (final 0.0)", "adam cosine (final 0.5)"}
