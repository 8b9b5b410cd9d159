"""The command `python -m bench.reproduce`: what it runs, what it keeps, what it refuses."""

import dataclasses
import json
import shlex
import signal
import time
from pathlib import Path

import commands
import made_up
import pandas as pd
import pytest
from commands import Command

from bench import tables
from bench.claims import needs, publish, runner
from bench.claims.effects.registry import QUANTITIES
from bench.claims.ledger import load
from bench.claims.options import Options
from bench.cli import reproduce
from bench.sweep.search_space import shares

ROOT = str(Path(__file__).resolve().parent.parent)

WORKLOADS = """\
tiny:
  budget: quick
  words: a linear model in 20 steps
  run: [model=linear, data=regression, train.batch_size=1000, train.steps=20, train.eval_every=2, train.log_every=1]
  seeds: 3
  target: 5.0
  seconds: 0.1
nowhere:
  budget: quick
  words: images that are not here
  run: [model=conv64, data=image_folder, data.path=/no/such/folder]
  seeds: 2
later:
  budget: full
  words: for another day
  run: [model=linear, data=regression]
"""

SPEED = """\
id: speed
source: me
claim: SGD gets there in fewer steps than Adam.
reading: Steps until the validation loss is at most 5.
measures:
  - {quantity: steps_to_target, says: less, delta: 0.1}
  - {quantity: val_loss, says: less, delta: 0.1}
  - {quantity: peak_memory, says: less, delta: 0.1}
a: sgd
against: [adam]
settings: {sgd: [optimizer.lr=0.1]}
workloads: [tiny, nowhere, later]
"""

FACT = """\
id: text
source: me
claim: The printed network is a TextCNN.
reading: Its convolutions are counted.
fact: printed_textcnn
found: "{num_convolutions_printed} convolutions."
"""


def run(folder, *arguments):
    return commands.run("bench.reproduce", *arguments, cwd=folder, timeout=240)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reproduce")
    (folder / "mine").mkdir()
    for name, text in (("workloads", WORKLOADS), ("speed", SPEED), ("text", FACT)):
        (folder / "mine" / f"{name}.yaml").write_text(text)
    result = run(folder, "mine")
    assert result.returncode == 0, result.stderr
    return folder, result


def verdicts(report):
    return pd.read_csv(report / "verdicts.csv").set_index(["claim", "at"])["verdict"].to_dict()


def comparisons(report):
    return pd.read_csv(report / "comparisons.csv")


def test_where_there_are_no_tables_rejudging_says_where_they_are(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert reproduce.main(["articles", "rejudge=true"]) == 2
    said = capsys.readouterr().err
    assert "bench.reproduce: rejudge=true must be given where there are tables to judge, got results/articles" in said
    assert "in the folder results/ of the source repository" in said
    assert not list(tmp_path.iterdir())


def test_one_command_runs_judges_and_reports(done):
    folder, _ = done
    report = folder / "reports" / "mine-quick"
    assert {"index.html", "report.md", "report.zh.md"} <= {path.name for path in report.iterdir()}
    found = comparisons(report)
    steps = found[(found["quantity"] == "steps_to_target") & (found["workload"] == "tiny")].set_index("at")
    assert set(steps.index) == {"default", "tuned"}
    assert list(steps.loc["default", ["a", "b"]]) == ["sgd optimizer.lr=0.1", "adam"]
    assert list(steps.loc["tuned", ["a", "b"]]) == ["sgd", "adam"]
    runs = tables.load(folder / "results" / "mine-quick").runs
    assert set(runs["status"]) <= {"ok", "diverged"}
    assert sorted(runs.loc[runs["stage"] == "tune", "seed"].unique()) == [0, 1, 2]
    assert sorted(runs.loc[runs["stage"] == "final", "seed"].unique()) == [3, 4, 5]
    # Adam, at a thousandth a step, is nowhere near; gradient descent gets there within the 20 steps
    assert (steps.loc["default", "estimate"] < 0.7) and steps.loc["default", "num_bounded"] == 3
    memory = found[(found["quantity"] == "peak_memory") & (found["workload"] == "tiny")]
    assert list(memory["at"]) == ["default"] and memory["estimate"].iloc[0] < 1


def test_a_fact_is_checked_and_a_later_budget_is_not_run(done):
    folder, _ = done
    report = folder / "reports" / "mine-quick"
    assert verdicts(report)["text", "fact"] == "refuted"
    assert "later" not in set(comparisons(report)["workload"])
    assert "0 convolutions" in (report / "report.md").read_text()


def test_data_that_is_not_here_is_said_and_costs_nothing_else(done):
    _, result = done
    assert "nowhere is left out: data.path must" in result.stderr
    assert "/no/such/folder" in result.stderr


def test_the_same_command_repeats_nothing_and_says_the_same(done):
    folder, first = done
    before = tables.load(folder / "results" / "mine-quick").runs
    again = run(folder, "mine")
    assert again.returncode == 0, again.stderr
    after = tables.load(folder / "results" / "mine-quick").runs
    assert list(after["run_id"]) == list(before["run_id"])
    assert list(after["started_at"]) == list(before["started_at"])
    assert again.stdout == first.stdout


def test_rejudging_trains_nothing_and_gives_the_same_report(done):
    folder, _ = done
    report = folder / "reports" / "mine-quick"
    before = {name: (report / name).read_text() for name in ("verdicts.csv", "comparisons.csv", "report.zh.md")}
    result = run(folder, "mine", "rejudge=true", "budget=quick")
    assert result.returncode == 0, result.stderr
    assert before == {name: (report / name).read_text() for name in before}


def test_published_tables_give_the_same_verdicts_and_tell_nothing_of_the_machine(done):
    folder, _ = done
    own = comparisons(folder / "reports" / "mine-quick")
    result = run(folder, "mine", "publish=true", "rejudge=true", "budget=quick")
    assert result.returncode == 0, result.stderr
    kept = folder / "results" / "mine"
    assert sorted(path.name for path in kept.iterdir()) == [f"{name}.parquet" for name in sorted(publish.TABLES)]
    runs = tables.load(kept).runs
    assert runs[["hostname", "git_commit", "command"]].isna().all(axis=None)
    assert not any(str(folder) in str(value) for value in runs.to_numpy().ravel())
    published = comparisons(folder / "reports" / "mine")
    pd.testing.assert_frame_equal(published, own, rtol=1e-4)
    again = run(folder, "mine", "rejudge=true")
    assert again.returncode == 0, again.stderr
    pd.testing.assert_frame_equal(comparisons(folder / "reports" / "mine"), published)
    assert "rejudge=true" in (folder / "reports" / "mine" / "report.md").read_text()


def test_a_plan_makes_nothing(tmp_path, done):
    folder, _ = done
    result = run(tmp_path, str(folder / "mine"), "plan=true")
    assert result.returncode == 0, result.stderr
    assert not list(tmp_path.iterdir())
    # sgd and adam as given (3 seeds each; sgd has settings of its own), and tuned for loss and for steps (9 trials, of which 3 are
    # repeated on 2 seeds for each of the two, and 3 seeds)
    assert "60 runs" in result.stdout.splitlines()[-2]
    assert any("sweep=tuned" in line and "optimizer=sgd,adam" in line for line in result.stdout.splitlines())


def test_interrupted_anywhere_it_goes_on_from_there(tmp_path, done):
    folder, _ = done
    process = Command("bench.reproduce", str(folder / "mine"), "claim=speed", cwd=tmp_path)
    study = tmp_path / "results" / "mine-quick" / "runs"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(list(study.glob("[!.]*")) if study.is_dir() else []) < 4:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert "run the same command again to resume" in said
    kept = {path.name for path in study.iterdir()}
    assert kept
    result = run(tmp_path, str(folder / "mine"), "claim=speed")
    assert result.returncode == 0, result.stderr
    assert kept <= {path.name for path in study.iterdir()}
    ours, whole = (comparisons(place / "reports" / "mine-quick") for place in (tmp_path, folder))
    pd.testing.assert_frame_equal(ours, whole[whole["claim"] == "speed"].reset_index(drop=True))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "the ledger must be one of articles, papers, or a folder of claims"),
        (["articles", "papers"], "one ledger must be named"),
        (["articles", "budget=huge"], "budget must be one of quick, standard, full, got huge"),
        (["articles", "colour=red"], "colour must be one of budget, claim,"),
        (["articles", "rejudge=yes"], "rejudge must be true or false, got yes"),
        (["articles", "n_jobs=0"], "n_jobs must be a whole number of at least 1, got 0"),
        (["articles", "claim=9.9"], "claim must be one of 1.1, 1.2"),
        (["articles", "n_jobs=²"], "n_jobs must be a whole number of at least 1, got ²"),
        (["quantities", "articles"], "one ledger must be named, got quantities articles"),
        (["articles", "publish=true"], "publish must come with a budget"),
        (["list", "nothing"], "the ledger must be one of articles"),
        (
            ["articles", "rejudge=true", "results_dir=/no/such"],
            "where there are tables to judge, got /no/such/articles",
        ),
    ],
)
def test_a_mistake_is_one_sentence(arguments, said, capsys):
    assert reproduce.main(arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and said in lines[0]


def test_help_says_what_each_option_takes(capsys):
    assert reproduce.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: python -m bench.reproduce <ledger> [key=value ...]")
    for field in dataclasses.fields(Options):
        assert field.name == "ledger" or f"\n  {field.name}={field.metadata['shown']} " in out
    assert all(len(line) <= 100 for line in out.splitlines())
    assert reproduce.main([]) == 2
    assert capsys.readouterr().out == out


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["articles"], Options("articles")),
        (["budget=full", "papers", "n_jobs=3"], Options("papers", budget="full", n_jobs=3)),
        (["articles", "claim=1.2", "plan=true", "rejudge=false"], Options("articles", claim="1.2", plan=True)),
        (["a/b", "results_dir=x=y", "reports_dir=z"], Options("a/b", results_dir="x=y", reports_dir="z")),
        (["papers", "publish=true", "budget=full"], Options("papers", budget="full", publish=True)),
    ],
)
def test_options_are_key_value_pairs_in_any_order(arguments, options):
    assert reproduce.parse(arguments) == options
    assert reproduce.parse(shlex.split(options.command())[3:]) == options


def test_every_quantity_is_listed_with_its_meaning(capsys):
    assert reproduce.main(["quantities"]) == 0
    lines = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines() if line]
    listed = {words[0]: words[1:] for words in lines}
    assert len(QUANTITIES) > 20
    for name, quantity in QUANTITIES.items():
        assert listed[name] == [quantity.unit, quantity.words]


def test_the_list_shows_every_claim(capsys):
    assert reproduce.main(["list", "articles"]) == 0
    out = capsys.readouterr().out
    for claim in load("articles").claims.values():
        assert f"\n{claim.id} " in out


def test_rates_are_those_of_a_tuned_sweep():
    rates = needs.learning_rates("adam")
    assert len(rates) == len(shares("grid", 9, 1))
    assert rates[0] == pytest.approx(1e-5) and rates[4] == pytest.approx(1e-3) and rates[-1] == pytest.approx(0.1)


def test_what_counts_by_its_times_is_made_first_and_alone():
    work = needs.planned_sweeps(load("articles").chosen(budget="quick"), n_jobs=2, looks=(5, 10))
    alone = [job.exclusive for job in work]
    assert alone == sorted(alone, reverse=True)
    for job in work:
        assert ("launcher=pool" in job.overrides) == (not job.exclusive)
        metrics = [part for part in job.overrides if part.startswith("metrics=")]
        assert job.exclusive or not any("latency" in part for part in metrics)


def test_no_run_is_asked_for_twice():
    work = needs.planned_sweeps(load("articles").chosen(budget="full"), n_jobs=2, looks=(5, 10))
    asked = [(job.workload, job.at, side) for job in work if not job.times_count for side in job.sides]
    assert len(asked) == len(set(asked))


CLOSE = """\
id: close
source: me
claim: A larger learning rate ends lower.
reading: Final validation loss.
measures:
  - {quantity: val_loss, says: less, delta: 0.3}
a: adam optimizer.lr=0.05
against: [adam optimizer.lr=0.04, adam optimizer.lr=0.0001]
workloads:
  - easy:
      budget: quick
      words: a linear model in 20 steps
      run: [model=linear, data=regression, train.batch_size=1000, train.steps=20, train.eval_every=20, train.log_every=10]
      seeds: 20
      seconds: 0.1
tuned: false
"""


@pytest.fixture(scope="module")
def rounds(tmp_path_factory):
    """Run the ledger above in rounds of 5, 10 and 20 seeds."""
    folder = tmp_path_factory.mktemp("rounds")
    (folder / "mine").mkdir()
    (folder / "mine" / "close.yaml").write_text(CLOSE)
    result = run(folder, "mine", "budget=standard", "n_jobs=1")
    assert result.returncode == 0, result.stderr
    return folder, result


def seeds_of_sides(folder):
    study = folder / "results" / "mine-standard"
    claimed = tables.load_side(study, "claim_runs").merge(tables.load(study).runs[["run_id", "seed"]], on="run_id")
    return claimed.groupby("side")["seed"].nunique().to_dict()


def test_only_sides_of_open_comparisons_get_more_seeds(rounds):
    folder, result = rounds
    seeds = seeds_of_sides(folder)
    assert seeds["adam optimizer.lr=0.0001"] == 5, "it is decided at once"
    assert seeds["adam optimizer.lr=0.05"] == seeds["adam optimizer.lr=0.04"] > 5
    assert "look 1 of 5 at most, 5 seeds: 1 of 2 comparisons are open; 2 sides get more seeds" in result.stderr
    runs = tables.load(folder / "results" / "mine-standard").runs
    assert set(runs["num_looks"]) == {3}, "those of the workload, of which there are three"
    found = comparisons(folder / "reports" / "mine-standard")
    assert set(found["num_looks"]) == {3}
    assert "Seeds were added in rounds, up to 3 of them" in (folder / "reports/mine-standard/report.md").read_text()


def test_rounds_resume_to_the_same_runs_and_verdicts(rounds):
    folder, _ = rounds
    before = {path: path.read_bytes() for path in (folder / "results/mine-standard/runs").rglob("*.parquet")}
    table = comparisons(folder / "reports" / "mine-standard")
    assert run(folder, "mine", "budget=standard", "n_jobs=2").returncode == 0
    assert {path: path.read_bytes() for path in (folder / "results/mine-standard/runs").rglob("*.parquet")} == before
    pd.testing.assert_frame_equal(comparisons(folder / "reports" / "mine-standard"), table)


def test_once_the_time_is_over_no_seeds_are_added(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "close.yaml").write_text(CLOSE.replace("seconds: 0.1", "seconds: 100"))
    result = run(tmp_path, "mine", "budget=standard", "n_jobs=1", "max_minutes=1")
    assert result.returncode == 0, result.stderr
    assert set(seeds_of_sides(tmp_path).values()) == {5}
    assert "2 of 2 sweeps do not fit into the time" in result.stderr


def test_one_claim_of_several_is_printed(tmp_path, done):
    folder, _ = done
    result = run(folder, "mine", "claim=text", "rejudge=true", "budget=quick")
    assert result.returncode == 0, result.stderr
    lines = [line.split()[0] for line in result.stdout.splitlines() if line.startswith(("speed", "text"))]
    assert lines == ["text"]
    result = run(folder, "mine", "claim=speed", "rejudge=true", "budget=quick", "json=true")
    said = json.loads(result.stdout)
    assert {row["claim"] for row in (*said["verdicts"], *said["comparisons"])} == {"speed"}
    assert (folder / said["report"]).is_file() and said["exit_status"] == 0


TIME = SPEED.replace("steps_to_target", "time_to_target").replace(
    "workloads: [tiny, nowhere, later]", "workloads: [tiny]"
)


@pytest.mark.parametrize(
    ("in_session", "quality", "is_asked"),
    [
        (["sgd-cost", "adam-cost"], "clean", False),
        (["sgd-cost", "adam-cost", "rmsprop-cost"], "clean", False),
        (["sgd-cost", "rmsprop-cost"], "clean", True),  # as many, but another one
        (["sgd-with-momentum-cost", "adam-cost"], "clean", True),  # the same one at other settings
        (["sgd-cost"], "clean", True),
        (["sgd-cost", "adam-cost"], "contended", True),
    ],
)
def test_steps_are_timed_unless_one_session_timed_these_very_sides(
    tmp_path, monkeypatch, in_session, quality, is_asked
):
    ledger_dir = tmp_path / "mine"
    ledger_dir.mkdir()
    (ledger_dir / "workloads.yaml").write_text(WORKLOADS)
    (ledger_dir / "time.yaml").write_text(TIME)
    options = Options(str(ledger_dir), results_dir=str(tmp_path / "results"))
    for optimizer, lr, side in (("sgd", 0.1, "sgd optimizer.lr=0.1"), ("adam", 1e-3, "adam")):
        run_id = made_up.write(options.study_dir, optimizer, lr, 1)["run_id"]
        row = {"workload": "tiny", "side": side, "at": "default", "run_id": run_id}
        tables.write_side(options.study_dir, "claim_runs", optimizer, [row])
    for process in range(5):
        tables.write_side(options.study_dir, "step_costs", f"t-{process}", [
            {
                "session_id": "t", "status": "ok", "started_at": "2026-01-01", "study": "s", "workload": "w", "workload_id": "w",
                "environment_id": "e", "model": "mlp", "data": "digits", "optimizer": cost_id.partition("-")[0],
                "optimizer_target": "t", "optimizer_options": "{}", "implementation": "forloop", "device": "cpu",
                "precision": "fp32", "step_cost_id": cost_id, "process": process, "build": 0, "timing_quality": quality,
                "command": "python -m bench.step_cost",
            }
            for cost_id in in_session
        ])  # fmt: skip
    asked = []
    monkeypatch.setattr("bench.compose.command_line.run_command_line", lambda name, job, typed: asked.append(typed))
    runner.time_steps(options, load(str(ledger_dir)).chosen(budget="quick"))
    assert len(asked) == is_asked
    assert all("optimizers=[sgd,adam]" in typed for typed in asked)
