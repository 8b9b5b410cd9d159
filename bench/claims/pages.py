"""The report of a ledger: one page, the same as Markdown in English and in Chinese, and a table for a terminal."""

from __future__ import annotations

import base64
import io
import itertools
import math
import re
import string
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import jinja2
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

import bench
from bench.claims import figures
from bench.claims.judge import HOLDS, RULE, VERDICTS, Sample, Spread, detectable
from bench.claims.ledger import Claim, Ledger, Measure
from bench.claims.quantities import DEFAULT, MIXED, NUM_TRIALS, QUANTITIES, RATES, TUNED, Evidence
from bench.claims.verdicts import FACT, UNTESTABLE, ats, numbers_of
from bench.claims.words import Words, number
from bench.report import stats
from bench.report.blocks import PIXELS_PER_INCH, Picture
from bench.report.render import markdown_table

OUR_FIGURES = re.compile(r"claim-.*\.(svg|png)")
"""What a report writes into figures/, and a later one takes away."""

FILES = {"en": "report.md", "zh": "report.zh.md"}

CURVES_OF = ("steps_to_target", "time_to_target", "loss_at_equal_time")
"""Quantities that curves of the validation loss show."""

MOST_OPEN = 8
"""Comparisons of a claim whose table stands open."""

FEW = 2
"""Comparisons of a claim at one setting that its row spells out; of more it says how many came out how."""

MAX_COLUMNS, WIDEST_CELL = 130, 38
"""Of the table for a terminal."""


class Commands(Protocol):
    """What gives the text of commands."""

    def repeat(self, claim: str) -> str:
        """What runs and judges one claim again."""

    def rebuild(self) -> str:
        """What makes the report anew from its tables."""


# --- what is shown --------------------------------------------------------------------------------------


def shown(ledger: Ledger, judged: pd.DataFrame) -> pd.DataFrame:
    """Comparisons with what a reader is shown of them.

    Args:
        ledger: The claims.
        judged: What `bench.claims.verdicts.comparisons` gave.

    Returns:
        The same rows. Estimates and limits of a quantity that is held against a number are in its own unit rather than
        ratios to that number, which is `center` (else 1 for ratios, 0 for differences); band_low and band_high: between
        them a difference does not count; detectable: the smallest difference that would be seen, as a ratio or in the
        unit; opponent_key: what it is compared with, in English.
    """
    ratio = (judged["unit"] == "ratio").to_numpy(bool)
    references = [ledger.claims[name].reference for name in judged["claim"]]
    center = np.array([float(ratio[i]) if value is None else value for i, value in enumerate(references)], dtype=float)
    scale = np.where(ratio, center, 1.0)
    shift = np.where(ratio, 0.0, center)
    delta = judged["delta"].to_numpy(float)
    table = judged.assign(
        center=center,
        band_low=np.where(ratio, center / (1 + delta), center - delta),
        band_high=np.where(ratio, center * (1 + delta), center + delta),
        detectable=list(_detectable(judged)),
    )
    for name in ("estimate", "low", "high"):
        table[name] = table[name].astype(float) * scale + shift
    table["estimate"] = table["estimate"].where(np.isfinite(table["estimate"]))
    table["low"] = table["low"].mask(ratio & (table["low"] <= 0), -math.inf)
    words = Words("en")
    table["opponent_key"] = pd.Series([words.opponent(row) for row in table.itertuples()], table.index, dtype=object)
    return table


def _detectable(judged: pd.DataFrame) -> Iterator[float]:
    """The smallest difference that each comparison would show with 80 % power, after Holm's correction at its strictest."""
    level = (1 - stats.LEVEL) / max(1, num_tests(judged))
    for row in judged.itertuples():
        if not isinstance(row.sample, Sample | Spread) or row.method == "exact":
            yield math.nan
            continue
        is_ratio = row.unit == "ratio"
        found = detectable(row.sample, math.log1p(row.delta) if is_ratio else row.delta, level)
        yield math.exp(found) if is_ratio and found < 50 else math.nan if is_ratio else found


def num_tests(judged: pd.DataFrame) -> int:
    """Over how many comparisons p is adjusted: one that serves several claims counts once."""
    tested = judged[judged["p"].notna() & (judged["method"] != "exact")]
    sides = [tuple(sorted((row.a, str(row.b)))) for row in tested.itertuples()]
    return len(tested.assign(sides=sides).drop_duplicates(["quantity", "workload", "at", "sides", "delta", "p"]))


@dataclass(frozen=True)
class Cell:
    """What the table of all claims says of one claim at one setting.

    Attributes:
        at: The setting.
        verdict: The word of it, a key of the words.
        holds: Whether the claim holds; None: nothing was run.
        text: The effect, or how many comparisons came out how.
        plot: A small forest plot.
    """

    at: str
    verdict: str
    holds: str | None
    text: str
    plot: Markup


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
    cells: Mapping[str, Cell]
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
    def is_long(self) -> bool:
        """Whether its table is folded."""
        return self.table is not None and len(self.table) > MOST_OPEN


# --- cells ----------------------------------------------------------------------------------------------


def _at_key(rows: pd.DataFrame) -> pd.Series:
    return rows["at"].replace([RATES, MIXED], TUNED)


def _cells(claim: Claim, lines: pd.DataFrame, found: pd.DataFrame, words: Words, few: int = FEW) -> dict[str, Cell]:
    """The verdicts on a claim, by setting."""
    cells = {}
    scales = {str(unit): figures.reach(group) for unit, group in lines.groupby("unit", sort=False)}
    for verdict in found[found["claim"] == claim.id].itertuples():
        rows = lines[_at_key(lines) == verdict.at]
        text = _cell_text(rows, str(verdict.verdict), words, few)
        label = f"{words.at(str(verdict.at))}: {words(verdict.verdict)}. {text}"
        plot = figures.small_forest(rows, scales, label, words) if len(rows) else Markup("")
        holds = verdict.holds if isinstance(verdict.holds, str) else None
        cells[str(verdict.at)] = Cell(str(verdict.at), verdict.verdict, holds, text, plot)
    return cells


def _cell_text(rows: pd.DataFrame, verdict: str, words: Words, few: int) -> str:
    """The effects of few comparisons; of many how they came out."""
    run = rows[rows["verdict"] != "not run"]
    if run.empty:
        return ""
    if len(run) <= few:
        several = len(rows) > 1
        differs = rows["quantity"].nunique() > 1
        return words.semicolon.join(
            f"{(words.quantity(row.quantity) if differs else row.workload) + ' ' if several else ''}{words.effect(row)}"
            for row in run.itertuples()
        )
    counts = run["verdict"].value_counts(sort=False).sort_values(ascending=False, kind="stable")
    if few < FEW:
        if verdict == "mixed":
            return words("count of", num=counts.get("supported", 0), all=len(run), verdict=words("supported"))
        return words("of", num=counts.get(verdict, 0), all=len(run))
    (first, most), *others = counts.items()
    said = [words("count of", num=most, all=len(run), verdict=words(str(first)))]
    said += [words("count", num=num, verdict=words(str(verdict))) for verdict, num in others]
    return words.listed(said)


def _short(cell: Cell | None, words: Words) -> str:
    """`supported (yes) 0.62 [0.55, 0.7]`."""
    if cell is None:
        return ""
    verdict = words(cell.verdict)
    if cell.holds is not None:
        verdict = words("short", verdict=verdict, answer=words(cell.holds))
    return f"{verdict} {cell.text}".rstrip()


def verdict_table(ledger: Ledger, judged: pd.DataFrame, found: pd.DataFrame, language: str = "en") -> pd.DataFrame:
    """The verdicts on all claims as texts.

    Args:
        ledger: The claims.
        judged: What `bench.claims.verdicts.comparisons` gave.
        found: What `bench.claims.verdicts.verdicts` gave.
        language: en or zh.

    Returns:
        One row a claim: its id, what it says, and how it came out as given, and tuned. A statement of fact, and a claim
        that cannot be tested, stand in the first of the two.

    Raises:
        ValueError: There is no such language.
    """
    return _table(ledger, judged, found, Words(language), FEW)


def _table(ledger: Ledger, judged: pd.DataFrame, found: pd.DataFrame, words: Words, few: int) -> pd.DataFrame:
    """`verdict_table`, which spells out the comparisons of a claim at one setting if there are so few."""
    lines = shown(ledger, judged)
    rows = []
    for claim in ledger.claims.values():
        cells = _cells(claim, lines[lines["claim"] == claim.id], found, words, few)
        rows.append([claim.id, words.of(claim, "claim"), *_row(cells, words)])
    return pd.DataFrame(rows, columns=[words("claim"), words("what is said"), words.at(DEFAULT), words.at(TUNED)])


def _row(cells: Mapping[str, Cell], words: Words) -> tuple[str, str]:
    """How a claim came out as given, and tuned; a check, and what cannot be tested, stands in the first."""
    first = cells.get(DEFAULT, cells.get(FACT, cells.get(UNTESTABLE)))
    checked = f" {words.at(FACT)}" if first is not None and first.at == FACT and first.holds is not None else ""
    return _short(first, words) + checked, _short(cells.get(TUNED), words)


def verdict_text(ledger: Ledger, judged: pd.DataFrame, found: pd.DataFrame) -> str:
    """The verdicts on all claims for a terminal, at most 130 columns wide, with what the words mean.

    Args:
        ledger: The claims.
        judged: What `bench.claims.verdicts.comparisons` gave.
        found: What `bench.claims.verdicts.verdicts` gave.
    """
    words = Words("en")
    table = _table(ledger, judged, found, words, few=1)
    rows = [list(table), *table.to_numpy().tolist()]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    widths[2:] = [min(width, WIDEST_CELL) for width in widths[2:]]
    widths[1] = min(widths[1], MAX_COLUMNS - widths[0] - widths[2] - widths[3] - 6)
    lines = []
    for row in rows:
        cells = [[row[0]], [textwrap.shorten(row[1], widths[1], placeholder=" …")]]
        cells += [textwrap.wrap(row[i], widths[i]) for i in (2, 3)]
        lines += [
            "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
            for line in itertools.zip_longest(*cells, fillvalue="")
        ]
    return "\n".join([*lines, "", words("terminal")])


# --- a claim --------------------------------------------------------------------------------------------


def _claim_page(
    claim: Claim,
    ledger: Ledger,
    lines: pd.DataFrame,
    found: pd.DataFrame,
    facts: pd.DataFrame,
    pictures: Sequence[Picture],
    command: str,
    words: Words,
) -> ClaimPage:
    cells = _cells(claim, lines, found, words)
    sources = {**ledger.head.sources, **(ledger.head.sources_zh if words.is_chinese else {})}
    said: list[tuple[str, str]] = [("reading", words.of(claim, "reading"))]
    if claim.measures:
        said.append(("measures", _measures(claim, words)))
    if claim.settings:
        settings = [words.side(claim.given(name)) for name in claim.settings]
        said.append(("settings", "; ".join(settings)))
    if claim.smaller:
        said.append(("smaller", words.of(claim, "smaller")))
    remark = ""
    if claim.fact is not None:
        remark = _found(claim, facts, words)
        said += [("found", remark)] if remark else []
    if claim.untestable is not None:
        remark = words.first(words.of(claim, "untestable"))
        said += [("why", remark), ("would take", words.first(words.of(claim, "would_take")))]
    absent = _absent(claim, words)
    notes = []
    left_out = [name for name in claim.workload_names if name not in ledger.workloads]
    if left_out:
        notes.append(words("beyond budget", workloads=words.listed(left_out)))
    return ClaimPage(
        id=claim.id,
        anchor=anchor(claim.id),
        claim=words.of(claim, "claim"),
        source=str(sources.get(claim.source, claim.source)),
        facts=[(words(key), text) for key, text in said],
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


def anchor(claim_id: str) -> str:
    """The place of a claim in the page, and the start of its figures' names: no dots, which would end a file's name."""
    return "claim-" + claim_id.replace(".", "_")


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
    """What the check of a statement of fact found, with its numbers; empty where it was not run."""
    numbers = numbers_of(facts, str(claim.fact))
    if not numbers:
        return ""
    template = words.of(claim, "found")
    try:
        return string.Formatter().vformat(template, (), numbers)
    except (KeyError, IndexError, ValueError):
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in numbers.items())


def _sentences(cells: Mapping[str, Cell], lines: pd.DataFrame, words: Words) -> Iterator[str]:
    """The verdicts on a claim, a sentence a setting."""
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
            rows = lines[(_at_key(lines) == cell.at) & (lines["verdict"] != "not run")]
            if len(rows) == 1:
                effect = words.sentence(next(rows.itertuples()))
                yield words("one", at=at, verdict=verdict, holds=holds, effect=effect)
            else:
                counts = words.listed(
                    words("count", num=num, verdict=words(str(name)))
                    for name, num in rows["verdict"].value_counts().items()
                )
                yield words("several", at=at, verdict=verdict, holds=holds, num=len(rows), counts=counts)


def _absent(claim: Claim, words: Words) -> dict[str, str]:
    """Why a claim is not judged at a setting, by setting."""
    judged_at = {at for measure in claim.measures for at in ats(claim, QUANTITIES[measure.quantity])}
    if judged_at and DEFAULT not in judged_at:
        return {DEFAULT: words("one is tuned" if judged_at == {MIXED} else "over rates")}
    if judged_at == {DEFAULT}:
        if isinstance(claim.tuned, str):
            return {TUNED: words.of(claim, "tuned")}
        return {TUNED: words("tuning is no matter" if claim.tuned else "not tuned")}
    return {}


def _gist(claim: Claim, words: Words) -> str:
    """`Steps to the target, time to the target: Adam against SGD`; empty where nothing is compared."""
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
        "detectable": [words.amount(row.detectable, row.unit) for row in rows],
        "note": [_note(row, words) for row in rows],
    }
    keep = {"workload", "b", "effect", "verdict", "n"}
    return pd.DataFrame(
        {
            words(name): texts
            for name, texts in columns.items()
            if name in keep or (len(set(texts)) > 1 or name in ("at", "quantity", "a", "p", "detectable")) or any(texts)
        }
    )


def _note(row: Any, words: Words) -> str:
    if isinstance(row.problem, str) and row.problem:
        return words.first(words.why(row.problem))
    if row.alone != row.verdict:
        return words("alone", verdict=words(row.alone))
    return ""


# --- contradictions -------------------------------------------------------------------------------------


def contradictions(ledger: Ledger) -> list[tuple[str, str]]:
    """Pairs of claims that say the opposite of each other, each pair once, in the order of the ledger."""
    order = {name: i for i, name in enumerate(ledger.claims)}
    pairs = {
        tuple(sorted((claim.id, other), key=order.__getitem__))
        for claim in ledger.claims.values()
        for other in claim.contradicts
        if other in order and other != claim.id
    }
    return sorted(((first, second) for first, second in pairs), key=lambda pair: (order[pair[0]], order[pair[1]]))


def _outcome(first: ClaimPage, second: ClaimPage, words: Words) -> list[str]:
    """Which of two claims that contradict each other is right, a text a setting."""
    said = []
    for at in (DEFAULT, TUNED):
        cells = [page.cells.get(at) for page in (first, second)]
        answers = {
            page.id: cell.holds for page, cell in zip((first, second), cells, strict=True) if cell and cell.holds
        }
        if len(answers) < 2:
            continue
        by_answer = {answer: [name for name, given in answers.items() if given == answer] for answer in HOLDS}
        where = words.first(words.at(at))
        names = {"at": where}
        if len(by_answer["yes"]) == 2:
            said.append(words("both", **names))
        elif len(by_answer["no"]) == 2:
            said.append(words("neither", **names))
        elif by_answer["yes"] and by_answer["no"]:
            said.append(words("one is right", right=by_answer["yes"][0], wrong=by_answer["no"][0], **names))
        elif by_answer["yes"]:
            said.append(words("one holds", right=by_answer["yes"][0], other=by_answer["unclear"][0], **names))
        elif by_answer["no"]:
            said.append(words("one fails", wrong=by_answer["no"][0], other=by_answer["unclear"][0], **names))
        else:
            said.append(words("open", **names))
    return said


# --- figures --------------------------------------------------------------------------------------------


def _pictures(
    claim: Claim, ledger: Ledger, evidence: Evidence, lines: pd.DataFrame, folder: Path
) -> list[tuple[str, Picture]]:
    """The figures that decide a claim, each with the key of its caption."""
    words = Words("en")
    name = anchor(claim.id)
    made = [("forest caption", f"{name}-forest", figures.forest_figure(lines, words) if len(lines) else None)]
    speed = lines[lines["quantity"].isin(CURVES_OF) & (lines["verdict"] != "not run")]
    if len(speed):
        workload = str(speed["workload"].iloc[0])
        here = speed[speed["workload"] == workload]
        sides = {
            str(at): [*group["a"], *(side for side in group["b"] if isinstance(side, str))]
            for at, group in here.groupby("at", sort=False)
        }
        figure = figures.curves_figure(evidence, workload, sides, ledger.workloads[workload].target, words)
        made.append(("curves caption", f"{name}-curves", figure))
    saved = []
    for key, file, figure in made:
        if figure is not None:
            saved.append((key, _saved(file, figure, folder)))
    return saved


def _saved(name: str, figure: Figure, folder: Path) -> Picture:
    """Write a figure as SVG; its caption is that of the language."""
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "none"}):  # letters as letters: fewer bytes, and a search finds them
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    width, height = figure.get_size_inches()
    plt.close(figure)
    (folder / f"{name}.svg").write_bytes(buffer.getvalue())
    uri = "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Picture(name, "", "", uri, round(PIXELS_PER_INCH * width), round(PIXELS_PER_INCH * height), wide=True)


def _captioned(
    pictures: Iterable[tuple[str, Picture]], claim: Claim, lines: pd.DataFrame, ledger: Ledger, words: Words
) -> list[Picture]:
    made = []
    for key, picture in pictures:
        speed = lines[lines["quantity"].isin(CURVES_OF) & (lines["verdict"] != "not run")]
        name = str(speed["workload"].iloc[0]) if len(speed) else ""
        workload = f"{name} ({words.of(ledger.workloads[name], 'words')})" if name else ""
        caption = words(key, claim=claim.id, workload=workload)
        made.append(replace(picture, caption=caption, alt=re.split(r"[:：]", caption, maxsplit=1)[0]))
    return made


# --- the whole report -----------------------------------------------------------------------------------


def _tally(ledger: Ledger, found: pd.DataFrame, words: Words) -> list[str]:
    """How many claims there are, and how many hold at each setting; what checks decided counts at both."""
    num, num_sources = len(ledger.claims), len({claim.source for claim in ledger.claims.values()})
    sources = words("one source") if num_sources == 1 else words("sources", num=num_sources)
    said = [words("tally one" if num == 1 else "tally", num=num, sources=sources)]
    for at in (DEFAULT, TUNED, FACT, UNTESTABLE):
        rows = found[found["at"] == at]
        if rows.empty:
            continue
        if at == UNTESTABLE:
            said.append(words("tally not testable here", num=len(rows)) + ("。" if words.is_chinese else "."))
            continue
        answers = rows["holds"].where(rows["holds"].notna(), "not run")
        counts = [
            words(f"tally {answer}", num=int((answers == answer).sum()))
            for answer in (*HOLDS, "not run")
            if (answers == answer).any()
        ]
        text = words("tally at", at=words.first(words.at(at)), said=words.listed(counts))
        said.append(text + ("。" if words.is_chinese else "."))
    return said


def _method(ledger: Ledger, evidence: Evidence, judged: pd.DataFrame, words: Words) -> list[str]:
    said = [words("method intervals"), words("method delta", num=num_tests(judged)), words("rule", rule=RULE)]
    if (judged["at"] == TUNED).any():
        said.append(words("method tuned", trials=NUM_TRIALS))
    said.append(words("method detectable"))
    used = evidence.runs
    if len(used) and "run_id" in used and "run_id" in evidence.claim_runs:
        used = used[used["run_id"].isin(evidence.claim_runs["run_id"])]
    names = ["cpu", "num_cores", "os", "torch_version", "python_version"]
    if len(used) and set(names) <= set(used.columns):
        machines = used[names].drop_duplicates().fillna("?")
        texts = [
            words("machine", cpu=row[0], cores=row[1], os=row[2], torch=row[3], python=row[4])
            for row in machines.itertuples(index=False)
        ]
        said.append(
            words("method machine", machines="; ".join(texts))
            + (words("one machine") if words.is_chinese else f" {words('one machine')}") * (len(texts) == 1)
        )
    return said


def _workloads(ledger: Ledger, evidence: Evidence, words: Words) -> pd.DataFrame:
    used = {name for claim in ledger.claims.values() for name in claim.workload_names}
    claimed = evidence.claim_runs
    counts = claimed.drop_duplicates("run_id")["workload"].value_counts() if len(claimed) else {}
    rows = [
        {
            words("workload"): name,
            "": words.of(workload, "words"),
            words("runs made"): f"{int(counts.get(name, 0)):,}",
            words("seeds"): str(workload.seeds),
            words("target"): words("higher median") if workload.target is None else number(workload.target),
            words("run"): " ".join(workload.run),
        }
        for name, workload in ledger.workloads.items()
        if name in used
    ]
    return pd.DataFrame(rows)


def write_report(
    ledger: Ledger,
    evidence: Evidence,
    judged: pd.DataFrame,
    found: pd.DataFrame,
    facts: pd.DataFrame,
    report_dir: Path,
    commands: Commands,
) -> None:
    """Write index.html, report.md, report.zh.md and figures/.

    Args:
        ledger: The claims, with the workloads that they were judged on.
        evidence: The tables.
        judged: What `bench.claims.verdicts.comparisons` gave.
        found: What `bench.claims.verdicts.verdicts` gave.
        facts: Side table `facts`.
        report_dir: Folder to write into.
        commands: Gives what is typed to repeat a claim, and to make the report.

    Raises:
        OSError: The folder cannot be written.
    """
    folder = report_dir / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if OUR_FIGURES.fullmatch(path.name):
            path.unlink(missing_ok=True)
    lines = shown(ledger, judged)
    of_claim = {name: lines[lines["claim"] == name] for name in ledger.claims}
    pictures = {
        name: _pictures(claim, ledger, evidence, of_claim[name], folder) for name, claim in ledger.claims.items()
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=jinja2.select_autoescape(["html.j2"]),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"markdown_table": markdown_table, "plain": plain}
    for language, file in FILES.items():
        words = Words(language)
        pages = [
            _claim_page(
                claim, ledger, of_claim[name], found, facts, _captioned(pictures[name], claim, of_claim[name], ledger, words),
                commands.repeat(name), words,
            )
            for name, claim in ledger.claims.items()
        ]  # fmt: skip
        by_id = {page.id: page for page in pages}
        context = {
            "words": words,
            "title": words.of(ledger.head, "title"),
            "about": words.of(ledger.head, "about"),
            "tally": _tally(ledger, found, words),
            "by_source": _by_source(pages),
            "pages": pages,
            "by_id": by_id,
            "contradictions": [
                (by_id[first], by_id[second], _outcome(by_id[first], by_id[second], words))
                for first, second in contradictions(ledger)
            ],
            "verdicts": VERDICTS,
            "table": _markdown_verdicts(pages, words),
            "method": _method(ledger, evidence, judged, words),
            "workloads": _workloads(ledger, evidence, words),
            "command": commands.rebuild(),
            "other": FILES["zh" if language == "en" else "en"],
            "version": bench.__version__,
        }
        text = environment.get_template("claims.md.j2").render(context)
        (report_dir / file).write_text(re.sub(r"\n{3,}", "\n\n", text), encoding="utf-8")
        if language == "en":
            html = environment.get_template("claims.html.j2").render(context)
            (report_dir / "index.html").write_text(html, encoding="utf-8")


def _by_source(pages: Iterable[ClaimPage]) -> list[tuple[str, list[ClaimPage]]]:
    groups: dict[str, list[ClaimPage]] = {}
    for page in pages:
        groups.setdefault(page.source, []).append(page)
    return list(groups.items())


def _markdown_verdicts(pages: Iterable[ClaimPage], words: Words) -> pd.DataFrame:
    """The table of all claims as Markdown, each linked to its section."""
    rows = [[f"[{page.id}](#{page.anchor})", plain(page.claim), *_row(page.cells, words)] for page in pages]
    return pd.DataFrame(rows, columns=[words("claim"), words("what is said"), words.at(DEFAULT), words.at(TUNED)])


def plain(text: str) -> str:
    """Text that is no markup to Markdown."""
    return re.sub(r"([\\*`<]|(?<!\w)_|_(?!\w))", r"\\\1", text)
