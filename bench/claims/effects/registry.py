"""The quantities by which claims can be judged, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.claims.effects.evidence import (
    DEFAULT,
    MIXED,
    RATES,
    STEPS_TO_TARGET,
    TRAIN_LOSS,
    VAL_LOSS,
    Pair,
    column_of,
)
from bench.claims.effects.learning_rates import basin, best_of_three, best_rate, rate_matters
from bench.claims.effects.speed import epoch_time, loss_at_equal_time, step_time, steps_to_target, time_to_target
from bench.claims.effects.training import (
    generalization_gap,
    gradient_reach,
    latency,
    loss_fall,
    peak_memory,
    roughness,
    seed_spread,
    untuned_choice,
)


@dataclass(frozen=True)
class Quantity:
    """Something that claims are measured by.

    Attributes:
        words: What it is; `words_zh` in Chinese.
        unit: "ratio" of a to b, or the unit of a less b.
        sample: Takes it from the tables.
        lower_is_better: Whether the lower is the better.
        over: The runs it needs: DEFAULT, those at which a claim is judged; RATES; or MIXED, a's as they come and b's tuned.
        tuned: Whether it depends on how a side is tuned.
        select: What learning rates are chosen by where a side is tuned: the quantity that is judged, or else the final
            validation loss.
        step_costs: Whether it needs step times.
        alone: Whether runs have to be made one at a time.
        metrics: What runs have to record beside the loss.
        memory: Whether it needs the memory pass.
        one_sided: Whether it is of one side, held against a number.
    """

    words: str
    words_zh: str
    unit: str
    sample: Callable[[Pair], Any]
    lower_is_better: bool = True
    over: str = DEFAULT
    tuned: bool = True
    select: str = VAL_LOSS
    step_costs: bool = False
    alone: bool = False
    metrics: tuple[str, ...] = ()
    memory: bool = False
    one_sided: bool = False

    @property
    def is_ratio(self) -> bool:
        """Whether samples are natural logs of ratios."""
        return self.unit == "ratio"


QUANTITIES: dict[str, Quantity] = {
    "steps_to_target": Quantity(
        "steps to the target", "达到目标所需步数", "ratio", steps_to_target, select=STEPS_TO_TARGET
    ),
    "time_to_target": Quantity(
        "time to the target", "达到目标所需时间", "ratio", time_to_target, select=STEPS_TO_TARGET, step_costs=True
    ),
    "loss_at_equal_time": Quantity(
        "validation loss after equal time", "相同时间后的验证损失", "ratio", loss_at_equal_time, step_costs=True
    ),
    "val_loss": Quantity("final validation loss", "最终验证损失", "ratio", column_of("final_val_loss")),
    "train_loss": Quantity(
        "final training loss", "最终训练损失", "ratio", column_of("final_train_loss"), select=TRAIN_LOSS
    ),
    "test_loss": Quantity("test loss", "测试损失", "ratio", column_of("test_loss_at_best_val")),
    "test_accuracy": Quantity(
        "test accuracy",
        "测试准确率",
        "points",
        column_of("test_accuracy_at_best_val", 100.0, log=False),
        lower_is_better=False,
    ),
    "moved_accuracy": Quantity(
        "test accuracy on moved images",
        "平移旋转后测试图像上的准确率",
        "points",
        column_of("moved_test_accuracy", 100.0, log=False),
        lower_is_better=False,
        metrics=("moved_accuracy",),
    ),
    "generalization_gap": Quantity("test loss less training loss", "测试损失减训练损失", "nats", generalization_gap),
    "peak_memory": Quantity("peak memory", "峰值内存", "ratio", peak_memory, tuned=False, memory=True),
    "step_time": Quantity(
        "time of the optimizer's step", "优化器单步耗时", "ratio", step_time, tuned=False, step_costs=True
    ),
    "latency": Quantity(
        "latency of the trained model",
        "训练后模型的推理延迟",
        "ratio",
        latency,
        tuned=False,
        alone=True,
        metrics=("latency",),
    ),
    "roughness": Quantity("roughness of the training curve", "训练曲线的粗糙度", "ratio", roughness),
    "seed_spread": Quantity("spread over seeds", "不同随机种子间的离散程度", "ratio", seed_spread),
    "basin": Quantity(
        "width of good learning rates", "可用学习率的宽度", "decades", basin, lower_is_better=False, over=RATES
    ),
    "best_rate": Quantity("best learning rate", "最佳学习率", "decades", best_rate, over=RATES),
    "rate_matters": Quantity(
        "loss a decade off the best learning rate, over the lowest",
        "学习率偏离最佳值十倍时的损失与最低损失之比",
        "ratio",
        rate_matters,
        over=RATES,
        one_sided=True,
    ),
    "best_of_three": Quantity(
        "validation loss after three trials of the learning rate",
        "随机试三个学习率后的验证损失",
        "ratio",
        best_of_three,
        over=RATES,
    ),
    "untuned_choice": Quantity(
        "test loss of the best of several untuned",
        "若干未调参优化器中最佳者的测试损失",
        "ratio",
        untuned_choice,
        over=MIXED,
    ),
    "gradient_reach": Quantity(
        "first layer's gradient over the last's",
        "首层与末层梯度范数之比",
        "ratio",
        gradient_reach,
        lower_is_better=False,
        metrics=("layer_grad_norm",),
    ),
    "loss_fall": Quantity(
        "training loss at the start over the end",
        "训练损失的下降倍数",
        "ratio",
        loss_fall,
        lower_is_better=False,
        one_sided=True,
    ),
    "epoch_time": Quantity(
        "time of a late step over an early one",
        "后期与前期单步耗时之比",
        "ratio",
        epoch_time,
        tuned=False,
        alone=True,
        one_sided=True,
    ),
}
"""Everything that a claim can be measured by, by name."""
