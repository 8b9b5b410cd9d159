"""The generated reference: nothing that can be set, read or judged by is missing from it."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pages
import pandas as pd
import pytest
import yaml
from pydantic import BaseModel

from bench import tables
from bench.base.paths import CONF_DIR
from bench.claims.effects.registry import QUANTITIES
from bench.claims.ledger import load
from bench.config.capabilities import METADATA
from bench.config.schema import Component, Config, StepCostConfig

EXTENSIONS = pages.ROOT / "docs" / "_ext"
SET_BY_THE_PROGRAM = {"overrides", "looks", "trial"}
"""Fields of the configuration that nobody types."""

UNITS = {"_s": "s", "_ms": "ms", "_us": "µs", "_mib": "MiB", "_mhz": "MHz", "_gib_per_s": "GiB/s"}


@pytest.fixture(scope="module")
def generated() -> Iterator[ModuleType]:
    """The module that makes the tables."""
    sys.path.insert(0, str(EXTENSIONS))
    try:
        spec = importlib.util.spec_from_file_location("generated", EXTENSIONS / "generated.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(EXTENSIONS))


Row = dict[str, str]


@pytest.fixture(scope="module")
def shown(generated: ModuleType) -> dict[str, list[tuple[list[str], list[Row]]]]:
    """By page the tables on it: what each was asked for, and its rows by the header's words."""
    found: dict[str, list[tuple[list[str], list[Row]]]] = {}
    for page in pages.PAGES:
        for block in pages.blocks(page):
            if block.language.startswith("{bench-table}"):
                arguments = block.language.split()[1:]
                header, rows = generated.made(*arguments)
                found.setdefault(page, []).append((arguments, [dict(zip(header, row, strict=True)) for row in rows]))
    return found


def keys_on(tables_of_page: list[tuple[list[str], list[Row]]]) -> dict[str, Row]:
    return {row["key"].strip("`"): row for _, rows in tables_of_page for row in rows if "key" in row}


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def fields(model: type[BaseModel]) -> Iterator[str]:
    """Dotted names of what can be set, but for the arguments of classes."""
    for name, field in model.model_fields.items():
        if name in SET_BY_THE_PROGRAM:
            continue
        annotation = field.annotation
        if not _is_model(annotation):
            yield name
            continue
        skipped = {*Component.model_fields, "name", "options", "search", "capabilities"}
        below = {key: field for key, field in annotation.model_fields.items() if key not in skipped}
        for key, field in below.items():
            nested = next((kind for kind in get_args(field.annotation) if _is_model(kind)), None)
            yield from [f"{name}.{key}"] if nested is None else (f"{name}.{key}.{each}" for each in nested.model_fields)


def test_every_key_of_the_configuration_is_there_with_type_range_default_and_meaning(shown: Any) -> None:
    keys = keys_on(shown["docs/reference/configuration.md"]) | keys_on(shown["docs/reference/optimizers.md"])
    named = {*fields(Config), *fields(StepCostConfig)} - {"optimizers"}
    assert len(named) > 40
    assert named <= set(keys), named - set(keys)
    page = shown["docs/reference/configuration.md"]
    for row in [row for _, rows in page for row in rows if "key" in row]:
        name = row["key"].strip("`")
        assert row["type"] and row["default"] and row["meaning"], row
        assert row["allowed values"] or name in ("launcher.partition", "optimizers"), row


def options(group: str) -> dict[str, dict[str, Any]]:
    files = sorted((CONF_DIR / group).glob("*.yaml"))
    return {path.stem: yaml.safe_load(path.read_text()) for path in files if path.stem != "custom"}


@pytest.mark.parametrize("group", ["schedule", "augment"])
def test_options_of_small_groups_and_their_keys_are_there(group: str, shown: Any) -> None:
    page = shown["docs/reference/configuration.md"]
    named = {row["option"].strip("`") for asked, rows in page if asked == ["options", group] for row in rows}
    assert named == set(options(group))
    keys = keys_on(page)
    for node in options(group).values():
        assert {f"{group}.{key}" for key in node if key != "name"} <= set(keys)


@pytest.mark.parametrize("group", ["model", "data"])
def test_models_and_data_sets_are_there_with_their_arguments(group: str, shown: Any) -> None:
    page = shown["docs/reference/workloads.md"]
    named = {row["option"].strip("`") for asked, rows in page if asked == ["options", group] for row in rows}
    assert named == set(options(group))
    rows = [row for asked, rows in page if asked == ["arguments", group] for row in rows]
    for option, node in options(group).items():
        for key in set(node) - {"_target_", "name", "needs"}:
            (row,) = [r for r in rows if r["key"] == f"`{group}.{key}`" and f"`{option}`" in r["options"]]
            assert row["type"] and row["default"] and row["meaning"], row


def test_optimizers_are_there_with_their_hyperparameters(shown: Any) -> None:
    page = shown["docs/reference/optimizers.md"]
    assert {row["option"].strip("`") for _, rows in page for row in rows if "option" in row} == set(
        options("optimizer")
    )
    keys = keys_on(page)
    for option, node in options("optimizer").items():
        for key in set(node) - {"_target_", "name", "implementation", "needs", *METADATA}:
            row = keys[f"optimizer.{key}"]
            assert row["type"] and row["allowed values"] and option in row["default"], row


def test_every_column_is_there_with_its_unit(shown: Any) -> None:
    page = {asked[1]: rows for asked, rows in shown["docs/reference/tables.md"]}
    assert set(page) == {"runs", "curves", *tables.SIDE}
    for name, columns in {"runs": tables.RUNS, "curves": tables.CURVES, **tables.SIDE}.items():
        assert [row["column"] for row in page[name]] == [f"`{column.name}`" for column in columns]
        for row, column in zip(page[name], columns, strict=True):
            assert row["meaning"]
            suffix = max((s for s in UNITS if column.name.endswith(s)), key=len, default=None)
            if suffix and not column.name.endswith("examples_per_s"):
                assert row["unit"] == UNITS[suffix], row
            if column.name.startswith("num_"):
                assert row["unit"], row


def test_every_quantity_and_every_key_of_a_claim_is_there(shown: Any) -> None:
    page = shown["docs/reference/claims.md"]
    rows = [row for asked, rows in page if asked == ["quantities"] for row in rows]
    assert [row["quantity"].strip("`") for row in rows] == list(QUANTITIES)
    assert all(row["unit"] and row["what it is"] for row in rows)
    claim = [row for asked, rows in page if asked == ["model", "claim"] for row in rows]
    assert {"id", "claim", "measures", "against"} <= {row["key"].strip("`") for row in claim}
    assert all(row["meaning"] for row in claim)


def test_named_workloads_are_there(shown: Any) -> None:
    rows = [row for asked, rows in shown["docs/reference/workloads.md"] if asked == ["workloads"] for row in rows]
    assert {row["option"].strip("`") for row in rows} == {
        path.stem for path in (CONF_DIR / "experiment").glob("*.yaml")
    }
    assert all(row["what it is"] for row in rows)


@pytest.mark.parametrize("name", ["articles", "papers"])
def test_every_published_verdict_is_there(name: str, shown: Any) -> None:
    (rows,) = [rows for asked, rows in shown["docs/verdicts.md"] if asked == ["verdicts", name]]
    published = pd.read_csv(pages.ROOT / "reports" / name / "verdicts.csv", dtype={"claim": str})
    report = (pages.ROOT / "reports" / name / "index.html").read_text(encoding="utf-8")
    by_claim = {re.match(r"\[(.*?)\]", row["claim"])[1]: row for row in rows}  # type: ignore[index]
    assert list(by_claim) == list(load(name).claims)
    for claim, row in by_claim.items():
        verdicts = published[published["claim"] == claim]["verdict"].tolist()
        line = " ".join(row.values())
        assert verdicts and all(verdict in line for verdict in verdicts), row
        assert f'id="{row["claim"].partition("#")[2].rstrip(")")}"' in report


def test_the_reference_reads_the_package_in_one_place() -> None:
    """So that a module that moves is one line to change."""
    for path in Path(EXTENSIONS).glob("*.py"):
        imports = re.findall(r"^(?:from|import) bench\b", path.read_text(), re.MULTILINE)
        assert not imports or path.name == "sources.py", path
