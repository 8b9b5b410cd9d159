"""Runs in MLflow: an experiment for each study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from bench.trackers.mapping import Point, TrackedRun

NAME = "mlflow.runName"
"""The tag that MLflow shows as the name of a run."""


METRICS_A_CALL = 1000
"""Points that MLflow takes at once."""


STATUS = {"ok": "FINISHED", "pruned": "FINISHED", "interrupted": "KILLED"}
"""MLflow's words for how a run ended; FAILED for the others."""


class Tracker:
    """A store of MLflow.

    Args:
        uri: Such as sqlite:///mlflow.db, or the address of a server.
    """

    def __init__(self, uri: str) -> None:
        self._client = MlflowClient(tracking_uri=uri)
        self._client.search_experiments(max_results=1)  # makes a new database now, and not in several processes at once
        self.where = f"mlflow ui --backend-store-uri {uri} shows them"

    def begin(self, run: TrackedRun) -> _RunLog:
        """See `bench.trackers.base.Tracker`."""
        client, made = self._client, self._new_run(run.study, run.name, run.started)
        params = [Param(name, str(value)) for name, value in run.settings.items()]
        client.log_batch(made, params=params, tags=[RunTag("run_id", run.name), RunTag("study", run.study)])
        return _RunLog(client, made, run.started)

    def add_figures(self, study: str, figures: Sequence[Path]) -> None:
        """See `bench.trackers.base.Tracker`."""
        made = self._new_run(study, "report", None)
        for figure in figures:
            self._client.log_artifact(made, str(figure))
        self._client.set_terminated(made)

    def _new_run(self, study: str, name: str, started: float | None) -> str:
        """Return MLflow's id of a new run, in place of those of the same name."""
        client = self._client
        found = client.get_experiment_by_name(study)
        experiment = client.create_experiment(study) if found is None else found.experiment_id
        for old in client.search_runs([experiment], f"tags.`{NAME}` = '{name}'"):
            client.delete_run(old.info.run_id)
        began = None if started is None else round(1e3 * started)
        return str(client.create_run(experiment, start_time=began, tags={NAME: name}).info.run_id)


class _RunLog:
    def __init__(self, client: MlflowClient, made: str, started: float) -> None:
        self._client, self._made, self._at = client, made, started

    def add(self, points: Sequence[Point]) -> None:
        """See `bench.trackers.base.RunLog`."""
        metrics = [Metric(tag, value, round(1e3 * at), step) for step, at, tag, value in points]
        for start in range(0, len(metrics), METRICS_A_CALL):
            self._client.log_batch(self._made, metrics=metrics[start : start + METRICS_A_CALL])
        self._at = max([self._at, *(at for _, at, _, _ in points)])

    def end(self, status: str, results: Mapping[str, float]) -> None:
        """See `bench.trackers.base.RunLog`."""
        at = round(1e3 * self._at)
        metrics = [Metric(name, value, at, 0) for name, value in results.items()]
        self._client.log_batch(self._made, metrics=metrics, tags=[RunTag("status", status)])
        self._client.set_terminated(self._made, STATUS.get(status, "FAILED"), end_time=at)
