"""Executable checks of statements of fact in papers."""

from __future__ import annotations

from bench.claims.checks.harness import BETA1, BETA2, ROUNDING, Finding, gradients_of, longest_step, shrinking


def adamax_step_bound() -> Finding:
    """Tell whether no step of torch's AdaMax is longer than lr, as its paper says: |Delta_t| <= alpha.

    Every number of a vector is a gradient sequence of its own. It holds where no sequence has a step above lr but for
    rounding. Random gradients come with scales of three orders of magnitude; the worst shrink as beta2^t.

    With u_t >= beta2^(t-i) |g_i|, the i-th gradient adds at most (1 - beta1) (beta1 / beta2)^(t-i) to the first
    moment over u_t, and the geometric sequence g_t = beta2^t adds just that. So the least upper bound at step t is
    lr (1 - beta1) / (1 - beta1^t) * (1 - r^t) / (1 - r) with r = beta1 / beta2: lr itself at t = 1, then rising to
    lr (1 - beta1) / (1 - r). Where beta2 is at most beta1 it rises without end. A shorter memory of beta2 = 0.95 is
    set beside the default to show what the bound depends on.

    References:
        Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR, 2015, section 7.1.
    """
    num_steps = 500
    short = 0.95
    random = longest_step(gradients_of(num_steps, 1000))
    shrunk = longest_step(shrinking(BETA2, num_steps))
    ratio = BETA1 / BETA2
    return Finding(
        max(random, shrunk) <= 1 + ROUNDING,
        {
            "num_steps": num_steps,
            "num_random": 1000,
            "longest_random": random,
            "longest_shrinking": shrunk,
            "least_upper_bound": (1 - BETA1) / (1 - ratio),
            "longest_first": longest_step(shrinking(BETA2, 1)),
            "short_beta2": short,
            "longest_short": longest_step(shrinking(short, num_steps), beta2=short),
        },
    )
