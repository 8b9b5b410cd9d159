"""Image data sets read from files in their true format, which these tests write; and what is said of broken ones."""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from samples import NUM_TEST, NUM_TRAIN, idx, numbered, write_cifar, write_idx
from torchvision.datasets import CIFAR10, CIFAR100, FashionMNIST

from bench.base.errors import UserError
from bench.base.paths import CONF_DIR
from bench.data import cifar, digits, mnist
from bench.data.dataset import as_dataset

LOADERS: dict[str, Callable[..., Any]] = {
    "MNIST": mnist.load,
    "FashionMNIST": mnist.load_fashion,
    "cifar-10-batches-py": cifar.load,
    "cifar-100-python": cifar.load_100,
}
KINDS = {"cifar-10-batches-py": CIFAR10, "cifar-100-python": CIFAR100}


@pytest.fixture(params=LOADERS)
def written(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
    """The name of a data set's folder, and the root that it was written under."""
    name: str = request.param
    if name in KINDS:
        write_cifar(KINDS[name], tmp_path, monkeypatch)
    else:
        write_idx(tmp_path / name / "raw")
    return name, tmp_path


def test_files_become_three_splits_of_all_images_with_their_classes(written: tuple[str, Path]) -> None:
    name, root = written
    before = sorted(root.rglob("*"))
    data = as_dataset(LOADERS[name](root=str(root)))
    assert [data.size(split) for split in ("train", "val", "test")] == [NUM_TRAIN - 5_000, 5_000, NUM_TEST]
    grey = "MNIST" in name
    shape, classes = ((1, 28, 28), 10) if grey else ((3, 32, 32), 100 if "100" in name else 10)
    assert (data.spec.input_shape, data.spec.num_outputs) == (shape, classes)
    raw = numbered(NUM_TRAIN, int(np.prod(shape)))  # of CIFAR: red, green and blue, each row by row
    seen = []
    for split in ("train", "val"):
        x, y = data.splits[split]
        values = (x.flatten(1) * 255).round().numpy().astype(np.uint8)
        numbers = values[:, 0].astype(int) * 256 + values[:, 1]
        assert (values == raw[numbers]).all()
        assert (y.numpy() == numbers % classes).all()
        seen.append(numbers)
    assert sorted(np.concatenate(seen)) == list(range(NUM_TRAIN))
    assert (np.diff(seen[0]) > 0).all(), "train keeps the order of the files"
    assert set(data.splits["val"][1].bincount().tolist()) == {5_000 // classes}
    assert data.splits["test"][1].tolist() == [i % classes for i in range(NUM_TEST)]
    assert sorted(root.rglob("*")) == before, "nothing is written"


def test_images_may_be_their_own_targets(written: tuple[str, Path]) -> None:
    name, root = written
    data = as_dataset(LOADERS[name](root=str(root), resize=8, reconstruct=True))
    plain = as_dataset(LOADERS[name](root=str(root), resize=8))
    assert (data.spec.task, data.spec.num_outputs) == ("regression", (1 if "MNIST" in name else 3) * 64)
    for split in ("train", "val", "test"):
        x, y = data.splits[split]
        assert torch.equal(y, x.flatten(1))
        assert torch.equal(x, plain.splits[split][0])
        assert (float(x.min()) >= 0, float(x.max()) <= 1) == (True, True)
    assert data.fingerprint != plain.fingerprint


def test_digits_may_be_their_own_targets() -> None:
    data, plain = (as_dataset(digits.load(resize=10, channels=3, reconstruct=r)) for r in (True, False))
    assert data.spec.num_outputs == 300
    x, y = data.splits["test"]
    assert torch.equal(y, plain.splits["test"][0].flatten(1))
    assert torch.equal(x, plain.splits["test"][0])


@pytest.mark.parametrize("name", LOADERS)
def test_absent_files_are_named_with_what_to_do_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    root = tmp_path / "nowhere"
    with pytest.raises(UserError) as caught:
        LOADERS[name](root=str(root))
    said = str(caught.value)
    assert said.startswith("data.root must hold the ")
    assert said.endswith("set data.root or BENCH_DATA_ROOT to where they lie, or fetch them with data.download=true")
    assert f"not found in {root / name}" in said
    assert not root.exists()


def test_only_what_is_missing_is_named(written: tuple[str, Path]) -> None:
    name, root = written
    files = sorted(p for p in (root / name).rglob("*") if p.is_file())
    files[0].unlink()
    with pytest.raises(UserError, match=rf"files \({files[0].name} not found in"):
        LOADERS[name](root=str(root))


@pytest.mark.parametrize("harm", ["cut short", "other content"])
def test_a_broken_file_is_named_in_one_sentence(written: tuple[str, Path], harm: str) -> None:
    name, root = written
    for file in sorted(p for p in (root / name).rglob("*") if p.is_file()):
        whole = file.read_bytes()
        file.write_bytes({"cut short": whole[:-1], "other content": b"<html>not found</html>"}[harm])
        with pytest.raises(UserError) as caught:
            LOADERS[name](root=str(root))
        said = str(caught.value)
        assert said.startswith("data.root must hold readable ")
        assert f"got {file}: " in said
        assert said.endswith("; replace it, or delete it and set data.download=true")
        assert "\n" not in said
        file.write_bytes(whole)
    as_dataset(LOADERS[name](root=str(root)))


@pytest.mark.parametrize(
    ("file", "values", "reason"),
    [
        ("train-labels-idx1-ubyte", np.arange(NUM_TRAIN - 1) % 10, "5999 classes for 6000 images"),
        ("t10k-labels-idx1-ubyte", np.arange(NUM_TEST), "class 69, where there are 0 to 9"),
        ("t10k-images-idx3-ubyte", np.zeros((NUM_TEST, 32, 32)), "images of 32x32 pixels"),
        ("t10k-images-idx3-ubyte", np.zeros(NUM_TEST), "not an IDX file, or cut short"),
    ],
)
def test_files_that_do_not_fit_together_are_refused(file: str, values: np.ndarray, reason: str, tmp_path: Path) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    write_idx(raw)
    (raw / file).write_bytes(idx(values))
    with pytest.raises(UserError, match=f"got {raw / file}: {reason}"):
        mnist.load_fashion(root=str(tmp_path))


def test_too_few_images_to_hold_some_out_are_refused(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    write_idx(raw)
    (raw / "train-images-idx3-ubyte").write_bytes(idx(numbered(5_000, 28, 28)))
    (raw / "train-labels-idx1-ubyte").write_bytes(idx(np.arange(5_000) % 10))
    with pytest.raises(UserError, match="5000 images, and 5000 of them are held out"):
        mnist.load(root=str(tmp_path))


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A web server on this machine with the packed files of Fashion-MNIST, which torchvision takes for the set's own."""
    served = tmp_path / "served"
    write_idx(served)
    packed = {}
    for file in list(served.iterdir()):
        (served / f"{file.name}.gz").write_bytes(data := gzip.compress(file.read_bytes(), 1))
        packed[file.name] = (f"{file.name}.gz", hashlib.md5(data).hexdigest())
    resources = [packed[name.removesuffix(".gz")] for name, _ in FashionMNIST.resources]
    monkeypatch.setattr(FashionMNIST, "resources", resources)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    class Patient(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """torchvision looks where an address leads before it reads from there, and hangs up."""

    server = Patient(("127.0.0.1", 0), partial(Quiet, directory=str(served)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(FashionMNIST, "mirrors", [f"http://127.0.0.1:{server.server_address[1]}/"])
    yield served
    server.shutdown()
    server.server_close()
    thread.join()


def test_what_is_missing_is_fetched_on_request_and_found_again(mirror: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    fetched = as_dataset(mnist.load_fashion(root=str(root), download=True))
    assert as_dataset(mnist.load_fashion(root=str(root))).fingerprint == fetched.fingerprint
    assert fetched.size("test") == NUM_TEST


@pytest.mark.parametrize("kind", [FashionMNIST, CIFAR10])
def test_a_fetch_that_fails_says_so_in_one_sentence(
    kind: type[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = (tmp_path / "nowhere").as_uri()
    monkeypatch.setattr(kind, *(("mirrors", [f"{nowhere}/"]) if kind is FashionMNIST else ("url", nowhere)))
    load = mnist.load_fashion if kind is FashionMNIST else cifar.load
    with pytest.raises(UserError) as caught:
        load(root=str(tmp_path / "root"), download=True)
    said = str(caught.value)
    assert said.startswith("data.download must be possible where it is true, got no ")
    assert "No such file" in said
    assert said.endswith("; fetch them by other means and set data.root")
    assert "\n" not in said


def test_fetching_what_is_missing_mends_what_is_broken(mirror: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    whole = as_dataset(mnist.load_fashion(root=str(root), download=True)).fingerprint
    first, second = sorted((root / "FashionMNIST" / "raw").glob("t10k*ubyte"))
    first.write_bytes(b"")
    second.unlink()
    assert as_dataset(mnist.load_fashion(root=str(root), download=True)).fingerprint == whole


def test_without_a_root_files_lie_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    write_idx(tmp_path / "optbench" / "MNIST" / "raw")
    assert as_dataset(mnist.load()).size("test") == NUM_TEST


@pytest.mark.parametrize("loader", LOADERS.values())
@pytest.mark.parametrize(
    ("option", "value", "rule"),
    [
        ("root", 5, "the path of a folder, or null"),
        ("root", True, "the path of a folder, or null"),
        ("download", 1, "true or false"),
        ("download", "yes", "true or false"),
    ],
)
def test_where_files_lie_is_a_path_and_fetching_a_yes_or_no(
    loader: Callable[..., Any], option: str, value: Any, rule: str
) -> None:
    with pytest.raises(UserError, match=f"^{option} must be {rule}, got {value}; set"):
        loader(**{option: value})


@pytest.mark.parametrize("value", [0, 1, "true", None])
def test_reconstruct_is_true_or_false(value: Any) -> None:
    with pytest.raises(UserError, match=f"^reconstruct must be true or false, got {value}; set one of them"):
        digits.load(reconstruct=value)


def test_loading_draws_from_no_global_generator(written: tuple[str, Path]) -> None:
    name, root = written
    state = torch.get_rng_state()
    LOADERS[name](root=str(root))
    assert torch.equal(state, torch.get_rng_state())


def test_experiments_leave_the_optimizer_to_the_user() -> None:
    files = sorted((CONF_DIR / "experiment").glob("*.yaml"))
    assert len(files) >= 12
    for file in files:
        first, second = file.read_text().splitlines()[:2]
        assert first == "# @package _global_", file.name
        assert second.startswith("# "), file.name
        node = yaml.safe_load(file.read_text())
        assert "optimizer" not in node, file.name
        assert not any("optimizer" in str(entry) for entry in node.get("defaults", [])), file.name


def test_normalized_images_have_mean_0_and_deviation_1_over_train(written: tuple[str, Path]) -> None:
    name, root = written
    data, plain = (as_dataset(LOADERS[name](root=str(root), normalize=n)) for n in (True, False))
    std, mean = torch.std_mean(data.splits["train"][0], dim=(0, 2, 3))
    assert torch.allclose(mean, torch.zeros_like(mean), atol=1e-5)
    assert torch.allclose(std, torch.ones_like(std), atol=1e-5)
    train = plain.splits["train"][0]
    of_train = train.mean((0, 2, 3), keepdim=True), train.std((0, 2, 3), keepdim=True)
    wanted = (plain.splits["test"][0] - of_train[0]) / of_train[1]
    assert torch.allclose(data.splits["test"][0], wanted, atol=1e-4), "test goes by the mean of train"
    for value, reconstruct in ((1, False), (True, True)):
        with pytest.raises(UserError, match="^normalize must be true or false, and false where reconstruct is true"):
            LOADERS[name](root=str(root), normalize=value, reconstruct=reconstruct)
