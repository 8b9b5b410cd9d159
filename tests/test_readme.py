"""The commands and the code of the README and the documentation, run as they stand."""

from __future__ import annotations

import csv
import re
import runpy
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pages
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image

from bench import tables
from bench.base.paths import CONF_DIR
from bench.claims import needs
from bench.claims.ledger import load
from bench.cli import reproduce
from bench.cli.compare import main as compare_main
from bench.cli.studies import main as studies_main
from bench.config.parse import parse_step_cost
from bench.report.__main__ import main as report_main

ROOT = pages.ROOT
README = (ROOT / "README.md").read_text()
EXTENDING = "docs/extending.md"
COMMANDS = {
    command: page
    for command, page in pages.all_commands("python -m bench ").items()
    if page != EXTENDING  # of a checkout to which the page adds files; see tests/test_extending.py
}
NOT_RUN = ("pip install ", "sphinx-build ", "tensorboard ")
"""What else a reader is told to type."""

CANNOT_RUN = {
    "data.download=true": "downloads MNIST",
    "device=cuda model=": "needs a GPU and CIFAR-10",
    "experiment=imagenet": "needs a GPU and ImageNet",
    "launcher=slurm": "needs Slurm: see tests/cluster",
    "--help": "tested elsewhere",
}


def test_the_two_commands_stand_in_the_readme() -> None:
    assert "pip install -e . && python -m bench optimizer=adam,sgd -m" in README
    assert "pip install -e '.[test]' && pytest" in README
    assert "\npip install -e '.[test]' && pytest\n" in (ROOT / ".ci" / "run").read_text()


def test_the_readme_takes_two_minutes() -> None:
    assert len(README.splitlines()) <= 200


def test_every_command_is_run_or_known_not_to_be() -> None:
    for page in pages.PAGES:
        for command in pages.commands(page):
            assert re.match(r"python -m bench[. ]", command) or command.startswith(NOT_RUN), f"{page}: {command}"
    assert set(COMMANDS.values()) > {"README.md"}


def test_commands_of_a_workflow_stand_on_the_page() -> None:
    steps = [
        (page, step)
        for page in pages.PAGES
        for block in pages.blocks(page)
        if block.language == "yaml"
        for step in re.findall(r"^ *- run: (.*)", block.text, re.MULTILINE)
    ]
    assert steps
    for page, step in steps:
        known = [re.sub(r" --.*", "", command) for command in [*pages.commands(page), *pages.commands("README.md")]]
        assert any(re.sub(r" --.*", "", step) in command for command in known), step


def readers_files(page: str, folder: Path) -> None:
    """Files that the page prints, and files of the reader's own that it only names."""
    pages.write_files(page, folder)
    (folder / "my.txt").write_text("to be or not to be, that is the question\n" * 300)
    with (folder / "my.csv").open("w", newline="") as file:
        rows = [[f"class-{i % 2}", f"{'good' if i % 2 else 'bad'} film number {i}"] for i in range(150)]
        csv.writer(file).writerows([["label", "text"], *rows])
    generator = np.random.default_rng(0)
    for split, number in (("train", 40), ("val", 4)):
        for name in ("cat", "dog"):
            (folder / "photos" / split / name).mkdir(parents=True)
            for i in range(number):
                pixels = generator.integers(0, 256, (40, 40, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / "photos" / split / name / f"{i}.jpg")


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_work(command: str, cli: Callable[..., Any], folder: Path) -> None:
    """With a small budget; files of the reader's own are those that the page prints."""
    for part, reason in CANNOT_RUN.items():
        if part in command:
            pytest.skip(reason)
    readers_files(COMMANDS[command], folder)
    words = shlex.split(command)[3:]
    if "train.epochs=" in command or not any(word.startswith("experiment=") for word in words):
        budget = ["train.epochs=1"]
    else:
        budget = ["train.steps=20"]
    once = ["sweep.trials=3", "sweep.seeds=1"] if "sweep=tuned" in words else ["seeds=[0]"]
    pages_of = [] if COMMANDS[command] in ("README.md", "docs/how-to/training.md") else ["report=false"]
    done = cli(*words, *budget, *once, *pages_of)
    assert done.status == 0, done.err
    if "plan=true" in words:
        assert "Nothing was run." in done.out
        return
    (study,) = Path("results").iterdir()
    assert set(tables.load(study).runs["status"]) <= {"ok", "skipped"}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `studies` keeps them from one test to the next."""
    return tmp_path_factory.mktemp("shelf")


@pytest.fixture
def studies(shelf: Path, folder: Path, cli: Callable[..., Any]) -> None:
    """Studies of the names that commands and code speak of, in the reader's folder."""
    if not (shelf / "results").exists():
        for name in ("digits-mlp", "before"):
            done = cli(f"study={name}", "optimizer=adam,sgd", "train.epochs=1", "seeds=[0,1]", "report=false", "-m")
            assert done.status == 0, done.err
        shutil.copytree("results/before", "results/after")  # measured again, it could be slower
        shutil.copytree("results", shelf / "results")
        shutil.rmtree("results")
    shutil.copytree(shelf / "results", "results")


@pytest.mark.parametrize(
    "command", [*pages.all_commands("python -m bench.report "), *pages.all_commands("python -m bench.compare ")]
)
def test_commands_that_read_studies_work(command: str, studies: None, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(command)[2:]
    monkeypatch.setattr(sys, "argv", words)
    command_main = report_main if words[0] == "bench.report" else compare_main
    assert command_main() == 0
    out = words[words.index("--out") + 1] if "--out" in words else "reports/digits-mlp"
    assert words[0] == "bench.compare" or (Path(out) / "index.html").is_file()


def test_commands_about_studies_work(studies: None) -> None:
    commands = list(pages.all_commands("python -m bench.studies"))
    assert len(commands) == 4
    for command in commands:
        assert studies_main(shlex.split(command)[3:]) == 0, command


def test_the_command_that_lists_workloads_is_a_module() -> None:
    (command,) = pages.all_commands("python -m bench.workloads")
    assert command == "python -m bench.workloads"  # carried out by tests/test_workloads.py


@pytest.mark.parametrize("page", [page for page in pages.PAGES if pages.script(page)])
def test_python_of_a_page_works(page: str, studies: None, folder: Path) -> None:
    (folder / "page.py").write_text(pages.script(page))
    backend = mpl.get_backend()
    try:
        runpy.run_path(str(folder / "page.py"), run_name="__main__")
    finally:
        mpl.use(backend)


def test_step_cost_commands_are_taken() -> None:
    commands = [shlex.split(command)[3:] for command in pages.all_commands("python -m bench.step_cost ")]
    assert len(commands) >= 3
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        for command in commands:
            node = OmegaConf.to_container(compose("step_cost", command), resolve=True)
            assert isinstance(node, dict)
            assert parse_step_cost({str(key): value for key, value in node.items()}).optimizers


def test_commands_about_claims_are_taken_and_the_readers_own_claims_are_some(folder: Path) -> None:
    named = {
        page
        for page in pages.PAGES
        if page != EXTENDING
        for command in pages.commands(page)
        if "bench.reproduce my-" in command
    }
    assert named
    for page in named:
        pages.write_files(page, folder)
    found = pages.all_commands("python -m bench.reproduce ")
    commands = [shlex.split(command)[3:] for command, page in found.items() if page != EXTENDING]
    assert len(commands) >= 6
    for words in commands:
        if words[0] in ("list", "quantities"):
            assert reproduce.main(words) == 0
            continue
        options = reproduce.parse(words)
        ledger = load(options.ledger).chosen(budget=options.budget or "quick")
        assert options.rejudge or needs.planned_sweeps(ledger, 2, (5,))


def test_columns_that_the_documentation_names_exist() -> None:
    known = {
        column.name for column in (*tables.RUNS, *tables.CURVES, *(c for side in tables.SIDE.values() for c in side))
    }
    named = {
        word
        for page in pages.PAGES
        for word in re.findall(r"`((?:num_)?[a-z][a-z_0-9]*)`", (ROOT / page).read_text())
        if re.search(r"(^num_|_(s|ms|us|mib|mhz|quality|share|id|fingerprint|evaluations)$)", word)
    }
    assert len(named) > 15
    assert named <= known | {"num_", "_s", "_ms", "_us", "_mib", "num_outputs"}, named - known


def test_no_page_sends_a_reader_where_nothing_is() -> None:
    """Links between the pages, and to files of the repository."""
    for page in pages.PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
            if not re.match(r"\w+:", target):
                assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"
