"""What the report of claims says, in English and in Chinese: one mapping, and numbers that read alike in both."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

from bench.claims.effects.registry import QUANTITIES

LANGUAGES = {"en": 0, "zh": 1}
"""Languages, and where their text stands in WORDS."""


OPTIMIZERS = {
    "adam": "Adam", "adamw": "AdamW", "nadam": "NAdam", "radam": "RAdam", "adamax": "AdaMax", "adadelta": "Adadelta",
    "adagrad": "Adagrad", "adafactor": "Adafactor", "rmsprop": "RMSprop", "rprop": "Rprop", "sgd": "SGD", "asgd": "ASGD",
    "lbfgs": "L-BFGS", "muon": "Muon", "nesterov": "Nesterov",
}  # fmt: skip
"""Optimizers as their papers write them; others are called what their option is."""


WORDS: dict[str, tuple[str, str]] = {
    # verdicts
    "supported": ("supported", "得到支持"),
    "refuted": ("refuted", "被否定"),
    "no difference": ("no difference", "没有差别"),
    "cannot tell": ("cannot tell", "无法判断"),
    "mixed": ("mixed", "结果不一"),
    "not testable here": ("not testable here", "此处无法检验"),
    "not run": ("not run", "未运行"),
    "supported means": (
        "the difference that was claimed is there, and larger than what counts",
        "所说的差别确实存在，且超过规定的最小差别",
    ),
    "refuted means": ("the opposite is there, or what was said is measurably not so", "测得的结果与所说的相反"),
    "no difference means": (
        "the whole interval lies within what does not count",
        "整个置信区间都落在“不算差别”的范围内",
    ),
    "cannot tell means": ("the interval is too wide, or the measurement was disturbed", "置信区间太宽，或测量受到干扰"),
    "mixed means": ("comparisons disagree: it depends on the workload or the opponent", "各项比较结果不一：取决于任务或比较对象"),
    "not testable here means": ("it takes something that is not here", "缺少检验所需的条件"),
    "not run means": ("not part of this budget, or not run yet", "不在本次预算之内，或尚未运行"),
    "yes": ("yes", "成立"),
    "no": ("no", "不成立"),
    "unclear": ("unclear", "不确定"),
    "short": ("{verdict} ({answer})", "{verdict}（{answer}）"),
    "holds": ("holds: {answer}", "说法{answer}"),
    "holds means": (
        "whether the claim, as a general statement, is so. No can stand beside “cannot tell”: the claimed difference is ruled out, but"
        " not whether there is none or the opposite",
        "把说法当作普遍陈述时是否属实。“不成立”可以与“无法判断”并存：已排除所说的差别，但尚不知是没有差别还是正好相反",
    ),
    "holding": ("holds", "说法成立与否"),
    "rule": (
        "{rule}",
        "若一个说法依据多项比较：有的支持它，而在另一些中它不成立，则为“结果不一”；否则，当已有结论的比较至少占"
        "已运行比较的一半时，取这些比较的结论（被否定优先于没有差别）；再否则无法判断。说法是普遍陈述：只有得到支持才成立；被否定、"
        "没有差别或结果不一，或至少一半的比较表明它在该处不成立而没有一项表明成立，则不成立；其余情况为不确定。若说法只是“有可能”，"
        "则有一项比较支持即为得到支持、成立；所有已运行的比较都表明不成立则被否定、不成立；否则无法判断。",
    ),
    "word: meaning": ("{word}: {meaning}", "{word}：{meaning}"),
    # settings
    "at default": ("as given", "按原设置"),
    "at tuned": ("tuned", "双方调优后"),
    "at rates": ("over all learning rates", "遍历各学习率"),
    "at mixed": ("untuned against tuned", "未调优与已调优相比"),
    "at fact": ("by a check", "由程序检验"),
    "at untestable": ("not testable here", "此处无法检验"),
    "default means": (
        "at the settings that the source gives, or the library's defaults",
        "采用原文给出的设置，原文未给出时用库的默认值",
    ),
    "tuned means": (
        "both sides at the best learning rate of equally many trials, on fresh seeds",
        "双方以同样多的试验次数选出最佳学习率，再换用新的随机种子比较",
    ),
    "plots mean": (
        "A line of a small plot: one comparison, its estimate and 95 % interval. It is a ratio to the other side, or a difference from"
        " it. Grey: does not count. Pale blue: where the claim has it. An arrow: it goes on beyond.",
        "小图中每条线是一项比较：估计值与 95% 置信区间，为与另一方之比或之差。灰色：不算差别。浅蓝：说法所指的范围。箭头：继续延伸。",
    ),
    "unjudged": ("Not judged: {why}", "不作判断：{why}"),
    "How to read it": ("How to read this table", "如何阅读此表"),
    "plots": ("Plots", "小图"),
    "terminal": (
        "In brackets: does the claim hold? No difference: less than what counts. Mixed: it depends on the case. n of m: comparisons.",
        "括号内：说法是否成立。没有差别：小于规定的最小差别。结果不一：视情况而定。n/m：比较的项数。",
    ),
    # headings
    "claim": ("claim", "说法"),
    "what is said": ("what is said", "内容"),
    "All claims": ("All claims", "全部说法"),
    "Contradictions": ("Contradictions", "互相矛盾的说法"),
    "Each claim": ("Each claim", "逐条说明"),
    "How it was judged": ("How it was judged", "判断方法"),
    "Workloads": ("Workloads", "训练任务"),
    "source": ("Source", "来源"),
    "reading": ("How it is measured", "如何衡量"),
    "measures": ("What would support it", "怎样算得到支持"),
    "smaller": ("Smaller here than there", "此处规模较小"),
    "settings": ("Settings of the source", "原文设置"),
    "found": ("Found", "结果"),
    "why": ("Why not", "原因"),
    "would take": ("What it would take", "检验所需条件"),
    "repeat": ("Repeat", "重现"),
    "contradicts": ("Contradicts", "与之矛盾"),
    "comparisons": ("{num} comparisons", "{num} 项比较"),
    "one comparison": ("1 comparison", "1 项比较"),
    "other language": ("In Chinese: {file}", "英文版：{file}"),
    # tally
    "tally": ("{num} claims from {sources}.", "共 {num} 条说法，来自{sources}。"),
    "tally one": ("1 claim from {sources}.", "共 1 条说法，来自{sources}。"),
    "sources": ("{num} sources", " {num} 个来源"),
    "one source": ("1 source", " 1 个来源"),
    "tally at": ("{at}: {said}", "{at}：{said}"),
    "tally yes": ("{num} hold", "{num} 条成立"),
    "tally no": ("{num} do not", "{num} 条不成立"),
    "tally unclear": ("{num} unclear", "{num} 条不确定"),
    "tally not run": ("{num} not run", "{num} 条未运行"),
    "tally not testable here": ("{num} not testable here", "{num} 条此处无法检验"),
    # tables
    "n": ("seeds", "种子数"),
    "bounded": ("of these bounds only", "其中仅知界限"),
    "workload": ("workload", "训练任务"),
    "at": ("settings", "设置"),
    "quantity": ("quantity", "指标"),
    "a": ("of", "对象"),
    "b": ("against", "比较对象"),
    "effect": ("ratio or difference [95% interval]", "比值或差值 [95% 置信区间]"),
    "p": ("adjusted p", "校正后 p 值"),
    "verdict": ("verdict", "结论"),
    "detectable": ("would be seen", "可检出差别"),
    "note": ("note", "备注"),
    "alone": (
        "its own interval alone would decide: {verdict}",
        "若只看该比较自身的置信区间，结论为：{verdict}",
    ),
    "run": ("after python -m bench", "python -m bench 之后的参数"),
    "seeds": ("seeds", "种子数"),
    "target": ("target loss", "目标验证损失"),
    "runs made": ("runs", "运行数"),
    "higher median": ("higher of the two medians", "双方最终中位数中较高者"),
    "the number": ("the number {number}", "数值 {number}"),
    "best of": ("the best of {sides}", "{sides} 中最佳者"),
    # effects
    "at most": ("at most {number}", "至多 {number}"),
    "at least": ("at least {number}", "至少 {number}"),
    "no lower limit": ("no limit", "无下限"),
    "no upper limit": ("no limit", "无上限"),
    "no estimate": ("no estimate", "无估计值"),
    "points": ("{number} points", "{number} 个百分点"),
    "decades": ("{number} decades", "{number} 个数量级"),
    "nats": ("{number} nats", "{number} nat"),
    "factor": ("a factor of {number}", "{number} 倍"),
    "ratio to": ("{a}'s {quantity}: {number} times {b}'s {interval}", "{a} 的{quantity}为 {b} 的 {number} 倍 {interval}"),
    "difference to": ("{a}'s {quantity}: {number} against {b}'s {interval}", "{a} 的{quantity}与 {b} 相差 {number} {interval}"),
    "of a number": ("{a}'s {quantity}: {number} {interval}", "{a} 的{quantity}为 {number} {interval}"),
    "unknown": ("{a}'s {quantity} against {b}'s: {number} {interval}", "{a} 的{quantity}与 {b} 相比：{number} {interval}"),
    # what would support it
    "says less": ("less than {b} by more than {delta}", "低于 {b}，差距超过 {delta}"),
    "says more": ("more than {b} by more than {delta}", "高于 {b}，差距超过 {delta}"),
    "says not_more": ("not more than {b} by more than {delta}", "不比 {b} 高出 {delta} 以上"),
    "says not_less": ("not less than {b} by more than {delta}", "不比 {b} 低 {delta} 以上"),
    "says same": ("within {delta} of {b}", "与 {b} 相差不超过 {delta}"),
    "measure": ("{quantity} of {a} {says}", "{a} 的{quantity}{says}"),
    "measure on": ("{measure} (on {workloads})", "{measure}（任务：{workloads}）"),
    "everywhere": ("Said of all that is compared.", "该说法针对所有比较。"),
    "somewhere": ("Said to be possible: one comparison that supports it is enough.", "该说法只说“可能”：有一项比较支持即可。"),
    # verdict sentences
    "one": ("{at}: {verdict}; {holds}. {effect}.", "{at}：{verdict}；{holds}。{effect}。"),
    "several": ("{at}: {verdict}; {holds}. Of {num} comparisons: {counts}.", "{at}：{verdict}；{holds}。{num} 项比较中：{counts}。"),
    "none": ("{at}: {verdict}.", "{at}：{verdict}。"),
    "count": ("{num} {verdict}", "{num} 项{verdict}"),
    "count of": ("{num} of {all} {verdict}", "{all} 项中 {num} 项{verdict}"),
    "not judged": ("{at}: not judged; {why}.", "{at}：不作判断，{why}。"),
    "not tuned": ("it is about the settings as given", "该说法针对的就是给定的设置"),
    "tuning is no matter": ("the learning rate does not change it", "学习率不影响这一指标"),
    "one is tuned": ("it compares what is not tuned with what is", "该说法把未调优的与已调优的相比"),
    "over rates": ("it is about all learning rates at once", "该说法涉及所有学习率"),
    "check says": ("By a check: {verdict}; {holds}.", "由程序检验：{verdict}；{holds}。"),
    "beyond budget": ("Not run in this budget: {workloads}.", "本次预算未包括的任务：{workloads}。"),
    "of": ("{num} of {all}", "{num}/{all}"),
    # contradictions
    "against": ("{first} against {second}", "{first} 与 {second}"),
    "one is right": ("{at}: {right} holds, {wrong} does not", "{at}：{right} 成立，{wrong} 不成立"),
    "both": ("{at}: both hold", "{at}：两者都成立"),
    "neither": ("{at}: neither holds", "{at}：两者都不成立"),
    "one holds": ("{at}: {right} holds, {other} is unclear", "{at}：{right} 成立，{other} 不确定"),
    "one fails": ("{at}: {wrong} does not hold, {other} is unclear", "{at}：{wrong} 不成立，{other} 不确定"),
    "open": ("{at}: neither is decided", "{at}：两者都未判明"),
    "outcome": ("outcome", "结果"),
    "one side": ("one says", "一方说法"),
    "other side": ("the other says", "另一方说法"),
    # figures
    "forest caption": (
        "Every comparison of claim {claim}: estimate and 95 % interval. The band: differences that do not count. An arrow: the"
        " interval goes on, without limit or beyond the axis.",
        "说法 {claim} 的全部比较：估计值与 95% 置信区间。色带：不算差别的范围。箭头：区间继续延伸，没有界限或超出坐标轴。",
    ),
    "curves caption": (
        "Validation loss against steps of the optimizer on {workload}: median and middle half over seeds. Dashed: the target.",
        "{workload}：验证损失随优化器步数的变化，取各种子的中位数与中间一半的范围。虚线：目标值。",
    ),
    # method
    "method intervals": (
        "Both sides start from the same weights and see the same batches, seed by seed; what is judged is their difference,"
        " paired by seed, with a 95 % interval (Student's t on logs of ratios). A run that never reaches the target is known to"
        " need more than its budget, and enters as a bound: “at least”, “at most” and “no limit” say so.",
        "双方在每个随机种子下从相同的初始权重出发、使用相同的批次；判断依据是按种子配对的差别及其 95% 置信区间（对比值的对数用"
        "学生 t 分布）。始终没有达到目标的训练只知道其所需步数超过预算，按界限处理，即文中的“至少”“至多”与“无上限”。",
    ),
    "method delta": (
        "A difference counts only if the whole interval lies beyond what the claim's reading says does not matter (the band), and if p,"
        " adjusted by Holm's method over the {num} different comparisons of this report, is below .05.",
        "只有当整个置信区间都超出“不算差别”的范围（色带），且按 Holm 方法对本报告 {num} 项不同的比较校正后的 p 值小于 0.05 时，差别才算数。",
    ),
    "method tuned": (
        "Tuned: {trials} trials for each side, over the same width around its documented learning rate; the best is run again on"
        " seeds that no trial was chosen on.",
        "调优：双方各做 {trials} 次试验，在其文档推荐的学习率附近搜索同样宽的范围；最佳者再用未参与挑选的种子重新运行。",
    ),
    "method detectable": (
        "Would be seen: the true difference that so many pairs, as scattered as these, would show with 80 % power after Holm's"
        " correction at its strictest. What is smaller may be there unseen.",
        "可检出差别：以这样多的配对和这样的离散程度，在 Holm 校正最严格的情况下，有 80% 的把握检出的真实差别；更小的差别可能存在而未被发现。",
    ),
    "method machine": ("Measured on {machines}.", "测量环境：{machines}。"),
    "machine": ("{cpu}, {cores} cores, {os}, torch {torch}, Python {python}", "{cpu}，{cores} 核，{os}，torch {torch}，Python {python}"),
    "one machine": (
        "One machine and these versions: times belong to them, and losses to these workloads.",
        "只用了一台机器和上述版本：时间只对它们有效，损失只对这些任务有效。",
    ),
}  # fmt: skip
"""Every text of the report: English, Chinese."""


REASONS = (
    (r"step times were not measured", "没有测量单步耗时"),
    (r"the machine was busy while step times were measured", "测量单步耗时期间机器繁忙"),
    (
        r"the machine was busy, or runs were made side by side, while it was measured",
        "测量期间机器繁忙，或有多个训练同时运行",
    ),
    (r"(\S+)(.*) was not run", r"\1\2 未运行"),
    (r"no run of (.+) ended: (.*)", r"\1 的训练没有一次正常结束：\2"),
    (r"(\w+) was not recorded", r"没有记录 \1"),
    (r"(\w+) is 0 in some run, so that it has no ratio", r"某次训练的 \1 为 0，无法取比值"),
    (r"fewer than two seeds have it on both sides", "双方都有结果的种子不足两个"),
    (r"fewer than two seeds ended on both sides", "双方都正常结束的种子不足两个"),
    (r"fewer than three seeds ended", "正常结束的种子不足三个"),
    (r"no run of one side ended with a validation loss", "有一方没有任何训练得到验证损失"),
    (r"the target, (\S+), was reached before training", r"训练开始前就已达到目标 \1"),
    (r"memory was not measured", "没有测量内存"),
    (
        r"the two do not pass through the same losses for (\d+) points of their curves",
        r"双方的损失曲线没有 \1 个点落在相同的损失范围内",
    ),
    (r"some run diverged, so that the spread over seeds has no number", "有训练发散，无法计算种子间的离散程度"),
    (r"gradients of single layers were not recorded", "没有记录各层的梯度"),
    (
        r"one side hardly trained: its loss fell by less than a fifth, so that its spread says nothing",
        "有一方几乎没有训练起来：损失下降不到五分之一，其离散程度没有意义",
    ),
    (r"fewer than three learning rates were tried", "试过的学习率不足三个"),
    (r"every run of a seed diverged", "某个种子的训练全部发散"),
    (r"some run diverged, so that it has no loss at the end", "有训练发散，因而没有最终损失"),
    (r"no run of the untuned optimizers ended ok", "未调优的优化器没有一次训练正常结束"),
    (r"no learning rate a decade off the best was tried", "没有试验偏离最佳值十倍的学习率"),
)
"""Why something was not measured, as `bench.claims.quantities` says it, and in Chinese."""


class Words:
    """The words of one language.

    Args:
        language: A key of LANGUAGES.

    Raises:
        ValueError: There is no such language.
    """

    def __init__(self, language: str) -> None:
        if language not in LANGUAGES:
            raise ValueError(f"language must be one of {', '.join(LANGUAGES)}, got {language}; choose one of these")
        self.language = language

    def __call__(self, key: str, **values: object) -> str:
        """A text of WORDS with what belongs in its braces."""
        return WORDS[key][LANGUAGES[self.language]].format(**values)

    @property
    def is_chinese(self) -> bool:
        """Whether the language is Chinese."""
        return self.language == "zh"

    def of(self, part: Any, name: str) -> Any:
        """A text of a ledger; the English one where it has no other."""
        chinese = getattr(part, f"{name}_zh") if self.is_chinese else None
        # lines of a YAML text are joined by spaces, which Chinese does not have
        return re.sub(r"(?<=[，。；：、]) +", "", chinese) if chinese else getattr(part, name)

    @property
    def semicolon(self) -> str:
        """What stands between parts of a sentence."""
        return "；" if self.is_chinese else "; "

    def listed(self, texts: Iterable[str]) -> str:
        """Texts as one enumeration."""
        return ("、" if self.is_chinese else ", ").join(texts)

    def at(self, at: str) -> str:
        """At which settings something is judged."""
        return self(f"at {at}")

    def first(self, text: str) -> str:
        """A text as a sentence or heading begins."""
        return text[:1].upper() + text[1:]

    # --- what is compared ---------------------------------------------------------------------

    def side(self, side: str) -> str:
        """`adam optimizer.lr=0.01` as `Adam, lr 0.01`; of several, what the best of them is called."""
        if "|" in side:
            return self("best of", sides=self.listed(map(self.side, side.split("|"))))
        name, *settings = side.split(" ")
        if name == "momentum":
            shown = "带动量的 SGD" if self.is_chinese else "SGD with momentum"
        else:
            shown = OPTIMIZERS.get(name, name)
        parts = [setting.lstrip("+").partition("=") for setting in settings]
        said = [f"{key.rpartition('.')[2]} {value.replace(',', ', ')}" for key, _, value in parts]
        return ", ".join([shown, *said])

    def quantity(self, name: str) -> str:
        """A quantity in words."""
        return str(self.of(QUANTITIES[name], "words"))

    def why(self, reason: object) -> str:
        """Why something was not measured."""
        text = reason if isinstance(reason, str) else ""
        if self.is_chinese:
            for pattern, said in REASONS:
                if match := re.fullmatch(pattern, text):
                    return match.expand(said)
        return text

    # --- effects ------------------------------------------------------------------------------

    def amount(self, value: float, unit: str) -> str:
        """A size of an effect, such as a smallest difference, with its unit; a dash where there is none."""
        if not math.isfinite(value):
            return "—"
        return self._in_unit(number(value), "factor" if unit == "ratio" else unit)

    def estimate(self, row: Any) -> str:
        """The estimate of a comparison, or the bound of it that is known."""
        if math.isnan(row.estimate):
            return self("no estimate")
        shown = number(row.estimate, row.unit != "ratio")
        shown = self(row.bound, number=shown) if row.bound else shown
        return shown if row.unit == "ratio" else self._in_unit(shown, row.unit)

    def _in_unit(self, shown: str, unit: str) -> str:
        text = self(unit, number=shown)
        is_one = not self.is_chinese and shown.lstrip("+-") == "1"
        return text.removesuffix("s") if is_one else text

    def interval(self, row: Any) -> str:
        """The interval of a comparison in brackets; empty where nothing is random, or nothing known."""
        if row.method in ("exact", "none"):
            return ""
        low, high = (number(value, row.unit != "ratio") for value in (row.low, row.high))
        return f"[{low or self('no lower limit')}, {high or self('no upper limit')}]"

    def effect(self, row: Any) -> str:
        """Estimate and interval of a comparison: `0.62 [0.55, 0.7]`."""
        return f"{self.estimate(row)} {self.interval(row)}".rstrip()

    def sentence(self, row: Any) -> str:
        """Estimate and interval of a comparison with what they are of."""
        against = self.opponent(row)
        if math.isnan(row.estimate):
            key = "unknown"
        elif not isinstance(row.b, str):
            key = "of a number"
        else:
            key = "ratio to" if row.unit == "ratio" else "difference to"
        values = {"a": self.side(row.a), "quantity": self.quantity(row.quantity), "b": against}
        return self(key, **values, number=self.estimate(row), interval=self.interval(row)).rstrip()

    def opponent(self, row: Any) -> str:
        """What a comparison is with: the other side, or a number."""
        return self.side(row.b) if isinstance(row.b, str) else self("the number", number=number(row.center))


def number(value: float, signed: bool = False) -> str:
    """Three digits of a number, thousands apart; empty where it is infinite or missing."""
    if not math.isfinite(value):
        return ""
    if value == 0:
        return "0"
    sign = "+" if signed else ""
    return f"{value:{sign},.0f}" if 1_000 <= abs(value) < 1e6 else f"{value:{sign}.3g}"
