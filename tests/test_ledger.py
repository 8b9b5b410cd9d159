"""Ledgers: those that ship are whole and can be carried out, and a mistake in a file gets one sentence."""

from __future__ import annotations

import itertools
import math
import re
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir

from bench.base.errors import UserError
from bench.base.paths import CONF_DIR
from bench.claims.checks.articles import FACTS
from bench.claims.effects.registry import QUANTITIES
from bench.claims.ledger import BUDGETS, CLAIMS_DIR, Claim, Ledger, ledgers, load
from bench.claims.verdict import DIRECTIONS
from bench.compose.nodes import plain
from bench.config.parse import parse

CHINESE = re.compile(r"[\u4e00-\u9fff]")

ARTICLES = (
    *("1.1", "1.2", "1.3", "1.4"),
    *("2.1", "2.2", "2.3", "2.4", "2.5", "2.6", "2.7", "2.8", "2.9", "2.10", "2.11"),
    *("3.0", "3.1", "3.2", "3.3", "3.4", "3.5"),
    *("4.1", "4.2", "4.3", "4.4", "4.5", "4.6", "4.7", "4.8", "4.9"),
    *("5.1", "5.2", "5.3", "5.4", "5.5"),
)

LARGEST_DELTA = {"ratio": 1.0, "points": 10.0, "decades": 1.0, "nats": 1.0}
"""The largest difference that a shipped claim may wave aside, by unit."""

MEASURE = {"quantity": "val_loss", "says": "less", "delta": 0.1}
CLAIM = {
    "id": "x.1",
    "source": "me",
    "claim": "Adam ends lower than SGD.",
    "reading": "Final validation loss; a tenth counts.",
    "measures": [MEASURE],
    "a": "adam",
    "against": ["sgd"],
    "workloads": ["digits_mlp"],
}
WORKLOAD = {"budget": "quick", "words": "my net", "run": ["model=mlp", "data=digits"]}


@pytest.fixture(scope="module", params=ledgers())
def shipped(request: pytest.FixtureRequest) -> Ledger:
    return load(request.param)


def sides(claim: Claim) -> list[str]:
    return [*([claim.a] if claim.a else []), *claim.against]


def write(folder: Path, file: str = "x.yaml", **changes: Any) -> str:
    """A folder of claims with one more: CLAIM with some keys changed, or left out where they are `...`."""
    kept = {key: value for key, value in (CLAIM | changes).items() if value is not ...}
    (folder / file).write_text(yaml.safe_dump(kept), encoding="utf-8")
    return str(folder)


def mistake(folder: Path | str) -> str:
    """What is said of a folder that does not load."""
    with pytest.raises(UserError) as caught:
        load(str(folder))
    said = str(caught.value)
    assert "\n" not in said
    assert not said.endswith(".")  # the command line prints it behind its own name
    assert re.search(r"\bmust (be|have|hold)\b", said), said
    return said


# --- what ships -------------------------------------------------------------------------------------


def test_the_articles_ship_with_every_statement() -> None:
    assert "articles" in ledgers()
    held = load("articles").claims
    assert {re.sub("[a-z]$", "", claim) for claim in held} == set(ARTICLES)
    assert len(held) >= len(ARTICLES)
    for claim in held:
        assert held[claim].id == claim
        assert held[claim].source == claim.partition(".")[0]


def test_every_claim_can_be_read_in_chinese(shipped: Ledger) -> None:
    head = shipped.head
    for part in (head.title_zh, head.about_zh):
        assert part
        assert CHINESE.search(part)
    assert set(head.sources_zh) == set(head.sources)
    for claim in shipped.claims.values():
        for name in ("claim", "reading", "smaller", "found", "untestable", "would_take", "tuned"):
            english, chinese = getattr(claim, name), getattr(claim, f"{name}_zh")
            assert isinstance(english, str) == (chinese is not None), f"{claim.id}: {name}"
            assert chinese is None or CHINESE.search(chinese), f"{claim.id}: {name}"
            assert not (isinstance(english, str) and CHINESE.search(english)), f"{claim.id}: {name}"
        for workload in claim.workload_names:
            assert CHINESE.search(shipped.workloads[workload].words_zh or ""), workload


@pytest.mark.parametrize("name", sorted(QUANTITIES))
def test_quantities_have_words_and_a_known_unit(name: str) -> None:
    quantity = QUANTITIES[name]
    assert quantity.words
    assert not CHINESE.search(quantity.words)
    assert CHINESE.search(quantity.words_zh)
    assert quantity.unit in LARGEST_DELTA
    assert quantity.is_ratio == (quantity.unit == "ratio")


def test_what_counts_as_a_difference_is_sane(shipped: Ledger) -> None:
    for claim in shipped.claims.values():
        for measure in claim.measures:
            assert measure.says in DIRECTIONS
            assert 0 < measure.delta <= LARGEST_DELTA[QUANTITIES[measure.quantity].unit], claim.id
            assert set(measure.workloads) <= set(claim.workload_names)


def test_contradictions_are_between_claims_that_are_judged(shipped: Ledger) -> None:
    for claim in shipped.claims.values():
        assert claim.id not in claim.contradicts
        assert len(set(claim.contradicts)) == len(claim.contradicts)
        for other in claim.contradicts:
            assert shipped.claims[other].measures, f"{claim.id} contradicts {other}"
            assert claim.measures, f"{claim.id} contradicts {other}"


def test_checks_exist_and_both_languages_tell_the_same_numbers(shipped: Ledger) -> None:
    for claim in shipped.claims.values():
        if claim.fact is None:
            continue
        assert claim.fact in FACTS, claim.id
        english, chinese = (
            sorted((name, spec) for _, name, spec, _ in string.Formatter().parse(text or "") if name is not None)
            for text in (claim.found, claim.found_zh)
        )
        assert {name for name, _ in english} == {name for name, _ in chinese}, claim.id


def test_no_claim_compares_a_side_with_itself_or_twice(shipped: Ledger) -> None:
    for claim in shipped.claims.values():
        assert claim.a not in claim.against
        assert len(set(claim.against)) == len(claim.against)
        assert len(set(claim.workload_names)) == len(claim.workload_names)
        optimizers = {name for side in sides(claim) for name in side.partition(" ")[0].split("|")}
        assert set(claim.settings) <= optimizers, f"{claim.id}: settings of what is not compared"


def test_every_side_is_an_optimizer_that_ships(shipped: Ledger) -> None:
    options = {path.stem for path in (CONF_DIR / "optimizer").glob("*.yaml")}
    named = {name for claim in shipped.claims.values() for s in sides(claim) for name in s.partition(" ")[0].split("|")}
    assert named
    assert named <= options


def test_every_workload_and_every_setting_makes_a_valid_configuration(shipped: Ledger) -> None:
    typed = {tuple(workload.run) for workload in shipped.workloads.values()}
    seen = set()
    for claim in shipped.claims.values():
        for side in (claim.given(side) for side in sides(claim) if "|" not in side):
            name, *settings = side.split(" ")
            if side not in seen and claim.workload_names:
                typed.add((*shipped.workloads[claim.workload_names[0]].run, f"optimizer={name}", *settings))
            seen.add(side)
    assert typed
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        for overrides in sorted(typed):
            config = parse(plain(compose("config", list(overrides))))
            named = [part.removeprefix("optimizer=") for part in overrides if part.startswith("optimizer=")]
            assert named in ([], [config.optimizer.name]), overrides


def test_every_measured_claim_is_judged_on_this_side_of_a_gpu(shipped: Ledger) -> None:
    affordable = shipped.chosen(budget="standard").workloads
    for claim in shipped.claims.values():
        assert not claim.measures or set(claim.workload_names) & set(affordable), claim.id


def test_reading_ledgers_imports_neither_torch_nor_hydra() -> None:
    code = (
        "import sys; from bench.claims.ledger import ledgers, load; [load(name) for name in ledgers()];"
        "print(sorted({'torch', 'hydra', 'omegaconf'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=CONF_DIR.parent, check=True)
    assert done.stdout.strip() == "[]"


# --- what is chosen ---------------------------------------------------------------------------------


def test_one_claim_may_be_chosen() -> None:
    ledger = load("articles")
    assert list(ledger.chosen("2.10a").claims) == ["2.10a"]
    assert ledger.chosen().claims == ledger.claims
    with pytest.raises(UserError, match=r"^claim must be one of 1\.1, .*, got 9\.9; "):
        ledger.chosen("9.9")


def test_a_budget_holds_the_smaller_ones() -> None:
    ledger = load("articles")
    held = [ledger.chosen(budget=budget).workloads for budget in BUDGETS]
    assert held[-1] == ledger.workloads
    for less, more in itertools.pairwise(held):
        assert set(less) < set(more)
    assert {workload.budget for workload in held[0].values()} == {"quick"}
    assert ledger.chosen(budget="quick").claims == ledger.claims  # what is judged elsewhere only is still told
    with pytest.raises(UserError, match=r"^budget must be one of quick, standard, full, got huge; "):
        ledger.chosen(budget="huge")


def test_numbers_are_ordered_as_numbers(tmp_path: Path) -> None:
    order = ["late", "2.1a", "2.1b", "2.9", "2.10a", "2.10b", "2.11", "10.1"]
    for name in reversed(order):
        write(tmp_path, f"{name}.yaml", id=name)
    assert list(load(str(tmp_path)).claims) == order
    held = list(load("articles").claims)
    assert held.index("2.9") < held.index("2.10a") < held.index("2.10b") < held.index("2.11") < held.index("3.0")


# --- a folder of the reader's own -------------------------------------------------------------------


def test_a_folder_of_ones_own_with_a_workload_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    settings = {"adam": ["optimizer.lr=0.01", "optimizer.eps=1e-3"]}
    write(
        folder,
        workloads=["digits_mlp", {"my_net": WORKLOAD}],
        settings=settings,
        against=["sgd", "adam schedule=cosine"],
    )
    ledger = load(str(folder))
    assert (ledger.name, ledger.head.title, list(ledger.claims)) == ("mine", "mine", ["x.1"])
    claim = ledger.claims["x.1"]
    assert claim.workload_names == ["digits_mlp", "my_net"]
    assert ledger.workloads["my_net"].run == WORKLOAD["run"]
    assert ledger.workloads["my_net"].target is None
    assert set(load("articles").workloads) < set(ledger.workloads)
    assert claim.given("adam") == "adam optimizer.lr=0.01 optimizer.eps=1e-3"
    assert claim.given("adam schedule=cosine") == "adam schedule=cosine optimizer.lr=0.01 optimizer.eps=1e-3"
    assert claim.given("sgd") == "sgd"
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        parse(plain(compose("config", ledger.workloads["my_net"].run)))


def test_workloads_may_stand_in_a_file_of_the_folder(tmp_path: Path) -> None:
    write(tmp_path, workloads=["my_net"])
    (tmp_path / "workloads.yaml").write_text(yaml.safe_dump({"my_net": WORKLOAD | {"budget": "full"}}))
    (tmp_path / "ledger.yaml").write_text(yaml.safe_dump({"title": "Mine", "sources": {"me": "a letter"}}))
    ledger = load(str(tmp_path))
    assert (ledger.head.title, ledger.head.sources, list(ledger.claims)) == ("Mine", {"me": "a letter"}, ["x.1"])
    assert "my_net" in ledger.workloads
    assert "my_net" not in ledger.chosen(budget="standard").workloads


@pytest.mark.parametrize(
    "kind",
    [
        {"fact": "f", "found": "It is {x}."},
        {"untestable": "no second machine", "would_take": "one"},
        {"reference": 8, "a": "adam", "workloads": ["linear"], "measures": [MEASURE | {"quantity": "loss_fall"}]},
    ],
)
def test_the_other_kinds_of_claims_load(tmp_path: Path, kind: dict[str, Any]) -> None:
    none = dict.fromkeys(("measures", "a", "against", "workloads"), ...)
    (claim,) = load(write(tmp_path, **{**none, **kind})).claims.values()
    assert claim.workload_names == kind.get("workloads", [])


# --- mistakes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"colour": 1}, "colour must be one of id, source, claim, .*, got an unknown key"),
        ({"claim": ...}, "claim must be set, got nothing; "),
        ({"reading": ""}, "reading must be a text, got ''; "),
        ({"id": 1.1}, "id must be letters, digits, dots and dashes, got 1.1; "),
        ({"id": "a b"}, "id must be letters, digits, dots and dashes, got 'a b'; "),
        (
            {"measures": [MEASURE | {"quantity": "speed"}]},
            "quantity must be one of steps_to_target, .*, got '?speed'?; ",
        ),
        (
            {"measures": [MEASURE | {"says": "better"}]},
            r"measures\.0\.says must be one of less, more, .*, got 'better'; ",
        ),
        ({"measures": [MEASURE | {"delta": -0.1}]}, r"measures\.0\.delta must be a number of at least 0, got -0\.1; "),
        ({"measures": [MEASURE, MEASURE | {"delta": math.inf}]}, r"measures\.1\.delta must be .*, got Infinity; "),
        ({"measures": [MEASURE | {"delta": "a tenth"}]}, r"measures\.0\.delta must be .*, got 'a tenth'; "),
        ({"measures": [{"quantity": "val_loss", "says": "less"}]}, r"measures\.0\.delta must be set, got nothing; "),
        ({"fact": "f", "found": "x"}, "exactly one of measures, fact and untestable must be set"),
        ({"untestable": "why", "would_take": "x"}, "exactly one of measures, fact and untestable must be set"),
        ({"measures": []}, "exactly one of measures, fact and untestable must be set"),
        ({"measures": [], "fact": "f"}, "found must be set beside fact"),
        ({"measures": [], "untestable": "why"}, "would_take must be set beside untestable"),
        ({"against": []}, "one of against and reference must be set beside measures"),
        ({"a": ...}, "a and workloads must be set beside measures"),
        ({"workloads": []}, "a and workloads must be set beside measures"),
        ({"reference": 2.0}, "one of against and reference must be set beside measures"),
        ({"against": [], "reference": 2.0}, "against must be set beside the quantity val_loss"),
        ({"measures": [MEASURE | {"quantity": "loss_fall"}]}, "reference must be set beside the quantity loss_fall"),
        ({"against": [], "reference": 0}, "reference must be a number above 0, or null, got 0; "),
        ({"workloads": ["nowhere"]}, "workloads must be of .*digits_mlp.*, got 'nowhere'; "),
        (
            {"measures": [MEASURE | {"workloads": ["digits_cnn"]}]},
            r"measures\.workloads must be of digits_mlp, got 'digits_cnn'; ",
        ),
        ({"contradicts": ["x.9"]}, r"contradicts must be of x\.1, got 'x\.9'; "),
        ({"against": ["adam, sgd"]}, r"against\.0 must be an optimizer, .*, got 'adam, sgd'; "),
        ({"a": "adam eps"}, "a must be an optimizer, .*, got 'adam eps'; "),
        ({"a": "adam optimizer.eps = 1"}, "a must be an optimizer, .*, got 'adam optimizer.eps = 1'; "),
        ({"a": "-m"}, "a must be an optimizer, .*, got '-m'; "),
        ({"rule": "often"}, "rule must be one of everywhere, somewhere, got 'often'; "),
    ],
)
def test_a_mistake_is_named_by_file_and_key(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    assert re.match(f"{re.escape(str(tmp_path / 'x.yaml'))}: {said}", mistake(write(tmp_path, **changes)))


def test_an_unknown_key_of_a_part_is_held_against_that_part(tmp_path: Path) -> None:
    said = mistake(write(tmp_path, measures=[MEASURE | {"colour": 1}]))
    assert f"{tmp_path / 'x.yaml'}: measures.0.colour must be one of quantity, says, delta, workloads, got" in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"colour": 1}, r"\.colour must be one of budget, "),
        ({"budget": "huge"}, r"\.budget must be one of quick, standard, full, got 'huge'"),
        ({"seeds": 1}, r"\.seeds must be a whole number from 2 to 1000, got 1"),
    ],
)
def test_a_mistake_in_a_workload_of_ones_own_is_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    assert re.search(f"my_net{said}", mistake(write(tmp_path, workloads=[{"my_net": WORKLOAD | changes}])))


@pytest.mark.parametrize("key", ["workloads", "against", "measures"])
def test_what_must_be_a_list_is_said_in_words(tmp_path: Path, key: str) -> None:
    said = mistake(write(tmp_path, **{key: "digits_mlp"}))
    assert f"x.yaml: {key} must be " in said
    assert "Input should" not in said


def test_a_workload_in_the_folders_file_is_checked(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "workloads.yaml").write_text(yaml.safe_dump({"my_net": WORKLOAD | {"seeds": 1}}))
    assert re.match(
        r".*workloads\.yaml: my_net\.seeds must be a whole number from 2 to 1000, got 1; ", mistake(tmp_path)
    )


def test_an_id_is_used_once(tmp_path: Path) -> None:
    write(tmp_path, "one.yaml")
    said = mistake(write(tmp_path, "two.yaml"))
    assert "two.yaml: id must be unique in the ledger, got x.1 again; " in said


def test_a_source_is_one_of_the_ledgers(tmp_path: Path) -> None:
    (tmp_path / "ledger.yaml").write_text("title: Mine\nsources: {1: a book}\n")
    assert re.search(r"x\.yaml: source must be of 1, got 'me'; ", mistake(write(tmp_path)))
    assert load(write(tmp_path, source=1)).claims["x.1"].source == "1"


def test_the_mistake_of_the_second_file_is_not_laid_to_the_first(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", id="x.0")
    assert mistake(write(tmp_path, "b.yaml", workloads=["nowhere"])).startswith(f"{tmp_path / 'b.yaml'}: ")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: [", "x.yaml must be a YAML file, got one that cannot be read: "),
        (b"\xff\xfe\xff", "x.yaml must be a YAML file, got one that cannot be read: "),
        (b"- one\n- two\n", "x.yaml must hold keys and values, got list; "),
        (b"", "x.yaml must hold keys and values, got NoneType; "),
    ],
)
def test_a_file_that_is_no_claim_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "x.yaml").write_bytes(content)
    assert said in mistake(tmp_path)


def test_a_ledger_that_is_not_there_is_named(tmp_path: Path) -> None:
    start = f"the ledger must be one of {', '.join(ledgers())}, or a folder of claims"
    (tmp_path / "only_a_head").mkdir()
    (tmp_path / "only_a_head" / "ledger.yaml").write_text("title: Mine\n")
    (tmp_path / "empty").mkdir()
    for name in ("artikles", str(tmp_path / "nowhere"), str(tmp_path / "empty"), str(tmp_path / "only_a_head")):
        said = mistake(name)
        assert said.startswith(start)
        assert f", got {name}; " in said


def test_the_word_of_a_shipped_ledger_is_no_folder_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "articles").mkdir()
    write(tmp_path / "articles")
    assert load("articles").claims.keys() == load(str(CLAIMS_DIR / "articles")).claims.keys()
    assert list(load("./articles").claims) == ["x.1"]
