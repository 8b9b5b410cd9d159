"""Executable checks of what articles say Adam is: what they find, and that they could find otherwise."""

from __future__ import annotations

import functools
import json
import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from bench.claims.checks import articles, harness, papers
from bench.claims.checks.articles import FACTS
from bench.claims.checks.harness import Finding
from models.textcnn import TextCNN

Numbers = dict[str, Any]


def surroundings() -> list[Any]:
    """What a check could leave behind."""
    return [
        torch.get_rng_state().tolist(),
        random.getstate(),
        [part.tolist() if isinstance(part, np.ndarray) else part for part in np.random.get_state()],
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_anomaly_enabled(),
        torch.get_float32_matmul_precision(),
    ]


@functools.cache
def found(name: str) -> Finding:
    """A check's finding, after seeds that it must not depend on; what surrounds it is compared on the way."""
    torch.manual_seed(1234)
    before = surroundings()
    finding = FACTS[name]()
    assert surroundings() == before
    return finding


def numbers(name: str) -> Numbers:
    return dict(found(name).numbers)


@pytest.mark.parametrize("name", FACTS)
def test_no_claim_holds_and_torch_is_left_as_it_was(name: str) -> None:
    finding = found(name)
    assert finding.holds is False
    assert all(type(value) in (int, float, str) for value in finding.numbers.values())
    json.dumps(finding.numbers, allow_nan=False)
    assert (FACTS[name].__doc__ or "").startswith("Tell whether "), "says what is checked"


@pytest.mark.parametrize("name", sorted(set(FACTS) - {"printed_update_ignores_gradient", "printed_cross_entropy"}))
def test_deterministic(name: str) -> None:
    torch.manual_seed(99)
    torch.rand(3)
    assert FACTS[name]() == found(name)


def test_as_many_threads_as_a_person_has_change_no_training() -> None:
    expected = found("printed_cross_entropy")
    before = torch.get_num_threads()
    torch.set_num_threads(1 + before % 2)
    try:
        assert articles.printed_cross_entropy().numbers == pytest.approx(expected.numbers)
    finally:
        torch.set_num_threads(before)


# --- what they find -------------------------------------------------------------------------------


def test_the_printed_adam_learns_nothing_where_adam_does() -> None:
    n = numbers("printed_adam_ignores_gradient")
    assert n["printed_difference_by_gradient"] == 0 < n["adam_difference_by_gradient"]
    assert n["loss_without_inputs"] == pytest.approx(math.log(10), abs=1e-3)  # ten classes, nearly even
    assert n["printed_loss_after"] > n["loss_before"] > n["loss_without_inputs"]
    assert n["adam_loss_after"] < 1.0


def test_the_printed_update_learns_nothing_where_adam_does() -> None:
    n = numbers("printed_update_ignores_gradient")
    assert n["printed_difference_by_gradient"] == 0 < n["adam_difference_by_gradient"]
    assert n["printed_loss_after"] == pytest.approx(n["loss_without_inputs"], rel=0.1)
    assert n["adam_loss_after"] == pytest.approx(0.01, rel=0.2)  # the variance of the noise


def test_adam_keeps_two_moments_and_is_rmsprop_at_beta1_0() -> None:
    n = numbers("moments_kept")
    assert (n["num_moments"], n["moments"], n["bytes_per_parameter"]) == (2, "exp_avg, exp_avg_sq", 8.0)
    assert n["rmsprop_difference"] < 1e-12
    assert (n["adam_coupling"], n["num_curvature_pairs_adam"]) == (0, 0)
    assert n["lbfgs_coupling"] > 0.01
    assert n["num_curvature_pairs_lbfgs"] > 0


def test_the_gradient_is_the_residual_only_at_the_output() -> None:
    n = numbers("gradient_is_output_minus_target")
    assert (n["num_weights"], n["num_residuals"]) == (10, 1000)
    assert n["factor_at_output"] == pytest.approx(2.0, rel=1e-5)
    assert n["formula_difference"] < 1e-5
    assert n["cosine"] < 0.9
    assert n["softmax_difference"] < 1e-5 < 0.1 < n["logit_difference"]
    assert n["loss_after_gradient"] == pytest.approx(0.01, rel=0.2)
    assert n["loss_after_residual"] > 100 * n["loss_after_gradient"]


def test_the_printed_loss_is_far_behind_cross_entropy() -> None:
    n = numbers("printed_cross_entropy")
    assert n["chance"] == pytest.approx(0.1, abs=0.01)
    assert n["printed_accuracy"] < 0.5 < 0.9 < n["cross_entropy_accuracy"]
    assert 0.3 < n["negated_accuracy"] < 0.9
    assert n["pushed_down_before"] > 0.95
    assert n["pushed_down_after"] < 0.05, "once all outputs are negative, the sign of the gradient has turned"
    for name in ("printed", "negated", "cross_entropy"):
        assert n[f"{name}_lowest"] <= n[f"{name}_accuracy"] <= n[f"{name}_highest"]
        assert n[f"{name}_lr"] in (1e-2, 1e-3)


def test_adam_is_momentum_over_rmsprop_and_nothing_else() -> None:
    n = numbers("combines_sarsa")
    assert n["difference"] < 1e-11
    assert n["difference_by_value_and_reward"] < 1e-11
    assert n["state"] == "exp_avg, exp_avg_sq, step"


def test_the_printed_network_has_no_convolution_and_no_order_of_words() -> None:
    n = numbers("printed_textcnn")
    assert (n["num_convolutions_printed"], n["num_convolutions_textcnn"]) == (0, 3)
    assert n["order_change_printed"] < 1e-12 < 0.01 < n["order_change_textcnn"]


def test_adamax_steps_beyond_lr_on_shrinking_gradients_only() -> None:
    n = numbers("adamax_step_bound")
    assert n["least_upper_bound"] == pytest.approx(0.1 / (1 - 0.9 / 0.999), rel=1e-12)
    assert n["longest_first"] == pytest.approx(1.0, rel=1e-6)
    assert n["longest_random"] <= 1.0
    assert 1.009 < n["longest_shrinking"] < n["least_upper_bound"]
    assert n["longest_short"] == pytest.approx(0.1 / (1 - 0.9 / 0.95), rel=1e-6)


def test_no_gradients_take_adamax_beyond_the_stated_bound() -> None:
    generator = torch.Generator().manual_seed(0)
    at = torch.arange(-299.0, 1.0, dtype=torch.float64).unsqueeze(1)
    rates = 1 + 0.02 * torch.randn(5000, generator=generator, dtype=torch.float64)
    noise = 1 + 0.01 * torch.randn(300, 5000, generator=generator, dtype=torch.float64)
    longest = harness.longest_step(rates.clamp(min=0.9) ** at * noise)
    assert 1.0 < longest < numbers("adamax_step_bound")["least_upper_bound"]


# --- that they could find otherwise ---------------------------------------------------------------


def test_a_rule_that_learns_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.claims.checks.articles.PredictionAsPrinted", torch.optim.Adam)
    finding = articles.printed_adam_ignores_gradient()
    assert finding.holds is True
    assert finding.numbers["printed_loss_after"] == finding.numbers["adam_loss_after"]


def test_a_rule_that_is_moved_and_does_not_learn_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "bench.claims.checks.articles.PredictionAsPrinted", functools.partial(torch.optim.SGD, lr=1e-2, maximize=True)
    )
    finding = articles.printed_adam_ignores_gradient()
    assert finding.holds is False
    assert float(finding.numbers["printed_difference_by_gradient"]) > 0


def test_an_update_that_learns_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.claims.checks.articles.ThetasAsPrinted", functools.partial(torch.optim.SGD, lr=1e-2))
    assert articles.printed_update_ignores_gradient().holds is True


class ThreeMoments(torch.optim.Adam):
    """Adam with a third tensor; in the plane, where curvature is asked for, coordinates see each other."""

    def __init__(self, params: Any, **settings: Any) -> None:
        super().__init__(params, **settings | {"amsgrad": True})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = super().step(closure)
        for p in self.param_groups[0]["params"]:
            if p.numel() == 2:
                p.data += 0.01 * p.grad.sum()
        return loss


def test_three_moments_alone_are_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.optim, "Adam", functools.partial(torch.optim.Adam, amsgrad=True))
    finding = articles.moments_kept()
    assert (finding.numbers["num_moments"], finding.numbers["bytes_per_parameter"]) == (3, 12.0)
    assert finding.holds is False
    assert float(finding.numbers["rmsprop_difference"]) > 1e-5, "the largest mean square is not RMSprop's"


def test_what_the_claim_says_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.optim, "Adam", ThreeMoments)
    growing = torch.arange(1.0, 50.0, dtype=torch.float64).unsqueeze(1).expand(-1, 100)
    monkeypatch.setattr("bench.claims.checks.articles.gradients_of", lambda: growing)
    finding = articles.moments_kept()
    assert finding.numbers["num_moments"] == 3
    assert float(finding.numbers["adam_coupling"]) > 0
    assert finding.holds is True, "growing gradients: the largest mean square is the present one"


def test_another_rmsprop_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    torchs = torch.optim.RMSprop
    monkeypatch.setattr(torch.optim, "RMSprop", lambda params, alpha: torchs(params, alpha=0.9))
    assert float(articles.moments_kept().numbers["rmsprop_difference"]) > 1e-2
    assert articles.combines_sarsa().holds is True


def test_inputs_of_ones_make_the_residual_the_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, targets = torch.ones(64, 10), torch.arange(64.0).unsqueeze(1) + 1
    monkeypatch.setattr("bench.data.regression.load", lambda: ((inputs, targets),) * 3)
    finding = articles.gradient_is_output_minus_target()
    assert finding.numbers["cosine"] == pytest.approx(1.0, abs=1e-6)
    assert finding.holds is True


def test_a_usable_loss_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("articles", "harness"):
        monkeypatch.setattr(f"bench.claims.checks.{module}.as_printed", functional.cross_entropy)
    finding = articles.printed_cross_entropy()
    assert finding.holds is True
    assert finding.numbers["printed_accuracy"] == finding.numbers["cross_entropy_accuracy"]
    assert finding.numbers["pushed_down_before"] == 0


@pytest.mark.parametrize("reads", ["reward", "value"])
def test_an_adam_that_learns_from_rewards_or_values_would_be_found(monkeypatch: pytest.MonkeyPatch, reads: str) -> None:
    class Sarsa(torch.optim.Adam):
        def step(self, closure: Callable[[], Any] | None = None) -> Any:
            reward = super().step(closure)
            for p in self.param_groups[0]["params"]:
                p.data += 1e-6 * ((reward or 0.0) if reads == "reward" else p.data)
            return reward

    monkeypatch.setattr(torch.optim, "Adam", Sarsa)
    finding = articles.combines_sarsa()
    assert finding.holds is True
    assert float(finding.numbers["difference_by_value_and_reward"]) > 1e-9


def test_a_real_textcnn_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.claims.checks.articles.TextCNNAsPrinted", TextCNN)
    finding = articles.printed_textcnn()
    assert finding.holds is True
    assert finding.numbers["num_convolutions_printed"] == 3


def test_an_adamax_within_its_bound_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    torchs = torch.optim.Adamax
    monkeypatch.setattr(torch.optim, "Adamax", lambda params, lr, betas, eps: torchs(params, lr, (0.0, betas[1]), eps))
    finding = papers.adamax_step_bound()
    assert finding.holds is True, "without momentum, a step is the gradient over a norm that is at least as large"
    assert float(finding.numbers["longest_shrinking"]) <= 1.0
