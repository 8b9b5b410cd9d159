"""Attack the bench for as long as you like: damaged folders, odd overrides and ledgers, kills of any process at any moment.

    python benchmarks/attack.py --minutes 30
    python benchmarks/attack.py --minutes 5 --only kills --seed 7

The same attacks as in `tests/hostile/`, drawn afresh. Stops at the first that does harm, and prints the seed that repeats
it: a traceback, a hang, a write or a removal outside the folders of study and report, a process left behind, a recorded
run lost. Exit status 1 then.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from hostile import folders, test_folders, test_overrides  # noqa: E402

from bench import tables  # noqa: E402
from bench.compose.composer import composed  # noqa: E402

SWEEP = ["optimizer=adam,sgd", "seeds=3", "train.epochs=3", "study=s", "-m"]

COMMANDS = [
    ["bench", *SWEEP],
    ["bench", *SWEEP, "force=true"],
    ["bench", *SWEEP, "launcher=pool", "launcher.n_jobs=2", "force=true"],
    ["bench", *SWEEP, "sweep=tuned", "sweep.trials=3", "sweep.seeds=2"],
    ["bench", *SWEEP, "seeds=auto", "decide.max_seeds=10"],
    ["bench.report", "results/s"],
    ["bench.compare", "results/s", "results/s"],
    ["bench.step_cost", "optimizers=[adam,sgd]", "replicates=2", "rounds=2", "study=s"],
    ["bench.studies", "show", "s"],
    ["bench.workloads"],
    ["bench.reproduce", "articles", "claim=3.0"],
]
"""What is killed."""

SIGNALS = [signal.SIGKILL] * 3 + [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]

OF_PYTHONS_OWN = r'Traceback [^\n]*\n  File "[^"\n]*/multiprocessing/resource_tracker\.py".*?\nKeyError: [^\n]*\n'
"""What the resource tracker of Python says of every name that its killed forerunner knew; nothing is lost by it."""


def family(pid: int) -> list[psutil.Process]:
    """Return a process and all below it that are alive."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def recorded(study: Path) -> set[str]:
    """Return the runs of a study that ended ok."""
    if not (study / "runs").is_dir():
        return set()
    runs = tables.build(study).runs
    return set(runs.loc[runs["status"] == "ok", "run_id"]) if len(runs) else set()


def kill_once(rng: random.Random, place: Path) -> str:
    """Kill a process of a command at a random moment, and check what is left; return which command it was."""
    words, before, study = rng.choice(COMMANDS), folders.listing(place / "victim"), place / "results" / "s"
    ok = recorded(study)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", *words], cwd=place, env=environment, stdout=said, stderr=said, start_new_session=True
        )
        time.sleep(rng.uniform(0.3, 12))  # before that, Python itself starts
        alive = family(process.pid)
        how = rng.choice(SIGNALS)
        try:
            if alive:
                with contextlib.suppress(psutil.NoSuchProcess):
                    rng.choice(alive).send_signal(how)
            process.wait(60)
            _, left = psutil.wait_procs(alive, folders.CLOCK_LIMIT_S)
            assert not left, f"{words}: {left} go on after {how.name}"
        finally:
            for member in alive:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()
        said.seek(0)
        text = re.sub(OF_PYTHONS_OWN, "", said.read(), flags=re.DOTALL)
    assert "Traceback" not in text, f"{words} after {how.name}:\n{text}"
    assert folders.listing(place / "victim") == before, words
    assert "force=true" in words or ok <= recorded(study), f"{words} after {how.name}: a run is lost"
    return words[0]


def attacks(place: Path) -> dict[str, Callable[[random.Random], object]]:
    """Return what can be done, by name; all of it happens in one folder."""
    (place / "kills").mkdir()
    (place / "ledgers").mkdir()
    test_folders.victim_in(place / "kills")
    keys = list(test_overrides.flattened(composed()))
    shelf = test_folders.new_study(place / "shelf" / "s")

    def damage(rng: random.Random) -> object:
        (place / "folders").mkdir()
        return test_folders.try_damage(rng, shelf, place / "folders", rng.random() < 0.1)

    return {
        "folders": damage,
        "overrides": lambda rng: test_overrides.try_overrides(rng, keys),
        "ledgers": lambda rng: test_overrides.try_ledger(rng, place / "ledgers"),
        "kills": lambda rng: kill_once(rng, place / "kills"),
    }


def main() -> int:
    """Attack until the time is over or harm is done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=None, help="of the first attack; by default the clock's")
    parser.add_argument("--only", choices=["folders", "overrides", "ledgers", "kills"], default=None)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    place = Path(tempfile.mkdtemp(prefix="optbench-attack-"))
    ways = attacks(place)
    names = [given.only] if given.only else list(ways)
    seed = time.time_ns() % 10**9 if given.seed is None else given.seed
    end, done = time.monotonic() + 60 * given.minutes, Counter[str]()
    while time.monotonic() < end:
        name = names[sum(done.values()) % len(names)]
        try:
            ways[name](random.Random(seed))
        except Exception:
            traceback.print_exc()
            print(f"harm: repeat it with --only {name} --seed {seed}; what is left lies in {place}")
            return 1
        done[name] += 1
        seed += 1
    shutil.rmtree(place)
    print("no harm in " + ", ".join(f"{num} {name}" for name, num in done.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
