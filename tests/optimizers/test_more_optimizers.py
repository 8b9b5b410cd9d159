"""Beyond the six: torch's other optimizers by their configs, Muon with AdamW, and two packages by `custom`."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from torch import Tensor, nn

from bench import tables
from bench.base.errors import UserError
from bench.base.paths import CONF_DIR
from bench.build.optimizer import build_optimizer
from bench.config.parse import group_options, has_default_hyperparameters, parse
from bench.config.schema import IMPLEMENTATIONS, Capabilities, Config
from bench.measure.device import Unavailable
from optimizers.muon import Muon, newton_schulz

Cli = Callable[..., Any]

STATE_BYTES = {
    "momentum": 4.0,
    "nesterov": 4.0,
    "adamw": 8.0,
    "adagrad": 4.0,
    "radam": 8.0,
    "adafactor": 0.48,
    "asgd": 4.0,
    "rprop": 8.0,
    "muon": 4.0,
}
"""Of each parameter of mnist_cnn; step counters come to less than 0.02 on top."""


def cell(*overrides: str) -> Config:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        node = OmegaConf.to_container(compose("config", list(overrides)), resolve=True)
    return parse(node)  # type: ignore[arg-type]


def weights(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(1)
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)) for shape in shapes]


def steps(optimizers: list[torch.optim.Optimizer], params: list[nn.Parameter], first: int, last: int) -> None:
    """Gradients that depend on step and parameter alone, so that two optimizers see the same."""
    for step in range(first, last):
        for i, param in enumerate(params):
            generator = torch.Generator().manual_seed(1000 * step + i)
            noise = torch.randn(param.shape, generator=generator, dtype=torch.float64)
            param.grad = (param.detach().double() + noise).to(param.dtype)
        for optimizer in optimizers:
            optimizer.step()


SHAPES = [(5, 4), (7,), (4, 9), (), (3, 3), (2, 1)]


# --- by their configs -----------------------------------------------------------------------------


def memory_of(study: str) -> pd.DataFrame:
    return tables.load_side(Path("results") / study, "memory").set_index("optimizer")


@pytest.mark.parametrize("model", ["mlp", "mnist_cnn"])
def test_every_one_trains_and_its_memory_is_measured_as_predicted(cli: Cli, model: str) -> None:
    names, steps = ",".join(STATE_BYTES), 40 if model == "mlp" else 5
    arguments = [f"optimizer={names}", f"model={model}", "seeds=[0]", f"train.steps={steps}", "report=false", "-m"]
    done = cli(*arguments, "study=s")
    assert done.status == 0, done.err
    runs, memory = tables.load(Path("results/s")).runs.set_index("optimizer"), memory_of("s")
    assert set(runs.index) == set(STATE_BYTES)
    assert set(runs["status"]) == {"ok"}
    assert set(runs["settings"]) == {"default"}
    if model == "mlp":
        assert (runs["final_train_loss"] < runs["first_train_loss"]).all()
        return
    for name, num_bytes in STATE_BYTES.items():
        assert memory["state_bytes_per_parameter"][name] == pytest.approx(num_bytes, abs=0.02), name

    done = cli(*arguments, "device=fake", "study=f")
    assert done.status == 0, done.err
    predicted = memory_of("f")
    for column in ("peak_mib", "optimizer_state_mib", "step_temporaries_mib"):
        for name in STATE_BYTES:
            if (name, column) == ("asgd", "step_temporaries_mib"):
                # Until step t0 it copies the average; a prediction, without the value, makes it as afterwards.
                assert predicted[column][name] > memory[column][name]
            else:
                assert predicted[column][name] == memory[column][name], (name, column)


@pytest.mark.parametrize("name", [o for o in group_options("optimizer") if o not in ("custom", "lbfgs")])
def test_the_implementations_that_a_config_names_are_those_there_are(name: str) -> None:
    node = yaml.safe_load((CONF_DIR / "optimizer" / f"{name}.yaml").read_text())
    declared = Capabilities(**node["capabilities"])
    named = {"default", *declared.implementations, *["reference"] * (declared.reference is not None)}
    model = nn.Linear(3, 2)
    there = set()
    for implementation in IMPLEMENTATIONS:
        try:
            _, runs = build_optimizer(
                cell(f"optimizer={name}", f"optimizer.implementation={implementation}").optimizer, model
            )
        except Unavailable:
            continue
        there.add(implementation)
        assert runs == implementation or implementation == "default"
    assert there == named


@pytest.mark.parametrize("name", STATE_BYTES)
def test_implementations_agree(name: str) -> None:
    kept = {}
    for implementation in ("forloop", "foreach", "fused", "reference"):
        layers = nn.ParameterList(weights(*SHAPES))
        with suppress(Unavailable):
            config = cell(f"optimizer={name}", f"optimizer.implementation={implementation}").optimizer
            optimizer, _ = build_optimizer(config, layers)
            steps([optimizer], list(layers), 0, 20)
            kept[implementation] = torch.cat([p.detach().flatten() for p in layers])
    assert {"forloop", "foreach"} <= set(kept)
    assert not torch.equal(kept["forloop"], torch.cat([p.detach().flatten() for p in weights(*SHAPES)]))
    for implementation, result in kept.items():
        torch.testing.assert_close(result, kept["forloop"], msg=lambda text, which=implementation: f"{which}: {text}")


def test_two_configs_of_one_class_are_both_at_their_default_settings() -> None:
    for name in ("sgd", "momentum", "nesterov"):
        assert has_default_hyperparameters(cell(f"optimizer={name}")), name
        assert not has_default_hyperparameters(cell(f"optimizer={name}", "optimizer.momentum=0.5")), name
    assert cell("optimizer=nesterov").optimizer.name == "nesterov"
    assert cell("optimizer=momentum").optimizer.target == cell("optimizer=sgd").optimizer.target


def test_a_pair_and_a_number_for_eps_are_told_apart() -> None:
    assert cell("optimizer=adafactor", "optimizer.eps=[1e-9,1e-2]").optimizer.options["eps"] == [1e-9, 1e-2]
    with pytest.raises(UserError, match=r"^optimizer.eps must be .* got 1e-08; leave it out for the default, \[null"):
        cell("optimizer=adafactor", "optimizer.eps=1e-8")
    custom = cell("optimizer=custom", "optimizer._target_=torch.optim.Adafactor", "+optimizer.eps=[null,1e-2]")
    assert custom.optimizer.options == {"eps": [None, 1e-2]}


# --- Muon -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("foreach", [None, False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lr": 0.02, "weight_decay": 0.0, "momentum": 0.9},
        {"nesterov": False, "ns_steps": 3, "eps": 1e-3},
        {"momentum": 0.0},
        {"adjust_lr_fn": "original"},
        {"adjust_lr_fn": "match_rms_adamw"},
        {"adjust_lr_fn": "spectral_unclamped"},
        {"ns_coefficients": (2.0, -1.5, 0.5)},
        {"adamw_lr": 0.01, "adamw_betas": (0.8, 0.9), "adamw_eps": 1e-3, "adamw_weight_decay": 0.2},
    ],
    ids=str,
)
def test_muon_is_torchs_muon_and_adamw_to_the_bit(
    options: dict[str, Any], foreach: bool | None, dtype: torch.dtype
) -> None:
    ours, theirs = weights(*SHAPES, dtype=dtype), weights(*SHAPES, dtype=dtype)
    steps([Muon(ours, foreach=foreach, **options)], ours, 0, 20)
    adamw = {key.removeprefix("adamw_"): value for key, value in options.items() if key.startswith("adamw_")}
    muon = {key: value for key, value in options.items() if not key.startswith("adamw_")}
    pair = [
        torch.optim.Muon([p for p in theirs if p.ndim == 2], **muon),
        torch.optim.AdamW([p for p in theirs if p.ndim != 2], foreach=foreach, **adamw),
    ]
    steps(pair, theirs, 0, 20)
    for one, two, start in zip(ours, theirs, weights(*SHAPES, dtype=dtype), strict=True):
        assert torch.equal(one, two)
        assert not torch.equal(one, start)


def test_muons_defaults_are_torchs() -> None:
    ours = Muon(weights((2, 2))).defaults
    muon, adamw = (cls(weights((2, 2))).defaults for cls in (torch.optim.Muon, torch.optim.AdamW))
    assert {key: ours[key] for key in muon} == muon
    assert {key: ours[f"adamw_{key}"] for key in ("lr", "betas", "eps", "weight_decay")}.items() <= adamw.items()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_kernel_is_stepped_as_its_matrix(layout: torch.memory_format) -> None:
    (kernel,) = weights((6, 3, 2, 2))
    matrix = nn.Parameter(kernel.detach().flatten(1).clone())
    kernel = nn.Parameter(kernel.detach().to(memory_format=layout))
    ours, theirs = Muon([kernel], lr=0.1), torch.optim.Muon([matrix], lr=0.1)
    for step in range(5):
        grad = torch.randn(6, 12, generator=torch.Generator().manual_seed(step))
        kernel.grad = grad.view(6, 3, 2, 2).to(memory_format=layout)
        matrix.grad = grad
        ours.step()
        theirs.step()
    assert torch.equal(kernel.detach().flatten(1), matrix)
    assert kernel.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("shapes", [[(3, 2)], [(3,)], SHAPES])
def test_muon_saved_half_way_goes_on_to_the_bit(shapes: list[tuple[int, ...]]) -> None:
    straight, params = weights(*shapes), weights(*shapes)
    steps([Muon(straight, lr=0.05)], straight, 0, 10)
    first = Muon(params, lr=0.05)
    steps([first], params, 0, 5)
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    second = Muon(params, lr=77.0, adamw_lr=77.0)
    second.load_state_dict(torch.load(buffer, weights_only=True))
    steps([second], params, 5, 10)
    for one, two in zip(params, straight, strict=True):
        assert torch.equal(one, two)


def test_a_copy_of_muon_steps_its_own_parameters() -> None:
    params = weights(*SHAPES)
    original = Muon(params)
    steps([original], params, 0, 2)
    twin, theirs = copy.deepcopy((original, params))
    before = [p.detach().clone() for p in params]
    steps([twin], theirs, 2, 4)
    assert all(torch.equal(p, b) for p, b in zip(params, before, strict=True))
    steps([original], params, 2, 4)
    assert all(torch.equal(p, q) for p, q in zip(params, theirs, strict=True))


def test_groups_are_parted_into_matrices_and_others() -> None:
    matrix, vector, head, embedding, late = weights((4, 3), (4,), (2, 4), (9, 3), (3, 3))
    optimizer = Muon(
        [{"params": [vector, matrix]}, {"params": [head], "use_muon": False, "lr": 0.5}, {"params": iter([embedding])}],
        lr=0.02,
        adamw_lr=0.003,
        adamw_eps=1e-6,
    )
    optimizer.add_param_group({"params": late, "weight_decay": 0.7})
    told = [(g["use_muon"], len(g["params"]), g["lr"], g["weight_decay"], g["eps"]) for g in optimizer.param_groups]
    assert told == [
        (True, 1, 0.02, 0.1, 1e-7),
        (False, 1, 0.003, 0.01, 1e-6),
        (False, 1, 0.5, 0.01, 1e-6),
        (True, 1, 0.02, 0.1, 1e-7),
        (True, 1, 0.02, 0.7, 1e-7),
    ]
    assert {"momentum", "adamw_lr"}.isdisjoint(optimizer.param_groups[1])
    assert {"betas", "adamw_lr", "foreach"}.isdisjoint(optimizer.param_groups[0])
    params = [matrix, vector, head, embedding, late]
    steps([optimizer], params, 0, 1)
    assert set(optimizer.state[head]) == {"step", "exp_avg", "exp_avg_sq"}
    assert set(optimizer.state[embedding]) == {"momentum_buffer"}
    optimizer.zero_grad()
    assert all(p.grad is None for p in params)


def test_named_parameters_keep_their_names() -> None:
    model = nn.Linear(3, 2)
    optimizer = Muon(model.named_parameters())
    assert [group["param_names"] for group in optimizer.param_groups] == [["weight"], ["bias"]]


def test_a_schedule_scales_both_parts() -> None:
    params = weights((3, 2), (3,))
    optimizer = Muon(params, lr=0.1, adamw_lr=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    steps([optimizer], params, 0, 1)
    schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.005]


def test_closure_and_missing_gradients() -> None:
    params = weights((3, 2), (3,), (2, 2), (2,))
    optimizer = Muon(params)

    def closure() -> Tensor:
        assert torch.is_grad_enabled()
        optimizer.zero_grad()
        loss = (params[0] ** 2).sum() + (params[1] ** 2).sum()
        loss.backward()
        return loss

    before = [p.detach().clone() for p in params]
    assert optimizer.step(closure) == sum((p**2).sum() for p in before[:2])
    assert [torch.equal(p, b) for p, b in zip(params, before, strict=True)] == [False, False, True, True]
    assert len(optimizer.state) == 2


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_newton_schulz_brings_singular_values_near_one(rows: int, columns: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    u, _ = torch.linalg.qr(torch.randn(rows, rows, generator=generator))
    v, _ = torch.linalg.qr(torch.randn(columns, columns, generator=generator))
    rank = min(rows, columns)
    matrix = u[:, :rank] * torch.linspace(1, 0.2, rank) @ v[:rank]
    result = newton_schulz(matrix, (3.4445, -4.775, 2.0315), 5, 1e-7)
    assert result.dtype is torch.bfloat16
    values = torch.linalg.svdvals(result.float())
    assert values.min() > 0.5
    assert values.max() < 1.3
    assert torch.equal(result, newton_schulz(2.0**20 * matrix, (3.4445, -4.775, 2.0315), 5, 1e-7))
    tall = newton_schulz(matrix.T, (3.4445, -4.775, 2.0315), 5, 1e-7)
    if rows != columns:  # of a square one the other Gram matrix is taken
        assert torch.equal(tall.T, result)


def test_a_gradient_of_zero_moves_nothing_but_by_decay() -> None:
    (matrix,) = weights((3, 2))
    start = matrix.detach().clone()
    matrix.grad = torch.zeros_like(matrix)
    Muon([matrix], lr=0.1, weight_decay=0.0).step()
    assert torch.equal(matrix, start)
    Muon([matrix], lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(matrix.detach(), 0.95 * start)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("lr", -1),
        ("lr", math.nan),
        ("weight_decay", -0.1),
        ("momentum", 1.5),
        ("eps", -1e-7),
        ("ns_steps", 100),
        ("ns_steps", 2.5),
        ("ns_coefficients", (1.0, 2.0)),
        ("adjust_lr_fn", "none"),
        ("adamw_lr", math.inf),
        ("adamw_eps", -1),
        ("adamw_weight_decay", -1),
    ],
)
def test_muon_refuses_what_is_out_of_range(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{key} must be .*, got "):
        Muon(weights((2, 2)), **{key: value})


def test_muon_refuses_what_it_cannot_step() -> None:
    with pytest.raises(ValueError, match=r"^use_muon must be false for a parameter of shape \[3\], got True"):
        Muon([{"params": weights((3,)), "use_muon": True}])
    with pytest.raises(ValueError, match=r"^adamw_betas\[1\] must be .*, got 1"):
        Muon(weights((2, 2)), adamw_betas=(0.9, 1))
    with pytest.raises(TypeError, match="ordered"):
        Muon([{"params": set(weights((2, 2)))}])
    embedding = nn.Embedding(4, 3, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(ValueError, match="params must be of dense gradients for Muon"):
        Muon(embedding.parameters()).step()
    number = nn.Parameter(torch.ones(2, 2, dtype=torch.complex64))
    number.grad = torch.ones_like(number)
    with pytest.raises(ValueError, match="params must be real for Muon"):
        Muon([number]).step()


# --- packages -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "options"), [("Lion", ["+optimizer.lr=1e-4"]), ("SOAP", [])])
def test_pytorch_optimizer(cli: Cli, name: str, options: list[str]) -> None:
    pytest.importorskip("pytorch_optimizer")
    target = ["optimizer=custom", f"optimizer._target_=pytorch_optimizer.{name}"]
    done = cli(*target, *options, "seeds=[0]", "train.epochs=3", "report=false")
    assert done.status == 0, done.err
    (run,) = tables.load(Path("results/digits-mlp")).runs.to_dict("records")
    assert (run["status"], run["optimizer"], run["implementation"]) == ("ok", name, "own")
    assert run["final_train_loss"] < run["first_train_loss"]
