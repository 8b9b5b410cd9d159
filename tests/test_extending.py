"""What docs/extending.md adds for good, in a copy of the checkout, by the very lines of the page."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import commands
import pages
import pandas as pd
import pytest

from bench import tables

PAGE = "docs/extending.md"
SMALL = ["train.epochs=1", "seeds=[0]", "memory=false"]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with all that the page adds."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("bench", "conf", "hydra_plugins", "models", "optimizers"):
        shutil.copytree(pages.ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(pages.ROOT / "pyproject.toml", folder)  # by which a checkout is known
    pages.write_files(PAGE, folder)
    pages.add_entries(PAGE, folder)
    return folder


def python(checkout: Path, module: str, *arguments: str) -> str:
    done = commands.run(module, *arguments, cwd=checkout, root=checkout)
    assert done.returncode == 0, done.stderr
    return done.stdout


def sweep(checkout: Path, adds: str) -> pd.DataFrame:
    """Carry out the command of the page that names what is added, and return its runs."""
    (command,) = [c for c in pages.commands(PAGE) if adds in c]
    study = re.sub(r"\W+", "-", adds).strip("-")
    python(checkout, *shlex.split(command)[2:], *SMALL, f"study={study}")
    runs = tables.load(checkout / "results" / study).runs
    assert set(runs["status"]) == {"ok"}
    assert len(runs) == 2
    return runs


def test_an_optimizer(checkout: Path) -> None:
    assert set(sweep(checkout, "optimizer=signdescent")["optimizer"]) == {"signdescent", "adam"}
    assert "signdescent" in (checkout / "reports/optimizer-signdescent/index.html").read_text()


def test_a_model(checkout: Path) -> None:
    assert set(sweep(checkout, "model=wide")["model"]) == {"wide"}


def test_data(checkout: Path) -> None:
    assert set(sweep(checkout, "data=waves")["data"]) == {"waves"}


def test_a_schedule(checkout: Path) -> None:
    runs = sweep(checkout, "schedule=linear")
    assert set(runs["schedule"]) == {"linear"}
    (checkout / "half.py").write_text("from bench.config.schedules import linear; print(linear(10, final=0.5)(5))")
    found = python(checkout, "half")
    assert float(found) == 0.75


def test_a_metric(checkout: Path) -> None:
    sweep(checkout, "metrics=[weight_norm]")
    curves = tables.load(checkout / "results/metrics-weight_norm").curves
    assert (curves.loc[curves["metric"] == "weight_norm", "value"] > 0).sum() > 2
    assert list((checkout / "reports/metrics-weight_norm/figures").glob("*weight-norm.svg"))


def test_a_table_and_a_figure(checkout: Path) -> None:
    runs = sweep(checkout, "study=spread")
    report = checkout / "reports" / "study-spread"
    assert "Spread over seeds" in (report / "index.html").read_text()
    written = pd.read_csv(report / "tables" / "seeds.csv")
    assert written["max"].max() == pytest.approx(runs["final_val_loss"].max())
    assert (report / "figures" / "seeds.svg").is_file()


def test_a_launcher(checkout: Path) -> None:
    sweep(checkout, "launcher=background")


def test_a_claim_and_a_quantity(checkout: Path) -> None:
    for ledger in ("my-claims", "my-rises"):
        assert f"python -m bench.reproduce {ledger}" in pages.commands(PAGE)
    assert "largest_rise" in python(checkout, "bench.reproduce", "quantities")
    assert "nesterov" in python(checkout, "bench.reproduce", "list", "my-claims")
    assert " runs, about" in python(checkout, "bench.reproduce", "my-claims", "plan=true")
    out = python(checkout, "bench.reproduce", "my-rises", "budget=quick")
    assert "rises" in out
    assert "largest rise of the validation loss" in (checkout / "reports/my-rises-quick/index.html").read_text()
