"""Types and ranges of the hyperparameters of optimizers."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo

from bench.config.fields import Beta, Flag, NonNegativeFloat, UnitFloat, valid


def is_pair(info: ValidationInfo) -> bool:
    """Return whether the optimizer declares that this setting takes two numbers: `pairs` of its capabilities."""
    return info.field_name in (info.context or {}).get("pairs", ())


class Hyperparameters(BaseModel):
    """Types and ranges of the hyperparameters that torch's optimizers share, by name.

    The context of a validation may hold `pairs`: names of settings that take two numbers.

    Ranges are torch's, and where torch checks nothing (NaN, infinity, RMSprop's alpha above 1)
    those in which the rule is defined.
    """

    model_config = ConfigDict(strict=True, extra="allow")

    lr: NonNegativeFloat = 0.0
    betas: Annotated[
        list[Beta],
        Field(min_length=2, max_length=2, description="two numbers, each from 0 up to, not including, 1"),
    ] = []
    beta2_decay: Annotated[float, Field(le=0, allow_inf_nan=False, description="a finite number of at most 0")] = (
        math.nan
    )
    eps: Annotated[
        NonNegativeFloat
        | Annotated[
            list[NonNegativeFloat | None],
            Field(min_length=2, max_length=2),
            AfterValidator(lambda pair: valid(pair, pair[1] is not None)),
        ],
        AfterValidator(lambda eps, info: valid(eps, isinstance(eps, list) or not is_pair(info))),
        Field(
            description="a finite number of at least 0 (two in a list, the first of them or null, where the optimizer takes two)"
        ),
    ] = 0.0
    weight_decay: NonNegativeFloat = 0.0
    momentum: NonNegativeFloat = 0.0
    momentum_decay: NonNegativeFloat = 0.0
    dampening: Annotated[float, Field(allow_inf_nan=False, description="a finite number")] = 0.0
    alpha: UnitFloat = 0.0
    rho: UnitFloat = 0.0
    amsgrad: Flag = False
    nesterov: Flag = False
    centered: Flag = False
    maximize: Flag = False
    decoupled_weight_decay: Flag = False
    lr_decay: NonNegativeFloat = 0.0
    initial_accumulator_value: NonNegativeFloat = 0.0
    d: Annotated[float, Field(ge=1, allow_inf_nan=False, description="a finite number of at least 1")] = 1.0
    lambd: NonNegativeFloat = 0.0
    t0: Annotated[float, Field(allow_inf_nan=False, description="a finite number")] = 0.0
    etas: Annotated[
        list[NonNegativeFloat],
        Field(min_length=2, max_length=2, description="two finite numbers, 0 < the first < 1 < the second"),
        AfterValidator(lambda etas: valid(etas, 0 < etas[0] < 1 < etas[1])),
    ] = []
    step_sizes: Annotated[
        list[NonNegativeFloat],
        Field(min_length=2, max_length=2, description="two finite numbers of at least 0, the first not the larger"),
        AfterValidator(lambda sizes: valid(sizes, sizes[0] <= sizes[1])),
    ] = []
    ns_coefficients: Annotated[
        list[Annotated[float, Field(allow_inf_nan=False)]],
        Field(min_length=3, max_length=3, description="three finite numbers"),
    ] = []
    ns_steps: Annotated[int, Field(ge=0, le=99, description="a whole number from 0 to 99")] = 0
    adjust_lr_fn: Annotated[
        Literal["original", "match_rms_adamw", "spectral_unclamped"] | None,
        Field(description="one of original, match_rms_adamw, spectral_unclamped, or null"),
    ] = None
    adamw_lr: NonNegativeFloat = 0.0
    adamw_betas: Annotated[
        list[Beta],
        Field(min_length=2, max_length=2, description="two numbers, each from 0 up to, not including, 1"),
    ] = []
    adamw_eps: NonNegativeFloat = 0.0
    adamw_weight_decay: NonNegativeFloat = 0.0
    max_iter: Annotated[int, Field(ge=1, le=10**6, description="a whole number from 1 to 1000000")] = 1
    max_eval: Annotated[int, Field(ge=1, le=10**6, description="a whole number from 1 to 1000000")] | None = None
    history_size: Annotated[int, Field(ge=1, le=10**4, description="a whole number from 1 to 10000")] = 1
    tolerance_grad: NonNegativeFloat = 0.0
    tolerance_change: NonNegativeFloat = 0.0
    line_search_fn: Annotated[Literal["strong_wolfe"] | None, Field(description="strong_wolfe, or null")] = None
    capturable: Flag = False
    differentiable: Flag = False
