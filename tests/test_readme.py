"""The README's commands and code, run as they stand."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from bench import tables
from bench.base.paths import CONF_DIR
from bench.claims import needs
from bench.claims.ledger import load
from bench.cli import reproduce
from bench.config.parse import parse_step_cost

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"```(?:sh)?\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("python -m bench ")
]


def test_the_two_commands_stand_in_the_readme() -> None:
    assert "pip install -e . && python -m bench optimizer=adam,sgd -m" in README
    assert "pip install -e '.[test]' && pytest" in README
    assert "\npip install -e '.[test]' && pytest\n" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_readme_work(
    command: str, cli: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a small budget; files of the reader's own are those that the README prints."""
    for name, code in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", README, re.DOTALL):
        (folder / name).write_text(code)
    words = shlex.split(command.partition("  #")[0])[3:]
    if "data=mnist" in words or "experiment=mnist_tutorial" in words or "--help" in words:
        pytest.skip("needs MNIST files" if "--help" not in words else "tested elsewhere")
    budget = ["train.steps=20"] if any(word.startswith("experiment=") for word in words) else ["train.epochs=1"]
    once = ["sweep.trials=3", "sweep.seeds=1"] if "sweep=tuned" in words else ["seeds=[0]"]
    done = cli(*words, *budget, *once)
    assert done.status == 0, done.err
    if "plan=true" in words:
        assert "Nothing was run." in done.out
        return
    (study,) = Path("results").iterdir()
    assert set(tables.load(study).runs["status"]) <= {"ok", "skipped"}


def test_step_cost_commands_of_the_readme_are_taken() -> None:
    commands = re.findall(r"^python -m bench\.step_cost (.*?)(?:  #.*)?$", README, re.MULTILINE)
    assert len(commands) >= 3
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        for command in commands:
            node = OmegaConf.to_container(compose("step_cost", shlex.split(command)), resolve=True)
            assert isinstance(node, dict)
            assert parse_step_cost({str(key): value for key, value in node.items()}).optimizers


def test_commands_about_claims_are_taken_and_the_readers_own_claim_is_one(
    folder: Path,
) -> None:
    for path, text in re.findall(r"```yaml\n# (\S+\.yaml)\n(.*?)```", README, re.DOTALL):
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_text(text)
    commands = re.findall(r"^python -m bench\.reproduce (.*?)(?:  +#.*)?$", README, re.MULTILINE)
    assert len(commands) >= 6
    for command in commands:
        words = shlex.split(command)
        if words[0] == "list":
            assert reproduce.main(words) == 0
            continue
        options = reproduce.parse(words)
        ledger = load(options.ledger).chosen(budget=options.budget or "quick")
        assert options.rejudge or needs.jobs(ledger, n_jobs=2)


def test_columns_named_in_the_readme_exist() -> None:
    table = README.partition("## The tables")[2].partition("\n## ")[0]
    known = {column.name for column in (*tables.RUNS, *tables.CURVES)} | set(tables.SIDE)
    named = set(re.findall(r"`([a-z_0-9]+)`", table)) - {"runs", "curves", "hp_", "num_"}
    assert named
    assert named <= known | {"study", "problems"}, named - known
