"""The update rules that articles print under Adam's name: their arithmetic, and that no gradient gets in."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

import optimizers
from bench import tables
from bench.base.paths import CONF_DIR
from bench.build.targets import locate_target
from bench.claims.checks.printed import PredictionAsPrinted, ThetasAsPrinted
from bench.config.identity import MOVED, cell_id
from bench.config.parse import parse

ROOT = Path(__file__).resolve().parent.parent
RULES = [PredictionAsPrinted, ThetasAsPrinted]

# Values after three steps from (1, -2), worked out on paper.
BY_HAND = [
    (PredictionAsPrinted, [(0.99991, 0.0), (0.9998210791, 0.0), (0.9997321534, 0.0)]),
    (ThetasAsPrinted, [(0.900999, -1.799001), (0.8118981, -1.6181019), (0.73170729, -1.45529271)]),
]


def param(*values: float, dtype: torch.dtype = torch.float64) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.tensor(values, dtype=dtype))


@pytest.mark.parametrize(("rule", "expected"), BY_HAND)
def test_three_steps_by_hand(rule: Any, expected: list[tuple[float, float]]) -> None:
    z = param(1.0, -2.0)
    optimizer = rule([z])
    for values in expected:
        optimizer.step()
        assert z.tolist() == pytest.approx(list(values), rel=1e-9, abs=0)


@given(start=st.floats(0, 1e3), num_steps=st.integers(1, 30))
def test_prediction_is_a_recurrence_that_fades(start: float, num_steps: int) -> None:
    z = param(start)
    optimizer = PredictionAsPrinted([z])
    last, before = start, start
    for _ in range(num_steps):
        optimizer.step()
        last, before = max(0.0, 0.98801 * last + 0.0119 * before), last
    assert z.item() == pytest.approx(last, rel=1e-12)
    assert z.item() <= start


@given(start=st.floats(-1e3, 1e3), lr=st.floats(0, 1), beta1=st.floats(0, 0.9), beta2=st.floats(0, 0.9999))
def test_thetas_pull_everything_to_one_value(start: float, lr: float, beta1: float, beta2: float) -> None:
    z = param(start, 1.0)
    optimizer = ThetasAsPrinted([z], lr=lr, betas=(beta1, beta2))
    for _ in range(400):
        optimizer.step()
    assert z.tolist() == pytest.approx([beta2**2 * lr / (0.999 * (1 - beta1))] * 2, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "values", [(0.0, 0.0, 0.0), (0.3, -2.0, 5.0), (math.nan, math.inf, -math.inf), (1e30, -1e30, 1e-30)]
)
def test_the_same_weights_whatever_the_gradients(rule: Any, values: tuple[float, ...]) -> None:
    gradient = torch.tensor(values)
    without, given_one = (param(1.5, -0.3, 0.2, dtype=torch.float32) for _ in range(2))
    first, second = rule([without]), rule([given_one])
    for step in range(5):
        given_one.grad = gradient * (-1) ** step
        first.step()
        second.step()
    assert torch.equal(without, given_one)
    assert without.tolist() != param(1.5, -0.3, 0.2, dtype=torch.float32).tolist(), "nothing moved"


@pytest.mark.parametrize("rule", RULES)
def test_state_dict_round_trip(rule: Any) -> None:
    """Saved half-way, loaded with weights_only, the second half is the same to the bit."""
    straight, stopped = param(1.0, -2.0, 3.0), param(1.0, -2.0, 3.0)
    whole, first = rule([straight]), rule([stopped])
    for _ in range(6):
        whole.step()
    for _ in range(3):
        first.step()
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    second = rule([stopped])
    second.load_state_dict(torch.load(buffer, weights_only=True))
    for _ in range(3):
        second.step()
    assert torch.equal(straight, stopped)


@pytest.mark.parametrize("rule", RULES)
def test_closure_is_called_once_with_gradients_on(rule: Any) -> None:
    z = param(3.0)
    calls = []

    def closure() -> torch.Tensor:
        loss = (z**2).sum()
        loss.backward()
        calls.append(loss.item())
        return loss

    with torch.no_grad():
        loss = rule([z]).step(closure)
    assert calls == [9.0]
    assert loss.item() == 9.0
    assert z.item() < 3.0


def test_groups_have_their_own_settings() -> None:
    zero, other = param(1.0), param(1.0)
    ThetasAsPrinted([{"params": [zero], "lr": 0.0}, {"params": [other]}], lr=1.0).step()
    assert zero.item() == pytest.approx(0.9)
    assert other.item() == pytest.approx(0.9 + 0.999)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1.0}, "lr must be a finite number of at least 0, got -1.0"),
        ({"betas": (0.9,)}, "betas must be two numbers"),
        ({"betas": (1.0, 0.9)}, r"betas\[0\] must be a number from 0 up to, not including, 1, got 1.0"),
    ],
)
def test_refuses_bad_hyperparameters(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ThetasAsPrinted([param(1.0)], **options)


@pytest.mark.parametrize("rule", RULES)
def test_nobody_gets_one_without_asking(rule: Any) -> None:
    """Not among the reference rules, and of no named optimizer."""
    assert rule.__name__ not in optimizers.__all__
    assert not hasattr(optimizers, rule.__name__)
    targets = [yaml.safe_load(file.read_text())["_target_"] for file in (ROOT / "conf" / "optimizer").glob("*.yaml")]
    assert "torch.optim.Adam" in targets
    assert not any("printed" in target for target in targets)


@pytest.mark.parametrize("place", ["optimizers.as_printed", "bench.claims.checks.printed"])
@pytest.mark.parametrize("rule", RULES)
def test_runs_by_the_command_and_learns_nothing(cli: Callable[..., Any], rule: Any, place: str) -> None:
    target = f"optimizer._target_={place}.{rule.__name__}"
    done = cli("optimizer=custom", target, "seeds=[0]", "train.epochs=2", "report=false", "memory=false", "study=s")
    assert done.status == 0, done.err
    runs, _ = tables.load("results/s")
    assert runs["status"].tolist() == ["ok"]
    assert runs["final_val_loss"].item() > 2.3
    assert runs["final_test_accuracy"].item() < 0.2


IDS = [
    ("model", "models.textcnn.TextCNNAsPrinted", ["model=textcnn_as_printed", "data=text"], "58a22cfc02"),
    ("optimizer", "optimizers.as_printed.ThetasAsPrinted", ["optimizer=custom", "+optimizer.lr=0.1"], "65b0fca577"),
    ("optimizer", "optimizers.as_printed.PredictionAsPrinted", ["optimizer=custom"], "db6b3536d8"),
]
"""Where each first was, a cell with it, and the id that this cell has had from the first."""


@pytest.mark.parametrize(("key", "first", "overrides", "cell"), IDS)
def test_ids_are_what_they_were_before_the_move(key: str, first: str, overrides: list[str], cell: str) -> None:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        node: Any = OmegaConf.to_container(compose("config", overrides), resolve=False)
    for target in (first, MOVED[first]):
        node[key]["_target_"] = target
        resolved = OmegaConf.to_container(
            OmegaConf.create({k: v for k, v in node.items() if k != "hydra"}), resolve=True
        )
        assert isinstance(resolved, dict)
        assert cell_id(parse({str(k): v for k, v in resolved.items()}), "cpu") == cell
        assert locate_target(f"{key}._target_", target).__module__ == "bench.claims.checks.printed"
