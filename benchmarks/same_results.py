"""Prove that a refactoring changed no result: run the same commands with the code of a commit and of this tree.

Every command runs once with the packages of OLD_COMMIT and once with those of the working tree, each time in a fresh folder.
Ids, curves, tables, verdicts and the numbers in plans and reports must be equal to the last bit; `NOT_COMPARED` lists the
columns that cannot be repeated, with the reasons. Only commands and the public API are used, so modules may move. Workloads
with data in files train if BENCH_DATA_ROOT is set; otherwise only their ids are compared. Models under torch.compile, GPUs
and Slurm are not covered.

    python benchmarks/same_results.py OLD_COMMIT [--quick] [--keep FOLDER]

The exit status is 1 if anything differs.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent

NOT_COMPARED = {
    "a time of the run itself": "construct_s warmup_s train_s first_step_s eval_s log_s write_s rest_s total_s step_ms"
    " latency_ms latency_batch_ms examples_per_s train_time_s started_at step_us step_host_us step_ratio train_step_us"
    " train_step_host_us train_step_ratio data_us zero_grad_us forward_us backward_us optimizer_us construct_ms"
    " first_step_ms compile_s bandwidth_gib_per_s limit_share timer_share",
    "memory of the whole process, modules and allocator included": "baseline_rss_mib peak_rss_mib rss_increase_mib"
    " peak_allocated_mib peak_reserved_mib allocated_mib reserved_mib",
    "how busy the machine was": "timing_quality load_1min cpu_s cpu_share yardstick_ms yardstick_best_ms gpu_clock_mhz"
    " num_involuntary_switches num_jobs_beside",
    "follows from how long a step took": "steps_per_block",
    "drawn at random for each measurement": "session_id",
    "version or commit of the code, name of the machine": "bench_version git_commit hostname",
    "a sentence for people, which may be reworded": "reason problem",
}
"""Columns whose values are not compared, by reason. In them, too, the same rows must lack a value."""

IGNORED = {column for columns in NOT_COMPARED.values() for column in columns.split()}
BUDGET = "train.steps=8 train.eval_every=4 train.log_every=1 report=false"
POOL = "launcher=pool launcher.n_jobs=2"
MINE = "optimizer=custom optimizer._target_=mine.Mine"
TRAINING = (
    "train.clip_norm=null,0.5 train.accumulate=1,3 regularization.l1=0.0,1e-3 regularization.weights_only=true"
    " optimizer.weight_decay=0.01 train.save_best=true data.num_train=200"
    " metrics=[grad_norm,layer_grad_norm,update_ratio,distance]"
)
TROUBLES = f"{MINE} +optimizer.trouble=null,raise,blowup,memory,constructor"
TUNED = "sweep=tuned sweep.trials=3 sweep.seeds=2 model=logistic optimizer=adam,sgd"
MANY = "adadelta,adafactor,adagrad,adam,adamax,adamw,asgd,lbfgs,momentum,muon,nadam,nesterov,radam,rmsprop,rprop,sgd"
SIX = "adam,sgd,rmsprop,nadam,adamax,adadelta"
CHARACTERS = "data=chars data.path=book.txt data.context=16 model=transformer model.layers=1 model.width=16"
FAKE = "device=fake data=imagenet_shapes model=torchvision model.name=resnet18,vit_b_16 optimizer=adam,sgd"

QUICK, FULL = True, False
SWEEPS = (
    (QUICK, "training", 0, TRAINING),
    (QUICK, "tuned", 0, TUNED),
    (QUICK, "tuned-pool", 0, f"{TUNED} {POOL}"),
    (QUICK, "troubles", 1, TROUBLES),
    (QUICK, "optimizers", 1, f"optimizer={MANY}"),
    (QUICK, "schedules", 0, "optimizer=adamw schedule=constant,cosine,inverse_sqrt,one_cycle,plateau,step,warmup_cosine"),
    (QUICK, "augmentation", 0, "model=mnist_cnn augment=crop,rotation,flip,standard metrics=[moved_accuracy,latency]"),
    (QUICK, "fake", 0, FAKE),
    (QUICK, "weights", 0, "model=custom model._target_=mine.Net train.init_from=null,weights.pt optimizer=adam,sgd"),
    (FULL, "training-pool", 0, f"{TRAINING} {POOL}"),
    (FULL, "troubles-pool", 1, f"{TROUBLES} {POOL}"),
    (FULL, "diverging", 1, "optimizer=sgd optimizer.lr=1e-3,1e6,1e30"),
    (FULL, "own-classes", 0, f"{MINE} model=custom model._target_=mine.Net data=custom data._target_=mine.line"),
    (FULL, "implementations", 0, f"optimizer={SIX} optimizer.implementation=forloop,foreach,fused,reference"),
    (FULL, "line-search", 1, "optimizer=lbfgs optimizer.line_search_fn=null,strong_wolfe train.batch_size=500"),
    (FULL, "losses", 0, "model.log_softmax=true loss=default,nll,as_printed data.order=reshuffled,frozen model.dropout=0.5"),
    (FULL, "precision", 0, "model=mnist_cnn device.precision=fp32,bf16 device=cpu,mps"),
    (FULL, "own-images", 0, "data=image_folder data.path=images train.batch_size=16 model=conv64 data.workers=0"),
    (FULL, "own-text", 0, "data=text data.name=mine data.path=lines.tsv train.batch_size=16 model=logistic,textcnn_as_printed"),
    (FULL, "own-characters", 0, CHARACTERS),
    (FULL, "tuned-wider", 0, f"{TUNED} sweep.method=halton 'sweep.over=[lr,weight_decay]' sweep.extend=true"),
    (FULL, "tuned-random", 0, f"{TUNED} sweep.method=random sweep.select=val_error sweep.untuned=false"),
    (FULL, "tuned-tpe", 0, f"{TUNED} sweep.method=tpe sweep.trials=6"),
)  # fmt: skip
"""Sweeps: whether --quick includes it, its name, its exit status, and what is typed in addition to `BUDGET`."""

MISTAKES = (
    "bench optimizer=adm", "bench optimizer.lr=-1", "bench.step_cost replicates=2", "bench.report nowhere",
    "bench.reproduce nothing", "bench trian.epochs=3", "bench seeds=[0,0]", "bench train.epochs=many",
    "bench optimizer=custom", "bench model=custom model._target_=nowhere.Net", "bench train.batch_size=100000",
    "bench sweep=tuned", "bench launcher=pool", "bench optimizer.lr=1,2", "bench data=mnist data.root=nowhere",
    "bench train.init_from=nowhere.pt", "bench sweep=tuned sweep.over=[eps] -m", "bench.step_cost optimizers=[adam] -m",
    "bench.step_cost optimizers=[adm]", "bench.compare nowhere elsewhere", "bench.reproduce articles budget=large",
    "bench.reproduce articles claim=99", "bench.workloads nothing",
)  # fmt: skip
"""Command lines that must be refused; --quick runs the first five."""

GUARD = """
import os, sys
from pathlib import Path
tree = os.environ["BENCH_TREE"]  # an installed checkout must not add its own modules, such as plugins of Hydra
sys.path[:] = [p for p in sys.path if p == tree or not all(Path(p, name).exists() for name in ("bench", "pyproject.toml"))]
"""


@dataclass(frozen=True)
class Ran:
    """A finished command: its folder, its exit status and what it printed."""

    folder: Path
    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Found:
    """The outcome of a comparison: what was compared, which differences there are, and which words changed."""

    compared: str
    differences: Sequence[str] = ()
    words: Sequence[str] = ()


@dataclass(frozen=True)
class Task:
    """A command to run with both trees.

    Attributes:
        name: Name of the check and of its folder.
        typed: What follows `python` on the command line.
        same: Compares the results of the two trees.
        studies: Tasks whose studies, as written by the old code, are copied into the folder first.
        quick: Whether --quick includes it.
        status: The exit status expected from both; None if any will do, as long as both agree.
    """

    name: str
    typed: str
    same: Callable[[Ran, Ran], Found]
    studies: tuple[str, ...] = ()
    quick: bool = False
    status: int | None = 0


# --- comparisons ------------------------------------------------------------------------------------------


def differing(name: str, old: pd.DataFrame, new: pd.DataFrame, ignored: set[str]) -> list[str]:
    """Return a sentence for each column in which two tables differ; floats are compared to the last bit."""
    if list(old) != list(new):
        gone, come = ([c for c in one if c not in two] for one, two in ((old, new), (new, old)))
        return [f"{name}: columns {gone or 'none'} gone, {come or 'none'} new, or the same in another order"]
    if len(old) != len(new):
        return [f"{name}: {len(old)} rows, now {len(new)}"]
    differences = [f"{name}.{c}: type {old[c].dtype}, now {new[c].dtype}" for c in old if old[c].dtype != new[c].dtype]
    for column in [c for c in old if c != "git_commit"]:  # missing for the old code, which is not a checkout
        a, b = old[column], new[column]
        if re.sub("_(low|high)$", "", column) in ignored:
            a, b = (side.isna().map({True: "missing", False: "there"}) for side in (a, b))
        pairs = list(zip(map(repr, a.tolist()), map(repr, b.tolist()), strict=True))
        apart = [i for i, (one, two) in enumerate(pairs) if one != two]
        if apart:
            row, (one, two) = old.iloc[apart[0], 0], pairs[apart[0]]
            differences.append(f"{name}.{column}: {len(apart)} of {len(old)} rows, first {row}: {one}, now {two}")
    return differences


def in_both(old: Ran, new: Ran, pattern: str) -> tuple[list[str], list[str]]:
    """Return the files that both trees wrote, and a sentence for each that only one of them wrote."""
    one, two = ({str(p.relative_to(r.folder)) for p in r.folder.glob(pattern) if p.is_file()} for r in (old, new))
    return sorted(one & two), [f"{name}: only {'old' if name in one else 'new'}" for name in sorted(one ^ two)]


def same_study(old: Ran, new: Ran) -> Found:
    """Compare all tables of a study, and the weights that were kept of its runs."""
    names, differences = in_both(old, new, "results/*/*.parquet")
    said = []
    for name in names:
        one, two = (pd.read_parquet(ran.folder / name) for ran in (old, new))
        differences += differing(Path(name).stem, one, two, IGNORED)
        statuses = one["status"].value_counts() if "status" in one else {}
        said.append(" ".join([Path(name).stem, f"{len(one):,}", *(f"{status}={n}" for status, n in statuses.items())]))
    kept, absent = in_both(old, new, "results/*/runs/*/best.pt")
    for name in kept:
        one, two = (torch.load(ran.folder / name) for ran in (old, new))
        if list(one) != list(two) or not all(torch.equal(one[key], two[key]) for key in one):
            differences.append(f"{name}: other weights")
    return Found("; ".join(said), differences + absent + ([] if names else ["no table was written"]))


def same_files(pattern: str, ignored: set[str], old: Ran, new: Ran) -> Found:
    """Compare the names of files and, in CSV files, every cell as text."""
    names, differences = in_both(old, new, pattern)
    tables = [name for name in names if name.endswith(".csv")]
    for name in tables:
        one, two = (pd.read_csv(ran.folder / name, dtype=str) for ran in (old, new))
        differences += differing(Path(name).stem, one, two, ignored)
    differences += [] if tables else ["no table was written"]
    return Found(f"{len(names)} files, {len(tables)} tables", differences)


def not_repeated(old: Ran, new: Ran) -> Found:
    """Compare the files of runs byte by byte: a repeated run would have other times."""
    names, differences = in_both(old, new, "results/*/runs/*/run.json")
    again = [name for name in names if (old.folder / name).read_bytes() != (new.folder / name).read_bytes()]
    differences += [f"{name}: repeated" for name in again] if names else ["no run was written"]
    return Found(f"{len(names)} runs", differences)


def same_numbers(old: Ran, new: Ran) -> Found:
    """Compare the numbers that a command printed, whatever the words between them."""
    one, two = (re.findall(r"(?<![\w./-])-?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?", ran.out) for ran in (old, new))
    apart = [f"number {i}: {a}, now {b}" for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b]
    if len(one) != len(two):
        apart.append(f"{len(one)} numbers, now {len(two)}")
    return Found(f"{len(one)} numbers", apart if one else ["no number was printed"])


def same_refusal(old: Ran, new: Ran) -> Found:
    """Check that a refusal is one line without a traceback, and show both versions if the words differ."""
    one, two = old.err.strip(), new.err.strip()
    wrong = [] if len(two.splitlines()) == 1 and "Traceback" not in two else [f"not one line: {two[:300]}"]
    return Found(f"exit status {new.status}, one line", wrong, [] if one == two else [f"old: {one}", f"new: {two}"])


# --- commands ---------------------------------------------------------------------------------------------


def sweep(study: str, typed: str) -> str:
    """Return the command of a small sweep."""
    seeds = "" if "sweep=tuned" in typed else "seeds=[0,1]"  # a tuned sweep has seeds of its own
    return f"-m bench {typed} {BUDGET} {seeds} study={study} -m"


def tasks(old_code: Path) -> list[Task]:
    """Return all commands; those that read the studies of others come last."""
    experiments = ",".join(sorted(path.stem for path in (old_code / "conf" / "experiment").glob("*.yaml")))
    # A time limit is no part of an id: these are the ids of the experiments as they ship, after one step.
    ids = f"-m bench experiment={experiments} train.time_limit_s=1e-9 seeds=[0] memory=false report=false study=ids -m"
    cost = "-m bench.step_cost optimizers=[adam,sgd] implementations=[forloop,foreach] builds=1 rounds=1 report=false"
    rejudge = f"rejudge=true results_dir={shlex.quote(str(old_code / 'results'))}"
    verdicts = partial(same_files, "reports/**/*", {"reason", "problem"})
    figures = partial(same_files, "out/**/*", set())
    loaded = partial(same_files, "*.csv", set())
    return [
        Task("ids", ids, same_study, (), QUICK, 1),
        Task("workloads", sweep("workloads", f"experiment={experiments} memory=false"), same_study, (), FULL, None),
        *(Task(name, sweep(name, typed), same_study, (), quick, status) for quick, name, status, typed in SWEEPS),
        Task("python", "in_python.py", same_study, (), QUICK),
        Task("cost", f"{cost} study=cost", same_study),
        Task("claims-articles", f"-m bench.reproduce articles {rejudge}", verdicts, (), QUICK),
        Task("claims-papers", f"-m bench.reproduce papers {rejudge}", verdicts, (), QUICK),
        Task("claims-plan", "-m bench.reproduce articles plan=true n_jobs=2", same_numbers),
        Task("list", "-m bench.workloads", same_numbers),
        Task("plan-fake", f"{sweep('fake', FAKE)} plan=true", same_numbers),
        *(Task(f"mistake-{i}", f"-m {typed}", same_refusal, (), i < 5, 2) for i, typed in enumerate(MISTAKES)),
        Task("plan", sweep("tuned", TUNED.replace("trials=3", "trials=5")) + " plan=true", same_numbers, ("tuned",), QUICK),
        Task("load", "load.py training python", loaded, ("training", "python"), QUICK),
        Task("load-cost", "load.py cost", loaded, ("cost",)),
        Task("resume", sweep("training", TRAINING), not_repeated, ("training",), QUICK),
        Task("resume-tuned", sweep("tuned", TUNED), not_repeated, ("tuned",)),
        Task("resume-python", "in_python.py", not_repeated, ("python",)),
        Task("report", "-m bench.report results/tuned --out out", figures, ("tuned",), QUICK),
        Task("report-target", "-m bench.report results/python --out out --target 0.6", figures, ("python",)),
        Task("report-where", "-m bench.report results/optimizers --out out --where 'lr < 1'", figures, ("optimizers",)),
        Task("report-cost", "-m bench.report results/cost --out out", figures, ("cost",)),
        Task("two-studies", "-m bench.compare results/tuned results/tuned-pool", same_numbers, ("tuned", "tuned-pool"), QUICK),
    ]  # fmt: skip


def write_samples(folder: Path) -> None:
    """Write the user files that every command finds in its folder: classes, images, texts and weights."""
    shutil.copytree(ROOT / "benchmarks" / "samples", folder, ignore=shutil.ignore_patterns("__pycache__"))
    drawn = np.random.default_rng(0)
    words = [["red", "green", "blue", "and", "or"][i] for i in drawn.integers(0, 5, 2000)]
    lines = [f"{number % 2}\t{' '.join(words[5 * number : 5 * number + 5])}" for number in range(200)]
    (folder / "lines.tsv").write_text("\n".join(["label\ttext", *lines]) + "\n")
    (folder / "book.txt").write_text(" ".join(words))
    for number in range(60):
        path = folder / "images" / ("val" if number % 5 == 0 else "train") / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn.integers(0, 256, (40, 36, 3), dtype=np.uint8)).save(path)
    torch.manual_seed(0)
    sizes = {
        "1.weight": (8, 64),
        "1.bias": (8,),
        "3.weight": (10, 8),
        "3.bias": (10,),
    }  # those of mine.Net on the digits
    torch.save({name: 0.1 * torch.randn(size) for name, size in sizes.items()}, folder / "weights.pt")


def run(task: Task, place: Path, side: str, code: Path) -> Ran:
    """Run a command with the packages of a tree, in a folder of its own."""
    folder = place / side / task.name
    shutil.copytree(place / "samples", folder)
    for study in task.studies:
        if (written := place / "old" / study / "results").is_dir():
            shutil.copytree(written, folder / "results", dirs_exist_ok=True)
    packages = os.pathsep.join(map(str, (place / "guard", code)))
    settings = {"PYTHONPATH": packages, "BENCH_TREE": str(code), "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    environment = {key: value for key, value in os.environ.items() if key != "BENCH_IMAGE_ROOT"} | settings
    command = [sys.executable, *shlex.split(task.typed)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return Ran(folder, done.returncode, done.stdout, done.stderr)


def compared(task: Task, old: Ran, new: Ran) -> Found:
    """Compare the exit statuses of a command, then its results."""
    if old.status == new.status and task.status in (old.status, None):
        return task.same(old, new)
    said = [f"{side}: {ran.status}: {ran.err.strip()[-300:]}" for side, ran in (("old", old), ("new", new))]
    return Found(f"exit status, expected {task.status}", said)


def prepare(place: Path, commit: str) -> dict[str, Path]:
    """Unpack the old code and write the samples; return the folders of both trees.

    Raises:
        SystemExit: There is no such commit, or a tree does not import its own packages.
    """
    code = {"old": place / "code", "new": ROOT}
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", commit], capture_output=True, check=False)
    if archive.returncode:
        raise SystemExit(f"OLD_COMMIT must be a commit of {ROOT}, got {commit}: {archive.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as old_code:
        old_code.extractall(code["old"], filter="data")
    write_samples(place / "samples")
    (place / "guard").mkdir()
    (place / "guard" / "sitecustomize.py").write_text(GUARD)
    for side, tree in code.items():
        where = run(Task("packages", "-c 'import bench; print(bench.__file__)'", same_numbers), place, side, tree)
        if not where.out.startswith(str(tree)):
            raise SystemExit(f"the packages must be those of {tree}, got {where.out or where.err}")
    return code


def main() -> int:
    """Carry out the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("old_commit", help="the commit to compare the working tree with")
    parser.add_argument(
        "--quick", action="store_true", help="run only the commands that find most, in about two minutes"
    )
    parser.add_argument("--keep", type=Path, help="a new folder that keeps everything the commands write")
    given = parser.parse_args()
    started, num_differing = time.monotonic(), 0
    with ExitStack() as stack:
        place = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="same-results-")))
        place = place.resolve()
        code = prepare(place, given.old_commit)
        chosen = [task for task in tasks(code["old"]) if task.quick or not given.quick]
        pool = stack.enter_context(ThreadPoolExecutor(os.cpu_count()))
        for part in ([t for t in chosen if not t.studies], [t for t in chosen if t.studies]):
            ran = [[pool.submit(run, task, place, side, tree) for side, tree in code.items()] for task in part]
            for task, pair in zip(part, ran, strict=True):
                found = compared(task, *(future.result() for future in pair))
                num_differing += bool(found.differences)
                print(f"{'DIFFERS' if found.differences else 'ok':8}{task.name:17}{found.compared}")
                command = [f"python {task.typed}"] if found.differences or found.words else []
                for line in (*command, *found.differences[:5], *found.words):
                    print(f"{'':8}{line}", flush=True)
    print(f"{len(chosen)} checks, {num_differing} differ; {time.monotonic() - started:.0f} s")
    return int(num_differing > 0)


if __name__ == "__main__":
    sys.exit(main())
