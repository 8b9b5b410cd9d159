"""Trackers that runs are shown in while they go, each with its settings: see `conf/logger/`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from bench.config.fields import Folder, Section


class TensorBoardConfig(Section):
    """Event files of TensorBoard, in `<folder>/<study>/<run_id>`."""

    folder: Folder = "tensorboard"


class MLflowConfig(Section):
    """An experiment of MLflow for each study.

    Attributes:
        uri: Of the store, such as sqlite:///mlflow.db or http://localhost:5000.
    """

    uri: Annotated[str, Field(min_length=1, description="the address of a store, such as sqlite:///mlflow.db")] = (
        "sqlite:///mlflow.db"
    )


class WandbConfig(Section):
    """A project of Weights & Biases for each study.

    Attributes:
        mode: offline: into files that `wandb sync` sends later; online: at once.
        entity: User or team; None: the account's own.
        folder: Of the files.
    """

    mode: Literal["offline", "online"] = "offline"
    entity: Annotated[str, Field(min_length=1, description="the name of a user or team, or null")] | None = None
    folder: Folder = "wandb"


class TrackioConfig(Section):
    """A project of Trackio for each study.

    Attributes:
        folder: Of its databases.
    """

    folder: Folder = "trackio"


class LoggerConfig(Section):
    """The trackers chosen; None: not this one."""

    tensorboard: TensorBoardConfig | None = None
    mlflow: MLflowConfig | None = None
    wandb: WandbConfig | None = None
    trackio: TrackioConfig | None = None

    def chosen(self) -> dict[str, dict[str, Any]]:
        """Return the settings of each tracker chosen, by its name."""
        return self.model_dump(exclude_none=True)


TRACKERS = tuple(LoggerConfig.model_fields)
"""Names of the trackers."""
