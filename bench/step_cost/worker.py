"""One fresh process of `python -m bench.step_cost`: `python -m bench.step_cost.worker`, specification on standard input.

Builds everything anew several times, times it, and writes its rows of `step_costs` to standard output.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any, TextIO

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bench.base.errors import UserError
from bench.base.text import first_line
from bench.build.model import build_model, checked_outputs
from bench.build.optimizer import build_optimizer, needs_of
from bench.config.identity import cost_id
from bench.config.schema import OptimizerConfig, StepCostConfig
from bench.data.dataset import Dataset
from bench.execution.memory_pass import state_tensors
from bench.execution.run import quiet_collector
from bench.execution.workload import check_batch_size, dataset, workload_id, workload_words
from bench.measure import device as measure_device
from bench.measure.clock import YARDSTICK, Noise, synchronizer
from bench.measure.environment import last_cache_bytes, num_cores
from bench.step_cost.interleave import (
    Arm,
    ArmFailed,
    Timing,
    interleaved,
    least_traffic,
)
from bench.step_cost.training_steps import Marks, TrainingSteps, median_between
from bench.training.losses import LOSSES
from bench.training.step import NOT_PLAIN

Row = dict[str, Any]


PREFERRED = ("forloop", "foreach", "fused", "compiled", "reference", "own")
"""The baseline's implementation: the first of these that is measured."""


@dataclass
class Candidate:
    """An optimizer in one implementation, with its row before it is timed."""

    row: Row
    optimizer: Optimizer


def main(request: str) -> int:
    """Measure one replicate: its specification is JSON, and its rows go to standard output."""
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever a person's class prints
    spec = json.loads(request)
    try:
        rows = _process(StepCostConfig(**spec["config"]), spec["known"] | {"process": spec["process"]}, answers)
        answer: Row = {"rows": rows}
    except (UserError, measure_device.Unavailable) as error:
        answer = {"refused": str(error)}
    print(json.dumps(answer, allow_nan=False), file=answers, flush=True)
    return 0


def _process(config: StepCostConfig, known: Row, answers: TextIO) -> list[Row]:
    """Make all builds of this process; return their rows."""
    device = measure_device.resolve(config.device.name)
    autocast = measure_device.autocast(device, config.device.precision)
    measure_device.reset(device, config.device.threads, config.device.precision, seed=0)
    data = dataset(config.data, device)
    _check(config, data, device, autocast)
    known = known | {
        "workload": workload_words(config),
        "workload_id": workload_id(config.model, config.data, data, config.train.batch_size),
        "model": config.model.name,
        "data": config.data.name,
        "precision": config.device.precision,
        "batch_size": config.train.batch_size,
        "num_threads": config.device.threads,
    }
    cache = last_cache_bytes() if device.type == "cpu" else None
    if device.type == "cuda":
        cache = torch.cuda.get_device_properties(device).L2_cache_size or None
    known["last_cache_mib"] = None if cache is None else cache / 2**20
    YARDSTICK.best = min(YARDSTICK.best, known.pop("yardstick_best_s", math.inf))
    if "compiled" in config.implementations:  # the start of the compiler is not a cost of an optimizer
        with suppress(Exception):  # where there is no compiler, the row of each optimizer says so
            torch.compile(lambda x: x + 1)(torch.ones(8, device=device))
    rows: list[Row] = []
    for build in range(config.builds):
        without = {_key(row) for row in rows if row["status"] != "ok"}
        rows += build_and_time(config, data, device, autocast, known | {"build": build}, without)
        print("built", file=answers, flush=True)
    return rows


def _check(config: StepCostConfig, data: Dataset, device: torch.device, autocast: AbstractContextManager[Any]) -> None:
    """Build everything once, so that what does not fit is refused before anything takes long.

    Raises:
        UserError: Data, model and optimizers cannot be built or do not fit together.
    """
    check_batch_size(config, data)
    model = build_model(config.model, data.spec).to(device)
    with autocast:
        checked_outputs(config, data.spec, model, data.sample_batch(config.train.batch_size)[0])
    for optimizer in config.optimizers:
        build_optimizer(optimizer, model)


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
    """Build model and optimizers, time them, and return a row of `step_costs` for each.

    Args:
        config: What is measured.
        data: The data set, on the device.
        device: Where steps are made.
        autocast: Context of every forward pass.
        known: Columns that are known already, `process` and `build` among them.
        without: (optimizer, implementation) pairs that an earlier build found unavailable or failing.

    Raises:
        UserError: The baseline cannot be measured.
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
    build = _Build(config, device, model, known)
    candidates: list[Candidate] = []
    rows: list[Row] = []
    for optimizer, implementation in _wanted(config, without, seed):
        made = _candidate(build, optimizer, implementation)
        if isinstance(made, Candidate):
            candidates.append(made)
        else:
            rows.append(made)
    if not candidates:
        return rows

    def new_noise() -> Noise:
        return Noise(device.type, config.device.threads, num_cores(), num_jobs_beside, data.reads_files)

    training = TrainingSteps(model, loss_of, batches, autocast, device)
    timed = _timed(build, training, candidates, rows, new_noise)
    return rows + timed


class _Build:
    """A model after one backward pass, from which every timed block starts.

    Args:
        config: What is measured.
        device: Where steps are made.
        model: The model, its gradients computed.
        known: Columns of all rows.
    """

    def __init__(self, config: StepCostConfig, device: torch.device, model: nn.Module, known: Row) -> None:
        self.config, self.device, self.model, self.known = config, device, model, known
        self.parameters: list[Tensor] = [p for p in model.parameters() if p.grad is not None]
        self._gradients = [p.grad for p in self.parameters if p.grad is not None]
        self._start = [tensor.detach().clone() for tensor in self.parameters]
        self._first_gradients = [tensor.detach().clone() for tensor in self._gradients]

    def restore(self) -> None:
        """Set weights and gradients to what they were, whatever the block before did to them."""
        with torch.no_grad():
            torch._foreach_copy_(self.parameters, self._start)
            torch._foreach_copy_(self._gradients, self._first_gradients)
        for parameter, gradient in zip(self.parameters, self._gradients, strict=True):
            parameter.grad = gradient


def _timed(
    build: _Build, training: TrainingSteps, candidates: list[Candidate], rows: list[Row], new_noise: Callable[[], Noise]
) -> list[Row]:
    """Time all candidates against each other; return the rows of those that work.

    A candidate that fails gets its row in `rows`, and the others are timed again without it.
    """
    config, device = build.config, build.device
    while True:
        baseline = _baseline(config, candidates, rows)
        marks: list[Marks] = [[] for _ in candidates]
        noise = new_noise()
        try:
            arms = [Arm(build.restore, candidate.optimizer.step) for candidate in candidates]
            limits = _limit_arms(build, candidates)
            steps = interleaved([*arms, *limits.values()], baseline, config.rounds, device)
            limit_s = dict(zip(limits, (timing.seconds for timing in steps[len(arms) :]), strict=True))
            arms = [
                training.arm(candidate.optimizer, marked, build.restore)
                for candidate, marked in zip(candidates, marks, strict=True)
            ]
            train_steps = interleaved(arms, baseline, config.rounds, device)
            break
        except ArmFailed as failed:
            error = failed.__cause__
            assert error is not None
            reason = f"{type(error).__name__}: {first_line(error)}"
            rows.append(candidates.pop(failed.index).row | {"status": "failed", "reason": reason})
    shared = noise.row() | {"baseline": "/".join(_key(candidates[baseline].row)), "num_rounds": config.rounds}
    made = []
    for candidate, step, train_step, marked in zip(candidates, steps, train_steps, marks, strict=False):
        row = candidate.row | shared | _time_columns(step, train_step, marked)
        made.append(row | _limit_columns(row, limit_s.get(row["state_mib"])))
    return made


def _limit_arms(build: _Build, candidates: Sequence[Candidate]) -> dict[float, Arm]:
    """Return an arm that moves the least bytes for each size of state, in MiB; none where the GPU has no room for them."""
    num_parameters = sum(parameter.numel() for parameter in build.parameters)
    arms = {}
    for state_mib in sorted({candidate.row["state_mib"] for candidate in candidates}):
        with suppress(torch.OutOfMemoryError):
            move = least_traffic(num_parameters, round(state_mib * 2**20), build.device)
            move()
            arms[state_mib] = Arm(lambda: None, move)
    return arms


def _limit_columns(row: Row, limit_s: float | None) -> Row:
    """Return the columns that set a step beside the plain movement of its bytes."""
    if limit_s is None:
        return {"bandwidth_gib_per_s": None, "limit_share": None}
    return {
        "bandwidth_gib_per_s": row["least_traffic_mib"] / 2**10 / limit_s,
        "limit_share": limit_s / (1e-6 * row["step_us"]),
    }


def _baseline(config: StepCostConfig, candidates: Sequence[Candidate], rows: Sequence[Row]) -> int:
    """Return the index of the candidate that the others are compared with.

    Raises:
        UserError: None of the baseline's implementations can be measured.
    """
    names = [_key(candidate.row) for candidate in candidates]
    for implementation in PREFERRED:
        if (config.baseline, implementation) in names:
            return names.index((config.baseline, implementation))
    why = "; ".join(str(row["reason"]) for row in rows if row["optimizer"] == config.baseline)
    raise UserError(f"baseline must be one that can be measured, got {config.baseline} ({why}); choose another")


def _time_columns(step: Timing, train_step: Timing, marked: Marks) -> Row:
    """Return the columns of `step_costs` that hold times: of the optimizer's step, of a training step, of its phases."""
    phases = ("data_us", "zero_grad_us", "forward_us", "backward_us", "optimizer_us")
    return {name: 1e6 * median_between(marked, i) for i, name in enumerate(phases)} | {
        "steps_per_block": step.calls_per_block,
        "step_us": 1e6 * step.seconds,
        "step_host_us": 1e6 * step.host_seconds,
        "step_ratio": step.ratio,
        "train_step_us": 1e6 * train_step.seconds,
        "train_step_host_us": 1e6 * train_step.host_seconds,
        "train_step_ratio": train_step.ratio,
        "timer_share": max(step.timer_share, train_step.timer_share),
    }


def _wanted(config: StepCostConfig, without: set[tuple[str, str]], seed: int) -> list[tuple[OptimizerConfig, str]]:
    """Return what is to be measured, (optimizer, implementation), in an order drawn by the seed.

    The order is random because the place of a state in memory must not depend on the rank in a list.
    """
    wanted = [
        (optimizer, implementation)
        for optimizer in config.optimizers
        for implementation in (config.implementations if optimizer.target.startswith("torch.optim.") else ["own"])
        if (optimizer.name, implementation) not in without
    ]
    random.Random(seed).shuffle(wanted)
    return wanted


def _candidate(build: _Build, optimizer: OptimizerConfig, implementation: str) -> Candidate | Row:
    """Build an optimizer and make two steps; return it, or the finished row that says why it cannot be measured."""
    asked = "default" if implementation == "own" else implementation
    chosen = optimizer.model_copy(update={"implementation": asked})
    row = build.known | {
        "optimizer": chosen.name,
        "optimizer_target": chosen.target,
        "optimizer_options": json.dumps(chosen.options, sort_keys=True),
        "implementation": implementation,
        "num_parameters": sum(p.numel() for p in build.parameters),
    }
    times = [time.perf_counter()]
    try:
        made, _ = build_optimizer(chosen, build.model)
    except measure_device.Unavailable as error:
        return row | {"status": "skipped", "reason": str(error)}
    if wishes := needs_of(chosen, made) & NOT_PLAIN:
        why = "its gradients come from a closure" if "closure" in wishes else "it differentiates its gradients"
        return row | {"status": "skipped", "reason": f"a step of {chosen.name} cannot be timed alone: {why}"}
    try:
        times += _first_steps(build, made)
    except measure_device.Unavailable as error:
        return row | {"status": "skipped", "reason": str(error)}
    except Exception as error:
        return row | {"status": "failed", "reason": f"{type(error).__name__}: {first_line(error)}"}
    state_bytes = sum(tensor.nbytes for tensor in state_tensors(made))
    first, second = times[2] - times[1], times[3] - times[2]
    row |= {
        "status": "ok",
        "step_cost_id": cost_id(
            row["workload_id"], chosen, implementation, row["device"], build.config.device, row["environment_id"]
        ),
        "construct_ms": 1e3 * (times[1] - times[0]),
        "first_step_ms": 1e3 * first,
        "compile_s": first - second if implementation == "compiled" else None,
        "state_mib": state_bytes / 2**20,
        "least_traffic_mib": (3 * sum(p.nbytes for p in build.parameters) + 2 * state_bytes) / 2**20,
    }
    return Candidate(row, made)


def _first_steps(build: _Build, optimizer: Optimizer) -> list[float]:
    """Make two steps; return the times before each and after the second, in seconds."""
    synchronize = synchronizer(build.device)
    times = []
    for _ in range(2):
        times.append(time.perf_counter())
        build.restore()
        synchronize()
        optimizer.step()
        synchronize()
    return [*times, time.perf_counter()]


def _end_with_parent() -> None:
    """Remove the compiler's cache and end, once the process that wants the answer is gone."""
    os.read(0, 1)  # standard input ends with the process at its other end
    shutil.rmtree(os.environ["TORCHINDUCTOR_CACHE_DIR"], ignore_errors=True)
    os._exit(1)


if __name__ == "__main__":
    from bench.base.bootstrap import begin

    begin()
    line = sys.stdin.readline()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.exit(main(line))
