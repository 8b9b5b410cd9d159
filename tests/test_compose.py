"""Composing `conf/` without a command line gives what Hydra gives, and leaves Hydra as it was."""

from __future__ import annotations

import pytest
import yaml
from hydra import compose, initialize_config_dir, version
from omegaconf import OmegaConf

from bench.base.errors import UserError
from bench.base.paths import CONF_DIR
from bench.compose.composer import composed, option
from bench.config.parse import group_options

OVERRIDES = [
    [],
    ["train.epochs=3", "seeds=[4,5]"],
    ["optimizer=sgd", "optimizer.lr=0.5", "+optimizer.foreach=false", "model=logistic"],
    ["model=mnist_cnn", "data=digits", "train.batch_size=7"],
    ["data=none", "train.batch_size=7"],
    ["launcher=pool", "launcher.n_jobs=3", "sweep=tuned", "sweep.trials=4"],
    ["+train.extra='a, b'", "~model.dropout"],
    *([f"experiment={name}"] for name in group_options("experiment")),
]


def by_hydra(overrides: list[str], config_name: str = "config") -> object:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return OmegaConf.to_container(compose(config_name, overrides), resolve=True)


@pytest.mark.parametrize("overrides", OVERRIDES, ids=" ".join)
def test_composed_as_hydra_composes(overrides: list[str]) -> None:
    wanted = by_hydra(overrides)
    assert composed(overrides) == wanted
    assert composed(overrides) == wanted, "from what was kept of the first time"


def test_a_mapping_is_a_list_of_overrides() -> None:
    assert composed({"optimizer": "sgd", "train.epochs": 3}) == by_hydra(["optimizer=sgd", "train.epochs=3"])


def test_another_file_of_conf() -> None:
    assert composed(["model=logistic", "rounds=2"], "step_cost") == by_hydra(
        ["model=logistic", "rounds=2"], "step_cost"
    )


def test_what_one_caller_changes_no_other_sees() -> None:
    before = composed()
    composed()["train"]["epochs"] = 10**6
    composed(["train.epochs=7"])
    assert composed() == before


def test_options_as_they_stand_in_their_files() -> None:
    for name in group_options("optimizer"):
        assert option("optimizer", name) == yaml.safe_load((CONF_DIR / "optimizer" / f"{name}.yaml").read_text())


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("optimizer=nope", "optimizer must be one of adadelta"),
        ("train.epoch=3", r"did you mean train.epochs\? train.epoch must be a key of train"),
        ("lr=0.1", r"did you mean optimizer.lr\? lr must be a key of the configuration"),
        ("optimizer=adamm", r"did you mean optimizer=adam\? optimizer must be one of adadelta"),
        ("zzz=1", "zzz must be a key of the configuration"),
        ("train epoch=3", "every argument must be key=value"),
        ("optimizer=adam,sgd", "optimizer must be one value without -m"),
        ("train.epochs=1,2", "train.epochs must be one value without -m"),
        ("study=${nothing}", "study must be a value that can be resolved"),
    ],
)
def test_a_mistake_is_one_sentence(override: str, sentence: str) -> None:
    with pytest.raises(UserError, match=f"^{sentence}"):
        composed([override])


def test_a_program_with_a_hydra_of_its_own_keeps_it() -> None:
    version.setbase("1.2")
    before = version.getbase()
    composed(["optimizer=sgd"])
    assert version.getbase() == before
    version.setbase("1.3")
