"""`python -m bench.step_cost`: what one step of each optimizer and implementation costs.

All of them run interleaved, round by round, on the same parameters and the same real gradients, in
several fresh processes that build everything anew several times: where memory lies moves a time by
more than many a difference that is claimed. Intervals are taken over the processes.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.base.console import say
from bench.config.parse import parse_step_cost
from bench.config.schema import StepCostConfig

if TYPE_CHECKING:
    from omegaconf import DictConfig


Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the command line; return the exit status (see `bench.base.errors`)."""
    from bench.base.errors import INTERRUPTED, OK, REFUSED
    from bench.compose.command_line import JSON, MULTIRUN, run_command_line
    from bench.compose.help import HELP, say_help

    typed = list(sys.argv[1:] if arguments is None else arguments)

    if set(HELP) & set(typed):
        return say_help("bench.step_cost", "step_cost", typed)
    if any(flag in typed for flag in MULTIRUN):
        sentence = "step costs must be measured in one go, got -m; name what to compare in optimizers=[...] and implementations=[...]"
        say(f"bench.step_cost: {sentence}", sys.stderr)
        return REFUSED
    as_json = JSON in typed
    typed = [argument for argument in typed if argument != JSON]
    statuses: list[int] = []
    try:
        refusal = run_command_line("step_cost", lambda node: statuses.append(measure(node, as_json)), typed)
    except KeyboardInterrupt:
        say("bench.step_cost: interrupted; the results of finished processes are saved", sys.stderr)
        return INTERRUPTED
    if refusal:
        say(f"bench.step_cost: {refusal}", sys.stderr)
        return REFUSED
    return statuses[0] if statuses else OK


def measure(node: DictConfig, as_json: bool = False) -> int:
    """Measure what a composed configuration asks for; return the exit status.

    Args:
        node: The configuration.
        as_json: Whether to print the results as JSON, for scripts.

    Raises:
        UserError: It cannot be carried out.
    """
    from bench import tables
    from bench.base.errors import NOT_ALL_OK, OK, UserError
    from bench.compose.command_line import typed_overrides
    from bench.compose.nodes import plain
    from bench.execution.session import remove_empty, writing
    from bench.measure.device import Unavailable, resolve
    from bench.report.terminal import step_cost_text

    overrides = typed_overrides()
    try:
        config = parse_step_cost(plain(node), overrides)
        device = resolve(config.device.name).type
    except (UserError, Unavailable) as error:
        raise UserError(str(error)) from None
    with writing(config.study_dir):
        config.study_dir.mkdir(parents=True, exist_ok=True)
        tables.check_study(config.study_dir)
    known = _known(config, device, overrides)
    with writing(config.study_dir):
        lock = tables.RunLock.take(config.study_dir, known["session_id"])  # so that runs beside it know
    try:
        rows = _replicate(config, known)
    finally:
        if lock is not None:
            lock.release()
        remove_empty(config.study_dir)
        if (config.study_dir / "step_costs").is_dir():
            with writing(config.study_dir):
                study = tables.build(config.study_dir)
    costs = tables.load_side(config.study_dir, "step_costs")
    own = costs[costs["session_id"] == known["session_id"]]
    if not as_json:
        say(f"\n{step_cost_text(own)}\n")
        say(f"table: {config.study_dir / 'step_costs.csv'}")
    page = None
    if config.report:
        from bench.analysis.study import StudyAnalysis
        from bench.report.study.render import write_report

        report_dir = Path(config.reports_dir) / config.study
        with writing(report_dir, "reports_dir"):
            write_report(StudyAnalysis(study, config.study_dir), report_dir)
        page = report_dir / "index.html"
    status = OK if all(row["status"] in ("ok", "skipped") for row in rows) else NOT_ALL_OK
    if as_json:
        from bench.report.as_json import as_json as json_of
        from bench.report.as_json import step_costs_summary

        said = {"study": str(config.study_dir), "report": page, **step_costs_summary(own), "exit_status": status}
        say(json_of(said))
    elif page is not None:
        say(f"report: {page}")
    return status


def _known(config: StepCostConfig, device: str, overrides: Sequence[str]) -> Row:
    """Return the columns that every row of a session has, known before it starts."""
    from bench.measure.environment import environment, environment_id

    where, started = environment(device), datetime.datetime.now(datetime.UTC)
    return {
        "session_id": started.strftime("%Y%m%dT%H%M%S-") + os.urandom(3).hex(),
        "environment_id": environment_id(where),
        "study": config.study,
        "device": device,
        "started_at": started.isoformat(timespec="milliseconds"),
        "command": shlex.join(["python", "-m", "bench.step_cost", *overrides]),
    } | {key: where[key] for key in ("torch_version", "cpu", "gpu")}


def _replicate(config: StepCostConfig, known: Row) -> list[Row]:
    """Run the fresh processes one after the other, and write what each found as soon as it ends."""
    from tqdm import tqdm

    from bench import tables
    from bench.base.errors import UserError
    from bench.execution.session import writing

    rows: list[Row] = []
    total = config.replicates * config.builds
    # The first process compiles from nothing, so that compile_s is of a cold compiler; the others find its work.
    cache = tempfile.mkdtemp(prefix="optbench-")
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache, "PYTHONUNBUFFERED": "1"}
    with tqdm(total=total, desc="step cost", unit="build", disable=not sys.stderr.isatty(), leave=False) as bar:
        try:
            for process in range(config.replicates):
                known = known | {"num_jobs_beside": tables.num_in_flight(Path(config.results_dir), known["session_id"])}
                spec = json.dumps({"config": config.model_dump(), "known": known, "process": process})
                found, failure = _one_process(spec, environment, bar.update)
                if failure is not None:
                    raise UserError(failure)
                best = [1e-3 * row["yardstick_best_ms"] for row in found if row["status"] == "ok"]
                known = known | {"yardstick_best_s": min([known.get("yardstick_best_s", math.inf), *best])}
                rows += found
                with writing(config.study_dir):
                    tables.write_side(config.study_dir, "step_costs", f"{known['session_id']}-{process}", found)
                bar.n = (process + 1) * config.builds
        finally:
            shutil.rmtree(cache, ignore_errors=True)
    return rows


def _one_process(spec: str, environment: dict[str, str], tick: Any) -> tuple[list[Row], str | None]:
    """Run one fresh process; return its rows, and a sentence on the failure if there are none."""
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", "bench.step_cost.worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment,
        )  # fmt: skip
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            with suppress(BrokenPipeError):  # it ended before; what it said is told below
                child.stdin.write(f"{spec}\n")
                child.stdin.flush()
            answer: Row = {}
            for line in child.stdout:
                if line.startswith("{"):
                    answer = json.loads(line)
                else:
                    tick()
            child.wait()
        except BaseException:
            child.kill()
            child.wait()
            raise
        finally:
            with suppress(BrokenPipeError):
                child.stdin.close()
        if "rows" in answer:
            return answer["rows"], None
        if "refused" in answer:
            return [], answer["refused"]
        errors.seek(0)
        last = errors.read().strip().splitlines()
        how = f"killed by signal {-child.returncode}" if child.returncode < 0 else f"exit status {child.returncode}"
        return [], f"a measuring process ended without a result ({how}): {last[-1] if last else 'no message'}"
