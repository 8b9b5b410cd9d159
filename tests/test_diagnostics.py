"""Diagnostics are true where the truth is known, and change nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench import compare, tables
from bench.base.diagnostics import DIAGNOSTIC_NAMES, DIAGNOSTICS, LIGHT
from bench.base.errors import UserError
from bench.config.parse import group_options
from bench.training.diagnostics.base import WHOLE
from bench.training.diagnostics.noise_scale import noise_and_signal
from bench.training.diagnostics.recorder import Recorder, diagnostics_named


@pytest.fixture(autouse=True)
def in_double() -> Any:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


class Parabola(nn.Module):
    """0.5 w' H w, whatever the batch."""

    def __init__(self, hessian: Tensor, start: Tensor) -> None:
        super().__init__()
        self.hessian = hessian
        self.w = nn.Parameter(start.clone())

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * self.w @ self.hessian @ self.w + 0 * x.sum()


def mean(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs.mean()


BATCH = (torch.ones(4, 1), torch.ones(4))


def recorded(
    model: nn.Module, optimizer: torch.optim.Optimizer, loss: Any, names: Any = DIAGNOSTIC_NAMES, batch: Any = BATCH, steps: int = 2,
    clip_norm: float | None = None,
) -> dict[tuple[str, str], float]:  # fmt: skip
    """Make steps, and return what was recorded of the last: value by name and layer."""
    recorder = Recorder(names, 1, model, optimizer, loss, nullcontext(), clip_norm)
    for step in range(1, steps + 1):
        if step > steps - 2:
            recorder.note()
        optimizer.zero_grad()
        loss(model(batch[0]), batch[1]).backward()
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        optimizer.step()
    recorder.record(steps, batch)
    return {(name, layer): value for _, layer, name, value in recorder.rows}


def parabola(num: int = 12) -> tuple[Tensor, Tensor]:
    basis, _ = torch.linalg.qr(torch.randn(num, num))
    spectrum = torch.linspace(0.1, 7.0, num)
    return basis @ torch.diag(spectrum) @ basis.T, torch.randn(num)


def test_of_a_parabola_everything_is_as_computed_by_hand() -> None:
    hessian, start = parabola()
    lr = 0.05
    model = Parabola(hessian, start)
    found = recorded(model, torch.optim.SGD(model.parameters(), lr=lr), mean)
    before_that, before = start, start - lr * hessian @ start
    gradient = hessian @ before
    update = -lr * gradient
    assert found["weight_norm", WHOLE] == pytest.approx(before.norm().item(), rel=1e-12)
    assert found["gradient_norm", WHOLE] == pytest.approx(gradient.norm().item(), rel=1e-12)
    assert found["update_norm", WHOLE] == pytest.approx(update.norm().item(), rel=1e-9)
    assert found["update_to_weight", WHOLE] == pytest.approx((update.norm() / before.norm()).item(), rel=1e-9)
    assert found["effective_lr", WHOLE] == pytest.approx(lr, rel=1e-9)
    assert found["update_gradient_cosine", WHOLE] == pytest.approx(1.0, rel=1e-9)
    first = before - before_that
    assert found["update_cosine", WHOLE] == pytest.approx(
        (update @ first / update.norm() / first.norm()).item(), rel=1e-9
    )
    assert found["unchanged", WHOLE] == 0.0
    assert found["sharpness", WHOLE] == pytest.approx(7.0, rel=1e-6)
    exact = 1 - (update @ hessian @ update / (2 * (gradient @ update).abs())).item()
    assert found["decrease_ratio", WHOLE] == pytest.approx(exact, rel=1e-9)
    assert ("clipped", WHOLE) not in found


def test_a_step_to_the_minimum_of_a_parabola_takes_half_of_what_it_promises() -> None:
    model = Parabola(torch.diag(torch.full((3,), 4.0)), torch.ones(3))
    found = recorded(model, torch.optim.SGD(model.parameters(), lr=0.25), mean, ["decrease_ratio"], steps=1)
    assert found["decrease_ratio", WHOLE] == pytest.approx(0.5)
    model = Parabola(torch.diag(torch.full((3,), 4.0)), torch.ones(3))
    assert (
        recorded(model, torch.optim.SGD(model.parameters(), lr=0.6), mean, ["decrease_ratio"], steps=1)[
            "decrease_ratio", WHOLE
        ]
        < 0
    )


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().mean()


def dense_hessian(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    names = [name for name, _ in model.named_parameters()]
    shapes = [p.shape for p in model.parameters()]
    flat = torch.cat([p.detach().flatten() for p in model.parameters()])

    def of(vector: Tensor) -> Tensor:
        parts = vector.split([shape.numel() for shape in shapes])
        values = {name: part.view(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}
        return squared(torch.func.functional_call(model, values, (batch[0],)), batch[1])

    return torch.func.hessian(of)(flat)


def test_sharpness_is_that_of_the_dense_hessian_plain_and_preconditioned() -> None:
    model, batch = network(), (torch.randn(16, 3), torch.randn(16, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, betas=(0.9, 0.99), eps=1e-3)
    found = recorded(model, optimizer, squared, batch=batch, steps=5)
    hessian = dense_hessian(model, batch)
    assert found["sharpness", WHOLE] == pytest.approx(torch.linalg.eigvalsh(hessian)[-1].item(), rel=1e-6)
    moments = torch.cat([optimizer.state[p]["exp_avg_sq"].flatten() for p in model.parameters()])
    scale = ((moments / (1 - 0.99**5)).sqrt() + 1e-3).rsqrt()
    scaled = scale[:, None] * hessian * scale
    assert found["preconditioned_sharpness", WHOLE] == pytest.approx(torch.linalg.eigvalsh(scaled)[-1].item(), rel=1e-6)


def test_layers_are_modules_and_add_up_to_the_whole() -> None:
    model, batch = network(), (torch.randn(16, 3), torch.randn(16, 2))
    found = recorded(model, torch.optim.SGD(model.parameters(), lr=0.1), squared, batch=batch)
    parts = [found["gradient_norm", layer] for layer in ("0", "2")]
    assert math.hypot(*parts) == pytest.approx(found["gradient_norm", WHOLE])
    norm = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm().item()
    assert found["gradient_norm", WHOLE] == pytest.approx(norm)


def test_updates_below_precision_and_clipped_gradients_are_counted() -> None:
    model = Parabola(torch.eye(4), torch.tensor([1e20, 1e20, 1.0, 0.0]))
    found = recorded(
        model, torch.optim.SGD(model.parameters(), lr=1e-18), mean, ["unchanged", "clipped"], steps=1, clip_norm=1.0
    )
    assert found["unchanged", WHOLE] == pytest.approx(1.0), "of three with a gradient none moves"
    assert found["clipped", WHOLE] == 1.0
    model = Parabola(torch.eye(2), torch.ones(2))
    assert (
        recorded(model, torch.optim.SGD(model.parameters(), lr=0.1), mean, ["clipped"], clip_norm=99.0)[
            "clipped", WHOLE
        ]
        == 0.0
    )


def test_dead_and_saturated_units_are_counted_behind_their_layer() -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 5), nn.Sigmoid(), nn.Linear(5, 1))
    with torch.no_grad():
        model[0].bias.copy_(torch.tensor([-99.0, 1.0, 1.0, 1.0]))
        model[2].bias.copy_(torch.tensor([99.0, 99.0, 0.0, 0.0, 0.0]))
    batch = (torch.randn(8, 2), torch.randn(8, 1))
    found = recorded(model, torch.optim.SGD(model.parameters(), lr=1e-6), squared, ["dead_units"], batch)
    assert found == {
        ("dead_units", "0"): 0.25,
        ("dead_units", "2"): 0.4,
        ("dead_units", WHOLE): pytest.approx(3 / 9),
    }


def test_quantiles_and_reach_are_those_of_the_sorted_entries() -> None:
    model = nn.Sequential(nn.Linear(3, 50), nn.Tanh(), nn.Linear(50, 2))
    batch = (torch.randn(40, 3), torch.randn(40, 2))
    names = ["gradient_median", "gradient_tail", "gradient_reach", "activation_median", "activation_tail"]
    found = recorded(model, torch.optim.SGD(model.parameters(), lr=0.0), squared, names, batch)

    def at(values: Tensor, share: float) -> float:
        return values.abs().float().flatten().sort().values[math.ceil(share * values.numel()) - 1].item()

    gradients = [torch.cat([p.grad.flatten() for p in layer.parameters()]) for layer in (model[0], model[2])]  # type: ignore[union-attr]
    with torch.no_grad():
        outputs = [model[0](batch[0]), model(batch[0])]
    for kind, parts in (("gradient", gradients), ("activation", outputs)):
        for name, share in (("median", 0.5), ("tail", 0.99)):
            for layer, part in zip(("0", "2"), parts, strict=True):
                assert found[f"{kind}_{name}", layer] == pytest.approx(at(part, share), rel=1e-6)
            whole = torch.cat([part.flatten() for part in parts])
            assert found[f"{kind}_{name}", WHOLE] == pytest.approx(at(whole, share), rel=1e-6)
    first, last = (sum(p.grad.square().sum() for p in model[i].parameters()).sqrt() for i in (0, 2))  # type: ignore[union-attr]
    assert found["gradient_reach", WHOLE] == pytest.approx((first / last).item(), rel=1e-9)


def test_the_noise_scale_of_a_known_noise_is_found() -> None:
    signal = torch.full((50,), 0.3)
    sigma, size, parts = 2.0, 16, 8
    rng = torch.Generator().manual_seed(3)
    found = torch.tensor(
        [
            noise_and_signal(signal + sigma / size**0.5 * torch.randn(parts, 50, generator=rng), size)
            for _ in range(2000)
        ]
    )
    squares, traces = found.mean(0).tolist()
    assert squares == pytest.approx(signal.square().sum().item(), rel=0.03)
    assert traces == pytest.approx(50 * sigma**2, rel=0.03)


@pytest.fixture
def in_single() -> None:
    torch.set_default_dtype(torch.float32)


EVERY_OPTIMIZER = [name for name in group_options("optimizer") if name != "custom"]


@pytest.mark.parametrize("name", EVERY_OPTIMIZER)
def test_no_bit_of_a_curve_changes_with_dropout_and_batch_norm(name: str, tmp_path: Path, in_single: None) -> None:
    def model() -> nn.Module:
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 10)
        )

    def curves(diagnostics: str) -> list[float]:
        settings = {"memory": False, "diagnostics": diagnostics, "train.eval_every": 5, "diagnostics.every": 10}
        found = compare(
            model, "digits", [name], seeds=[0], steps=30, study=diagnostics, results_dir=tmp_path, settings=settings
        )
        assert set(found.runs["status"]) == {"ok"}
        recorded = tables.load_side(found.path, "diagnostics")
        assert (len(recorded) > 0) == (diagnostics == "full")
        assert math.isfinite(found.runs["diagnostics_s"].iloc[0])
        return found.curves.sort_values(["split", "metric", "step"])["value"].tolist()

    assert curves("full") == curves("none")


def test_every_diagnostic_is_one_class_and_says_what_it_costs() -> None:
    found = diagnostics_named(DIAGNOSTIC_NAMES)
    assert tuple(found) == DIAGNOSTIC_NAMES
    assert len({type(each) for each in found.values()}) == len(DIAGNOSTICS)
    light = {each.name for each in DIAGNOSTICS if each.cost == LIGHT}
    assert light == set(DIAGNOSTIC_NAMES[: len(light)])


def test_groups_name_what_they_say(in_single: None) -> None:
    import yaml

    from bench.base.paths import CONF_DIR

    light, full = (
        yaml.safe_load((CONF_DIR / "diagnostics" / f"{name}.yaml").read_text())["record"] for name in ("light", "full")
    )
    assert set(light) == {each.name for each in DIAGNOSTICS if each.cost == LIGHT}
    assert set(full) == set(DIAGNOSTIC_NAMES)


def test_a_list_of_names_is_recorded_at_the_steps_that_are_asked_for(cli: Callable[..., Any], in_single: None) -> None:
    arguments = ("train.steps=40", "seeds=[0]", "memory=false", "report=false", "study=s")
    assert (
        cli("diagnostics=light", "diagnostics.record=[gradient_norm]", "diagnostics.every=20", *arguments).status == 0
    )
    found = tables.load_side(Path("results/s"), "diagnostics")
    assert set(found["name"]) == {"gradient_norm"}
    assert sorted(set(found["step"])) == [20, 40]
    again = cli("diagnostics=light", "diagnostics.record=[gradient_norm]", "diagnostics.every=20", *arguments)
    assert "existed already" in again.out
    more = cli("diagnostics=light", "diagnostics.record=[weight_norm]", "diagnostics.every=20", *arguments)
    assert "existed already" not in more.out
    found = tables.load_side(Path("results/s"), "diagnostics")
    assert set(found["name"]) == {"gradient_norm", "weight_norm"}, "what a run had it keeps"
    assert not found.duplicated(["run_id", "step", "layer", "name"]).any()


def test_a_record_between_two_stops_is_refused(in_single: None) -> None:
    with pytest.raises(
        UserError, match=r"^diagnostics.every must be a multiple of train.log_every=10, got 15; the training loss"
    ):
        compare(
            "mlp", "digits", ["adam"], seeds=[0], steps=20, settings={"diagnostics": "light", "diagnostics.every": 15}
        )
