"""Compare optimizers from Python: `from bench import compare`."""

from __future__ import annotations

import html
import random
import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from bench import tables
from bench.analysis import comparisons
from bench.analysis.leaderboard import leaderboard
from bench.analysis.section import SectionAnalysis, analyses
from bench.analysis.sections import leaders, sections
from bench.analysis.study import StudyAnalysis
from bench.api.arguments import OptimizerLike, configs_of, in_arguments
from bench.api.chart import Chart, curves_spec
from bench.api.inline_targets import resolvable
from bench.base.console import say
from bench.base.errors import UserError
from bench.config.fields import AUTO
from bench.config.schema import Config
from bench.execution.cell import run_cells
from bench.execution.session import Session
from bench.plots.curves import curves_figure, draw_curves
from bench.plots.palette import colors
from bench.plots.style import style
from bench.report.study.leaderboard import headline, readable_leaderboard
from bench.report.study.render import write_report
from bench.report.terminal import summary_text
from bench.sweep.rounds import until_decided


class Comparison:
    """The result of `compare`; printed, it says which optimizer is best and whether the difference is significant.

    Attributes:
        runs: Table `runs`, one row a run of this comparison.
        curves: Table `curves`, one row a point of theirs.
        path: Folder of the study: for `bench.tables.load`, `python -m bench.report`, `python -m bench.compare`.
            A temporary one is deleted when the program ends.
    """

    def __init__(self, runs: pd.DataFrame, curves: pd.DataFrame, path: Path) -> None:
        self.runs, self.curves, self.path = runs, curves, path

    def summary(self) -> pd.DataFrame:
        """Return a row for each optimizer and setting, the lowest mean final validation loss first; see `bench.analysis.comparisons.summary`.

        Returns:
            Means over seeds, each with the ends of its 95 % interval in columns _low and _high.
        """
        return pd.concat([comparisons.summary(section.runs) for section in sections(self.runs)], ignore_index=True)

    def plot(self, metric: str = "loss", x: str = "step", ax: Axes | None = None, split: str = "val") -> Figure:
        """Draw a metric of the best setting of each optimizer: median and range over seeds, single seeds faint.

        Args:
            metric: A metric of `curves`: "loss", "accuracy", or one on request.
            x: "step", "epoch" or "train_time_s" (of the run, end to end).
            ax: Axes to draw on, such as those of a figure of your own; None: a new figure, a panel a split.
            split: "train", "val" or "test": what is drawn on `ax`.

        Returns:
            The figure; a new one belongs to nobody: a notebook shows it, `savefig` writes it.

        Raises:
            UserError: There is no such metric or axis.
        """
        _check_axis(x)
        section = next(sections(self.runs))
        with suppress(ImportError):
            plt.switch_backend(mpl.get_backend())  # a notebook's shows figures only once it has been loaded
        with style():
            palette = colors(self.runs["optimizer"])
            shown = leaders(section.runs)
            if ax is None:
                figure = curves_figure(section.runs, self.curves, shown, metric, x, palette)
            else:
                drawn = draw_curves(ax, section.runs, self.curves, shown, metric, x, palette, split)
                figure = ax.get_figure(root=True) if drawn else None
        if figure is None:
            raise self._unknown(metric, f" of {split}" if ax is not None else "")
        return figure

    def chart(self, metric: str = "loss", x: str = "step", split: str = "val") -> Chart:
        """Return an interactive chart of a metric of the best setting of each optimizer: median and range over seeds.

        Args:
            metric: A metric of `curves`: "loss", "accuracy", or one on request.
            x: "step", "epoch" or "train_time_s" (of the run, end to end).
            split: "train", "val" or "test".

        Returns:
            What a notebook shows; see `Chart` for files and Altair.

        Raises:
            UserError: There is no such metric or axis.
        """
        _check_axis(x)
        if not ((self.curves["metric"] == metric) & (self.curves["split"] == split)).any():
            raise self._unknown(metric, f" of {split}")
        section = next(sections(self.runs))
        palette = colors(self.runs["optimizer"])
        return Chart(curves_spec(section.runs, self.curves, leaders(section.runs), metric, x, split, palette))

    def _unknown(self, metric: str, where: str) -> UserError:
        known = ", ".join(sorted(set(self.curves["metric"]))) or "none"
        return UserError(f"metric must be one that was recorded ({known}), got {metric!r}{where}; choose one of these")

    def report(self, path: str | Path) -> Path:
        """Write the report: index.html, report.md, figures and tables.

        Args:
            path: Folder to write into.

        Returns:
            The page to open.

        Raises:
            OSError: The folder cannot be written.
        """
        write_report(StudyAnalysis(tables.Study(self.runs, self.curves), self.path), Path(path))
        return Path(path) / "index.html"

    def __repr__(self) -> str:
        return summary_text(self._analyses())

    def _repr_html_(self) -> str:
        parts = []
        for found in self._analyses():
            board = leaderboard(found) if len(found.section.runs) else None
            said = html.escape(headline(found, board))
            parts.append(f"<p><b>{html.escape(found.section.title)}</b><br>{said}</p>")
            parts += [] if board is None else [readable_leaderboard(board).to_html(index=False, border=0)]
        return "\n".join(parts)

    def _analyses(self) -> Iterator[SectionAnalysis]:
        return analyses(self.runs, self.curves, memory=tables.load_side(self.path, "memory"))


def _check_axis(x: str) -> None:
    axes = ("step", "epoch", "train_time_s")
    if x not in axes:
        raise UserError(f"x must be one of {', '.join(axes)}, got {x!r}; choose one of these")


def compare(
    model: str | Callable[..., nn.Module],
    data: Any,
    optimizers: Sequence[OptimizerLike],
    *,
    seeds: int | str | Sequence[int] = 5,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int = 64,
    loss: str | Callable[[Tensor, Tensor], Tensor] = "default",
    device: str = "cpu",
    study: str | None = None,
    results_dir: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Comparison:
    """Train a model with each optimizer from the same starts on the same batches, and compare.

    The same runs, tables and statistics as `python -m bench`. Afterwards torch's switches and all random
    generators are what they were. A run that exists already in `results_dir` is not repeated; a function that
    has changed makes new ones.

    Args:
        model: A function without arguments that returns a fresh `torch.nn.Module` (arguments `input_shape` and
            `num_outputs` are filled in from the data), a class of modules, or the name of a model of the bench.
        data: (train, val, test), each a pair (inputs, targets) of tensors or arrays or a
            `torch.utils.data.Dataset`; or the name of a data set of the bench. Whole-number targets are classes.
        optimizers: Each the name of an optimizer of the bench, which runs at its defaults; ("sgd", {"lr": 0.1}) or
            {"name": "sgd", "lr": 0.1}; a function or class from parameters to an optimizer, such as
            functools.partial(torch.optim.AdamW, lr=1e-3); or (name, function).
        seeds: How many (then 0, 1, ...), or which; one cannot rank anything. "auto": as many as it takes to decide, see the
            keys of `decide` ("decide.delta" and so on, in `settings`).
        epochs: Budget of every run, passes over the training examples; 20 if neither is given.
        steps: Budget of every run, optimizer updates, in place of `epochs`.
        batch_size: Examples a step.
        loss: "default" (cross-entropy for classes, else mean squared error), "nll", "as_printed", the dotted path of a
            function, or a function of outputs and targets that returns the mean over the batch.
        device: "cpu", "cuda", "mps" or "auto".
        study: Name of the folder in `results_dir`; None: <data>-<model>.
        results_dir: Folder of studies; None: a temporary one.
        settings: Other keys of the command by their dotted names, such as {"train.clip_norm": 1.0,
            "schedule": "cosine", "device.threads": 2, "memory": False}.

    Returns:
        Tables, figure and report. Runs that diverge or raise are rows with their status.

    Raises:
        UserError: An argument is not what it must be; the message names it.
        KeyboardInterrupt: After what was done has been written: the same call with the same `results_dir` goes on.
    """
    if epochs is not None and steps is not None:
        raise UserError(f"epochs must be left out where steps is given, got {epochs} and {steps}; give one of the two")
    numbered = list(range(seeds)) if isinstance(seeds, int) and not isinstance(seeds, bool) else seeds
    budget = {"train.epochs": epochs, "train.steps": steps, "train.batch_size": batch_size}
    place = Path(results_dir) if results_dir is not None else Path(tempfile.mkdtemp(prefix="bench-"))
    keys = {
        **{key: value for key, value in budget.items() if value is not None},
        "seeds": list(numbered) if isinstance(numbered, Sequence) and numbered != AUTO else numbered,
        "loss": loss,
        "study": study,
        "results_dir": str(place),
        **(settings or {}),
        "report": False,
    }
    finished = False
    try:
        with _left_as_found(), resolvable():
            configs = configs_of(model, data, optimizers, device, keys)
            ids = _run(configs)
        whole = tables.load(configs[0].study_dir)
        finished = True
    finally:
        if results_dir is None and not finished and not isinstance(sys.exception(), KeyboardInterrupt):
            shutil.rmtree(place, ignore_errors=True)
    runs = whole.runs[whole.runs["run_id"].isin(ids)].reset_index(drop=True)
    curves = whole.curves[whole.curves["run_id"].isin(ids)].reset_index(drop=True)
    comparison = Comparison(runs, curves, configs[0].study_dir)
    if results_dir is None:
        weakref.finalize(comparison, shutil.rmtree, place, ignore_errors=True)
    return comparison


def _run(configs: Sequence[Config]) -> list[str]:
    """Make the runs of these cells; return their ids.

    Raises:
        UserError: None could be made.
        KeyboardInterrupt: After the tables were built of what was done.
    """
    session = Session(is_sweep=True)
    study_dir = configs[0].study_dir
    try:
        if configs[0].looks:
            session.notes += until_decided(configs, 0, lambda seeds: run_cells(_on(configs, seeds), session), session)
        else:
            run_cells(configs, session)
    except UserError as refused:
        raise UserError(in_arguments(str(refused), "optimizers")) from None
    except KeyboardInterrupt:
        tables.build(study_dir)
        say(f"bench: interrupted; finished runs are saved in {study_dir}", sys.stderr)
        raise
    tables.build(study_dir)
    rows = session.rows.values()
    started = [row for row in rows if row["status"] not in ("failed", "skipped") or row.get("num_steps")]
    if not started and rows:
        reason = next(str(row["reason"]) for row in rows)
        raise UserError(in_arguments(reason, "optimizers"))
    return [str(row["run_id"]) for row in rows]


def _on(configs: Sequence[Config], seeds: Mapping[int, Sequence[int]]) -> list[Config]:
    """Return some of the cells, given by their positions, on these seeds."""
    trial = configs[0].trial.model_copy(update={"num_looks": len(configs[0].looks)})
    return [configs[i].model_copy(update={"seeds": list(new), "trial": trial, "looks": []}) for i, new in seeds.items()]


@contextmanager
def _left_as_found() -> Iterator[None]:
    """Restore every switch and random generator that runs set."""
    python, numpy_state = random.getstate(), np.random.get_state()
    threads, dtype, grad = torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()
    deterministic, anomaly = torch.are_deterministic_algorithms_enabled(), torch.is_anomaly_enabled()
    cudnn, precision = torch.backends.cudnn, torch.get_float32_matmul_precision()
    flags = {name: getattr(cudnn, name) for name in ("benchmark", "deterministic", "allow_tf32")}
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(list(gpus)):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy_state)
            torch.set_num_threads(threads)
            torch.set_default_dtype(dtype)
            torch.set_grad_enabled(grad)
            if deterministic:
                torch.use_deterministic_algorithms(True)
            torch.autograd.set_detect_anomaly(anomaly)
            torch.set_float32_matmul_precision(precision)
            for name, value in flags.items():
                setattr(cudnn, name, value)
