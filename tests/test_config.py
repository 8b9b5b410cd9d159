"""What a person may set: every field held to its type and range, and the identity of a cell."""

from __future__ import annotations

import copy
import importlib
import inspect
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from bench.base.errors import UserError
from bench.base.hashing import content_of
from bench.base.paths import CONF_DIR
from bench.config import identity, schema
from bench.config.capabilities import METADATA, capabilities_of
from bench.config.identity import cell_id
from bench.config.parse import group_options, has_default_hyperparameters, parse
from bench.config.schema import Config


def composed(*overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        node = OmegaConf.to_container(compose("config", list(overrides)), resolve=True)
    assert isinstance(node, dict)
    return node  # type: ignore[return-value]


BASE = composed()


def with_value(dotted: str, value: Any) -> dict[str, Any]:
    node = copy.deepcopy(BASE)
    *parents, last = dotted.split(".")
    inner = node
    for part in parents:
        inner = inner.setdefault(part, {})
    inner[last] = value
    return node


@pytest.mark.parametrize(
    "group", ["optimizer", "model", "data", "schedule", "augment", "device", "experiment", "sweep"]
)
def test_every_option_composes_and_parses(group: str) -> None:
    for option in group_options(group):
        overrides = [f"{group}={option}"]
        if option == "custom":
            overrides.append(f"{group}._target_=mine.Thing")
        config = parse(composed(*overrides))
        assert config.study


@pytest.mark.parametrize("name", [o for o in group_options("optimizer") if o != "custom"])
def test_every_optimizer_says_where_it_is_searched_and_who_says_so(name: str) -> None:
    search = parse(composed(f"optimizer={name}")).optimizer.search
    assert search["lr"].decades is None, "every optimizer has the width of sweep.decades"
    assert all(entry.source for entry in search.values())
    options = parse(composed(f"optimizer={name}")).optimizer.options
    assert all(key in options or (key in ("beta1", "beta2") and "betas" in options) for key in search)


@pytest.mark.parametrize("name", [o for o in group_options("optimizer") if o != "custom"])
def test_optimizer_configs_are_complete_with_torchs_defaults(name: str) -> None:
    """All arguments of the torch class but those that choose how, not what, the step computes."""
    node = yaml.safe_load((CONF_DIR / "optimizer" / f"{name}.yaml").read_text())
    package, _, cls = node["_target_"].rpartition(".")
    signature = inspect.signature(getattr(importlib.import_module(package), cls))
    switches = {"params", "foreach", "fused", "capturable", "differentiable"}
    if name == "lbfgs":
        switches.add("maximize")  # newer than the oldest torch that is supported
    defaults = {key: p.default for key, p in signature.parameters.items() if key not in switches}
    ours = {
        key: value
        for key, value in node.items()
        if key not in ("_target_", "name", "implementation", "needs", *METADATA)
    }
    assert set(ours) == set(defaults)
    for key, value in ours.items():
        default = {"momentum": 0.9, "nesterov": name == "nesterov"}.get(key) if name in MOMENTUM else None
        expected = defaults[key] if default is None else default
        assert (tuple(value) if isinstance(value, list) else value) == expected, key


MOMENTUM = ("momentum", "nesterov")
"""Options of torch.optim.SGD that are named after a setting which is not torch's default."""


BAD = {
    "optimizer.lr": [-1, math.nan, math.inf, "fast", None, True, [0.1]],
    "optimizer.betas": [[0.9], [0.9, 0.99, 0.999], 0.9, "x", [0.9, 1.0], [-0.1, 0.9], [0.9, math.nan], None],
    "optimizer.eps": [-1e-8, math.nan, "x"],
    "optimizer.weight_decay": [-1, math.inf, "x"],
    "optimizer.amsgrad": [1, "yes", None],
    "optimizer.maximize": [0, "no"],
    "optimizer.decoupled_weight_decay": ["x"],
    "optimizer.implementation": ["fast", 1, None, "compile"],
    "optimizer._target_": ["Adam", 3, "a b.c"],
    "optimizer.name": ["a b", "../x", "x" * 101, 5],
    "diagnostics.name": [1, None, "a b"],
    "diagnostics.every": [0, -1, 1.5, None, "x"],
    "diagnostics.record": ["x", ["x"], [1], None, {}],
    "diagnostics.landscape": ["yes", 1, None],
    "decide.delta": [0, -0.1, math.nan, 11, "x", None],
    "decide.max_seeds": [4, 0, 10**5, 5.5, None],
    "decide.max_minutes": [0, -1, math.inf, "x"],
    "model._target_": ["MLP", 3],
    "model.name": ["a/b"],
    "data._target_": ["digits"],
    "data.name": [["digits"]],
    "data.order": ["random", None, 1],
    "data.num_train": [0, -1, 1.5, "x", True, math.inf, [100], 10**30],
    "schedule.name": ["linear", 3, None],
    "augment.name": ["mixup", 3, None],
    "augment.unknown": [1],
    "loss": ["mse", None, 1],
    "regularization.l1": [-1, math.nan, math.inf, "x", None, True],
    "regularization.weights_only": ["yes", 1, None],
    "regularization.unknown": [1],
    "metrics": ["loss", ["loss"], "grad_norm", None, [1], ["moved_test_accuracy"]],
    "device.name": ["gpu", 0, None],
    "device.threads": [0, -1, 1.5, "two", 5000, True, None],
    "device.precision": ["fp64", 32],
    "train.epochs": [0, -3, 1.5, "many", True, math.inf, 10**30],
    "train.steps": [0, -3, 0.5, "x"],
    "train.batch_size": [0, -64, 1.5, "x", None],
    "train.accumulate": [0, -1, 1.5, "x", None, True, 65],
    "train.clip_norm": [0, -1, math.nan, math.inf, "x", True],
    "train.compile": ["yes", 1, None],
    "train.init_from": ["", 5, "absent.pt", True],
    "train.save_best": ["yes", 1, None],
    "train.log_every": [0, -1, "x", None],
    "train.eval_every": [0, -1, "x", 2.5],
    "train.loss_limit": [0, -1, math.nan, math.inf, "x", None],
    "train.time_limit_s": [0, -1, math.nan, "x"],
    "seeds": [0, 10**5, [], [-1], [2**32], [0.5], "x", ["a"], [True], [0, 0], None, -1],
    "study": ["../../x", "a/b", "", ".hidden", "x" * 101, 5],
    "launcher.name": ["ray", None],
    "launcher.unknown": [1],
    "launcher.n_jobs": [0, 1.5, "x", True],
    "launcher.partition": [5],
    "launcher.gpus": [-1, "x"],
    "launcher.cpus": [0, None],
    "launcher.memory_gb": [0, -1, math.nan, "x"],
    "launcher.time_limit_min": [0, 1.5, None],
    "sweep.name": ["random", None],
    "sweep.unknown": [1],
    "sweep.method": ["bayes", None],
    "sweep.trials": [0, 1, 2.5, "x", None],
    "sweep.over": [[], "lr", None, [1]],
    "sweep.decades": [0, -1, 21, math.nan, "x"],
    "sweep.select": ["loss", None],
    "sweep.target": [math.nan, math.inf, "x"],
    "sweep.trial_seed": [-1, 2**32, 0.5, None],
    "sweep.seeds_per_trial": [0, 101, 1.5, None],
    "sweep.seeds": [0, [1, 2], None],
    "sweep.untuned": [1, None],
    "sweep.extend": ["yes", None],
    "sweep.sampler_seed": [-1, "x"],
    "trial.stage": ["test", None],
    "trial.number": [-1, 0.5, "x"],
    "trial.tuning": [5],
    "trial.search": [{}],
    "trial.edge": [["lr"]],
    "trial.history": [5],
    "trial.unknown": [1],
    "optimizer.label": [5, ""],
    "optimizer.colour": [5, ""],
    "optimizer.capabilities": [
        5,
        ["foreach"],
        {"implementations": ["fast"]},
        {"implementations": "foreach, fast"},
        {"implementations": 5},
        {"reference": "Adam"},
        {"fixed_lr": True},
        {"growing_state": 5},
        {"pairs": "eps"},
        {"unknown": 1},
    ],
    "optimizer.search": [5, {"lr": 0.1}, {"lr": {}}, {"lr": {"center": -1}}, {"lr": {"center": 1, "scale": "linear"}}],
    "plan": ["yes", 1, None],
    "memory": ["yes", 1, None],
    "force": ["yes", 1, None],
    "report": ["yes", 0],
    "results_dir": ["", 5, None],
    "reports_dir": ["", 5],
    "train.unknown": [1],
    "device.unknown": [1],
    "unknown": [1],
    "overrides": [["a"]],
    "train": [5, None, []],
    "optimizer": ["adam"],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in BAD.items() for value in values])
def test_bad_values_are_refused_in_one_sentence(key: str, value: Any) -> None:
    with pytest.raises(UserError) as caught:
        parse(with_value(key, value))
    sentence = str(caught.value)
    assert sentence.startswith(key), sentence
    assert " must " in sentence
    assert ", got " in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("optimizer", "key", "value"),
    [
        ("sgd", "momentum", -0.9),
        ("sgd", "dampening", math.inf),
        ("sgd", "nesterov", 1),
        ("rmsprop", "alpha", 1.01),
        ("rmsprop", "centered", "x"),
        ("adadelta", "rho", -0.1),
        ("nadam", "momentum_decay", -1),
        ("adagrad", "lr_decay", -1),
        ("adagrad", "initial_accumulator_value", math.nan),
        ("adafactor", "beta2_decay", 0.8),
        ("adafactor", "d", 0.5),
        ("adafactor", "eps", 1e-8),
        ("adafactor", "eps", [1e-8, None]),
        ("adafactor", "eps", [None, -1e-3]),
        ("adafactor", "eps", [None]),
        ("asgd", "lambd", -1e-4),
        ("asgd", "t0", math.inf),
        ("asgd", "alpha", 1.5),
        ("rprop", "etas", [1.2, 0.5]),
        ("rprop", "etas", [0.5]),
        ("rprop", "etas", 0.5),
        ("rprop", "step_sizes", [50, 1e-6]),
        ("rprop", "step_sizes", [-1, 50]),
        ("muon", "ns_steps", 100),
        ("muon", "ns_steps", 5.0),
        ("muon", "ns_coefficients", [3.4, -4.8]),
        ("muon", "ns_coefficients", [3.4, -4.8, math.nan]),
        ("muon", "adamw_lr", -1),
        ("muon", "adamw_betas", [0.9, 1]),
        ("muon", "adamw_eps", math.nan),
        ("muon", "adamw_weight_decay", "x"),
        ("lbfgs", "max_iter", 0),
        ("lbfgs", "history_size", 1.5),
        ("lbfgs", "tolerance_grad", -1),
        ("lbfgs", "tolerance_change", math.nan),
    ],
)
def test_hyperparameters_of_the_others(optimizer: str, key: str, value: Any) -> None:
    node = composed(f"optimizer={optimizer}")
    node["optimizer"][key] = value
    with pytest.raises(UserError, match=rf"^optimizer.{key}(\[\d\])? must be .*, got .*; leave it out for the default"):
        parse(node)


def test_a_rule_for_muons_learning_rate_is_one_of_torchs() -> None:
    with pytest.raises(UserError, match=r"^optimizer.adjust_lr_fn must be one of original, .*, or null, got 'x'"):
        parse(composed("optimizer=muon", "optimizer.adjust_lr_fn=x"))


@pytest.mark.parametrize(
    ("schedule", "key", "value"),
    [
        ("step", "every", 0.0),
        ("step", "gamma", 1.5),
        ("cosine", "final", -0.1),
        ("warmup_cosine", "warmup", 1.0),
        ("inverse_sqrt", "warmup", "x"),
        ("one_cycle", "peak", 1.0),
        ("one_cycle", "start", math.nan),
        ("plateau", "patience", 1.5),
        ("plateau", "threshold", -1),
    ],
)
def test_settings_of_schedules(schedule: str, key: str, value: Any) -> None:
    node = composed(f"schedule={schedule}")
    node["schedule"][key] = value
    with pytest.raises(UserError, match=rf"^schedule.{key} must be .*, got .*; leave it out for the default"):
        parse(node)


@pytest.mark.parametrize(
    ("augment", "key", "value"),
    [
        ("crop", "padding", -1),
        ("crop", "padding", 1.5),
        ("crop", "padding", True),
        ("rotation", "degrees", 181),
        ("rotation", "degrees", math.nan),
        ("flip", "p", 1.1),
        ("flip", "p", "x"),
    ],
)
def test_settings_of_augmentations(augment: str, key: str, value: Any) -> None:
    node = composed(f"augment={augment}")
    node["augment"][key] = value
    with pytest.raises(UserError, match=rf"^augment.{key} must be .*, got .*; leave it out"):
        parse(node)


@pytest.mark.parametrize("needs", [["magic"], "closure", [1]])
def test_what_an_optimizer_needs_is_one_of_three(needs: Any) -> None:
    node = composed("optimizer=lbfgs")
    assert parse(node).optimizer.needs == ["closure"]
    node["optimizer"]["needs"] = needs
    with pytest.raises(
        UserError, match=r"^optimizer.needs(\[0\])? must be .*closure, create_graph, evaluation_weights"
    ):
        parse(node)


def test_where_data_lies_and_who_reads_it_is_no_part_of_a_cell_but_a_persons_own_path_is(tmp_path: Path) -> None:
    def of(**options: Any) -> str:
        node = composed("data=mnist")
        node["data"] |= options
        return cell_id(parse(node), "cpu")

    assert of(root="a") == of(root="b", download=True)
    assert of(workers=0) == of(workers=2)
    assert of(path="a") != of(path="b")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.csv").write_text("a,b")
    assert of(path=str(tmp_path / "one")) == of(path=str(tmp_path / "two")), "the same in another place"
    content_of.cache_clear()
    (tmp_path / "two" / "train.csv").write_text("a,c")
    assert of(path=str(tmp_path / "one")) != of(path=str(tmp_path / "two"))
    file = tmp_path / "mine.csv"
    file.write_text("one")
    first = of(path=str(file))
    file.write_text("two")
    content_of.cache_clear()  # it is read once a command
    assert of(path=str(file)) != first


def test_every_field_is_tested() -> None:
    """A field added to the configuration needs a bad value above."""

    def keys(node: dict[str, Any], prefix: str = "") -> set[str]:
        return {
            name
            for key, value in node.items()
            for name in (keys(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}"})
        }

    judged_by_the_class = {
        "model.hidden", "model.dropout", "model.log_softmax", "data.resize", "data.channels", "data.reconstruct",
    }  # fmt: skip
    searched = {key for key in keys(BASE) if key.startswith(("optimizer.search.", "optimizer.capabilities."))}
    assert keys(BASE) - {"experiment"} - judged_by_the_class - searched <= set(BAD)


def test_a_custom_class_takes_what_it_likes_but_no_nan() -> None:
    node = composed("optimizer=custom", "optimizer._target_=a.B", "+optimizer.betas=[.9,.99,.999]", "+optimizer.lr=-5")
    assert parse(node).optimizer.options == {"betas": [0.9, 0.99, 0.999], "lr": -5}
    node["optimizer"]["lr"] = math.nan
    with pytest.raises(UserError, match="optimizer.lr must be a finite number, got nan"):
        parse(node)


def test_a_class_of_ones_own_declares_what_is_known_of_it() -> None:
    node = composed("optimizer=custom", "optimizer._target_=a.B", "optimizer.label=B of mine", "optimizer.colour=red")
    node["optimizer"]["capabilities"] = {"fixed_lr": "it has its own", "pairs": ["eps"]}
    node["optimizer"]["search"] = {"lr": {"center": 0.1}}
    mine = parse(node).optimizer
    assert (mine.label, mine.colour, mine.options) == ("B of mine", "red", {})
    assert capabilities_of(mine).fixed_lr == "it has its own"
    assert mine.search["lr"].center == 0.1


def test_a_class_that_declares_nothing_is_what_the_shipped_config_of_it_declares() -> None:
    custom = parse(composed("optimizer=custom", "optimizer._target_=torch.optim.Adam", "+optimizer.lr=0.1")).optimizer
    assert custom.capabilities is None
    assert capabilities_of(custom) == capabilities_of(parse(composed("optimizer=adam")).optimizer)
    assert capabilities_of(custom).reference == "optimizers.Adam"
    assert capabilities_of(custom.model_copy(update={"target": "a.B"})).reference is None


def test_a_number_of_seeds_are_the_first_ones_and_a_list_names_them() -> None:
    assert parse(with_value("seeds", 3)).seeds == [0, 1, 2]
    assert parse(with_value("seeds", [3])).seeds == [3]
    assert cell_id(parse(with_value("seeds", 3)), "cpu") == cell_id(parse(with_value("seeds", [3])), "cpu")


def test_a_tuned_sweep_has_a_study_of_its_own() -> None:
    assert parse(composed("sweep=tuned")).study == "digits-mlp-tuned"
    assert parse(composed("sweep=tuned", "study=mine")).study == "mine"
    assert parse(composed()).study == "digits-mlp"


def test_names_come_from_what_is_run() -> None:
    config = parse(BASE)
    assert config.study == "digits-mlp"
    custom = parse(composed("model=custom", "model._target_=mine.Net", "data=custom", "data._target_=rainfall.load"))
    assert (custom.model.name, custom.data.name, custom.study) == ("Net", "rainfall", "rainfall-Net")


def test_the_model_says_which_image_size_it_needs() -> None:
    assert parse(composed("model=mnist_cnn")).data.options["resize"] == 28
    assert parse(composed("model=mlp")).data.options["resize"] is None
    assert "needs" not in parse(composed("model=mnist_cnn")).model.options


# --- identity -------------------------------------------------------------------------------------


def test_identity_is_pinned() -> None:
    """Ids of stored results: a change here makes every user's runs look new."""
    assert cell_id(parse(composed("optimizer=adam")), "cpu") == PINNED["adam"]
    assert cell_id(parse(composed("optimizer=sgd", "optimizer.lr=1")), "cpu") == PINNED["sgd"]


PINNED = {"adam": "b91c637529", "sgd": "09c152652c"}


NOT_RESULT = [
    "study=x",
    "seeds=[5]",
    "memory=false",
    "sweep=tuned",
    "launcher=pool",
    "+trial.number=3",
    "+trial.edge=lr",
    "plan=true",
    "optimizer.search.lr.center=0.5",
    "optimizer.label=Adam of 2015",
    "optimizer.colour=red",
    "~optimizer.capabilities",
    "+optimizer.capabilities.fixed_lr=it is",
    "force=true",
    "report=false",
    "results_dir=r",
    "reports_dir=p",
    "train.time_limit_s=9",
    "metrics=[layer_grad_norm,moved_accuracy]",
    "data.num_train=null",
]


@pytest.mark.parametrize("override", NOT_RESULT)
def test_what_does_not_change_the_result_does_not_change_the_id(override: str) -> None:
    assert cell_id(parse(composed(override)), "cpu") == cell_id(parse(BASE), "cpu")


@pytest.mark.parametrize(
    "override",
    [
        "optimizer=sgd",
        "optimizer.lr=0.002",
        "optimizer.implementation=foreach",
        "optimizer.name=other",
        "model=logistic",
        "model.hidden=[64]",
        "data.resize=9",
        "data.channels=3",
        "data.num_train=500",
        "schedule=cosine",
        "device.threads=2",
        "device.precision=bf16",
        "+trial.stage=tune",
        "+trial.stage=final",
        "train.epochs=21",
        "train.steps=5",
        "train.batch_size=32",
        "train.log_every=1",
        "train.eval_every=3",
        "train.loss_limit=5",
    ],
)
def test_what_changes_the_result_changes_the_id(override: str) -> None:
    assert cell_id(parse(composed(override)), "cpu") != cell_id(parse(BASE), "cpu")
    assert cell_id(parse(BASE), "cuda") != cell_id(parse(BASE), "cpu")


def test_where_mnist_lies_is_no_part_of_the_id() -> None:
    ids = {
        cell_id(parse(composed("data=mnist", o)), "cpu") for o in ("data.root=a", "data.root=b", "data.download=true")
    }
    assert len(ids) == 1


def test_settings_of_a_schedule_are_part_of_the_id() -> None:
    one, two = (cell_id(parse(composed("schedule=cosine", f"schedule.final={v}")), "cpu") for v in (0.0, 0.1))
    assert one != two


def test_training_examples_to_be_used_are_no_argument_of_the_loader() -> None:
    for data in (["data=digits"], ["data=custom", "data._target_=mine.load"]):
        config = parse(composed(*data, "data.num_train=500"))
        assert config.data.num_train == 500
        assert "num_train" not in config.data.options


def test_epochs_do_not_count_where_steps_are_set() -> None:
    one, two = (cell_id(parse(composed("train.steps=9", o)), "cpu") for o in ("train.epochs=3", "train.epochs=null"))
    assert one == two


def test_a_key_added_later_leaves_old_ids_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    class Later(schema.TrainConfig):
        clip: float | None = None

    class LaterConfig(Config):
        train: Later  # type: ignore[assignment]

    old = parse(BASE)
    new = LaterConfig(**old.model_dump())
    clipped = LaterConfig(**old.model_dump(exclude={"train"}), train={**old.train.model_dump(), "clip": 1.0})
    assert cell_id(new, "cpu") != cell_id(old, "cpu")
    monkeypatch.setitem(identity.ADDED_LATER, "train.clip", None)
    assert cell_id(new, "cpu") == cell_id(old, "cpu")
    assert cell_id(clipped, "cpu") != cell_id(old, "cpu")


def test_an_edited_class_is_a_new_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    node = composed("optimizer=custom", "optimizer._target_=edited_class.A")
    ids = set()
    for text in ("class A: pass", "class A: x = 1"):
        (tmp_path / "edited_class.py").write_text(text)
        ids.add(cell_id(parse(node), "cpu"))
    assert len(ids) == 2


@given(lr=st.floats(0, 1e6), seed=st.integers(0, 2**32 - 1))
def test_equal_settings_have_equal_ids(lr: float, seed: int) -> None:
    one, two = (
        parse(with_value("optimizer.lr", lr)),
        parse(with_value("seeds", [seed]) | {"optimizer": {**BASE["optimizer"], "lr": lr}}),
    )
    assert cell_id(one, "cpu") == cell_id(two, "cpu")


def test_default_settings_are_told_from_given_ones() -> None:
    def default(*overrides: str) -> bool:
        return has_default_hyperparameters(parse(composed(*overrides)))

    assert default("optimizer=adam", "train.epochs=3")
    assert default("optimizer.implementation=foreach", "optimizer.name=a")
    assert default("optimizer=sgd", "optimizer.lr=0.001")
    assert not default("optimizer.lr=0.1")
    assert not default("optimizer={lr:0.1}")
    assert not default("+optimizer.capturable=true")
    assert not default("optimizer=custom", "optimizer._target_=mine.Mine")


def test_config_is_frozen() -> None:
    config: Config = parse(BASE)
    with pytest.raises(ValueError, match="frozen"):
        config.force = True  # type: ignore[misc]
