"""The loss around where training ended: slices, planes, and the path that training took over one of them.

Source: Li et al. 2018, "Visualizing the Loss Landscape of Neural Nets", arXiv:1712.09913; filter normalization is of
section 4, the plane of the two main directions of the path of section 7.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from bench.training.diagnostics.base import flat, loss_at, parts
from bench.training.losses import Loss

LandscapeRow = tuple[str, int | None, float, float, float]
"""Kind, step, x, y, value."""


EXAMPLES = 256
"""Training examples, the first of the split, whose mean loss is the height."""


MAX_KEPT = 64
"""Points of the path; where there are more, every other is dropped."""


SLICE_POINTS, PLANE_POINTS = 41, 15


MARGIN = 0.25
"""Of the extent of the path, by which its plane goes beyond it on each side."""


class Landscape:
    """Keeps weights on the way, and evaluates the loss around them in the end.

    The model, its buffers and all generators stay as they are. The model is evaluated as for validation, without dropout, at the
    weights that are trained.

    Args:
        model: That is trained, at its start.
        batch: Inputs and targets of the examples whose mean loss is the height.
        loss: What is minimised.
        autocast: Context of forward passes.
        seed: Of the random directions, which nothing else draws from.
    """

    def __init__(
        self,
        model: nn.Module,
        batch: tuple[Tensor, Tensor],
        loss: Loss,
        autocast: AbstractContextManager[Any],
        seed: int,
    ) -> None:
        self._network = getattr(model, "_orig_mod", model)
        self._parameters = {name: p for name, p in self._network.named_parameters() if p.requires_grad}
        self._batch, self._loss, self._autocast, self._seed = batch, loss, autocast, seed
        self._path: list[tuple[int, Tensor]] = []
        self._every = 1
        self._num_seen = 0
        self._before: Tensor | None = None
        self.keep(0)

    def keep(self, step: int, before: Tensor | None = None) -> None:
        """Keep the weights after a step as a point of the path.

        Args:
            step: Its number.
            before: The weights before it, as a vector.
        """
        self._before = before
        if self._num_seen % self._every == 0:
            self._path.append((step, _on_cpu(self._parameters.values())))
        self._num_seen += 1
        if len(self._path) > MAX_KEPT:
            self._path, self._every = self._path[::2], 2 * self._every

    @torch.no_grad()
    def rows(self, step: int) -> Iterator[LandscapeRow]:
        """Yield the slices, planes and path once training has ended.

        The kinds are: update, the loss along the last recorded update, x = 0 before and 1 after it; random, along a
        filter-normalized random direction, x in lengths of the filters; plane, over two of them; path_plane and path, the loss
        over the plane of the two main directions of the path, and the path in it; explained, the share of the path's variance
        in direction x.

        Args:
            step: The last one.
        """
        end = [p.detach() for p in self._parameters.values()]
        if self._before is not None:
            before = parts(self._before, end)
            update = [w - b for w, b in zip(end, before, strict=True)]
            for x in torch.linspace(-1, 3, SLICE_POINTS).tolist():
                yield "update", None, x, 0.0, self._height(_moved(before, (x, update)))
        one, other = self._random_direction(0, end), self._random_direction(1, end)
        for x in torch.linspace(-1, 1, SLICE_POINTS).tolist():
            yield "random", None, x, 0.0, self._height(_moved(end, (x, one)))
        ticks = torch.linspace(-1, 1, PLANE_POINTS).tolist()
        for x in ticks:
            for y in ticks:
                yield "plane", None, x, y, self._height(_moved(end, (x, one), (y, other)))
        yield from self._path_rows(step, end)

    def _path_rows(self, step: int, end: list[Tensor]) -> Iterator[LandscapeRow]:
        """Yield the path and its plane; nothing of a path of fewer than three different points."""
        last = _on_cpu(end)
        steps = [each for each, _ in self._path if each < step] + [step]
        offsets = torch.stack([vector - last for each, vector in self._path if each < step] + [torch.zeros_like(last)])
        products = (offsets @ offsets.T).double()
        sizes, vectors = torch.linalg.eigh(products)  # ascending
        if len(steps) < 3 or not sizes[-2] > 1e-12 * sizes[-1]:
            return
        axes = [(offsets.T @ vectors[:, -k].to(offsets.dtype)) / sizes[-k].sqrt().to(offsets.dtype) for k in (1, 2)]
        xs, ys = ((offsets @ axis).tolist() for axis in axes)
        for k in (1, 2):
            yield "explained", None, float(k), 0.0, float(sizes[-k] / sizes.clamp(min=0).sum())
        directions = [parts(axis, end) for axis in axes]
        for each, x, y in zip(steps, xs, ys, strict=True):
            yield "path", each, x, y, self._height(_moved(end, (x, directions[0]), (y, directions[1])))
        for x in _ticks(xs):
            for y in _ticks(ys):
                yield "path_plane", None, x, y, self._height(_moved(end, (x, directions[0]), (y, directions[1])))

    def _height(self, weights: list[Tensor]) -> float:
        """Return the mean loss of the examples at given weights."""
        was_training, (inputs, targets) = self._network.training, self._batch
        self._network.eval()
        try:
            state = dict(zip(self._parameters, weights, strict=True))
            return loss_at(self._network, state, (inputs.clone(), targets), self._loss, self._autocast).item()
        finally:
            self._network.train(was_training)

    def _random_direction(self, number: int, weights: Sequence[Tensor]) -> list[Tensor]:
        """Return a direction whose filters have the norms of those of the weights; biases and norms stay."""
        generator = torch.Generator().manual_seed(self._seed + number)
        found = []
        for weight in weights:
            drawn = torch.randn(weight.shape, generator=generator, dtype=torch.float32).to(weight)
            if weight.ndim < 2:
                found.append(torch.zeros_like(weight))
                continue
            rows, of_weight = drawn.flatten(1), weight.flatten(1)
            scale = of_weight.norm(dim=1, keepdim=True) / rows.norm(dim=1, keepdim=True)
            found.append((rows * scale).view_as(weight))
        return found


def _on_cpu(weights: Iterable[Tensor]) -> Tensor:
    """Return weights as one vector that takes no memory of the device."""
    return flat(weights).to("cpu", torch.float32)


def _moved(start: Sequence[Tensor], *moves: tuple[float, Sequence[Tensor]]) -> list[Tensor]:
    """Return weights moved so far along directions."""
    weights = list(start)
    for far, direction in moves:
        weights = [w + far * d for w, d in zip(weights, direction, strict=True)]
    return weights


def _ticks(places: Sequence[float]) -> list[float]:
    low, high = min(places), max(places)
    room = MARGIN * ((high - low) or 1.0)
    return torch.linspace(low - room, high + room, PLANE_POINTS).tolist()
