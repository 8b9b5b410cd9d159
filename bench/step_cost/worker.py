"""One fresh process of `python -m bench.step_cost`: `python -m bench.step_cost.worker`, specification on standard input.

Builds everything anew several times, times it, and writes its rows of `step_costs` to standard output.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from statistics import median
from typing import Any, TextIO

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bench.base.errors import UserError
from bench.base.text import first_line
from bench.build.model import build_model, checked_outputs
from bench.build.optimizer import build_optimizer, needs_of
from bench.config.identity import cost_id
from bench.config.schema import StepCostConfig
from bench.data.dataset import Dataset
from bench.execution.memory_pass import state_tensors
from bench.execution.run import quiet_collector
from bench.execution.workload import check_batch_size, dataset, workload_id, workload_words
from bench.measure import device as measure_device
from bench.measure.clock import YARDSTICK, Noise, synchronizer
from bench.measure.environment import last_cache_bytes, num_cores
from bench.step_cost.interleave import MAX_TIMER_SHARE, Arm, ArmFailed, bandwidth, interleaved, time_block, timer_cost
from bench.training.losses import LOSSES
from bench.training.step import NOT_PLAIN

Row = dict[str, Any]


Marks = list[tuple[Any, ...]]
"""Times, or events of a GPU, between the phases of training steps."""


PREFERRED = ("forloop", "foreach", "fused", "compiled", "reference", "own")
"""The baseline's implementation: the first of these that is measured."""


@dataclass
class Candidate:
    """An optimizer in one implementation, and what is known of it before its times."""

    row: Row
    optimizer: Optimizer


def main() -> int:
    """Measure one replicate: the specification comes on standard input, rows go to standard output."""
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever a person's class prints
    spec = json.load(sys.stdin)
    try:
        rows = _process(StepCostConfig(**spec["config"]), spec["known"] | {"process": spec["process"]}, answers)
        answer: Row = {"rows": rows}
    except (UserError, measure_device.Unavailable) as error:
        answer = {"refused": str(error)}
    print(json.dumps(answer, allow_nan=False), file=answers, flush=True)
    return 0


def _process(config: StepCostConfig, known: Row, answers: TextIO) -> list[Row]:
    device = measure_device.resolve(config.device.name)
    autocast = measure_device.autocast(device, config.device.precision)
    measure_device.reset(device, config.device.threads, config.device.precision, seed=0)
    data = dataset(config.data, device)
    check_batch_size(config, data)
    model = build_model(config.model, data.spec).to(device)  # what does not fit shows before anything takes long
    with autocast:
        checked_outputs(config, data.spec, model, data.sample_batch(config.train.batch_size)[0])
    for optimizer in config.optimizers:
        build_optimizer(optimizer, model)
    cache = last_cache_bytes() if device.type == "cpu" else None
    if device.type == "cuda":
        cache = torch.cuda.get_device_properties(device).L2_cache_size or None
    speed: float | None = known.pop("bandwidth", None)  # of the first process, for all that follow
    YARDSTICK.best = min(YARDSTICK.best, known.pop("yardstick_best_s", math.inf))
    if known["process"] == 0 and cache is not None and 4 * cache < 0.5 * measure_device.free_bytes(device):
        speed = bandwidth(device, 4 * cache)
    known = known | {
        "workload": workload_words(config),
        "workload_id": workload_id(config.model, config.data, data, config.train.batch_size),
        "model": config.model.name,
        "data": config.data.name,
        "precision": config.device.precision,
        "batch_size": config.train.batch_size,
        "num_threads": config.device.threads,
        "last_cache_mib": None if cache is None else cache / 2**20,
        "bandwidth_gib_per_s": None if speed is None else speed / 2**30,
    }
    if "compiled" in config.implementations:  # what the compiler takes to start is no optimizer's cost
        with suppress(Exception):  # where there is none, each optimizer's row says so
            torch.compile(lambda x: x + 1)(torch.ones(8, device=device))
    rows: list[Row] = []
    for build in range(config.builds):
        rows += build_and_time(
            config,
            data,
            device,
            autocast,
            known | {"build": build},
            without={_key(r) for r in rows if r["status"] != "ok"},
        )
        print("built", file=answers, flush=True)
    return rows


def _key(row: Row) -> tuple[str, str]:
    return row["optimizer"], row["implementation"]


def build_and_time(
    config: StepCostConfig,
    data: Dataset,
    device: torch.device,
    autocast: AbstractContextManager[Any],
    known: Row,
    without: set[tuple[str, str]],
) -> list[Row]:
    """Build model and optimizers, time them, and give a row of `step_costs` for each.

    Args:
        config: What is measured.
        data: On the device.
        device: Where.
        autocast: Context of every forward pass.
        known: Columns that are known already, `process` and `build` among them.
        without: (optimizer, implementation) that are known not to be available.
    """
    known = dict(known)
    num_jobs_beside: int | None = known.pop("num_jobs_beside", None)
    quiet_collector()
    seed = config.builds * known["process"] + known["build"]
    measure_device.reset(device, config.device.threads, config.device.precision, seed)
    model = build_model(config.model, data.spec).to(device)
    size = config.train.batch_size
    batches = (batch for batch in data.shuffled(size, seed) if len(batch[0]) == size)
    loss_of = LOSSES[data.spec.loss]
    inputs, targets = next(batches)
    with autocast:
        loss_of(checked_outputs(config, data.spec, model, inputs), targets).backward()
    parameters: list[torch.Tensor] = [p for p in model.parameters() if p.grad is not None]
    gradients = [p.grad for p in parameters if p.grad is not None]
    start, first_gradients = ([t.detach().clone() for t in tensors] for tensors in (parameters, gradients))

    def restore() -> None:
        """Every block starts from the same weights and gradients, whatever the one before did to them."""
        with torch.no_grad():
            torch._foreach_copy_(parameters, start)
            torch._foreach_copy_(gradients, first_gradients)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient

    candidates, rows = _candidates(config, model, device, known, seed, without, restore)
    if not candidates:
        return rows
    training = _Training(model, loss_of, batches, autocast, device)
    while True:
        names = [_key(candidate.row) for candidate in candidates]
        baselines = [names.index((config.baseline, i)) for i in PREFERRED if (config.baseline, i) in names]
        if not baselines:
            why = "; ".join(str(row["reason"]) for row in rows if row["optimizer"] == config.baseline)
            raise UserError(f"baseline must be one that can be measured, got {config.baseline} ({why}); choose another")
        baseline = baselines[0]
        marks: list[Marks] = [[] for _ in candidates]
        noise = Noise(device.type, config.device.threads, num_cores(), num_jobs_beside, data.reads_files)
        try:
            steps = [Arm(restore, c.optimizer.step) for c in candidates]
            alone = interleaved(steps, baseline, config.rounds, device)
            whole_steps = [training.arm(c.optimizer, m, restore) for c, m in zip(candidates, marks, strict=True)]
            whole = interleaved(whole_steps, baseline, config.rounds, device)
            break
        except ArmFailed as failed:  # the others are measured without it
            error = failed.__cause__
            assert error is not None
            reason = f"{type(error).__name__}: {first_line(error)}"
            rows.append(candidates.pop(failed.index).row | {"status": "failed", "reason": reason})
    noises = noise.row()
    for candidate, step, train_step, marked in zip(candidates, alone, whole, marks, strict=True):
        row = candidate.row | noises
        parts = zip(("data_us", "zero_grad_us", "forward_us", "backward_us", "optimizer_us"), range(5), strict=True)
        row |= {name: 1e6 * _median_between(marked, i) for name, i in parts}
        row |= {
            "baseline": "/".join(names[baseline]),
            "num_rounds": config.rounds,
            "steps_per_block": step.calls_per_block,
            "step_us": 1e6 * step.seconds,
            "step_host_us": 1e6 * step.host_seconds,
            "step_ratio": step.ratio,
            "train_step_us": 1e6 * train_step.seconds,
            "train_step_host_us": 1e6 * train_step.host_seconds,
            "train_step_ratio": train_step.ratio,
            "timer_share": max(step.timer_share, train_step.timer_share),
        }
        row["limit_share"] = _limit_share(row, sum(p.nbytes for p in parameters))
        rows.append(row)
    return rows


class _Training:
    """Whole training steps of a model, with one of its optimizers or another."""

    def __init__(
        self,
        model: nn.Module,
        loss_of: Callable[[Tensor, Tensor], Tensor],
        batches: Iterator[tuple[Tensor, Tensor]],
        autocast: AbstractContextManager[Any],
        device: torch.device,
    ) -> None:
        self._model, self._loss_of, self._batches = model, loss_of, batches
        self._autocast = autocast
        self._now: Callable[[], Any] = _event if device.type == "cuda" else time.perf_counter
        seconds = min(time_block(lambda: self._gradients(model.zero_grad), 1, device)[0] for _ in range(3))
        self._every = math.ceil(6 * timer_cost() / (MAX_TIMER_SHARE / 2 * seconds))

    def arm(self, optimizer: Optimizer, marks: Marks, restore: Callable[[], None]) -> Arm:
        """Training steps to be timed; of as many as the clock may cost, the phases are marked."""
        count = itertools.count()

        def once() -> None:
            if next(count) % self._every:
                self._step(optimizer)
            else:
                marks.append(self._marked_step(optimizer))

        return Arm(restore, once, reads=6 / self._every)

    def _gradients(self, zero_grad: Callable[[], None]) -> None:
        batch, wanted = next(self._batches)
        zero_grad()
        with self._autocast:
            loss = self._loss_of(self._model(batch), wanted)
        loss.backward()

    def _step(self, optimizer: Optimizer) -> None:
        self._gradients(optimizer.zero_grad)
        optimizer.step()

    def _marked_step(self, optimizer: Optimizer) -> tuple[Any, ...]:
        """The same; when it began, and when each phase ended."""
        now = self._now
        began = now()
        batch, wanted = next(self._batches)
        data = now()
        optimizer.zero_grad()
        zero_grad = now()
        with self._autocast:
            loss = self._loss_of(self._model(batch), wanted)
        forward = now()
        loss.backward()
        backward = now()
        optimizer.step()
        return began, data, zero_grad, forward, backward, now()


def _candidates(
    config: StepCostConfig,
    model: nn.Module,
    device: torch.device,
    known: Row,
    seed: int,
    without: set[tuple[str, str]],
    restore: Callable[[], None],
) -> tuple[list[Candidate], list[Row]]:
    """All optimizers that can be built here, each two steps old; and rows for those that can't."""
    synchronize = synchronizer(device)
    updated = [p for p in model.parameters() if p.grad is not None]
    num_bytes = sum(p.nbytes for p in updated)
    wanted = [
        (optimizer, implementation)
        for optimizer in config.optimizers
        for implementation in (config.implementations if optimizer.target.startswith("torch.optim.") else ["own"])
        if (optimizer.name, implementation) not in without
    ]
    random.Random(seed).shuffle(wanted)  # where state comes to lie must not go by rank in a list
    candidates: list[Candidate] = []
    rows: list[Row] = []
    for optimizer_config, implementation in wanted:
        asked = "default" if implementation == "own" else implementation
        chosen = optimizer_config.model_copy(update={"implementation": asked})
        row = known | {
            "optimizer": chosen.name,
            "optimizer_target": chosen.target,
            "optimizer_options": json.dumps(chosen.options, sort_keys=True),
            "implementation": implementation,
            "num_parameters": sum(p.numel() for p in updated),
        }
        times = [time.perf_counter()]
        try:
            optimizer, _ = build_optimizer(chosen, model)
        except measure_device.Unavailable as error:
            rows.append(row | {"status": "skipped", "reason": str(error)})
            continue
        if wishes := needs_of(chosen, optimizer) & NOT_PLAIN:
            what = "its gradients come from a closure" if "closure" in wishes else "it differentiates its gradients"
            rows.append(row | {"status": "skipped", "reason": f"a step of {chosen.name} cannot be timed alone: {what}"})
            continue
        try:
            for _ in range(2):
                times.append(time.perf_counter())
                restore()
                synchronize()
                optimizer.step()
                synchronize()
            times.append(time.perf_counter())
        except Exception as error:
            unavailable_reason = isinstance(error, measure_device.Unavailable)
            reason = str(error) if unavailable_reason else f"{type(error).__name__}: {first_line(error)}"
            rows.append(row | {"status": "skipped" if unavailable_reason else "failed", "reason": reason})
            continue
        state_bytes = sum(tensor.nbytes for tensor in state_tensors(optimizer))
        first, second = times[2] - times[1], times[3] - times[2]
        row |= {
            "status": "ok",
            "step_cost_id": cost_id(
                row["workload_id"], chosen, implementation, row["device"], config.device, row["environment_id"]
            ),
            "construct_ms": 1e3 * (times[1] - times[0]),
            "first_step_ms": 1e3 * first,
            "compile_s": first - second if implementation == "compiled" else None,
            "state_mib": state_bytes / 2**20,
            "least_traffic_mib": (3 * num_bytes + 2 * state_bytes) / 2**20,
        }
        candidates.append(Candidate(row, optimizer))
    return candidates, rows


def _limit_share(row: Row, parameter_bytes: int) -> float | None:
    """Share of the time that the memory traffic alone would take; None where the caches may hold all of it."""
    working_set = 2 * parameter_bytes / 2**20 + row["state_mib"]
    if row["bandwidth_gib_per_s"] is None or working_set <= 4 * row["last_cache_mib"]:
        return None
    seconds = row["least_traffic_mib"] / 2**10 / row["bandwidth_gib_per_s"]
    return float(seconds / (1e-6 * row["step_us"]))


def _event() -> Any:

    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def _median_between(marked: Marks, index: int) -> float:
    """Median seconds between a mark and the next."""

    spans = ((marks[index], marks[index + 1]) for marks in marked)
    if isinstance(marked[0][0], float):
        return float(median(end - start for start, end in spans))
    return float(median(start.elapsed_time(end) / 1e3 for start, end in spans))


if __name__ == "__main__":
    from bench.base.bootstrap import find_packages

    find_packages()
    sys.exit(main())
