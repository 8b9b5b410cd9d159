"""A metric on request is an entry of one list and the class that it names; all else is made from these."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import commands
import pytest

from bench import tables
from bench.base import metrics
from bench.base.metrics import METRICS
from bench.training.final_metrics import FinalMetric
from bench.training.stop_metrics import StopMetric, metric_classes

ROOT = Path(__file__).resolve().parent.parent

CLASSES = {
    "weight_norm": '''
from bench.training.stop_metrics import StopMetric, norm


class WeightNorm(StopMetric):
    """Norm of the weights."""

    def values(self):
        return {"weight_norm": norm(self.parameters)}
''',
    "num_layers": '''
from bench.training.final_metrics import FinalMetric


class Layers(FinalMetric):
    """Layers of the model."""

    def columns(self, trained):
        return {"num_modules": float(len(list(trained.learner.model.modules())))}
''',
}

ENTRIES = """
    Metric("weight_norm", "norm of the weights", "bench.training.metrics.weight_norm.WeightNorm",
           curves=(Curve("weight_norm", "norm of the weights", "Norm of the weights"),)),
    Metric("num_layers", "modules of the model", "bench.training.metrics.num_layers.Layers",
           columns=(RunColumn("num_modules", "modules of the model", after="first_step_s", title="modules"),)),
"""

PROGRAM = """
import json, sys
from pathlib import Path
sys.path.insert(0, "docs/_ext")
import generated
from bench import tables
study = tables.load("results/s")
print(json.dumps({
    "curve": study.curves.loc[study.curves["metric"] == "weight_norm", "value"].tolist(),
    "column": study.runs["num_modules"].tolist(),
    "columns": list(study.runs),
    "rows": generated.made("metrics")[1],
    "figures": sorted(path.name for path in Path("reports/s/figures").glob("*.svg")),
    "report": Path("reports/s/report.md").read_text(),
}))
"""


def test_a_new_metric_is_one_file_and_one_entry(tmp_path: Path) -> None:
    for folder in ("bench", "conf", "models", "optimizers", "hydra_plugins", "docs/_ext"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in CLASSES.items():
        (tmp_path / "bench" / "training" / "metrics" / f"{name}.py").write_text(text)
    file = tmp_path / "bench" / "base" / "metrics.py"
    before, after = file.read_text().split("METRICS: tuple[Metric, ...] = (\n")
    file.write_text(f"{before}METRICS: tuple[Metric, ...] = ({ENTRIES}{after}")

    def python(*arguments: str) -> str:
        done = commands.run(*arguments, cwd=tmp_path, root=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    settings = ["train.steps=3", "train.log_every=1", "seeds=[0,1]", "study=s", "memory=false"]
    python("bench", "metrics=[num_layers,weight_norm]", *settings)
    (tmp_path / "program.py").write_text(PROGRAM)
    found = json.loads(python("program"))
    assert len(found["curve"]) == 6 and min(found["curve"]) > 0
    assert found["column"] == [pytest.approx(found["column"][0])] * 2 and found["column"][0] > 2
    assert found["columns"][found["columns"].index("first_step_s") + 1] == "num_modules"
    assert [row for row in found["rows"] if "weight" in row[0]] == [["`weight_norm`", "norm of the weights"]]
    assert any("weight-norm" in name for name in found["figures"])
    assert "Norm of the weights against step" in found["report"]
    assert "modules" in found["report"]


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_leaves_what_its_kind_leaves(metric: metrics.Metric) -> None:
    (kind,) = metric_classes([metric.name])
    assert issubclass(kind, StopMetric if metric.curves else FinalMetric)
    assert bool(metric.curves) != bool(metric.columns)
    assert {column.name for column in metric.columns} <= {column.name for column in tables.RUNS}
