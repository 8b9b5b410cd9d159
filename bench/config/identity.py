"""What makes two runs the same: ids from configurations."""

from __future__ import annotations

from typing import Any

from bench.base.hashing import content_of, short_hash, source_fingerprint, weights_hash
from bench.config.capabilities import METADATA
from bench.config.schema import Component, Config, DeviceConfig, OptimizerConfig

NOT_IDENTITY = (
    "study", "seeds", "memory", "metrics", "diagnostics", "logger", "force", "report", "results_dir", "reports_dir", "overrides",
    "launcher", "sweep", "decide", "looks", "trial", "plan",
)  # fmt: skip
"""Keys that change where a result goes, not what it is. Beside them: `METADATA` of the optimizer, all of `trial` but its stage, `data.root`, `data.download` and
`data.workers` (where files lie and who reads them), `train.save_best`, and `train.time_limit_s` (a run that hit it is repeated when it
is raised). The seed and the environment are part of the run's id, not of the cell's."""


ADDED_LATER: dict[str, Any] = {
    "data.options.channels": None,
    "data.options.reconstruct": False,
    "data.options.normalize": False,
    "data.order": "reshuffled",
    "data.num_train": None,
    "model.options.dropout": 0.0,
    "model.options.log_softmax": False,
    "model.options.small_images": False,
    "optimizer.needs": [],
    "augment": {"name": "none", "options": {}},
    "loss": "default",
    "regularization": {"l1": 0.0, "weights_only": False},
    "train.accumulate": 1,
    "train.clip_norm": None,
    "train.compile": False,
    "train.init_from": None,
    "schedule": {"name": "constant", "options": {}},
}
"""Keys that came after the first release, dotted, each with the value under which a run is what it
was before the key existed: at that value the key stays out of the hash, so old ids hold."""


MOVED: dict[str, str] = {
    "models.textcnn.TextCNNAsPrinted": "bench.claims.checks.printed.TextCNNAsPrinted",
    "optimizers.as_printed.PredictionAsPrinted": "bench.claims.checks.printed.PredictionAsPrinted",
    "optimizers.as_printed.ThetasAsPrinted": "bench.claims.checks.printed.ThetasAsPrinted",
}
"""Targets that lie elsewhere today, by the dotted path under which ids hold them. Both paths may be configured."""


def present_target(target: str) -> str:
    """Return the dotted path under which a target is found today."""
    return MOVED.get(target, target)


def hashed_target(target: str) -> str:
    """Return the dotted path that stands for a target in ids: the one under which it first was."""
    return next((first for first, present in MOVED.items() if present == target), target)


def identity(config: Config, device: str) -> dict[str, Any]:
    """Return what makes this cell the cell it is, as plain data.

    Args:
        config: The cell.
        device: The device that it really runs on (never "auto").
    """
    node = config.model_dump(exclude=set(NOT_IDENTITY))
    node["device"]["name"] = device
    node["data"]["options"] = learnt_from(config.data)
    if isinstance(path := config.data.options.get("path"), str):
        node["data"]["path"] = content_of(path) or path
    if config.train.init_from is not None:
        node["train"]["init_from"] = weights_hash(config.train.init_from)
    del node["train"]["time_limit_s"], node["train"]["save_best"]
    if (source := source_fingerprint(config.loss)) is not None:
        node["loss_source"] = source
    for key in METADATA:
        del node["optimizer"][key]
    if config.trial.stage != "single":
        node["stage"] = config.trial.stage
    if config.train.steps is not None:
        node["train"]["epochs"] = None
    for key in ("optimizer", "model", "data"):
        node[key]["target"] = hashed_target(node[key]["target"])
        source = source_fingerprint(node[key]["target"])
        if source is not None:
            node[key]["source"] = source
    return without_later(node)


def learnt_from(data: Component) -> dict[str, Any]:
    """Return the options of a data set that say what is learnt from, not where it lies or who reads it."""
    return {key: value for key, value in data.options.items() if key not in ("root", "path", "download", "workers")}


def without_later(node: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration less the keys of `ADDED_LATER` at their neutral values; the node itself is changed."""
    for dotted, neutral in ADDED_LATER.items():
        *parents, last = dotted.split(".")
        parent = node
        for part in parents:
            parent = parent.get(part, {})
        if last in parent and parent[last] == neutral and type(parent[last]) is type(neutral):
            del parent[last]
    return node


def cost_id(
    workload_id: str,
    optimizer: OptimizerConfig,
    implementation: str,
    device: str,
    config: DeviceConfig,
    environment_id: str,
) -> str:
    """Return ten hexadecimal digits of what a step's cost depends on; the learning rate is no part of it.

    Runs and step costs with the same one may be joined.

    Args:
        workload_id: Model, data, loss and batch size.
        optimizer: Its class and settings.
        implementation: The one that really runs.
        device: The device that it really runs on.
        config: Its threads and precision.
        environment_id: Hardware and versions.
    """
    options = {key: value for key, value in optimizer.options.items() if key != "lr"}
    target = hashed_target(optimizer.target)
    parts = [workload_id, target, source_fingerprint(target), options, implementation]
    return short_hash([*parts, device, config.threads, config.precision, environment_id], 10)


def cell_id(config: Config, device: str) -> str:
    """Return ten hexadecimal digits of the hash of `identity`."""
    return short_hash(identity(config, device), 10)
