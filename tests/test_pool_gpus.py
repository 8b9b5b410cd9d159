"""Each process of a pool has a GPU of its own: locks in a folder say who has which."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from bench.base.errors import UserError
from bench.base.paths import CONF_DIR
from bench.config.parse import parse
from bench.execution.launchers import gpus, pool


@pytest.fixture(autouse=True)
def _nothing_held(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(gpus, "_held", None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    yield
    if gpus._held is not None:
        gpus._held.close()


def hold(folder: Path, line: Any) -> None:
    gpus.take_gpu(["3", "GPU-5a"], folder)
    line.send(os.environ.get("CUDA_VISIBLE_DEVICES"))
    line.recv()


def holder(folder: Path) -> tuple[multiprocessing.Process, Any, str]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=hold, args=(folder, theirs))
    process.start()
    return process, ours, ours.recv()  # type: ignore[return-value]


def test_processes_have_different_gpus_and_one_that_is_killed_gives_its_back(tmp_path: Path) -> None:
    first, line, name = holder(tmp_path)
    second, other_line, other = holder(tmp_path)
    assert {name, other} == {"3", "GPU-5a"}
    first.kill()
    first.join()
    third, third_line, third_name = holder(tmp_path)
    assert third_name == name
    for process, end in ((second, other_line), (third, third_line)):
        end.send(None)
        process.join()
    line.close()


def test_a_process_keeps_its_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus.take_gpu(["1"], tmp_path)
    gpus.take_gpu(["2"], tmp_path)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"


def test_a_pool_on_the_cpu_hides_nothing(tmp_path: Path) -> None:
    gpus.take_gpu([], tmp_path)
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


@pytest.mark.parametrize(
    ("given", "num", "names"), [(None, 2, ["0", "1"]), ("3,5", 2, ["3", "5"]), ("3, 9", 1, ["3"]), ("", 0, [])]
)
def test_gpus_that_a_person_hides_are_not_used(
    monkeypatch: pytest.MonkeyPatch, given: str | None, num: int, names: list[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num)
    if given is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert gpus.visible_gpus() == names


@pytest.mark.parametrize(("device", "refused"), [("cuda", True), ("cpu", False)])
def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch, device: str, refused: bool) -> None:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        overrides = [f"device={device}", "launcher=pool", "launcher.n_jobs=3"]
        config = parse(OmegaConf.to_container(compose("config", overrides), resolve=True))
    monkeypatch.setattr(pool, "num_cores", lambda: 64)
    monkeypatch.setattr(pool, "device_name", lambda config: (config.device.name, None))
    monkeypatch.setattr(pool, "visible_gpus", lambda: ["0", "1"])
    if not refused:
        pool.check([config])
        return
    with pytest.raises(UserError, match="launcher.n_jobs must be at most 2, the number of GPUs here, got 3"):
        pool.check([config])
