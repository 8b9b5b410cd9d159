"""The report on a ledger: the page in English and Chinese, and the Markdown file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from bench.analysis.verdict import is_significant
from bench.base.version import __version__
from bench.claims.effects.evidence import DEFAULT, NUM_TRIALS, SEEDS_PER_TRIAL, TUNED, Evidence
from bench.claims.evaluate import FACT, UNTESTABLE
from bench.claims.ledger import Ledger
from bench.claims.report.claim_page import MOST_NEEDED, ClaimPage, build_claim_page, captioned, claim_pictures
from bench.claims.report.i18n import Words, number
from bench.claims.report.table import distinct_tests, shown, verdict_row
from bench.claims.variants import TARGET_FACTOR
from bench.claims.verdict import HOLDS, SOMETIMES, VERDICTS
from bench.plots.style import style
from bench.report.document import Block
from bench.report.folder import report_folder
from bench.report.study.render import templates
from bench.tables.csv import write_csv

FILES = {"en": "report.md", "zh": "report.zh.md"}


class Commands(Protocol):
    """What gives the text of commands."""

    def repeat(self, claim: str) -> str:
        """Return what runs and judges one claim again."""

    def rebuild(self) -> str:
        """Return what makes the report anew from its tables."""


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
    """Return which of two claims that contradict each other is right, a text a setting."""
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
            other, key = _other(by_answer, "one holds")
            said.append(words(key, right=by_answer["yes"][0], other=other, **names))
        elif by_answer["no"]:
            other, key = _other(by_answer, "one fails")
            said.append(words(key, wrong=by_answer["no"][0], other=other, **names))
        else:
            said.append(words("open", **names))
    return said


def _other(by_answer: dict[str, list[str]], key: str) -> tuple[str, str]:
    """Return the claim that neither holds nor fails, and the key of the sentence about it and the one that does."""
    if by_answer[SOMETIMES]:
        return by_answer[SOMETIMES][0], {
            "one holds": "one holds, one sometimes",
            "one fails": "one fails, one sometimes",
        }[key]
    return by_answer["unclear"][0], key


def _tally(ledger: Ledger, found: pd.DataFrame, words: Words) -> list[str]:
    """Return how many claims there are, and how many hold at each setting; what checks decided counts at both."""
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
    tests = distinct_tests(judged)
    counts = {
        "num": len(tests),
        "decided": tests["p_holm"].map(is_significant).sum(),
        "strict": tests["p_ledger"].map(is_significant).sum(),
    }
    pairs = len(tests.drop_duplicates(["workload", "at", "sides"]))
    said = [words("method intervals"), words("method delta", **counts), words("rule")]
    said.append(words("method counts", all=int(judged["p"].notna().sum()), num=len(tests), pairs=pairs))
    if (looks := int(judged["num_looks"].max()) if len(judged) else 1) > 1:
        said.append(words("method looks", looks=looks))
    if (judged["at"] == TUNED).any():
        said.append(words("method tuned", trials=NUM_TRIALS, seeds=SEEDS_PER_TRIAL))
    said.append(words("method needed", most=f"{MOST_NEEDED:,}"))
    said.append(words("method variants", factor=f"{TARGET_FACTOR:g}", inverse=f"{1 / TARGET_FACTOR:g}"))
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
            words("what it is"): words.of(workload, "words"),
            words("runs made"): f"{int(counts.get(name, 0)):,}",
            words("target"): words("higher median") if workload.target is None else number(workload.target),
            words("run"): " ".join(workload.run),
        }
        for name, workload in ledger.workloads.items()
        if name in used
    ]
    return pd.DataFrame(rows)


@style()
def write_report(
    ledger: Ledger,
    evidence: Evidence,
    judged: pd.DataFrame,
    found: pd.DataFrame,
    facts: pd.DataFrame,
    variants: pd.DataFrame,
    report_dir: Path,
    commands: Commands,
) -> None:
    """Write index.html, report.md, report.zh.md, figures/ and the tables of comparisons and verdicts.

    The report that was there stays until all is written.

    Args:
        ledger: The claims, with the workloads that they were judged on.
        evidence: The tables.
        judged: What `bench.claims.evaluate.comparisons` gave.
        found: What `bench.claims.evaluate.verdicts` gave.
        facts: Side table `facts`.
        variants: What `bench.claims.variants.variants` gave.
        report_dir: Folder to write into.
        commands: Gives what is typed to repeat a claim, and to make the report.

    Raises:
        OSError: The folder cannot be written.
    """
    lines = shown(ledger, judged)
    of_claim = {name: lines[lines["claim"] == name] for name in ledger.claims}
    environment = templates()
    environment.filters |= {"plain": plain}
    with report_folder(report_dir) as folder:
        pictures = {
            name: claim_pictures(claim, ledger, evidence, of_claim[name], folder / "figures")
            for name, claim in ledger.claims.items()
        }
        for language, file in FILES.items():
            words = Words(language)
            pages = [
                build_claim_page(
                    claim, ledger, of_claim[name], found, facts, variants,
                    captioned(pictures[name], claim, of_claim[name], ledger, words), commands.repeat(name), words,
                )
                for name, claim in ledger.claims.items()
            ]  # fmt: skip
            context = {
                **_context(ledger, found, pages, words),
                "method": _method(ledger, evidence, judged, words),
                "workloads": Block("workloads", words("Workloads"), _workloads(ledger, evidence, words)),
                "command": commands.rebuild(),
            }
            text = environment.get_template("claims.md.j2").render(context)
            (folder / file).write_text(re.sub(r"\n{3,}", "\n\n", text), encoding="utf-8")
            if language == "en":
                html = environment.get_template("claims.html.j2").render(context)
                (folder / "index.html").write_text(html, encoding="utf-8")
        numbers = judged.assign(at_edge=judged["at_edge"].map(", ".join)).drop(columns=["sample", "why"])
        write_csv(numbers, folder / "comparisons.csv", float_format="%.6g")
        write_csv(found, folder / "verdicts.csv")
        write_csv(variants, folder / "variants.csv")


def _context(ledger: Ledger, found: pd.DataFrame, pages: Sequence[ClaimPage], words: Words) -> dict[str, Any]:
    """Return what the templates show of the claims."""
    by_id = {page.id: page for page in pages}
    return {
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
        "other": FILES["zh" if words.language == "en" else "en"],
        "version": __version__,
    }


def _by_source(pages: Iterable[ClaimPage]) -> list[tuple[str, list[ClaimPage]]]:
    groups: dict[str, list[ClaimPage]] = {}
    for page in pages:
        groups.setdefault(page.source, []).append(page)
    return list(groups.items())


def _markdown_verdicts(pages: Iterable[ClaimPage], words: Words) -> pd.DataFrame:
    """Return the table of all claims as Markdown, each linked to its section."""
    rows = [[f"[{page.id}](#{page.anchor})", plain(page.claim), *verdict_row(page.cells, words)] for page in pages]
    return pd.DataFrame(rows, columns=[words("claim"), words("what is said"), words.at(DEFAULT), words.at(TUNED)])


def plain(text: str) -> str:
    """Text that is no markup to Markdown."""
    return re.sub(r"([\\*`<]|(?<!\w)_|_(?!\w))", r"\\\1", text)
