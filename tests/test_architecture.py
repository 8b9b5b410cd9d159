"""Who may import whom, and what a stranger would trip over."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).resolve().parent.parent


def test_imports_keep_the_contracts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The order of the packages, no circle, and what needs neither torch nor Hydra: in pyproject.toml."""
    monkeypatch.chdir(ROOT)
    assert lint_imports(config_filename="pyproject.toml", no_cache=True) == 0, capsys.readouterr().out


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_only_build_instantiates() -> None:
    files = sorted((ROOT / "bench").rglob("*.py"))
    assert {file.parent.name for file in files if "hydra.utils.instantiate" in imported(file)} == {"build"}


def test_top_level_names() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    top = {name.split("/")[0] for name in tracked}
    assert {"pyproject.toml", "bench", "conf", "optimizers", "models", "results", "reports", "README.md"} <= top
    assert not any(part in ("utils", "helpers", "misc") for name in tracked for part in name.split("/"))


def test_training_loop_fits_a_screen() -> None:
    source = (ROOT / "bench" / "training" / "loop.py").read_text()
    (function,) = [n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef) and n.name == "train"]
    assert function.end_lineno is not None
    assert function.end_lineno - function.lineno < 80
