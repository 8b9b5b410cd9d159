"""The loop against one written by hand; stops, records, limits, and a clock that adds up."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch.nn import functional

from bench.data import digits
from bench.data.dataset import Dataset, as_dataset, batch_order, from_tensors
from bench.measure.clock import Stopwatch
from bench.training.evaluation import evaluate
from bench.training.learner import Learner
from bench.training.loop import OutOfTime, train
from bench.training.plan import TrainingPlan
from bench.training.step import StepOptions, trained
from bench.training.stop_metrics import StopMetrics
from bench.training.trace import Diverged, Trace
from models.mlp import MLP


@pytest.fixture(scope="module")
def data() -> Dataset:
    return as_dataset(digits.load())


def plan(**changes: Any) -> TrainingPlan:
    defaults: dict[str, Any] = {
        "num_steps": 40,
        "batch_size": 64,
        "log_every": 10,
        "eval_every": 17,
        "loss_limit": 1e4,
        "time_limit_s": None,
        "order_seed": 3,
        "autocast": nullcontext(),
    }
    return TrainingPlan(**defaults | changes)


def run(data: Dataset, the_plan: TrainingPlan, lr: float = 0.1) -> tuple[Trace, Stopwatch, MLP]:
    torch.manual_seed(0)
    model = MLP((1, 8, 8), 10)
    trace, watch = Trace(), Stopwatch(torch.device("cpu"))
    train(Learner(model, torch.optim.SGD(model.parameters(), lr=lr)), data, the_plan, watch, trace)
    watch.switch("rest")
    return trace, watch, model


def test_equals_a_loop_written_by_hand(data: Dataset) -> None:
    trace, _, model = run(data, plan())
    torch.manual_seed(0)
    bare = MLP((1, 8, 8), 10)
    optimizer = torch.optim.SGD(bare.parameters(), lr=0.1)
    x, y = data.splits["train"]
    generator = torch.Generator().manual_seed(3)
    losses = []
    for _epoch in range(3):
        for chosen in torch.randperm(len(x), generator=generator).split(64):
            if len(losses) < 40:
                optimizer.zero_grad()
                loss = functional.cross_entropy(bare(x[chosen]), y[chosen])
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
    for a, b in zip(model.parameters(), bare.parameters(), strict=True):
        assert torch.equal(a, b)
    logged = {p[0]: p[4] for p in trace.points if p[2] == "train"}
    assert logged[1] == pytest.approx(losses[0], rel=1e-6)
    assert logged[20] == pytest.approx(sum(losses[17:20]) / 3, rel=1e-6)
    assert logged[40] == pytest.approx(sum(losses[34:40]) / 6, rel=1e-6)


def test_points_are_where_the_plan_says(data: Dataset) -> None:
    trace, _, _ = run(data, plan())
    assert list(plan().stops()) == [1, 10, 17, 20, 30, 34, 40]
    assert [p[0] for p in trace.points if p[2:4] == ("train", "loss")] == [1, 10, 17, 20, 30, 34, 40]
    for split in ("val", "test"):
        for metric in ("loss", "accuracy"):
            assert [p[0] for p in trace.points if p[2:4] == (split, metric)] == [0, 17, 34, 40]
    assert {p[1] for p in trace.points if p[0] == 34} == {2.0}
    times = [p[5] for p in trace.points]
    assert times == sorted(times)
    assert times[0] == 0


def test_stops_of_a_budget_without_end_cost_nothing() -> None:
    stops = plan(num_steps=10**12, log_every=10, eval_every=17).stops()
    assert [next(stops) for _ in range(4)] == [1, 10, 17, 20]
    assert list(plan(num_steps=1).stops()) == [1]


def test_logging_and_evaluating_more_often_changes_no_weight(data: Dataset) -> None:
    models = [run(data, plan(log_every=n, eval_every=m))[2] for n, m in ((1, 1), (100, 100))]
    for a, b in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(a, b)


def test_the_clock_adds_up_and_evaluation_is_outside_it(data: Dataset) -> None:
    started = time.perf_counter()
    trace, watch, _ = run(data, plan(num_steps=100, eval_every=1))
    elapsed = time.perf_counter() - started
    assert watch.total <= elapsed
    assert watch.total > 0.9 * elapsed
    assert watch.seconds["eval"] > watch.seconds["train"] / 2, "100 evaluations cost more than this"
    assert trace.points[-1][5] == pytest.approx(watch.seconds["train"], rel=0.05)


def test_stopwatch_books_every_second_once() -> None:
    watch = Stopwatch(torch.device("cpu"))
    for name in ("a", "b", "a"):
        watch.switch(name)
        time.sleep(0.02)
    watch.switch("rest")
    assert watch.seconds["a"] >= 0.04
    assert 0.02 <= watch.seconds["b"] < watch.seconds["a"]
    assert watch.total == pytest.approx(sum(watch.seconds.values()))


def test_every_epoch_is_a_permutation_in_a_new_order() -> None:
    batches = batch_order(10, 4, seed=1)
    epochs = [torch.cat([next(batches) for _ in range(3)]).tolist() for _ in range(3)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    again = batch_order(10, 4, seed=1)
    assert torch.cat([next(again) for _ in range(3)]).tolist() == epochs[0]


def test_a_frozen_order_repeats_its_first_epoch() -> None:
    frozen, free = batch_order(10, 4, seed=1, frozen=True), batch_order(10, 4, seed=1)
    epochs = [torch.cat([next(frozen) for _ in range(3)]).tolist() for _ in range(3)]
    assert epochs[0] == epochs[1] == epochs[2] == torch.cat([next(free) for _ in range(3)]).tolist()


def test_batches_hold_inputs_and_targets_of_the_same_examples() -> None:
    x = torch.arange(10.0).unsqueeze(1)
    small = from_tensors(dict.fromkeys(("train", "val", "test"), (x, x[:, 0] * 2)))
    inputs, targets = next(small.shuffled(4, seed=1))
    assert torch.equal(targets, 2 * inputs)
    assert sorted(torch.cat([b for b, _ in small.in_order("val", 4)]).flatten().tolist()) == list(range(10))


def test_batch_order_leaves_the_global_generator_alone(data: Dataset) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    next(data.shuffled(4, seed=1))
    assert torch.equal(before, torch.get_rng_state())


def test_divergence_is_raised_with_the_step(data: Dataset) -> None:
    with pytest.raises(
        Diverged, match=r"train loss \S+ at step \d+(, above train.loss_limit=10000 at 3 stops in a row)?$"
    ):
        run(data, plan(num_steps=100), lr=1e12)
    run(data, plan(loss_limit=3.0))  # accuracy may be what it likes
    with pytest.raises(
        Diverged, match=r"train loss 2\.\d+ at step \d+, above train.loss_limit=1e-06 at 3 stops in a row"
    ):
        run(data, plan(num_steps=40, loss_limit=1e-6))
    with pytest.raises(Diverged, match=r"train loss 2\.\d+ at step 1, above train.loss_limit=0.1 at the last stop"):
        run(data, plan(num_steps=1, loss_limit=0.1))


def test_a_run_that_recovers_is_no_diverged_one() -> None:
    trace, the_plan = Trace(), plan(num_steps=60, loss_limit=10.0)
    for step, loss in ((1, 2.0), (10, 50.0), (20, 40.0), (30, 3.0), (40, 90.0), (50, 80.0), (60, 1.0)):
        trace.step = step
        trace.record("train", "loss", loss, the_plan)
        trace.record("val", "loss", loss, the_plan)
    assert len(trace.points) == 14
    with pytest.raises(Diverged, match="val loss inf at step 60"):
        trace.record("val", "loss", math.inf, the_plan)


def test_the_time_limit_counts_training_only(data: Dataset) -> None:
    with pytest.raises(OutOfTime, match="train.time_limit_s=0.01"):
        run(data, plan(num_steps=10**6, time_limit_s=0.01))
    run(data, plan(time_limit_s=60.0))


def test_evaluation_is_the_mean_over_all_examples(data: Dataset) -> None:
    torch.manual_seed(0)
    model = MLP((1, 8, 8), 10)
    x, y = data.splits["test"]
    metrics = evaluate(model, data, "test", plan(batch_size=100))
    with torch.no_grad():
        outputs = model(x)
    assert metrics["loss"] == pytest.approx(functional.cross_entropy(outputs, y).item(), rel=1e-5)
    assert metrics["accuracy"] == (outputs.argmax(1) == y).sum().item() / 360
    assert model.training


def test_evaluation_of_changed_inputs_sees_each_batch_changed_once(data: Dataset) -> None:
    torch.manual_seed(0)
    model = MLP((1, 8, 8), 10)
    seen = []

    def change(batch: torch.Tensor) -> torch.Tensor:
        seen.append(len(batch))
        return batch.flip(-1)

    metrics = evaluate(model, data, "test", plan(batch_size=100), change)
    assert seen == [100, 100, 100, 60]
    x, y = data.splits["test"]
    with torch.no_grad():
        outputs = model(x.flip(-1))
    assert metrics["accuracy"] == (outputs.argmax(1) == y).sum().item() / 360
    assert metrics["loss"] == pytest.approx(functional.cross_entropy(outputs, y).item(), rel=1e-5)


def test_evaluation_has_no_dropout(data: Dataset) -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(64, 10))
    one, two = (evaluate(model, data, "val", plan()) for _ in range(2))
    assert one == two


# --- metrics on request ------------------------------------------------------------------------------


def test_layer_norms_are_autograds_of_the_last_step(data: Dataset) -> None:
    trace, _, model = run(data, plan(num_steps=20, log_every=7, metrics=("layer_grad_norm",)))
    _, _, plain = run(data, plan(num_steps=20, log_every=7))
    for a, b in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(a, b)
    found = {(p[3], p[0]): p[4] for p in trace.points if p[3].startswith("grad_norm")}
    assert {step for _, step in found} == {1, 7, 14, 17, 20}
    batches = data.shuffled(64, seed=3)
    torch.manual_seed(0)
    bare = MLP((1, 8, 8), 10)
    weights = [p for p in bare.parameters() if p.ndim > 1]
    assert len(weights) > 1
    for step in range(1, 21):
        x, y = next(batches)
        gradients = torch.autograd.grad(functional.cross_entropy(bare(x), y), list(bare.parameters()))
        if ("grad_norm_first", step) in found:
            matrices = [g for g in gradients if g.ndim > 1]
            assert found["grad_norm_first", step] == pytest.approx(matrices[0].square().sum().sqrt().item(), rel=1e-5)
            assert found["grad_norm_last", step] == pytest.approx(matrices[-1].square().sum().sqrt().item(), rel=1e-5)
        with torch.no_grad():
            for p, g in zip(bare.parameters(), gradients, strict=True):
                p -= 0.1 * g


def test_layer_norms_are_after_clipping_and_within_that_of_all(data: Dataset) -> None:
    clipped = plan(metrics=("grad_norm", "layer_grad_norm"), step=StepOptions(clip_norm=0.1))
    trace, _, _ = run(data, clipped)
    at: dict[int, dict[str, float]] = {}
    for point in trace.points:
        at.setdefault(point[0], {})[point[3]] = point[4]
    norms = [values for values in at.values() if "grad_norm" in values]
    assert norms
    for values in norms:
        assert 0 < values["grad_norm_first"] ** 2 + values["grad_norm_last"] ** 2 <= values["grad_norm"] ** 2 * 1.0001
        assert values["grad_norm"] <= 0.1001


def test_layer_norms_of_trained_weights_only() -> None:
    frozen, first, norm, last = (
        torch.nn.Linear(3, 4), torch.nn.Linear(4, 4), torch.nn.LayerNorm(4), torch.nn.Linear(4, 2),
    )  # fmt: skip
    frozen.requires_grad_(False)
    model = torch.nn.Sequential(frozen, first, norm, last)
    model(torch.ones(5, 3)).square().sum().backward()
    names = ["layer_grad_norm"]
    found = StopMetrics(names, trained(model)).values()
    assert first.weight.grad is not None
    assert last.weight.grad is not None
    assert found == {
        "grad_norm_first": pytest.approx(first.weight.grad.norm().item()),
        "grad_norm_last": pytest.approx(last.weight.grad.norm().item()),
    }
    assert StopMetrics(names, trained(torch.nn.Sequential(frozen, last))).values() == {}, "one layer has no two ends"
    last.weight.grad = None
    assert set(StopMetrics(names, trained(model)).values()) == {"grad_norm_first"}
