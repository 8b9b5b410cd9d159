"""The memory pass of a cell: a few training steps with every tensor byte booked, real or only predicted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.build.loss import build_loss
from bench.build.model import build_model, checked_outputs
from bench.build.optimizer import build_optimizer, needs_of, step_options
from bench.config.capabilities import capabilities_of
from bench.config.schema import Config
from bench.data.dataset import Dataset
from bench.measure.device import Unavailable, autocast, reset
from bench.measure.memory_tracker import CATEGORIES, MIB, PHASES, PeakMemory, StorageTracker, return_free_memory
from bench.training.step import Update, trained

NUM_STEPS = 3
"""Steps of a pass: the first makes the state, the others show what a step costs once it is there."""


def profile_memory(config: Config, data: Dataset, device: torch.device, fake: bool) -> dict[str, Any]:
    """Measure the peak memory of training, from a few steps on one batch of the size `train.batch_size`.

    What a run draws from the global generators it must seed again afterwards.

    Args:
        config: The cell.
        data: Its data, on `device`; for a fake pass only shapes and dtypes are looked at.
        device: Where to compute. A fake pass needs it to be there too: autograd asks its runtime.
        fake: Compute nothing and allocate nothing: the same steps under `FakeTensorMode`.

    Returns:
        peak_mib and its split into parameters_mib, gradients_mib, optimizer_state_mib,
        activations_mib, temporaries_mib, buffers_mib and inputs_mib, which add up to it;
        peak_phase (forward, backward or step); forward_peak_mib, backward_peak_mib, step_peak_mib;
        step_temporaries_mib, at the peak of the step; state_bytes_per_parameter (of the trained
        ones), num_parameters, num_steps, implementation. Of steps without the tracker, as increase
        over what was there before model and optimizer were built: rss_increase_mib, allocated_mib
        and reserved_mib (CUDA's allocator); None where they cannot be had.

    Raises:
        UserError: Model, data and optimizer cannot be built or do not fit together.
        Unavailable: The implementation is compiled; or `fake`, and a step depends on values, which
            a prediction does not have.
    """
    if config.optimizer.implementation == "compiled":
        raise Unavailable(
            "memory of optimizer.implementation=compiled is not available: compiled code passes the tracker by;"
            " use forloop, foreach or fused, or memory=false"
        )
    if config.train.compile:
        raise Unavailable(
            "memory with train.compile=true is not available: compiled code passes the tracker by; use train.compile=false"
        )
    if not fake:
        return _tracked(Steps(config, data, device), device) | _plain(config, data, device)
    from torch._subclasses.fake_tensor import FakeTensorMode

    example = data.sample_batch(1)
    try:
        with FakeTensorMode(), _StandIn() as stand_in:
            steps = Steps(config, data, device, example)
            stand_in.is_building = False
            row = _tracked(steps, device)
    except Exception as error:
        if (reason := _needs_values(error)) is None:
            raise
        raise Unavailable(
            f"memory of model={config.model.name} with optimizer={config.optimizer.name} cannot be predicted: what it"
            f" does depends on values ({reason}); measure it with device=cpu or device=cuda"
        ) from error
    return row | {"rss_increase_mib": None, "allocated_mib": None, "reserved_mib": None}


def _tracked(steps: Steps, device: torch.device) -> dict[str, Any]:
    """Return the columns that come from booked bytes."""
    tracker = StorageTracker(device)
    tracker.assign("parameters", steps.model.parameters())
    tracker.assign("buffers", steps.model.buffers())
    tracker.assign("inputs", [steps.inputs, steps.targets])
    tracker.assign("optimizer_state", state_tensors(steps.optimizer))
    with tracker:
        for _ in range(steps.num_steps):
            steps.make(tracker)
    peak = tracker.peaks[tracker.peak_phase]
    num_parameters = sum(param.numel() for param in trained(steps.model))
    state_bytes = sum(tensor.nbytes for tensor in state_tensors(steps.optimizer))
    return {
        "peak_mib": peak.num_bytes / MIB,
        "peak_phase": tracker.peak_phase,
        **{f"{category}_mib": peak.split[category] / MIB for category in CATEGORIES},
        **{f"{phase}_peak_mib": tracker.peaks[phase].num_bytes / MIB for phase in PHASES},
        "step_temporaries_mib": tracker.peaks["step"].split["temporaries"] / MIB,
        "state_bytes_per_parameter": state_bytes / num_parameters,
        "num_parameters": num_parameters,
        "num_steps": steps.num_steps,
        "implementation": steps.implementation,
    }


def _plain(config: Config, data: Dataset, device: torch.device) -> dict[str, Any]:
    """Measure what process and GPU need for the same steps, nothing watching. After `_tracked`, so that imports are done."""
    return_free_memory()
    memory = PeakMemory(device)
    on_cuda = device.type == "cuda"
    before = (torch.cuda.memory_allocated(device), torch.cuda.memory_reserved(device)) if on_cuda else (0, 0)
    steps = Steps(config, data, device)
    for _ in range(steps.num_steps):
        steps.make(None)
    row = memory.row()
    peak, baseline = row["peak_rss_mib"], row["baseline_rss_mib"]
    allocated, reserved = row.get("peak_allocated_mib"), row.get("peak_reserved_mib")
    return {
        "rss_increase_mib": None if peak is None or baseline is None else peak - baseline,
        "allocated_mib": None if allocated is None else allocated - before[0] / MIB,
        "reserved_mib": None if reserved is None else reserved - before[1] / MIB,
    }


class Steps:
    """Training as `bench.training.loop.train` does it but for augmentation, on one batch, a step at a time.

    Args:
        config: The cell.
        data: Its data.
        device: Where to compute.
        example: One training example, for steps under `FakeTensorMode`, where data cannot be read.
    """

    def __init__(
        self, config: Config, data: Dataset, device: torch.device, example: tuple[Tensor, Tensor] | None = None
    ) -> None:
        reset(device, config.device.threads, config.device.precision, config.seeds[0])
        fake = example is not None
        with device if fake else nullcontext():  # `Module.to` refuses fake tensors
            model = build_model(config.model, data.spec)
        self.model = model if fake else model.to(device)
        self.optimizer, self.implementation = build_optimizer(
            config.optimizer, self.model, config.regularization.weights_only
        )
        grows_for = self.optimizer.defaults.get(capabilities_of(config.optimizer).growing_state or "")
        self.num_steps = NUM_STEPS if grows_for is None else grows_for + 2
        self._tracker: StorageTracker | None = None
        self._update = Update(
            lambda inputs: checked_outputs(config, data.spec, self.model, inputs),
            trained(self.model),
            self.optimizer,
            build_loss(config.loss, data.spec),
            autocast(device, config.device.precision),
            step_options(config),
            needs_of(config.optimizer, self.optimizer),
            self._phase,
        )
        size = config.train.batch_size
        if example is None:
            self.inputs, self.targets = data.sample_batch(size)
        else:
            self.inputs, self.targets = (
                torch.empty((size, *part.shape[1:]), dtype=part.dtype, device=device) for part in example
            )

    def make(self, tracker: StorageTracker | None) -> None:
        """Make one step; the tracker, if there is one, is told the phases, and what is for what."""
        self._tracker = tracker
        loss = self._update(self.inputs, self.targets)  # lives on until the next, as in training  # noqa: F841
        if tracker is not None:
            tracker.assign("optimizer_state", state_tensors(self.optimizer))

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        tracker = self._tracker
        if tracker is None:
            yield
            return
        with tracker.phase(name):
            yield
        if name == "backward":
            tracker.assign("gradients", (param.grad for param in self.model.parameters()))


def state_tensors(optimizer: Optimizer) -> list[Tensor]:
    """Return all tensors of the optimizer's state, each once."""
    leaves = tree_leaves(dict(optimizer.state))
    return list({id(leaf): leaf for leaf in leaves if isinstance(leaf, Tensor)}.values())


class _StandIn(TorchDispatchMode):
    """Answers where code asks a fake tensor for a value on which no size depends.

    A floating-point number is 0.5: rules turn step counters and running products into coefficients.
    A truth value is refused, for it decides what is done, but while a model is built: rejection
    sampling of weights (`trunc_normal_`) asks whether any, or all, are in range. There the answers
    alternate, so that either loop ends.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.is_building = True
        self._truth = True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operator, or stand in for the value."""
        from torch._subclasses.fake_tensor import DataDependentOutputException

        try:
            return func(*args, **kwargs or {})
        except DataDependentOutputException:
            if func is torch.ops.aten._local_scalar_dense.default:
                if args[0].is_floating_point():
                    return 0.5
                if args[0].dtype is torch.bool and self.is_building:
                    self._truth = not self._truth
                    return self._truth
            raise


def _needs_values(error: BaseException | None) -> str | None:
    """Return what asked for a value that a fake tensor does not have, if that is why it failed."""
    from torch._subclasses import fake_tensor

    asks = (fake_tensor.DataDependentOutputException, fake_tensor.DynamicOutputShapeException)
    while error is not None:
        if isinstance(error, asks):
            return str(error.func)
        error = error.__cause__
    return None
