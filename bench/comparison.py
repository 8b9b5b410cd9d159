"""`from bench import compare`: the bench on a model and data of a running program, a script or a notebook."""

from __future__ import annotations

import functools
import html
import random
import re
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
from matplotlib.figure import Figure
from torch import nn

from bench import app, tables
from bench import device as devices
from bench.build import build_model, build_optimizer, checked_outputs
from bench.config import CONF_DIR, Config, group_options, parse
from bench.given import data_target, dataset_of, name_of, resolvable, target_of
from bench.report import stats, words
from bench.report.sections import leaders, sections
from bench.run import check_batch_size, dataset

OptimizerLike = str | Callable[..., torch.optim.Optimizer] | Mapping[str, Any] | tuple[Any, Any]
"""An optimizer as `compare` takes it."""

ARGUMENTS = ("epochs", "steps", "batch_size")
"""Arguments of `compare` that are keys of `train`."""

GROUPS = ("schedule", "augment")
"""Groups of `conf/` that `settings` may choose from; the others are arguments."""


class Comparison:
    """What `compare` found; printed, it says who wins and whether that is real.

    Attributes:
        runs: Table `runs`, one row a run of this comparison.
        curves: Table `curves`, one row a point of theirs.
        path: Folder of the study: for `bench.tables.load`, `python -m bench.report`, `python -m bench.compare`.
            A temporary one is deleted when the program ends.
    """

    def __init__(self, runs: pd.DataFrame, curves: pd.DataFrame, path: Path) -> None:
        self.runs, self.curves, self.path = runs, curves, path

    def summary(self) -> pd.DataFrame:
        """One row an optimizer and setting, the lowest mean final validation loss first; see `bench.report.stats.summary`.

        Returns:
            Means over seeds, each with the ends of its 95 % interval in columns _low and _high.
        """
        return pd.concat([stats.summary(section.runs) for section in sections(self.runs)], ignore_index=True)

    def plot(self, metric: str = "loss", x: str = "step") -> Figure:
        """Draw a metric of the best setting of each optimizer: median and range over seeds, single seeds faint.

        Args:
            metric: A metric of `curves`: "loss", "accuracy", or one on request.
            x: "step", "epoch" or "train_time_s" (of the run, end to end).

        Returns:
            A figure that belongs to nobody: a notebook shows it, `savefig` writes it.

        Raises:
            ValueError: There is no such metric or axis.
        """
        axes = ("step", "epoch", "train_time_s")
        if x not in axes:
            raise ValueError(f"x must be one of {', '.join(axes)}, got {x!r}; choose one of these")
        section = next(sections(self.runs))
        with _drawing() as plots:
            palette = plots.colors(self.runs["optimizer"])
            shown = leaders(section.runs)
            figure: Figure | None = plots.curves_figure(section.runs, self.curves, shown, metric, x, palette)
            if figure is not None:
                plt.close(figure)
        if figure is None:
            known = ", ".join(sorted(set(self.curves["metric"]))) or "none"
            raise ValueError(f"metric must be one that was recorded ({known}), got {metric!r}; choose one of these")
        return figure

    def report(self, path: str | Path) -> Path:
        """Write the report: index.html, report.md, figures and tables.

        Args:
            path: Folder to write into.

        Returns:
            The page to open.

        Raises:
            OSError: The folder cannot be written.
        """
        with _drawing():
            from bench.report.render import write_report

            write_report(tables.Study(self.runs, self.curves), self.path, Path(path))
        return Path(path) / "index.html"

    def __repr__(self) -> str:
        return words.summary_text(self.runs, tables.load_side(self.path, "memory"))

    def _repr_html_(self) -> str:
        parts = []
        for section in sections(self.runs):
            table = words.readable_summary(stats.summary(section.runs))
            parts.append(
                f"<p><b>{html.escape(section.title)}</b><br>{html.escape(words.verdict(section))}</p>"
                + table.to_html(index=False, border=0)
            )
        return "\n".join(parts)


def compare(
    model: str | Callable[..., nn.Module],
    data: Any,
    optimizers: Sequence[OptimizerLike],
    *,
    seeds: int | Sequence[int] = 5,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int = 64,
    loss: str = "default",
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
        seeds: How many (then 0, 1, ...), or which. One cannot rank anything.
        epochs: Budget of every run, passes over the training examples; 20 if neither is given.
        steps: Budget of every run, optimizer updates, in place of `epochs`.
        batch_size: Examples a step.
        loss: "default" (cross-entropy for classes, else mean squared error), "nll" or "as_printed".
        device: "cpu", "cuda", "mps" or "auto".
        study: Name of the folder in `results_dir`; None: <data>-<model>.
        results_dir: Folder of studies; None: a temporary one.
        settings: Other keys of the command by their dotted names, such as {"train.clip_norm": 1.0,
            "schedule": "cosine", "device.threads": 2, "memory": False}.

    Returns:
        Tables, figure and report. Runs that diverge or raise are rows with their status.

    Raises:
        ValueError: An argument is not what it must be; the message names it.
        KeyboardInterrupt: After what was done has been written: the same call with the same `results_dir` goes on.
    """
    if epochs is not None and steps is not None:
        raise ValueError(f"epochs must be left out where steps is given, got {epochs} and {steps}; give one of the two")
    numbered = list(range(seeds)) if isinstance(seeds, int) and not isinstance(seeds, bool) else seeds
    budget = {"train.epochs": epochs, "train.steps": steps, "train.batch_size": batch_size}
    place = Path(results_dir) if results_dir is not None else Path(tempfile.mkdtemp(prefix="bench-"))
    keys = {
        **{key: value for key, value in budget.items() if value is not None},
        "seeds": list(numbered) if isinstance(numbered, Sequence | range) else numbered,
        "loss": loss,
        "study": study,
        "results_dir": str(place),
        **(settings or {}),
        "report": False,
    }
    finished = False
    try:
        with _left_as_found(), resolvable():
            configs = _configs(model, data, optimizers, device, keys)
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


# --- from arguments to cells ------------------------------------------------------------------------


def _configs(
    model: Any, data: Any, optimizers: Sequence[OptimizerLike], device: Any, keys: Mapping[str, Any]
) -> list[Config]:
    """The cell of each optimizer, held to model and data before anything runs."""
    if isinstance(optimizers, str | Mapping) or not isinstance(optimizers, Sequence) or not optimizers:
        raise ValueError(
            f'optimizers must be a list such as ["adam", "sgd"], got {_shown(optimizers)}; name at least one'
        )
    picks = {"device": _option("device", device)}
    nodes = {}
    if isinstance(model, str):
        picks["model"] = _option("model", model)
    elif isinstance(model, nn.Module) or not callable(model):
        raise ValueError(
            f"model must be a function that returns a fresh torch.nn.Module, or one of {_listed('model')},"
            f" got {_shown(model)}; wrap what builds it: lambda: Net()"
        )
    else:
        target, options = target_of(model)
        nodes["model"] = {"_target_": target, "name": name_of(model), **options}
    if isinstance(data, str):
        picks["data"] = _option("data", data)
    else:
        nodes["data"] = {"_target_": data_target(dataset_of(data)), "name": "given-data"}
    settings = {}
    for key, value in keys.items():
        if key in GROUPS and isinstance(value, str):
            picks[key] = _option(f"settings[{key!r}]", value, group=key)
        else:
            settings[key] = value
    base = _composed(picks)
    for key, node in nodes.items():
        order = {"order": base[key]["order"]} if "order" in base[key] else {}
        base[key] = order | node
    _set(base, settings)
    configs: list[Config] = []
    for index, entry in enumerate(optimizers):
        argument = f"optimizers[{index}]"
        node, typed = _optimizer(argument, entry)
        try:
            config = parse(base | {"optimizer": node}, [*typed, *_typed(picks, nodes, settings)])
        except ValueError as error:
            raise ValueError(_in_arguments(str(error), argument)) from None
        configs.append(_named_apart(config, configs, argument))
    _check(configs)
    return configs


def _option(argument: str, name: Any, group: str | None = None) -> str:
    options = [option for option in group_options(group or argument) if option not in ("custom", "fake")]
    if name not in options:
        raise ValueError(f"{argument} must be one of {', '.join(options)}, got {name!r}; choose one of these")
    return str(name)


def _listed(group: str) -> str:
    return ", ".join(option for option in group_options(group) if option != "custom")


def _shown(value: Any) -> str:
    return f"a {type(value).__name__}" if isinstance(value, nn.Module) else " ".join(repr(value).split())[:80]


def _composed(picks: Mapping[str, str]) -> dict[str, Any]:
    """The configuration that these options of groups give, as plain data; Hydra would take a tenth of a second."""
    from omegaconf import DictConfig, OmegaConf

    node = OmegaConf.load(CONF_DIR / "config.yaml")
    assert isinstance(node, DictConfig)
    defaults = {
        str(group): option for entry in node.pop("defaults") if entry != "_self_" for group, option in entry.items()
    }
    for group in ("optimizer", "model", "data", "device", *GROUPS):
        chosen = OmegaConf.load(CONF_DIR / group / f"{picks.get(group, defaults[group])}.yaml")
        node = OmegaConf.merge(node, {group: chosen})
    assert isinstance(node, DictConfig)
    return app.plain(node)


def _set(node: dict[str, Any], settings: Mapping[str, Any]) -> None:
    """Put values into a configuration by their dotted keys; which keys there are, `parse` knows."""
    for key, value in settings.items():
        *parents, last = key.split(".")
        place: Any = node
        for part in parents:
            place = place.get(part) if isinstance(place, dict) else None
        if not isinstance(place, dict) or key.partition(".")[0] == "optimizer" or (not parents and last not in node):
            raise ValueError(
                f"settings must hold keys of the command such as train.clip_norm, got {key!r}; see python -m bench --help"
            )
        place[last] = value


def _optimizer(argument: str, entry: Any) -> tuple[dict[str, Any], list[str]]:
    """The node of an optimizer, and what one would type for it; nothing for what lives in this program."""
    said = entry
    options: dict[str, Any] = {}
    label = None
    if isinstance(entry, Mapping):
        options = {key: value for key, value in entry.items() if key != "name"}
        entry = entry.get("name", "custom" if "_target_" in options else None)
        label = entry if "_target_" in options else None
        entry = "custom" if "_target_" in options else entry
    elif isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[1], Mapping):
        entry, options = entry[0], dict(entry[1])
    elif isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[0], str) and callable(entry[1]):
        label, entry = entry
    if isinstance(entry, str) and entry in group_options("optimizer") and (entry != "custom" or "_target_" in options):
        shipped = dict(_composed({"optimizer": entry})["optimizer"])
        unknown = [key for key in options if key not in shipped]
        if unknown and entry != "custom":
            known = ", ".join(key for key in shipped if key not in ("_target_", "name", "implementation", "search"))
            raise ValueError(f"{argument}.{unknown[0]} must be a setting of {entry} ({known}), got an unknown one")
        node = shipped | options | ({} if label is None else {"name": label})
        typed = [f"{'+' * (key not in shipped)}optimizer.{key}={_as_typed(value)}" for key, value in options.items()]
        return _listed_tuples(node), [f"optimizer={entry}", *typed]
    if callable(entry) and not isinstance(entry, torch.optim.Optimizer):
        target, given = target_of(entry)
        base = _composed({"optimizer": "custom"})["optimizer"]
        return _listed_tuples(base | {"_target_": target, "name": label or name_of(entry)} | given | options), []
    raise ValueError(
        f"{argument} must be one of {_listed('optimizer')}, one of these with settings such as"
        f' ("sgd", {{"lr": 0.1}}), or a function from parameters to an optimizer, got {_shown(said)}; choose one of these'
    )


def _listed_tuples(node: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in node.items()}


def _as_typed(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_as_typed, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _typed(picks: Mapping[str, str], nodes: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """What one would type for the rest of a cell: `run.repeat_command` and the line about a run are made of it."""
    default = _composed({})
    typed = [
        f"{group}={option}"
        for group, option in picks.items()
        if group not in nodes and default[group].get("name") != option
    ]
    for key, value in settings.items():
        before: Any = default
        for part in key.split("."):
            before = before.get(part) if isinstance(before, dict) else None
        if value != before and key not in ("results_dir", "report", "seeds", "study"):
            typed.append(f"{key}={_as_typed(value)}")
    return typed


def _named_apart(config: Config, others: Sequence[Config], argument: str) -> Config:
    """The cell, under a name of its own where another optimizer has its name."""
    same = [other for other in others if other.optimizer.target == config.optimizer.target]
    if any(other.optimizer == config.optimizer for other in same):
        raise ValueError(
            f"{argument} must differ from the others, got {config.optimizer.name} again; name each once, and more seeds"
            " by seeds=..."
        )
    taken = {other.optimizer.name for other in others if other not in same}
    name, number = config.optimizer.name, 2
    while name in taken:
        name, number = f"{config.optimizer.name}-{number}", number + 1
    return config.model_copy(update={"optimizer": config.optimizer.model_copy(update={"name": name})})


def _in_arguments(sentence: str, argument: str) -> str:
    """A sentence about keys of the configuration, in the words of `compare`."""
    sentence = re.sub(r"^optimizer(?=[ .=])", argument, sentence)
    sentence = re.sub(rf"\btrain\.({'|'.join(ARGUMENTS)})\b", r"\1", sentence)
    return sentence.replace("model._target_", "model").replace(f"{argument}._target_", argument)


def _check(configs: Sequence[Config]) -> None:
    """Build model and optimizers once: what does not fit is said now, not after half of the runs.

    Raises:
        ValueError: Something cannot be built or does not fit, or the model is not fresh each time.
    """
    first = configs[0]
    argument = "optimizers[0]"
    try:
        device = devices.resolve(first.device.name)
        models = []
        for _ in range(2):
            devices.reset(device, first.device.threads, first.device.precision, seed=0)
            data = dataset(first.data, device)
            check_batch_size(first, data)
            torch.manual_seed(0)
            models.append(build_model(first.model, data.spec))
        _check_fresh(*models)
        model = models[0].to(device)
        checked_outputs(first, data.spec, model, data.first(min(first.train.batch_size, 8))[0])
        for index, config in enumerate(configs):
            argument = f"optimizers[{index}]"
            build_optimizer(config.optimizer, model, config.regularization.weights_only)
    except (ValueError, devices.Unavailable) as error:
        raise ValueError(_in_arguments(str(error), argument)) from None


def _check_fresh(first: nn.Module, second: nn.Module) -> None:
    """Hold two models that one function gave for one seed to being two, and alike.

    Raises:
        ValueError: They share weights, or start from different ones.
    """
    places = {param.data_ptr() for param in first.parameters() if param.numel()}
    if first is second or any(param.data_ptr() in places for param in second.parameters() if param.numel()):
        raise ValueError(
            "model must return a fresh torch.nn.Module each time, got the same weights twice; build it inside the function"
        )
    ours, theirs = first.state_dict(), second.state_dict()
    if any(not torch.equal(value, theirs[key]) for key, value in ours.items() if key in theirs) or set(ours) != set(
        theirs
    ):
        raise ValueError(
            "model must give the same weights for the same seed, got others; draw them from torch's, NumPy's or"
            " Python's global generator, which is seeded before"
        )


# --- runs ---------------------------------------------------------------------------------------------


def _run(configs: Sequence[Config]) -> list[str]:
    """Make the runs of these cells; return their ids.

    Raises:
        ValueError: None could be made.
        KeyboardInterrupt: After the tables were built of what was done.
    """
    session = app.Session(is_sweep=True)
    study_dir = configs[0].study_dir
    try:
        app.run_cells(configs, session)
    except app.Refused as refused:
        raise ValueError(_in_arguments(str(refused), "optimizers")) from None
    except KeyboardInterrupt:
        tables.build(study_dir)
        print(f"bench: interrupted; what was done is kept in {study_dir}", file=sys.stderr)
        raise
    tables.build(study_dir)
    rows = session.rows.values()
    started = [row for row in rows if row["status"] not in ("failed", "skipped") or row.get("num_steps")]
    if not started and rows:
        reason = next(str(row["reason"]) for row in rows)
        raise ValueError(_in_arguments(reason, "optimizers"))
    return [str(row["run_id"]) for row in rows]


@contextmanager
def _left_as_found() -> Iterator[None]:
    """Every switch and generator that runs set is afterwards what it was."""
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


@contextmanager
def _drawing() -> Iterator[Any]:
    """The module of figures, with matplotlib styled for it and afterwards as it was."""
    backend = mpl.get_backend()
    plots, style = _plots()
    with mpl.rc_context(style):
        try:
            yield plots
        finally:
            mpl.use(backend)  # which no context restores


@functools.cache
def _plots() -> tuple[Any, Any]:
    with suppress(ImportError):
        plt.switch_backend(mpl.get_backend())  # a notebook's shows figures only once it has been loaded
    with mpl.rc_context():
        from bench.report import plots

        return plots, {key: value for key, value in mpl.rcParams.items() if key not in ("backend", "backend_fallback")}
