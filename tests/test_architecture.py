"""Who may import whom, and what a stranger would trip over."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# file or folder: what it must not import, at any depth of the file
FORBIDDEN = {
    "optimizers": {"bench", "models", "hydra", "omegaconf", "pandas"},
    "models": {"bench", "optimizers", "hydra", "omegaconf", "pandas"},
    "bench/report": {"torch", "torchvision", "hydra", "omegaconf", "sklearn", "optimizers", "models"},
    **{
        f"bench/claims/{name}.py": {"torch", "torchvision", "hydra", "omegaconf", "sklearn", "optimizers", "models"}
        for name in ("ledger", "quantities", "judge", "verdicts", "pages", "figures", "words")
    },
    "bench/tables.py": {"torch", "hydra", "omegaconf", "bench"},
    "bench/config.py": {"torch", "hydra", "omegaconf", "pandas"},
    "bench/tuning.py": {"torch", "hydra", "omegaconf", "pandas"},
    "bench/plan.py": {"torch", "hydra", "omegaconf"},
    "bench/pool.py": {"torch", "hydra", "omegaconf"},
    "bench/slurm.py": {"torch", "hydra", "omegaconf"},
    "bench/given.py": {"hydra", "omegaconf", "pandas"},
    "bench/train.py": {"hydra", "omegaconf", "pandas", "pathlib", "tqdm"},
    "bench/update.py": {"hydra", "omegaconf", "pandas", "pathlib"},
    "bench/losses.py": {"hydra", "omegaconf", "pandas", "pathlib"},
    "bench/probes.py": {"hydra", "omegaconf", "pandas", "pathlib"},
    "bench/augment.py": {"hydra", "omegaconf", "pandas", "pathlib"},
    "bench/clock.py": {"hydra", "omegaconf", "pandas", "pathlib"},
    "bench/memory.py": {"hydra", "omegaconf", "pandas"},
    "bench/schedules.py": {"hydra", "omegaconf", "pandas", "pathlib"},
    "bench/paired.py": {"hydra", "omegaconf", "pandas", "pathlib"},
    "bench/footprint.py": {"hydra", "omegaconf", "pandas", "pathlib"},
    "bench/replicate.py": {"hydra", "omegaconf", "pandas", "pathlib"},
    "bench/device.py": {"hydra", "omegaconf", "pandas"},
    "bench/data": {"hydra", "omegaconf", "pandas"},
    "bench/run.py": {"hydra", "omegaconf"},
}
# beyond these, a module of bench may import only these modules of bench
ALLOWED = {
    "bench/train.py": {
        "bench.clock",
        "bench.data",
        "bench.losses",
        "bench.probes",
        "bench.schedules",
        "bench.update",
    },
    "bench/update.py": {"bench.losses"},
    "bench/losses.py": {"bench.data"},
    "bench/probes.py": set(),
    "bench/augment.py": set(),
    "bench/schedules.py": set(),
    "bench/clock.py": set(),
    "bench/paired.py": {"bench.clock"},
    "bench/footprint.py": {
        "bench.build",
        "bench.config",
        "bench.data",
        "bench.device",
        "bench.losses",
        "bench.memory",
        "bench.update",
    },
    "bench/tuning.py": {"bench.config", "bench.environment", "bench.tables"},
    "bench/given.py": {"bench.build", "bench.config", "bench.data"},
    "bench/memory.py": set(),
    "bench/device.py": set(),
    "bench/config.py": set(),
    "bench/data": {"bench.data"},
    "bench/build.py": {"bench.config", "bench.data", "bench.device", "bench.update"},
    "bench/report": {"bench", "bench.report", "bench.tables"},
    "bench/claims/judge.py": {"bench.report"},
    "bench/claims/quantities.py": {"bench.claims.judge", "bench.report"},
    "bench/claims/ledger.py": {"bench.claims", "bench.config"},
    "bench/claims/verdicts.py": {"bench.claims"},
    "bench/claims/facts.py": {"bench.data", "bench.losses", "models", "optimizers"},
}
ONLY_BUILD_INSTANTIATES = re.compile(r"\binstantiate\b")


def modules(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {str(node.module)} - {"bench"}  # of which only submodules count
    return names


def files(where: str) -> list[Path]:
    path = ROOT / where
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


@pytest.mark.parametrize("where", FORBIDDEN)
def test_arrows(where: str) -> None:
    assert files(where)
    for file in files(where):
        tops = {name.partition(".")[0] for name in modules(file)}
        assert not tops & FORBIDDEN[where], f"{file.relative_to(ROOT)} imports {tops & FORBIDDEN[where]}"


@pytest.mark.parametrize("where", ALLOWED)
def test_arrows_within_bench(where: str) -> None:
    for file in files(where):
        used = {name for name in modules(file) if name.partition(".")[0] == "bench"}
        bad = {
            u
            for u in used
            if not any(
                u == a or (a != "bench" and u.startswith(f"{a}.")) for a in ALLOWED[where] | {"bench.__version__"}
            )
        }
        assert not bad, f"{file.relative_to(ROOT)} imports {bad}"


def test_only_build_instantiates() -> None:
    for file in files("bench"):
        if file.name != "build.py":
            assert "hydra.utils.instantiate" not in modules(file), file


def test_top_level_names() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    top = {name.split("/")[0] for name in tracked}
    assert {"pyproject.toml", "bench", "conf", "optimizers", "models", "results", "reports", "README.md"} <= top
    assert not any(part in ("utils", "helpers", "misc") for name in tracked for part in name.split("/"))


def test_training_loop_fits_a_screen() -> None:
    source = (ROOT / "bench" / "train.py").read_text()
    (function,) = [n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef) and n.name == "train"]
    assert function.end_lineno is not None
    assert function.end_lineno - function.lineno < 80
