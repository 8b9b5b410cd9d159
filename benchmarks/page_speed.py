"""The page of 540 runs (12 optimizers x 5 rates x 3 models x 3 seeds) in a real Chromium: size, until it is usable, until a toggle is drawn.

And how long the report of the first command takes to write, imports aside. Needs `pip install -e '.[browser]'` and chromium on the PATH.

    python benchmarks/page_speed.py [--repeats 10]
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, sync_playwright
from report_size import made_up_run

from bench import tables
from bench.analysis.study import StudyAnalysis
from bench.report.study.render import write_report

OPTIMIZERS = ("adam", "sgd", "rmsprop", "nadam", "adamax", "adadelta", "momentum", "nesterov", "adamw", "radam", "adagrad", "muon")  # fmt: skip
MODELS, NUM_RATES, NUM_SEEDS = ("mlp", "logistic", "mnist_cnn"), 5, 3

USABLE = """() => new Promise((resolve) => {
  document.querySelector('.explorer').scrollIntoView();
  const look = () => document.querySelector('.explorer .canvas svg') ? resolve(performance.now()) : requestAnimationFrame(look);
  look();
})"""
"""Milliseconds from the start of the navigation until the page is parsed and, scrolled to at once, the first chart is drawn."""

TOGGLE = """() => new Promise((resolve) => {
  const box = document.querySelector('.explorer .legend input'), place = document.querySelector('.explorer .canvas');
  const old = place.querySelector('svg'), started = performance.now();
  const look = () => { const now = place.querySelector('svg');
    now && now !== old && now.getAttribute('aria-label') ? resolve(performance.now() - started) : requestAnimationFrame(look); };
  box.click();
  look();
})"""
"""Milliseconds from a click in the legend until the chart is drawn again."""


def make_540(study: Path) -> None:
    """Write the runs of a sweep of 12 optimizers, 5 rates, 3 models and 3 seeds."""
    random = np.random.RandomState(0)
    for model in MODELS:
        for number, optimizer in enumerate(OPTIMIZERS):
            for rate in range(NUM_RATES):
                for seed in range(NUM_SEEDS):
                    row, points = made_up_run(optimizer, number, rate, seed, random)
                    row |= {"model": model, "workload": f"{model} on digits, batch 64", "workload_id": model}
                    row |= {"cell_id": f"{model}-{row['cell_id']}", "run_id": f"{model}-{row['run_id']}"}
                    tables.write_run(study, row, points, {})
    tables.build(study)


def opened(browser: Browser, page_path: Path) -> tuple[float, list[float]]:
    """Return the milliseconds until a page is usable, and of some toggles."""
    page = browser.new_context(viewport={"width": 1200, "height": 900}).new_page()
    page.goto(page_path.as_uri(), wait_until="domcontentloaded")
    usable = float(page.evaluate(USABLE))
    toggles = [float(page.evaluate(TOGGLE)) for _ in range(6)]
    page.context.close()
    return usable, toggles


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_540(folder / "results" / "large")
        write_report(StudyAnalysis(tables.load(folder / "results/large"), folder / "results/large"), folder / "large")
        page = folder / "large" / "index.html"
        print(f"540 runs: {page.stat().st_size / 2**20:.2f} MiB")
        with sync_playwright() as driver:
            chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
            browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            found = [opened(browser, page) for _ in range(repeats)]
            browser.close()
        print(f"usable after {summary([usable for usable, _ in found])} ms of {repeats} openings")
        print(f"a toggle is drawn after {summary([each for _, toggles in found for each in toggles])} ms")
        command = [sys.executable, "-m", "bench", "optimizer=adam,sgd", "study=small", "report=false", "-m"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        seconds = []
        for _ in range(repeats):
            started = time.perf_counter()
            study = folder / "results" / "small"
            write_report(StudyAnalysis(tables.load(study), study), folder / "small")
            seconds.append(1e3 * (time.perf_counter() - started))
        print(f"the report of the first command is written in {summary(seconds)} ms, the first time {seconds[0]:.0f}")


def summary(values: list[float]) -> str:
    """Return the median and the range."""
    return f"{np.median(values):.0f} ({min(values):.0f} to {max(values):.0f})"


if __name__ == "__main__":
    main()
