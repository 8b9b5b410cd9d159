"""The command `python -m bench.workloads`: list the named workloads and try which can run on this machine."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.base.console import say
from bench.base.errors import UserError
from bench.base.paths import CONF_DIR
from bench.config.parse import group_options


@dataclass(frozen=True)
class NamedWorkload:
    """A named workload: an option of the config group `experiment`.

    Attributes:
        name: What to put after `experiment=`.
        about: What it is, and its source.
        model: Name of its model.
        data: Name of its data.
        num_parameters: Trained parameters; None if they depend on data that is missing.
        num_train: Training examples; None likewise.
        unavailable_reason: Why it cannot run here now, or None.
    """

    name: str
    about: str
    model: str
    data: str
    num_parameters: int | None
    num_train: int | None
    unavailable_reason: str | None


def main() -> int:
    """Print the list that the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.workloads",
        description="List the named workloads, and try whether each can run here: its data is read, its model called with an example.",
    )
    parser.add_argument("name", nargs="*", help="which of them; all, if none is named")
    names = parser.parse_args().name
    known = group_options("experiment")
    for name in names:
        if name not in known:
            say(f"bench.workloads: a workload must be one of {', '.join(known)}, got {name}", sys.stderr)
            return 2
    say("python -m bench experiment=<workload> optimizer=adam,sgd -m\n")
    width = max(map(len, known))
    say(f"{'workload':{width}}  {'parameters':>10}  {'examples':>9}  model on data")
    for workload in workloads(names or known):
        numbers = (f"{n:,}" if n is not None else "" for n in (workload.num_parameters, workload.num_train))
        size, examples = numbers
        say(f"{workload.name:{width}}  {size:>10}  {examples:>9}  {workload.model} on {workload.data}")
        for text in (
            workload.about,
            workload.unavailable_reason and f"not available on this machine: {workload.unavailable_reason}",
        ):
            if text:
                say(textwrap.fill(text, 110, initial_indent=" " * 4, subsequent_indent=" " * 4))
    if not names:
        say(f"\nmodel={' '.join(group_options('model'))}\ndata={' '.join(group_options('data'))}")
        say("Any model with any data that fits: python -m bench model=<model> data=<data>")
    return 0


def workloads(names: Sequence[str]) -> Iterator[NamedWorkload]:
    """Yield the named workloads, each tried on this machine.

    Args:
        names: Options of the config group `experiment`.
    """
    import torch

    from bench.build.model import build_model, checked_outputs
    from bench.compose.composer import composed
    from bench.config.parse import parse
    from bench.execution.workload import check_batch_size, dataset
    from bench.measure.device import Unavailable
    from bench.training.step import trained

    for name in names:
        config = parse(composed({"experiment": name}))
        num_parameters = num_train = unavailable_reason = None
        try:
            data = dataset(config.data, torch.device("cpu"))
            num_train = data.size("train")
            model = build_model(config.model, data.spec)
            num_parameters = sum(param.numel() for param in trained(model))
            check_batch_size(config, data)
            with torch.no_grad():
                checked_outputs(config, data.spec, model.eval(), data.sample_batch(1)[0])
        except (UserError, Unavailable) as error:
            unavailable_reason = str(error)
        yield NamedWorkload(
            name, about(name), config.model.name, config.data.name, num_parameters, num_train, unavailable_reason
        )


def about(name: str) -> str:
    """Return the description of a workload: the comment at the head of its config."""
    lines = (CONF_DIR / "experiment" / f"{name}.yaml").read_text().splitlines()
    comments = [line.removeprefix("#").strip() for line in lines if line.startswith("#")]
    return " ".join(line for line in comments if not line.startswith("@package"))
