"""The report of claims: every claim in both languages, the same numbers, every verdict, and what a reader must not meet."""

from __future__ import annotations

import ast
import json
import math
import re
import shutil
import string
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from bench.analysis.bounds import Sample
from bench.claims import catalogue as catalogue_module
from bench.claims import rounds
from bench.claims.catalogue import LANGUAGES, catalogue
from bench.claims.effects import evidence
from bench.claims.effects.evidence import DEFAULT, MIXED, RATES, TUNED, Evidence, NotMeasured, Pair
from bench.claims.effects.registry import QUANTITIES
from bench.claims.evaluate import FACT, UNTESTABLE, comparisons, verdicts
from bench.claims.ledger import CLAIMS_DIR, Ledger, load
from bench.claims.report import claim_page, forest, i18n
from bench.claims.report import page as report_page
from bench.claims.report import table as report_table
from bench.claims.report.i18n import Words, number
from bench.claims.verdict import DIRECTIONS, HOLDS, VERDICTS

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
INF = math.inf
VOID = {"meta", "br", "img", "col", "link", "input", "hr"}


def near(value: float, spread: float = 0.01) -> np.ndarray:
    """Ten differences about a value."""
    return value + spread * np.linspace(-1, 1, 10)


def known(value: float, spread: float = 0.01) -> Sample:
    return Sample(near(value, spread), near(value, spread))


# the side a, at: what is known of it against b
SAMPLES: dict[tuple[str, str], Any] = {
    ("adam", DEFAULT): known(-0.5),
    ("adam", TUNED): known(0.0),
    ("sgd", DEFAULT): known(0.5),
    ("sgd", TUNED): known(0.06, 0.6),
    ("nadam", DEFAULT): Sample(near(1.0), np.full(10, INF)),
    ("nadam", TUNED): Sample(np.full(10, -INF), near(-1.0)),
    ("adamax", DEFAULT): Sample(np.full(10, -INF), np.full(10, INF)),
    ("adamax", TUNED): NotMeasured("step_times_contended"),
    ("radam", DEFAULT): known(0.1, 0.4),
    ("radam", TUNED): known(0.0),
    ("muon", DEFAULT): NotMeasured("not_run", there=False, side="muon"),
    ("muon", TUNED): NotMeasured("not_run", there=False, side="muon"),
}
MEASURE = [{"quantity": "val_loss", "says": "less", "delta": 0.1}]
COMMON: dict[str, Any] = {
    "source": "one",
    "reading": "how",
    "measures": MEASURE,
    "against": ["rmsprop"],
    "workloads": ["digits_mlp"],
}
CLAIMS: list[dict[str, Any]] = [
    COMMON | {"id": "1", "claim": "Adam is *lower* | better.", "claim_zh": "Adam 更低。", "a": "adam", "contradicts": ["2"]},
    COMMON | {"id": "2", "claim": "SGD is lower.", "a": "sgd", "contradicts": ["1"], "smaller": "It is tiny."},
    COMMON | {"id": "3.a", "claim": "NAdam is lower.", "a": "nadam", "tuned": "it <never> is", "source": "two"},
    COMMON | {"id": "4", "claim": "AdaMax is lower.", "a": "adamax"},
    COMMON | {"id": "5", "claim": "Muon is lower.", "a": "muon"},
    COMMON | {"id": "6", "claim": "All differ.", "a": "adam", "workloads": ["digits_mlp", "digits_cnn", "cifar10_conv64"]},
    {"id": "7", "source": "one", "claim": "It is so.", "reading": "run it", "fact": "is_so", "found": "{num} of {share:.0%}"},
    {"id": "8", "source": "one", "claim": "It is not.", "reading": "run it", "fact": "is_not", "found": "{absent}"},
    {"id": "9", "source": "one", "claim": "Unknown.", "reading": "run it", "fact": "not_run", "found": "{num}"},
    {"id": "10", "source": "one", "claim": "GPUs help.", "reading": "-", "untestable": "no GPU", "would_take": "a GPU"},
    COMMON | {"id": "11", "claim": "Falls by 8.", "a": "adam", "against": [], "reference": 8, "tuned": False,
              "measures": [{"quantity": "loss_fall", "says": "same", "delta": 0.25}]},
    COMMON | {"id": "12", "claim": "A wide basin.", "a": "adam", "measures": [{"quantity": "basin", "says": "more", "delta": 0.25}]},
    COMMON | {"id": "13", "claim": "Any untuned one.", "a": "adam|nadam",
              "measures": [{"quantity": "untuned_choice", "says": "not_more", "delta": 0.1}]},
    COMMON | {"id": "14", "claim": "Less memory.", "a": "adam optimizer.eps=1e-3",
              "measures": [{"quantity": "peak_memory", "says": "less", "delta": 0.01}]},
    COMMON | {"id": "15", "claim": "RAdam is lower.", "a": "radam"},
]  # fmt: skip
FACTS = pd.DataFrame(
    [
        {"fact": "is_so", "holds": True, "numbers": json.dumps({"num": 3, "share": 0.25})},
        {"fact": "is_not", "holds": False, "numbers": json.dumps({"num_found": 7})},
    ]
)
NOTHING = Evidence(
    pd.DataFrame(columns=["run_id", "seed", "status"]),
    pd.DataFrame(columns=["run_id", "split", "metric", "step", "value"]),
    pd.DataFrame(),
    pd.DataFrame(columns=["workload", "side", "at", "run_id"]),
)


class Typed:
    def repeat(self, claim: str) -> str:
        return f"again {claim}"

    def rebuild(self) -> str:
        return "rebuild it"


def made_up(pair: Pair) -> Sample:
    if pair.at in (RATES, MIXED):
        return known(0.5)
    if pair.b is None:
        return known(math.log(6))
    sample = SAMPLES[pair.a, pair.at]
    if isinstance(sample, NotMeasured):
        raise sample
    return -sample if pair.workload == "digits_cnn" else sample


def exact(pair: Pair) -> Sample:
    return Sample(np.array([-0.5]), np.array([-0.5]), exact=True)


VARIED = pd.DataFrame(
    [
        {"claim": "1", "at": "default", "variant": "looser", "holds": "yes", "same": True},
        {"claim": "1", "at": "default", "variant": "half", "holds": "in some cases", "same": False},
        {"claim": "3.a", "at": "tuned", "variant": "by loss", "holds": "no", "same": True},
    ]
)


def ledger_of(folder: Path, claims: list[dict[str, Any]]) -> Ledger:
    folder.mkdir(parents=True)
    for claim in claims:
        (folder / f"{claim['id']}.yaml").write_text(yaml.safe_dump(claim, allow_unicode=True), encoding="utf-8")
    return load(str(folder)).chosen(budget="quick")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ledger, pd.DataFrame, pd.DataFrame, Path]:
    folder = tmp_path_factory.mktemp("claims")
    with pytest.MonkeyPatch.context() as patch:
        for name, quantity in QUANTITIES.items():
            patch.setitem(QUANTITIES, name, replace(quantity, sample=exact if name == "peak_memory" else made_up))
        ledger = ledger_of(folder / "mine", CLAIMS)
        judged = comparisons(ledger, NOTHING)
        table = verdicts(ledger, judged, FACTS)
        report_page.write_report(ledger, NOTHING, judged, table, FACTS, VARIED, folder / "report", Typed())
    return ledger, judged, table, folder / "report"


def text_of(report: Path, name: str) -> str:
    return (report / name).read_text(encoding="utf-8")


def sections(markdown: str) -> dict[str, str]:
    """What stands under each anchor of a claim."""
    parts = re.split(r'<a id="(claim-[^"]+)"></a>', markdown)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


class Reader(HTMLParser):
    """Tags that are closed in order, ids, and links within the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids += [given["id"]] if given.get("id") else []
        href = given.get("href") or ""
        self.links += [href[1:]] if href.startswith("#") else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


# --- the whole report -----------------------------------------------------------------------------------


def test_every_claim_has_a_row_and_a_section_and_links_lead_somewhere(found: Any) -> None:
    ledger, _, _, report = found
    html = text_of(report, "index.html")
    page = Reader(html)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert set(page.links) <= set(page.ids)
    for claim in ledger.claims:
        anchor = claim_page.anchor(claim)
        assert re.search(f'<th scope="row" role="rowheader"><a href="#{anchor}">{re.escape(claim)}</a>', html)
        assert f'<h3 id="{anchor}">{claim} ' in html
        assert f"again {claim}<" in html
        for name in ("report.md", "report.zh.md"):
            assert f"| [{claim}](#{anchor}) |" in text_of(report, name)
            assert f"`again {claim}`" in sections(text_of(report, name))[anchor]


def test_figures_of_the_markdown_are_there_and_old_ones_are_not(found: Any, tmp_path: Path) -> None:
    ledger, judged, table, report = found
    for name in ("report.md", "report.zh.md"):
        linked = re.findall(r"!\[[^\]]+\]\((figures/[^)]+)\)", text_of(report, name))
        assert "figures/claim-3_a-forest.svg" in linked
        assert all((report / path).is_file() for path in linked)
    (tmp_path / "figures").mkdir()
    for name in (
        "index.html",
        "report.md",
        *(f"figures/{f}" for f in ("claim-old-forest.svg", "claim-old-forest.png", "mine.svg")),
    ):
        (tmp_path / name).write_text("")
    report_page.write_report(ledger, NOTHING, judged[judged["claim"] == "1"], table, FACTS, VARIED, tmp_path, Typed())
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"claim-1-forest.svg", "mine.svg"}


def test_nothing_that_is_no_number_is_shown_as_one(found: Any) -> None:
    ledger, judged, table, report = found
    svg = re.compile(r"data:image[^\"]+")
    shown = [svg.sub("", text_of(report, name)) for name in ("index.html", "report.md", "report.zh.md")]
    shown += [path.read_text() for path in (report / "figures").glob("*.svg")]
    for text in [*shown, report_table.verdict_text(ledger, judged, table)]:
        assert not re.search(r"(?<![A-Za-z])[+-]?(inf|nan|None|NaN)(?![A-Za-z])", text)


@pytest.mark.parametrize(
    ("claim", "at", "effect"),
    [
        ("1", DEFAULT, "0.607 [0.604, 0.609]"),
        ("3.a", DEFAULT, "at least 2.72 [2.71, no limit]"),
        ("4", DEFAULT, "no estimate [no limit, no limit]"),
        ("11", DEFAULT, "6 [5.97, 6.03]"),
        ("12", RATES, "+0.5 decades [+0.495, +0.505]"),
        ("14", DEFAULT, "0.607"),
    ],
)
def test_effects_in_words(found: Any, claim: str, at: str, effect: str) -> None:
    ledger, judged, _, _ = found
    lines = report_table.shown(ledger, judged)
    (row,) = lines[(lines["claim"] == claim) & (lines["at"] == at)].itertuples()
    assert Words("en").effect(row) == effect


def test_an_upper_bound_has_no_lower_limit(found: Any) -> None:
    ledger, judged, _, _ = found
    lines = report_table.shown(
        ledger.chosen("1"), judged[judged["claim"] == "1"].head(1).assign(bound="at most", low=0.0)
    )
    (row,) = lines.itertuples()
    assert Words("en").effect(row) == "at most 0.607 [no limit, 0.609]"
    assert Words("zh").effect(row) == "至多 0.607 [无下限, 0.609]"
    assert Words("en").sentence(row) == "Adam's final validation loss: at most 0.607 times RMSprop's [no limit, 0.609]"


EXPECTED = {
    ("1", DEFAULT): ("supported", "yes"),
    ("1", TUNED): ("no difference", "no"),
    ("2", DEFAULT): ("refuted", "no"),
    ("2", TUNED): ("cannot tell", "unclear"),
    ("3.a", DEFAULT): ("refuted", "no"),
    ("4", DEFAULT): ("cannot tell", "unclear"),
    ("4", TUNED): ("cannot tell", "unclear"),
    ("5", DEFAULT): ("not run", None),
    ("6", DEFAULT): ("mixed", "in some cases"),
    ("7", FACT): ("supported", "yes"),
    ("8", FACT): ("refuted", "no"),
    ("9", FACT): ("not run", None),
    ("15", DEFAULT): ("ruled out", "no"),
    ("10", UNTESTABLE): ("not testable here", None),
}


def test_every_verdict_is_among_these() -> None:
    assert {verdict for verdict, _ in EXPECTED.values()} == set(VERDICTS)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_verdicts_in_words(found: Any, language: str) -> None:
    ledger, judged, table, _ = found
    say = Words(language)
    texts = report_table.verdict_table(ledger, judged, table, language).set_index(say("claim"))
    for (claim, at), (verdict, holds) in EXPECTED.items():
        text = texts.loc[claim, say.at(TUNED if at == TUNED else DEFAULT)]
        wanted = say(verdict) if holds is None else say("short", verdict=say(verdict), answer=say(holds))
        assert text.startswith(wanted), (claim, at)
        assert ("(" in text or "（" in text) == (holds is not None)
    assert texts.loc["3.a", say.at(TUNED)] == ""


def test_a_claim_of_several_comparisons_counts_them(found: Any) -> None:
    ledger, judged, table, report = found
    texts = report_table.verdict_table(ledger, judged, table).set_index("claim")
    assert (
        texts.loc["6", "as given"]
        == "mixed (in some cases) digits_mlp 0.607 [0.604, 0.609]; digits_cnn 1.65 [1.64, 1.66]"
    )
    assert re.search(
        r"^6 +All differ\. +mixed \(in some cases\) 1 of 2 supported",
        report_table.verdict_text(ledger, judged, table),
        re.M,
    )
    assert "Of 2 comparisons: 1 supported, 1 refuted." in text_of(report, "report.md")
    assert "Not run in this budget: cifar10_conv64." in text_of(report, "report.md")


def test_why_a_claim_is_not_judged_is_said(found: Any) -> None:
    text = text_of(found[3], "report.md")
    for claim, said in (
        ("3.a", "Tuned: not judged; it \\<never> is."),
        ("4", "The machine was busy while step times were measured"),
        ("10", "What a test would need: A GPU"),
        ("11", "Tuned: not judged; it is about the settings as given."),
        ("12", "As given: not judged; it is about all learning rates at once."),
        ("13", "As given: not judged; it compares untuned with tuned optimizers."),
        ("14", "Tuned: not judged; the learning rate does not change it."),
    ):
        assert said in sections(text)[claim_page.anchor(claim)], claim
    assert "机器繁忙" in sections(text_of(found[3], "report.zh.md"))["claim-4"]


def test_what_a_person_wrote_is_no_markup(found: Any) -> None:
    html, text = (text_of(found[3], name) for name in ("index.html", "report.md"))
    assert "it &lt;never&gt; is" in html
    assert "<never>" not in html
    assert "Adam is \\*lower\\* \\| better." in text


def test_a_check_says_its_numbers_and_shows_them_plainly_where_its_sentence_does_not_fit(found: Any) -> None:
    for name in ("index.html", "report.md", "report.zh.md"):
        text = text_of(found[3], name)
        assert "3 of 25%" in text
        assert "num found 7" in text
        assert "{num}" not in text


def test_a_pair_that_contradicts_itself_is_shown_once(found: Any) -> None:
    ledger, _, _, report = found
    assert report_page.contradictions(ledger) == [("1", "2")]
    html = text_of(report, "index.html")
    assert html.count('<div class="pair">') == 1
    assert "As given: 1 holds, 2 does not." in html
    assert "Tuned: 1 does not hold, 2 is unclear." in html
    assert text_of(report, "report.md").count("As given: 1 holds, 2 does not") == 1
    assert "按原设置：1 成立，2 不成立" in text_of(report, "report.zh.md")


def test_pairs_of_a_shipped_ledger() -> None:
    ledger = load("articles")
    pairs = report_page.contradictions(ledger)
    assert len({frozenset(pair) for pair in pairs}) == len(pairs)
    assert {frozenset((claim.id, other)) for claim in ledger.claims.values() for other in claim.contradicts} == set(
        map(frozenset, pairs)
    )


NUMBER = re.compile(r"[+-]?\d[\d,.]*(?:e[+-]?\d+)?")


def test_the_same_numbers_in_both_languages(found: Any) -> None:
    ledger, judged, _, report = found
    lines = report_table.shown(ledger, judged)
    both = [claim_page.readable_comparisons(lines, Words(language)) for language in ("en", "zh")]
    assert both[0].shape == both[1].shape
    for english, chinese in zip(*(each.to_numpy().ravel() for each in both), strict=True):
        assert NUMBER.findall(english) == NUMBER.findall(chinese)
    english, chinese = (sections(text_of(report, name)) for name in ("report.md", "report.zh.md"))
    assert list(english) == list(chinese)
    for anchor in english:
        tables = [
            re.findall(r"^\|.*\[.*\].*$", re.split("\n## |!\\[", texts[anchor])[0], re.M)
            for texts in (english, chinese)
        ]
        assert [NUMBER.findall(row) for row in tables[0]] == [NUMBER.findall(row) for row in tables[1]]
        assert (
            tables[0]
            or not lines["claim"].map(claim_page.anchor).isin([anchor]).any()
            or anchor in ("claim-5", "claim-14")
        )


def test_where_there_is_no_chinese_the_english_stands(found: Any) -> None:
    text = sections(text_of(found[3], "report.zh.md"))
    assert "Adam 更低。" in text["claim-1"]
    assert "SGD is lower." in text["claim-2"]
    assert "It is tiny." in text["claim-2"]


def test_the_terminal_has_130_columns_and_every_claim(found: Any) -> None:
    ledger, judged, table, _ = found
    lines = report_table.verdict_text(ledger, judged, table).splitlines()
    assert max(map(len, lines)) <= 130
    assert {line.split(" ")[0] for line in lines} >= set(ledger.claims)
    assert lines[-1].startswith("In brackets: whether the claim holds.")


@pytest.mark.parametrize("name", [path.name for path in CLAIMS_DIR.iterdir() if (path / "ledger.yaml").is_file()])
def test_a_shipped_ledger_of_which_nothing_was_run(name: str, tmp_path: Path) -> None:
    ledger = load(name)
    judged = comparisons(ledger, NOTHING)
    table = verdicts(ledger, judged, pd.DataFrame())
    report_page.write_report(ledger, NOTHING, judged, table, pd.DataFrame(), VARIED.iloc[:0], tmp_path, Typed())
    assert max(map(len, report_table.verdict_text(ledger, judged, table).splitlines())) <= 130
    page = Reader(text_of(tmp_path, "index.html"))
    assert {claim_page.anchor(claim) for claim in ledger.claims} <= set(page.ids)
    assert set(sections(text_of(tmp_path, "report.zh.md"))) == {claim_page.anchor(claim) for claim in ledger.claims}
    assert "not run" in text_of(tmp_path, "report.md")


@pytest.mark.parametrize("kept", ["7", "10"])
def test_a_folder_of_one_claim_that_no_race_decides(kept: str, tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path / "own", [claim for claim in CLAIMS if claim["id"] == kept])
    judged = comparisons(ledger, NOTHING)
    table = verdicts(ledger, judged, FACTS)
    report_page.write_report(ledger, NOTHING, judged, table, FACTS, VARIED, tmp_path / "report", Typed())
    assert "1 claim from 1 source." in text_of(tmp_path / "report", "index.html")
    assert kept in report_table.verdict_text(ledger, judged, table)


# --- numbers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [
        (0.6195, False, "0.62"),
        (123.4, False, "123"),
        (12_345.6, False, "12,346"),
        (0.0, True, "0"),
        (1.5, True, "+1.5"),
        (-1.5, True, "-1.5"),
        (INF, False, ""),
        (-INF, True, ""),
        (math.nan, False, ""),
    ],
)
def test_number(value: float, signed: bool, text: str) -> None:
    assert number(value, signed) == text


@pytest.mark.parametrize(
    ("side", "english"),
    [
        ("adam", "Adam"),
        ("lbfgs", "L-BFGS"),
        ("momentum", "SGD with momentum"),
        ("mine", "mine"),
        ("adam optimizer.lr=0.01", "Adam, lr 0.01"),
        ("adam +optimizer.betas=[0.9,0.9] data.num_train=134", "Adam, betas [0.9, 0.9], num_train 134"),
        ("adam|rmsprop", "the best of Adam, RMSprop"),
    ],
)
def test_sides_in_words(side: str, english: str) -> None:
    assert Words("en").side(side) == english


@pytest.mark.parametrize(
    ("value", "unit", "english"),
    [
        (1.0, "points", "1 point"),
        (2.0, "points", "2 points"),
        (0.25, "decades", "0.25 decades"),
        (1.1, "ratio", "a factor of 1.1"),
        (INF, "nats", "—"),
    ],
)
def test_amounts_have_units(value: float, unit: str, english: str) -> None:
    assert Words("en").amount(value, unit) == english


def test_open_comparisons_say_how_many_seeds_would_decide_them(found: Any) -> None:
    ledger, judged, _, report = found
    lines = report_table.shown(ledger, judged)
    words = Words("en")
    shown = claim_page.readable_comparisons(lines[lines["claim"] == "2"], words).set_index("settings")
    (row,) = lines[(lines["claim"] == "2") & (lines["at"] == TUNED)].itertuples()
    assert 10 < row.needed < 1_000
    assert list(shown[words("needed")]) == ["", str(math.ceil(row.needed))], "of the refuted none are needed"
    endless = claim_page.readable_comparisons(lines[lines["claim"] == "2"].assign(needed=INF), words)
    assert list(endless[words("needed")]) == ["", "over 1,000"]
    assert words("needed") in sections(text_of(report, "report.md"))["claim-2"]


def test_more_seeds_go_to_the_sides_of_open_comparisons_alone(found: Any) -> None:
    ledger, judged, _, _ = found
    (needed,) = judged.loc[(judged["claim"] == "2") & (judged["at"] == TUNED), "needed"]
    assert judged["problem"].map(type).nunique() > 1, "some have a problem, others none"
    wanted = rounds.open_sides(ledger, judged, (5, 10, 20, 40))
    assert wanted == {("digits_mlp", side, TUNED): needed for side in ("sgd", "rmsprop")}
    assert rounds.open_sides(ledger, judged, (2, 4)) == {}, "it would take more than twice as many as there may be"


def test_default_rates_that_differ_and_where_a_claim_holds_are_told(found: Any) -> None:
    _, _, _, report = found
    parts = sections(text_of(report, "report.md"))
    differ = "As given, the sides run at the library's default learning rates, which differ: Adam 0.001, RMSprop 0.01."
    assert differ in parts["claim-1"]
    assert "default learning rates" not in parts["claim-14"], "memory does not hang on them"
    assert "Where it holds: As given: yes on digits_mlp; no on digits_cnn." in parts["claim-6"]
    assert "在何处成立：按原设置：成立：digits_mlp；不成立：digits_cnn" in text_of(report, "report.zh.md")
    assert "different ones, of" in text_of(report, "report.md"), "comparisons and pairs of sides are both counted"


def test_rates_at_the_end_of_what_was_tried_are_noted(found: Any) -> None:
    ledger, judged, _, _ = found
    words = Words("en")
    lines = report_table.shown(ledger, judged[judged["claim"] == "2"])
    lines["at_edge"] = [[], ["sgd"]]
    notes = list(claim_page.readable_comparisons(lines, words)[words("note")])
    assert notes == ["", "the best learning rate of SGD is the lowest or highest tried"]


def test_a_side_tuned_for_another_quantity_says_so(found: Any) -> None:
    ledger, judged, _, _ = found
    words = Words("en")
    lines = report_table.shown(ledger, judged)
    mine = lines[(lines["claim"] == "1") & (lines["at"] == TUNED)].assign(quantity="steps_to_target")
    (note,) = claim_page.readable_comparisons(mine, words)[words("note")]
    assert note == "learning rates were chosen by final validation loss"
    assert words("note") not in claim_page.readable_comparisons(mine.assign(tuned_for="steps_to_target"), words)


def test_what_serves_two_claims_is_tested_once(found: Any) -> None:
    _, judged, _, _ = found
    mine = judged[judged["claim"] == "1"]
    mirrored = mine.assign(claim="m", a=mine["b"], b=mine["a"])
    assert len(report_table.distinct_tests(pd.concat([mine, mirrored]))) == len(report_table.distinct_tests(mine)) == 2
    assert report_table.distinct_tests(mine.assign(method="exact")).empty


# --- plots ----------------------------------------------------------------------------------------------


def test_every_estimate_and_the_band_lie_on_the_axis(found: Any) -> None:
    ledger, judged, _, _ = found
    lines = report_table.shown(ledger, judged)
    for _, group in lines.groupby(["claim", "unit"]):
        far = forest.reach(group)
        for row in group.itertuples():
            if not math.isnan(row.estimate):
                assert abs(forest.position(row.estimate, row)) <= far
            assert -far < forest.position(row.band_low, row) < 0 < forest.position(row.band_high, row) < far


def test_small_plots_tell_verdicts_apart_without_colour_and_clip_with_arrows(found: Any) -> None:
    ledger, judged, _, _ = found
    lines = report_table.shown(ledger, judged)
    arrow, square = re.compile(r"l-?5 -?[\d.]+v[\d.]+z"), re.compile(r'<rect x="[^"]+" y="[^"]+" width="6.4"')

    def plot(claim: str, at: str) -> str:
        rows = lines[(lines["claim"] == claim) & (lines["at"] == at)]
        return forest.small_forest(rows, {"ratio": forest.reach(rows)}, "a < b", Words("en"))

    assert 'aria-label="a &lt; b"' in plot("1", DEFAULT)
    assert not arrow.search(plot("1", DEFAULT))
    assert "<circle" in plot("1", DEFAULT)
    assert not square.search(plot("1", DEFAULT))
    assert square.search(plot("2", DEFAULT))
    assert arrow.findall(plot("3.a", DEFAULT)) == ["l-5 -3.2v6.4z"], "to the right only"
    assert "Z" in plot("1", TUNED), "a diamond"
    assert plot("4", DEFAULT) == plot("5", DEFAULT) == "", "nothing is known"


@pytest.mark.parametrize("says", ["less", "more", "not_more", "not_less", "same"])
def test_where_a_claim_has_the_difference(found: Any, says: str) -> None:
    ledger, judged, _, _ = found
    row = next(report_table.shown(ledger, judged).assign(says=says).itertuples())
    low, high = forest.claimed(row, 1.0)
    band = math.log(1.1)
    wanted = {
        "less": (-1, -band),
        "more": (band, 1),
        "not_more": (-1, band),
        "not_less": (-band, 1),
        "same": (-band, band),
    }
    assert (low, high) == pytest.approx(wanted[says])


def test_curves_are_medians_as_far_as_all_runs_came() -> None:
    runs = pd.DataFrame({"run_id": ["r", "s", "t"], "seed": [1, 2, 3], "status": "ok", "reason": None})
    points = [
        (run, "val", "loss", step, value + step / 100)
        for run, value, last in (("r", 1.0, 20), ("s", 2.0, 20), ("t", 5.0, 10))
        for step in range(0, last + 1, 10)
    ]
    curves = pd.DataFrame(points, columns=["run_id", "split", "metric", "step", "value"])
    claimed = pd.DataFrame({"workload": "digits_mlp", "side": "adam", "at": DEFAULT, "run_id": runs["run_id"]})
    evidence = Evidence(runs, curves, pd.DataFrame(), claimed)
    figure = forest.curves_figure(evidence, "digits_mlp", {DEFAULT: ["adam", "sgd"]}, 0.5, Words("en"))
    assert figure is not None
    (axis,) = figure.axes
    line, target = axis.lines
    assert line.get_xdata().tolist() == [0, 10]
    assert line.get_ydata().tolist() == pytest.approx([2.0, 2.1])
    assert set(target.get_ydata()) == {0.5}
    assert forest.curves_figure(NOTHING, "digits_mlp", {DEFAULT: ["adam"]}, None, Words("en")) is None


# --- words ----------------------------------------------------------------------------------------------


EN, ZH = (catalogue(language) for language in LANGUAGES)

CALLED = {"words", "self", "Words"}
"""Names by which the pages call for a text."""


def gaps(text: str) -> list[str]:
    return sorted(name for _, name, _, _ in string.Formatter().parse(text) if name)


@pytest.mark.parametrize("group", ["words", "reasons"])
def test_both_languages_have_the_same_keys_and_the_same_gaps(group: str) -> None:
    assert list(EN[group]) == list(ZH[group])
    for key, text in EN[group].items():
        chinese = ZH[group][key]
        assert gaps(text) == gaps(chinese), key
        letters = re.sub(r"\{\w+\}", "", chinese)
        assert re.search(r"[\u4e00-\u9fff]", letters) or not re.search(r"[A-Za-z]{5,}", letters), key
        assert not re.search(r"[\u4e00-\u9fff]", text), key


def literals(folder: Path) -> set[str]:
    """Every string in the sources and templates of a folder, docstrings apart."""
    found = set()
    for file in folder.rglob("*.py"):
        tree = ast.parse(file.read_text())
        statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in statements)
        found |= {node.value for node in constants if isinstance(node.value, str)}
    for template in folder.rglob("*.j2"):
        found |= set(re.findall(r"words\(\"([^\"]+)\"[),]", template.read_text()))
    return found


def composed(folder: Path) -> list[re.Pattern[str]]:
    """The keys that are put together where they are called for, such as `at default`, as patterns."""
    found = set()
    for file in folder.rglob("*.py"):
        for call in (
            node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call) and node.args
        ):
            looked_up = ast.unparse(call.func) in (*CALLED, "self._texts.get")
            for node in ast.walk(call.args[0]) if looked_up else ():
                if isinstance(node, ast.JoinedStr):
                    parts = (str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values)
                    found.add("".join(parts))
    for template in folder.rglob("*.j2"):
        found |= {f"\0{end}" for end in re.findall(r"words\(\w+ ~ \"([^\"]+)\"\)", template.read_text())}
    return [re.compile(re.escape(text).replace("\0", ".+").replace("\\.+", ".+")) for text in found]


def test_every_word_is_used_and_every_one_that_is_called_for_is_there() -> None:
    folder = Path(catalogue_module.__file__).parent
    pages = folder.parent / "report" / "templates"
    used, patterns = literals(folder) | literals(pages), composed(folder) + composed(pages)
    assert {pattern.pattern for pattern in patterns} == {
        r"at\ .+", r"says\ .+", r"tally\ .+", r".+\ means", r"optimizer\ .+", r"where\ .+", r"variant\ .+",
        r"answer\ .+",
    }  # fmt: skip
    for key in EN["words"]:
        assert key in used or any(pattern.fullmatch(key) for pattern in patterns), key
    for file in Path(i18n.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in CALLED and node.args:
                key = node.args[0]
                if isinstance(key, ast.Constant) and key.value not in LANGUAGES:
                    given = {word.arg for word in node.keywords}
                    assert set(gaps(EN["words"][key.value])) <= given or None in given, key.value


def test_verdicts_answers_and_settings_have_words_and_their_meaning() -> None:
    for verdict in VERDICTS:
        assert {verdict, f"{verdict} means"} <= set(EN["words"])
    assert set(HOLDS) <= set(EN["words"])
    for direction in DIRECTIONS:
        assert f"says {direction}" in EN["words"]
    for at in (DEFAULT, TUNED, RATES, MIXED, FACT, UNTESTABLE):
        assert Words("en").at(at) != Words("zh").at(at)


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(ValueError, match="language must be one of en, zh, got fr"):
        Words("fr")


def reasons() -> list[tuple[str, list[str]]]:
    """The key of every NotMeasured in the source, and the names of the values that it gives."""
    effects = Path(evidence.__file__).parent
    calls = [
        node
        for file in sorted(effects.glob("*.py"))
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "NotMeasured"
    ]
    return [
        (ast.literal_eval(call.args[0]), sorted(str(word.arg) for word in call.keywords if word.arg != "there"))
        for call in calls
    ]


def test_every_reason_is_used() -> None:
    assert {key for key, _ in reasons()} == set(EN["reasons"])


@pytest.mark.parametrize(("key", "names"), reasons())
def test_why_something_was_not_measured_is_said_in_both_languages(key: str, names: list[str]) -> None:
    assert gaps(EN["reasons"][key]) == names
    why = NotMeasured(key, **dict.fromkeys(names, "5"))
    assert str(why) == why.text("en")
    assert re.search(r"[\u4e00-\u9fff]", why.text("zh"))
    for name in names:
        assert "5" in why.text("en"), name
        assert "5" in why.text("zh"), name


def test_a_report_needs_neither_torch_nor_hydra() -> None:
    code = "import sys, bench.claims.report.page; print({'torch', 'hydra', 'omegaconf', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# --- in a browser ---------------------------------------------------------------------------------------


def test_axe_finds_no_violation_and_nothing_is_wider_than_the_screen(found: Any) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs pip install optbench[browser]")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs pip install optbench[browser]")
    if CHROMIUM is None:
        pytest.skip("needs chromium on the PATH")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto((found[3] / "index.html").as_uri())
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        for width in (1100, 550, 360):
            page.set_viewport_size({"width": width, "height": 900})
            results = axe.Axe().run(page)
            assert results.violations_count == 0, results.generate_report()
            assert len(results.response["passes"]) > 15
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        browser.close()


def test_in_how_many_variants_a_claim_has_the_same_answer(found: Any) -> None:
    *_, report = found
    english, chinese = text_of(report, "report.md"), text_of(report, "report.zh.md")
    assert "the same answer in 1 of 2 variants; with half the budget: it holds in some cases." in english
    assert "the same answer in all 1 variants (learning rates chosen by final validation loss)." in english
    assert "2 种做法中有 1 种结论相同；训练步数减半：部分情形成立。" in chinese
    assert len(pd.read_csv(report / "variants.csv")) == len(VARIED)
