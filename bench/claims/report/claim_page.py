"""What the page shows of one claim: its comparisons, findings and figures."""

from __future__ import annotations

import math
import re
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd

from bench.analysis.verdict import CANNOT_TELL
from bench.claims.effects.evidence import DEFAULT, MIXED, RATES, TUNED, Evidence
from bench.claims.effects.registry import QUANTITIES
from bench.claims.evaluate import FACT, UNTESTABLE, at_key, ats, numbers_of
from bench.claims.ledger import Claim, Ledger, Measure
from bench.claims.report.forest import curves_figure, forest_figure
from bench.claims.report.i18n import Words, number
from bench.claims.report.table import TableCell, comparison_cells
from bench.config.capabilities import shipped_optimizers
from bench.report.document import Block, Picture, picture_of

CURVES_OF = ("steps_to_target", "time_to_target", "loss_at_equal_time")
"""Quantities that curves of the validation loss show."""


MOST_OPEN = 8
"""Comparisons of a claim whose table stands open."""


@dataclass(frozen=True)
class ClaimPage:
    """What the templates show of one claim.

    Attributes:
        id: Its name in the ledger.
        anchor: Its place in the page.
        claim: What is said.
        source: Where, as the ledger names it.
        facts: What was read out of it and how it was measured, each with its heading.
        cells: Its row of the table, by setting.
        gist: What its row shows: of what, and against what.
        remark: Beside its row: what a check found, or why it cannot be tested.
        absent: By setting, why it is not judged there.
        verdicts: The verdicts, a sentence each.
        notes: What limits that, a sentence each.
        table: Every comparison, as texts; None where there is none.
        pictures: The figures that decide it.
        command: What repeats it.
        contradicts: Claims that say the opposite.
    """

    id: str
    anchor: str
    claim: str
    source: str
    facts: Sequence[tuple[str, str]]
    cells: Mapping[str, TableCell]
    gist: str
    remark: str
    absent: Mapping[str, str]
    verdicts: Sequence[str]
    notes: Sequence[str]
    table: pd.DataFrame | None
    pictures: Sequence[Picture]
    command: str
    contradicts: Sequence[str]

    @property
    def is_raced(self) -> bool:
        """Whether comparisons decide it."""
        return not {FACT, UNTESTABLE} & set(self.cells)

    @property
    def block(self) -> Block:
        """Its table, as pages show tables."""
        return Block("comparisons", f"Comparisons of claim {self.id}", self.table)

    @property
    def is_long(self) -> bool:
        """Whether its table is folded."""
        return self.table is not None and len(self.table) > MOST_OPEN


def build_claim_page(
    claim: Claim,
    ledger: Ledger,
    lines: pd.DataFrame,
    found: pd.DataFrame,
    facts: pd.DataFrame,
    variants: pd.DataFrame,
    pictures: Sequence[Picture],
    command: str,
    words: Words,
) -> ClaimPage:
    """Collect what the page shows of one claim."""
    cells = comparison_cells(claim, lines, found, words)
    sources = {**ledger.head.sources, **(ledger.head.sources_zh if words.is_chinese else {})}
    remark, facts_said = _facts(claim, lines, facts, words)
    if stands := _variants(variants[variants["claim"] == claim.id], words):
        facts_said.append((words("variants"), stands))
    absent = _absent(claim, words)
    notes = []
    if rates := _default_rates(claim, words):
        notes.append(words("default rates", rates=rates))
    left_out = [name for name in claim.workload_names if name not in ledger.workloads]
    if left_out:
        notes.append(words("beyond budget", workloads=words.listed(left_out)))
    return ClaimPage(
        id=claim.id,
        anchor=anchor(claim.id),
        claim=words.of(claim, "claim"),
        source=str(sources.get(claim.source, claim.source)),
        facts=facts_said,
        cells=cells,
        gist=_gist(claim, words),
        remark=remark,
        absent=absent,
        verdicts=[
            *_sentences(cells, lines, words),
            *(words("not judged", at=words.first(words.at(at)), why=why) for at, why in absent.items()),
        ],
        notes=notes,
        table=readable_comparisons(lines, words) if len(lines) else None,
        pictures=pictures,
        command=command,
        contradicts=[name for name in claim.contradicts if name in ledger.claims],
    )


def _facts(claim: Claim, lines: pd.DataFrame, facts: pd.DataFrame, words: Words) -> tuple[str, list[tuple[str, str]]]:
    """Return what stands beside the row of a claim, and what was read out of it and how it was measured, with headings."""
    remark, said = "", [("reading", words.of(claim, "reading"))]
    if claim.measures:
        said.append(("measures", _measures(claim, words)))
    if claim.settings:
        said.append(("settings", "; ".join(words.side(claim.given(name)) for name in claim.settings)))
    if claim.smaller:
        said.append(("smaller", words.of(claim, "smaller")))
    if places := _places(lines, words):
        said.append(("where", places))
    if claim.fact is not None:
        remark = _found(claim, facts, words)
        said += [("found", remark)] if remark else []
    if claim.untestable is not None:
        remark = words.first(words.of(claim, "untestable"))
        said += [("why", remark), ("would take", words.first(words.of(claim, "would_take")))]
    return remark, [(words(key), text) for key, text in said]


def anchor(claim_id: str) -> str:
    """Return the place of a claim in the page, and the start of its figures' names: no dots, which would end a file's name."""
    return "claim-" + claim_id.replace(".", "_")


def _default_rates(claim: Claim, words: Words) -> str:
    """Return the learning rates of the sides as given, where a library's defaults differ and matter; else nothing."""
    judged = any(
        DEFAULT in ats(claim, QUANTITIES[each.quantity]) and QUANTITIES[each.quantity].tuned for each in claim.measures
    )
    if claim.a is None or not judged:
        return ""
    shipped, rates = shipped_optimizers(), dict[str, float]()
    for side in map(claim.given, (claim.a, *claim.against)):
        name, _, settings = side.partition(" ")
        if "optimizer.lr=" not in settings and (lr := shipped.get(name, {}).get("lr")) is not None:
            rates[words.side(name)] = float(lr)
    return words.listed(f"{side} {lr:g}" for side, lr in rates.items()) if len(set(rates.values())) > 1 else ""


def _measures(claim: Claim, words: Words) -> str:
    texts = [_measure(claim, measure, words) for measure in claim.measures]
    end = "。" if words.is_chinese else ". "
    sentences = [words.first(text) + end for text in texts]
    several = len(claim.workload_names) * max(1, len(claim.against)) > 1
    return "".join([*sentences, words(claim.rule) if several else ""]).strip()


def _measure(claim: Claim, measure: Measure, words: Words) -> str:
    assert claim.a is not None
    unit = QUANTITIES[measure.quantity].unit
    others = [words.side(side) for side in claim.against] or [
        words("the number", number=number(claim.reference or 0.0))
    ]
    opponents = (" 和 " if words.is_chinese else " and ").join(
        [", ".join(others[:-1]), others[-1]] if len(others) > 1 else others
    )
    delta = words.amount(1 + measure.delta if unit == "ratio" else measure.delta, unit)
    says = words(f"says {measure.says}", b=opponents, delta=delta)
    text = words("measure", quantity=words.quantity(measure.quantity), a=words.side(claim.a), says=says)
    return words("measure on", measure=text, workloads=words.listed(measure.workloads)) if measure.workloads else text


def _found(claim: Claim, facts: pd.DataFrame, words: Words) -> str:
    """Return what the check of a statement of fact found, with its numbers; empty where it was not run."""
    numbers = numbers_of(facts, str(claim.fact))
    if not numbers:
        return ""
    template = words.of(claim, "found")
    try:
        return string.Formatter().vformat(template, (), numbers)
    except (KeyError, IndexError, ValueError):
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in numbers.items())


def _sentences(cells: Mapping[str, TableCell], lines: pd.DataFrame, words: Words) -> Iterator[str]:
    """Return the verdicts on a claim, a sentence a setting."""
    for cell in cells.values():
        verdict, holds = words(cell.verdict), words("holds", answer=words(cell.holds or "unclear"))
        at = words.first(words.at(cell.at))
        if cell.at == UNTESTABLE:
            yield words.first(verdict) + ("。" if words.is_chinese else ".")
        elif cell.holds is None:
            yield words("none", at=at, verdict=verdict)
        elif cell.at == FACT:
            yield words("check says", verdict=verdict, holds=holds)
        else:
            rows = lines[(at_key(lines) == cell.at) & (lines["verdict"] != "not run")]
            if len(rows) == 1:
                effect = words.sentence(next(rows.itertuples()))
                yield words("one", at=at, verdict=verdict, holds=holds, effect=effect)
            else:
                counts = words.listed(
                    words("count", num=num, verdict=words(str(name)))
                    for name, num in rows["verdict"].value_counts().items()
                )
                yield words("several", at=at, verdict=verdict, holds=holds, num=len(rows), counts=counts)


def _places(lines: pd.DataFrame, words: Words) -> str:
    """Return where a claim holds, by setting, opponent and workload; empty where it rests on one comparison at a setting."""
    said = []
    for at in (DEFAULT, TUNED):
        rows = lines[(at_key(lines) == at) & (lines["verdict"] != "not run")]
        if len(rows) < 2:
            continue
        opponents: dict[tuple[tuple[str, str], ...], list[str]] = {}
        for _, of in rows.groupby("opponent_key", sort=False):
            answers = [
                (str(workload), _answer(set(each["holds"]))) for workload, each in of.groupby("workload", sort=False)
            ]
            opponents.setdefault(tuple(answers), []).append(words.opponent(next(of.itertuples())))
        for found, names in opponents.items():
            places = [
                words(f"where {answer}", workloads=words.listed(workload for workload, each in found if each == answer))
                for answer in ("yes", "no", "both", "unclear")
                if answer in dict(found).values()
            ]
            setting = words.first(words.at(at))
            if rows["opponent_key"].nunique() > 1:
                setting = words("where opponent", at=setting, b=words.listed(names))
            said.append(words("tally at", at=setting, said=words.semicolon.join(places)))
    end = "。" if words.is_chinese else ". "
    return "".join(sentence + end for sentence in said).strip()


def _variants(rows: pd.DataFrame, words: Words) -> str:
    """Return in how many variants a claim has the same answer, and which it has in the others, a sentence a setting."""
    said = []
    for at, own in rows.groupby("at", sort=False):
        others = own[~own["same"]]
        listed = words.listed(words(f"variant {name}") for name in own.loc[own["same"], "variant"])
        text = words("variants same", num=len(own), listed=listed)
        if len(others):
            differ = (
                words("variant differs", variant=words(f"variant {row.variant}"), answer=words(f"answer {row.holds}"))
                for row in others.itertuples()
            )
            text = words(
                "variants differ", same=len(own) - len(others), num=len(own), others=words.semicolon.join(differ)
            )
        said.append(words("tally at", at=words.first(words.at(at)), said=text))
    end = "。" if words.is_chinese else ". "
    return "".join(sentence + end for sentence in said).strip()


def _answer(answers: set[str]) -> str:
    """Return whether a claim holds on one workload by the answers of its quantities there: yes, no, both or unclear."""
    decided = answers - {"unclear"}
    return "both" if len(decided) > 1 else next(iter(decided), "unclear")


def _absent(claim: Claim, words: Words) -> dict[str, str]:
    """Return why a claim is not judged at a setting, by setting."""
    judged_at = {at for measure in claim.measures for at in ats(claim, QUANTITIES[measure.quantity])}
    if judged_at and DEFAULT not in judged_at:
        return {DEFAULT: words("one is tuned" if judged_at == {MIXED} else "over rates")}
    if judged_at == {DEFAULT}:
        if isinstance(claim.tuned, str):
            return {TUNED: words.of(claim, "tuned")}
        return {TUNED: words("tuning is no matter" if claim.tuned else "not tuned")}
    return {}


def _gist(claim: Claim, words: Words) -> str:
    """Return `Steps to the target, time to the target: Adam against SGD`; empty where nothing is compared."""
    if claim.a is None or not claim.measures:
        return ""
    quantities = dict.fromkeys(words.quantity(measure.quantity) for measure in claim.measures)
    others = [words.side(side) for side in claim.against] or [
        words("the number", number=number(claim.reference or 0.0))
    ]
    said = words("against", first=words.side(claim.a), second=words.listed(others))
    return words("word: meaning", word=words.first(words.listed(quantities)), meaning=said)


def readable_comparisons(lines: pd.DataFrame, words: Words) -> pd.DataFrame:
    """Comparisons of one claim as people read them: one text a cell; columns that say nothing are left out.

    Args:
        lines: What `shown` gave.
        words: Of a language.
    """
    order = (DEFAULT, TUNED, RATES, MIXED)
    rows = sorted(lines.itertuples(), key=lambda row: order.index(row.at))
    columns = {
        "at": [words.at(row.at) for row in rows],
        "quantity": [words.quantity(row.quantity) for row in rows],
        "workload": [row.workload for row in rows],
        "a": [words.side(row.a) for row in rows],
        "b": [words.opponent(row) for row in rows],
        "effect": ["" if row.verdict == "not run" else words.effect(row) for row in rows],
        "verdict": [words(row.verdict) for row in rows],
        "n": [str(row.n) if row.n else "" for row in rows],
        "bounded": [str(row.num_bounded) if row.num_bounded else "" for row in rows],
        "p": [f"{row.p_holm:.2g}" if pd.notna(row.p_holm) else "" for row in rows],
        "needed": [_needed(row, words) for row in rows],
        "note": [_note(row, words) for row in rows],
    }
    keep = {"workload", "b", "effect", "verdict", "n"}
    return pd.DataFrame(
        {
            words(name): texts
            for name, texts in columns.items()
            if name in keep or (len(set(texts)) > 1 or name in ("at", "quantity", "a", "p")) or any(texts)
        }
    )


MOST_NEEDED = 1_000
"""Seeds above which their number is not told."""


def _needed(row: Any, words: Words) -> str:
    if row.verdict != CANNOT_TELL or math.isnan(row.needed):
        return ""
    return words("over", most=f"{MOST_NEEDED:,}") if row.needed > MOST_NEEDED else f"{math.ceil(row.needed):,}"


def _note(row: Any, words: Words) -> str:
    if isinstance(row.problem, str) and row.problem:
        return words.first(row.why.text(words.language))
    said = [words("alone", verdict=words(row.alone))] if row.alone != row.verdict else []
    if isinstance(row.tuned_for, str) and row.tuned_for != QUANTITIES[row.quantity].select:
        said.append(words("tuned for another"))
    if row.at_edge:
        said.append(words("at edge", sides=words.listed(map(words.side, row.at_edge))))
    return words.semicolon.join(said)


def claim_pictures(
    claim: Claim, ledger: Ledger, evidence: Evidence, lines: pd.DataFrame, folder: Path
) -> list[tuple[str, Picture]]:
    """Return the figures that decide a claim, each with the key of its caption."""
    words = Words("en")
    name = anchor(claim.id)
    made = [("forest caption", f"{name}-forest", forest_figure(lines, words) if len(lines) else None)]
    speed = lines[lines["quantity"].isin(CURVES_OF) & (lines["verdict"] != "not run")]
    if len(speed):
        workload = str(speed["workload"].iloc[0])
        here = speed[speed["workload"] == workload]
        sides = {
            str(at): [*group["a"], *(side for side in group["b"] if isinstance(side, str))]
            for at, group in here.groupby("at", sort=False)
        }
        figure = curves_figure(evidence, workload, sides, ledger.workloads[workload].target, words)
        made.append(("curves caption", f"{name}-curves", figure))
    saved = []
    for key, file, figure in made:
        if figure is not None:
            with mpl.rc_context({"svg.fonttype": "none"}):  # letters as letters: fewer bytes, and a search finds them
                picture = picture_of(figure, file, "")
            (folder / f"{file}.svg").write_bytes(picture.svg)
            saved.append((key, replace(picture, wide=True)))
    return saved


def captioned(
    pictures: Iterable[tuple[str, Picture]], claim: Claim, lines: pd.DataFrame, ledger: Ledger, words: Words
) -> list[Picture]:
    """Return figures with captions in the language of the page."""
    made = []
    for key, picture in pictures:
        speed = lines[lines["quantity"].isin(CURVES_OF) & (lines["verdict"] != "not run")]
        name = str(speed["workload"].iloc[0]) if len(speed) else ""
        workload = f"{name} ({words.of(ledger.workloads[name], 'words')})" if name else ""
        caption = words(key, claim=claim.id, workload=workload)
        made.append(replace(picture, caption=caption, alt=re.split(r"[:：]", caption, maxsplit=1)[0]))
    return made
