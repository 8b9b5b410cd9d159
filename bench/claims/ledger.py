"""Read claims about optimizers: one YAML file for each claim, in `conf/claims/<ledger>/` or any folder.

A claim says what was said, how its words are made measurable, which optimizers are compared on which
workloads, by which quantity, and how large a difference has to be to count. `ledger.yaml` in the same
folder names the ledger and its sources, `conf/claims/workloads.yaml` what can be trained on.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from bench.base.errors import UserError
from bench.base.files import open_bounded
from bench.base.paths import CONF_DIR
from bench.base.text import shortened
from bench.claims.effects.registry import QUANTITIES
from bench.claims.verdict import DIRECTIONS
from bench.config.messages import described, shown_value

CLAIMS_DIR = CONF_DIR / "claims"
BUDGETS = ("quick", "standard", "full")
MAX_BYTES = 2**20
"""Size above which a file of a ledger is not read."""


LEDGER_FILE, WORKLOADS_FILE = "ledger.yaml", "workloads.yaml"

Text = Annotated[str, Field(min_length=1, description="a text")]
Side = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z_]\w*(\|[A-Za-z_]\w*)*( [+]?[A-Za-z_][\w.]*=\S+)*$",
        description="an optimizer, and after it what is set for it, such as `adam optimizer.eps=1e-3`; several with | between",
    ),
    AfterValidator(lambda side: " ".join([side.split()[0], *map(_checked_override, side.split()[1:])])),
]


SETTABLE = ("augment", "data", "device", "loss", "metrics", "model", "optimizer", "regularization", "schedule", "train")
"""Keys of the configuration that a ledger may set: what is trained, and neither where files go nor what starts processes."""


def _checked_override(text: str) -> str:
    """Return an override as it is, if a ledger may set its key.

    Raises:
        ValueError: It may not.
    """
    key = re.split(r"[=.@/]", text.lstrip("+~"), maxsplit=1)[0]
    if key not in SETTABLE or "\n" in text:
        raise ValueError(
            f"what a ledger sets must begin with one of {', '.join(SETTABLE)}, got {shown_value(text)}; leave it out"
        )
    return text


Override = Annotated[Text, AfterValidator(_checked_override)]


class Strict(BaseModel):
    """A part of a claim; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Workload(Strict):
    """A training task: model, data and budget.

    Attributes:
        budget: The smallest budget that it belongs to.
        words: What it is, in words; `words_zh` in Chinese.
        run: What is typed after `python -m bench` for it, but for the optimizer.
        seeds: Most runs of each side at its settings, and once tuned. How many are made is for the rounds to say, see
            `bench.claims.rounds`.
        rate_seeds: Most runs of each learning rate where a claim is about all of them.
        target: Validation loss to reach; None: the higher of the median final ones of the two sides.
        seconds: What one run takes, about: for the plan and the time left.
        alone: Whether its runs are made one at a time, so that their own times count.
    """

    budget: Annotated[Literal["quick", "standard", "full"], Field(description=f"one of {', '.join(BUDGETS)}")]
    words: Text
    words_zh: Text | None = None
    run: Annotated[list[Override], Field(min_length=1, description="a list of what is typed, such as model=mlp")]
    seeds: Annotated[int, Field(ge=2, le=1000, description="a whole number from 2 to 1000")] = 1000
    rate_seeds: Annotated[int, Field(ge=2, le=1000, description="a whole number from 2 to 1000")] = 20
    target: Annotated[float, Field(gt=0, allow_inf_nan=False, description="a loss above 0")] | None = None
    seconds: Annotated[float, Field(gt=0, description="a number of seconds above 0")] = 10.0
    alone: bool = False


class Measure(Strict):
    """A measurement by which a claim is judged.

    Attributes:
        quantity: A key of `bench.claims.effects.registry.QUANTITIES`.
        says: How the claim has `a` stand to what it is compared with.
        delta: The smallest difference that counts: for a ratio a share (0.1: a factor of 1.1), else in the quantity's unit.
        workloads: Of the claim's workloads those that it is measured on; all if empty.
    """

    quantity: Annotated[str, Field(description=f"one of {', '.join(QUANTITIES)}")]
    says: Annotated[
        Literal["less", "more", "not_more", "not_less", "same"], Field(description=f"one of {', '.join(DIRECTIONS)}")
    ]
    delta: Annotated[float, Field(ge=0, allow_inf_nan=False, description="a number of at least 0")]
    workloads: list[Text] = []

    @field_validator("quantity")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in QUANTITIES:
            raise ValueError(
                f"quantity must be one of {', '.join(QUANTITIES)}, got {shown_value(name)}; choose one of these"
            )
        return name


class Claim(Strict):
    """One claim: judged from runs, by an executable check (`fact`), or not testable here.

    Attributes:
        id: Unique in the ledger.
        source: A key of the ledger's `sources`.
        claim: What is said, one sentence.
        reading: How its words are made measurable.
        measures: What is measured; all of them are judged.
        a: The side that the claim is about.
        against: The sides that it is compared with.
        reference: What it is compared with where that is a number.
        settings: Settings of an optimizer as the source has them, by optimizer; others run at the library's defaults.
        workloads: Names of workloads, or workloads of the claim's own, by name.
        tuned: Whether it is also judged with both sides tuned; a text: why that makes no sense.
        rule: everywhere: said of all workloads and opponents; somewhere: said to be possible.
        smaller: Where the setting here is smaller than the source's, in words.
        contradicts: Claims that say the opposite.
        fact: A key of `bench.claims.checks.articles.FACTS`.
        found: What the check found, with its numbers in braces.
        untestable: Why it cannot be tested here.
        would_take: What it would take.
    """

    id: Annotated[str, Field(pattern=r"^[\w.-]+$", description="letters, digits, dots and dashes")]
    source: Annotated[str, Field(coerce_numbers_to_str=True)]
    claim: Text
    claim_zh: Text | None = None
    reading: Text
    reading_zh: Text | None = None
    measures: Annotated[list[Measure], Field(description="a list of measures, each {quantity: , says: , delta: }")] = []
    a: Side | None = None
    against: Annotated[list[Side], Field(description="a list of sides, such as [sgd, momentum]")] = []
    reference: Annotated[float, Field(gt=0, allow_inf_nan=False, description="a number above 0")] | None = None
    settings: dict[str, list[Override]] = {}
    workloads: Annotated[
        list[str | dict[str, Workload]], Field(description="a list of names of workloads, such as [digits_mlp]")
    ] = []
    tuned: bool | Text = True
    tuned_zh: Text | None = None
    rule: Annotated[Literal["everywhere", "somewhere"], Field(description="one of everywhere, somewhere")] = (
        "everywhere"
    )
    smaller: Text | None = None
    smaller_zh: Text | None = None
    contradicts: list[str] = []
    fact: Text | None = None
    found: Text | None = None
    found_zh: Text | None = None
    untestable: Text | None = None
    untestable_zh: Text | None = None
    would_take: Text | None = None
    would_take_zh: Text | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Claim:
        kinds = [bool(self.measures), self.fact is not None, self.untestable is not None]
        if sum(kinds) != 1:
            raise ValueError("exactly one of measures, fact and untestable must be set")
        if self.measures and (self.a is None or not self.workloads):
            raise ValueError("a and workloads must be set beside measures")
        if self.measures and bool(self.against) == (self.reference is not None):
            raise ValueError("one of against and reference must be set beside measures")
        if self.fact is not None and self.found is None:
            raise ValueError("found must be set beside fact")
        if self.untestable is not None and self.would_take is None:
            raise ValueError("would_take must be set beside untestable")
        for measure in self.measures:
            if QUANTITIES[measure.quantity].one_sided != (self.reference is not None):
                which = "reference" if QUANTITIES[measure.quantity].one_sided else "against"
                raise ValueError(f"{which} must be set beside the quantity {measure.quantity}")
        return self

    @property
    def workload_names(self) -> list[str]:
        """The names of the workloads it is judged on."""
        return [name for entry in self.workloads for name in ([entry] if isinstance(entry, str) else entry)]

    def given(self, side: str) -> str:
        """Return a side with its optimizer at the source's settings."""
        return " ".join([side, *self.settings.get(side.partition(" ")[0], [])])


class Head(Strict):
    """The title of a ledger, and its sources by the names that claims give them."""

    title: Text
    title_zh: Text | None = None
    about: Text = "Claims of the reader's own."
    about_zh: Text | None = None
    sources: dict[Annotated[str, Field(coerce_numbers_to_str=True)], Text] = {}
    sources_zh: dict[Annotated[str, Field(coerce_numbers_to_str=True)], Text] = {}


class Ledger(NamedTuple):
    """Claims, and the workloads that they are judged on."""

    name: str
    head: Head
    claims: dict[str, Claim]
    workloads: dict[str, Workload]

    def chosen(self, claim: str | None = None, budget: str = "full") -> Ledger:
        """Return the ledger with one claim only, and with the workloads of a budget.

        Raises:
            UserError: There is no such claim, or budget.
        """
        if budget not in BUDGETS:
            raise UserError(f"budget must be one of {', '.join(BUDGETS)}, got {budget}; choose one of these")
        if claim is not None and claim not in self.claims:
            raise UserError(
                f"claim must be one of {shortened(', '.join(self.claims), 2_000)}, got {claim}; choose one of these"
            )
        affordable = BUDGETS[: 1 + BUDGETS.index(budget)]
        return self._replace(
            claims={key: value for key, value in self.claims.items() if claim in (None, key)},
            workloads={key: value for key, value in self.workloads.items() if value.budget in affordable},
        )


def ledgers() -> list[str]:
    """Return the names of the ledgers that ship."""
    return sorted(path.parent.name for path in CLAIMS_DIR.glob(f"*/{LEDGER_FILE}"))


def load(name: str) -> Ledger:
    """Read a ledger.

    Args:
        name: One that ships, or the path of a folder of claims.

    Raises:
        UserError: There is none, or a file is not what it must be; the message names file and key.
    """
    folder = CLAIMS_DIR / name if name in ledgers() else Path(name)
    paths = sorted(folder.glob("*.yaml")) if folder.is_dir() else []
    files = [path for path in paths if path.name not in (LEDGER_FILE, WORKLOADS_FILE)]
    if not files:
        raise UserError(
            f"the ledger must be one of {', '.join(ledgers())}, or a folder of claims (*.yaml), got {name}; choose one"
        )
    workloads = dict(_workloads(CLAIMS_DIR / WORKLOADS_FILE))
    if (folder / WORKLOADS_FILE).is_file():
        workloads |= _workloads(folder / WORKLOADS_FILE)
    head_file = folder / LEDGER_FILE
    head = _checked(Head, _read(head_file), head_file) if head_file.is_file() else Head(title=folder.resolve().name)
    claims: dict[str, Claim] = {}
    paths_of: dict[str, Path] = {}
    for path in files:
        node = _read(path)
        own_workloads = node.get("workloads")
        for entry in own_workloads if isinstance(own_workloads, list) else []:
            for own, value in (entry if isinstance(entry, dict) else {}).items():
                _checked(Workload, value, path, f"workloads.{own}.")
        claim = _checked(Claim, node, path)
        if claim.id in claims:
            raise UserError(f"{path}: id must be unique in the ledger, got {claim.id} again; choose another")
        claims[claim.id] = claim
        paths_of[claim.id] = path
        for entry in claim.workloads:
            workloads |= {} if isinstance(entry, str) else entry
    for claim in claims.values():
        for key, names, known in (
            ("workloads", claim.workload_names, workloads),
            (
                "measures.workloads",
                [name for measure in claim.measures for name in measure.workloads],
                claim.workload_names,
            ),
            ("contradicts", claim.contradicts, claims),
            ("source", [claim.source], head.sources or {claim.source: ""}),
        ):
            for unknown in set(names) - set(known):
                raise UserError(
                    f"{paths_of[claim.id]}: {key} must be of {shortened(', '.join(sorted(known)), 2_000)}, got {shown_value(unknown)}; choose of these"
                )
    order = sorted(claims, key=_natural)
    return Ledger(folder.resolve().name, head, {key: claims[key] for key in order}, workloads)


def _natural(text: str) -> list[tuple[int, str]]:
    """Return a sort key that puts 2.9 before 2.10, and 2.1a before 2.1b."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text) if part]


@functools.cache
def _workloads(path: Path) -> dict[str, Workload]:
    node = _read(path)
    return {name: _checked(Workload, value, path, f"{name}.") for name, value in node.items()}


def _read(path: Path) -> dict[str, Any]:
    try:
        with open_bounded(path, MAX_BYTES) as file:
            node = yaml.safe_load(file.read().decode("utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(
            f"{path} must be a YAML file, got one that cannot be read: {' '.join(str(error).split())}"
        ) from None
    if not isinstance(node, dict):
        raise UserError(f"{path} must hold keys and values, got {type(node).__name__}; see conf/claims/articles")
    return node


def _checked(model: type[Any], node: Mapping[str, Any], path: Path, prefix: str = "") -> Any:
    """Return a checked part of a ledger."""
    try:
        return model.model_validate(node)
    except ValidationError as error:
        first = error.errors()[0]
        key = prefix + ".".join(str(part) for part in first["loc"])
        if first["type"] == "value_error":
            raise UserError(f"{path}: {first['ctx']['error']}") from None
        if first["type"] == "extra_forbidden":
            part = Measure if first["loc"][0] == "measures" else model
            raise UserError(
                f"{path}: {key} must be one of {', '.join(part.model_fields)}, got an unknown key"
            ) from None
        if first["type"] == "missing":
            raise UserError(f"{path}: {key} must be set, got nothing; give it a value") from None
        wanted = described(model, [str(part) for part in first["loc"]]) or first["msg"]
        raise UserError(
            f"{path}: {key} must be {wanted}, got {shown_value(first['input'])}; see conf/claims/articles"
        ) from None
