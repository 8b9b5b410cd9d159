"""What is published: the verdicts in `reports/` follow from the tables in `results/`."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from bench import tables
from bench.claims import publish
from bench.claims.evaluate import comparisons, verdicts
from bench.claims.ledger import load
from bench.cli import reproduce

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED = [name for name in ("articles", "papers") if (ROOT / "results" / name).is_dir()]
MAX_BYTES = 10 * 2**20


def test_the_articles_are_published() -> None:
    assert "articles" in PUBLISHED


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_verdicts_follow_from_the_published_tables(name: str) -> None:
    evidence, facts = publish.tables_of(ROOT / "results" / name)
    whole = load(name)
    ledger = whole.chosen(budget=reproduce.budget_of(whole, evidence))
    judged = comparisons(ledger, evidence)
    found = verdicts(ledger, judged, facts)
    report = ROOT / "reports" / name
    written = pd.read_csv(report / "verdicts.csv", dtype={"claim": str})
    columns = ["claim", "at", "verdict", "holds"]
    assert found[columns].fillna("").to_numpy().tolist() == written[columns].fillna("").to_numpy().tolist()
    kept = pd.read_csv(report / "comparisons.csv", dtype={"claim": str})
    assert kept["verdict"].tolist() == judged["verdict"].tolist()
    for column in ("estimate", "low", "high"):
        pd.testing.assert_series_equal(kept[column].astype(float), judged[column].astype(float), rtol=1e-4)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_claim_stands_in_the_published_reports(name: str) -> None:
    for file in ("index.html", "report.md", "report.zh.md"):
        text = (ROOT / "reports" / name / file).read_text(encoding="utf-8")
        for claim in load(name).claims:
            assert f'id="claim-{claim.replace(".", "_")}"' in text


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_tables_are_small_and_tell_nothing_of_the_machine(name: str) -> None:
    folder = ROOT / "results" / name
    assert {path.name for path in folder.iterdir()} == {f"{table}.parquet" for table in publish.TABLES}
    assert sum(path.stat().st_size for path in folder.iterdir()) < MAX_BYTES
    study = tables.load(folder)
    assert study.runs[["hostname", "git_commit", "command"]].isna().all(axis=None)
    texts = study.runs.select_dtypes(["string", "object"]).astype(str)
    paths = texts.apply(lambda column: column.str.contains(r"/(?:tmp|home|root|work|Users)/").any())
    assert not paths.any(), paths[paths]
    for path in (ROOT / "reports" / name).rglob("*.*"):
        if path.suffix in (".md", ".html", ".csv", ".svg"):
            assert not re.search(r"/(?:tmp|home|root|work|Users)/", path.read_text(encoding="utf-8")), path


def test_the_readme_counts_the_published_verdicts() -> None:
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    found = pd.read_csv(ROOT / "reports" / "articles" / "verdicts.csv", dtype={"claim": str})
    given, tuned, facts = (found[found["at"] == at]["holds"].value_counts() for at in ("default", "tuned", "fact"))
    assert (
        f"{given['yes']} of their claims hold, {given['in some cases']} hold in some cases, {given['no']} do not"
        in readme
    )
    assert f"{tuned['yes']} hold, {tuned['in some cases']} hold in some cases, {tuned['no']} do not" in readme
    assert f"of {facts.sum()} statements of fact {facts.get('yes', 0)} are true" in readme
