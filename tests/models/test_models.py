"""The architectures: shapes, sizes, refusals."""

from __future__ import annotations

import math
import warnings
from collections import OrderedDict

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.data import digits
from bench.training.losses import cross_entropy, nll
from models.autoencoder import ConvAutoencoder
from models.cnn import Conv64, MnistCNN
from models.linear import LinearRegression
from models.logistic import LogisticRegression
from models.mlp import MLP
from models.torchvision import build

pytestmark = pytest.mark.usefixtures("one_thread")


def _size(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_mlp() -> None:
    model = MLP((1, 8, 8), 10, hidden=[64, 64])
    assert model(torch.zeros(3, 1, 8, 8)).shape == (3, 10)
    assert _size(model) == 64 * 64 + 64 + 64 * 64 + 64 + 64 * 10 + 10
    assert _size(MLP((4,), 2, hidden=[])) == 4 * 2 + 2


@pytest.mark.parametrize("hidden", [[0], [8, -1], "x", [1.5]])
def test_mlp_refuses_bad_widths(hidden: object) -> None:
    with pytest.raises(ValueError, match="hidden must be a list of widths of at least 1"):
        MLP((4,), 2, hidden=hidden)  # type: ignore[arg-type]


def _seeded(make: object, *args: object, **kwargs: object) -> nn.Module:
    torch.manual_seed(7)
    return make(*args, **kwargs)  # type: ignore[operator,no-any-return]


def test_mlp_at_its_defaults_has_the_modules_and_draws_it_had_before_it_had_options() -> None:
    def before() -> nn.Module:
        layers = [nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)]
        return nn.Sequential(OrderedDict(layers=nn.Sequential(*layers)))

    old, new = _seeded(before), _seeded(MLP, (1, 8, 8), 10)
    assert [type(m) for m in old[0]] == [type(m) for m in new.layers]  # type: ignore[index,arg-type,union-attr]
    assert old.state_dict().keys() == new.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(old.state_dict().values(), new.state_dict().values(), strict=True))


def test_mlp_drops_the_chosen_share_of_hidden_units_while_training_only() -> None:
    model = _seeded(MLP, (8,), 3, hidden=[1000, 1000], dropout=0.25)
    assert [type(m).__name__ for m in model.layers] == [  # type: ignore[union-attr]
        *("Flatten", "Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout", "Linear")
    ]
    seen: list[tuple[Tensor, Tensor]] = []
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.register_forward_hook(lambda _, into, out: seen.append((into[0], out)))
    x = torch.randn(50, 8)
    model(x)
    for into, out in seen:
        positive = into > 0
        assert (out[positive] == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
        assert torch.allclose(out[out > 0], into[out > 0] / 0.75)
    model.eval()
    assert torch.equal(model(x), model(x))
    assert torch.equal(model(x), _seeded(MLP, (8,), 3, hidden=[1000, 1000])(x))


@pytest.mark.parametrize("dropout", [1.0, 1, -0.1, 1.5, float("nan"), True, "0.5", None])
def test_mlp_refuses_a_dropout_that_is_no_share_below_1(dropout: object) -> None:
    with pytest.raises(ValueError, match=r"dropout must be a number from 0 to below 1, got .*; 0 leaves it out"):
        MLP((4,), 2, dropout=dropout)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0, 1, "true", None])
def test_mlp_refuses_a_log_softmax_that_is_neither_true_nor_false(value: object) -> None:
    with pytest.raises(ValueError, match=f"log_softmax must be true or false, got {value}"):
        MLP((4,), 2, log_softmax=value)  # type: ignore[arg-type]


def test_mlp_with_log_softmax_and_nll_is_cross_entropy_in_value_and_gradient() -> None:
    (x, y), _, _ = digits.load()
    losses, gradients = [], []
    for chosen, loss in ((False, cross_entropy), (True, nll)):
        model = _seeded(MLP, (1, 8, 8), 10, log_softmax=chosen).double()
        value = loss(model(x[:128].double()), y[:128])
        losses.append(value.item())
        gradients.append(torch.autograd.grad(value, list(model.parameters())))
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-15)
        assert one.abs().max() > 1e-6
    outputs = _seeded(MLP, (1, 8, 8), 10, log_softmax=True)(x[:9])
    assert torch.allclose(outputs.exp().sum(-1), torch.ones(9))


def test_linear_regression_is_one_layer_as_torch_starts_it() -> None:
    model, layer = _seeded(LinearRegression, (2, 5), 1), _seeded(nn.Linear, 10, 1)
    x = torch.randn(6, 2, 5)
    assert _size(model) == 11
    assert torch.equal(model(x), layer(x.flatten(1)))
    assert model(x).shape == (6, 1)


def test_mnist_cnn_is_the_articles() -> None:
    model = MnistCNN((1, 28, 28), 10)
    assert model(torch.zeros(3, 1, 28, 28)).shape == (3, 10)
    assert _size(model) == (25 * 10 + 10) + (250 * 20 + 20) + (320 * 50 + 50) + (50 * 10 + 10) == 21_840


def test_mnist_cnn_refuses_other_shapes() -> None:
    with pytest.raises(ValueError, match=r"input_shape must be 1x28x28 for mnist_cnn, got 1x8x8$"):
        MnistCNN((1, 8, 8), 10)


def test_mnist_cnn_does_not_send_colour_images_to_a_resize_that_cannot_help() -> None:
    with pytest.raises(ValueError, match=r"must be 1x28x28 for mnist_cnn, got 3x28x28$"):
        MnistCNN((3, 28, 28), 10)


def test_conv64_has_the_layers_of_its_description() -> None:
    model = Conv64((3, 32, 32), 10)
    convolutions = (27 * 64 + 64) + (576 * 64 + 64)
    assert _size(model) == convolutions + (4096 * 512 + 512) + (512 * 10 + 10) == 2_141_514
    assert model(torch.zeros(3, 3, 32, 32)).shape == (3, 10)
    model.conv1.register_forward_hook(lambda _, __, out: torch.full_like(out, -1.0))
    model.conv2.register_forward_hook(lambda _, into, out: seen.append(into[0]))
    seen: list[Tensor] = []
    model(torch.rand(2, 3, 32, 32))
    assert seen[0].shape == (2, 64, 16, 16)
    assert seen[0].count_nonzero() == 0, "no ReLU after the first convolution"


@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 28, 28), (1, 8, 8), (10,)])
def test_conv64_refuses_other_shapes_and_says_how_to_set_the_datas(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"input_shape must be 3x32x32 for conv64, got [x0-9]+$"):
        Conv64(shape, 10)


@given(st.integers(1, 3), st.integers(8, 37), st.integers(8, 37))
@settings(max_examples=15)
def test_autoencoder_gives_images_of_any_size_back(channels: int, height: int, width: int) -> None:
    shape = (channels, height, width)
    model = ConvAutoencoder(shape, math.prod(shape), code_size=5)
    x = torch.rand(2, *shape)
    assert model.encoder(x).shape == (2, 5)
    assert model(x).shape == (2, math.prod(shape))


def test_autoencoder_has_three_convolutions_and_two_dense_layers_in_either_half_and_a_code_of_16() -> None:
    model = ConvAutoencoder((1, 28, 28), 784)
    for half, kind in ((model.encoder, nn.Conv2d), (model.decoder, nn.ConvTranspose2d)):
        assert [sum(isinstance(m, k) for m in half) for k in (kind, nn.Linear, nn.ReLU)] == [3, 2, 4]
    assert model.encoder(torch.rand(4, 1, 28, 28)).shape == (4, 16)
    assert _size(model) == 314_065


def test_autoencoder_learns_more_of_the_digits_than_their_mean() -> None:
    (x, y), _, _ = digits.load(reconstruct=True)
    x, y = x[:128], y[:128]
    model = _seeded(ConvAutoencoder, (1, 8, 8), 64)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(200):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.6 * (y - y.mean(0)).square().mean().item()


@pytest.mark.parametrize(
    ("shape", "outputs", "code", "message"),
    [
        ((10,), 10, 16, "input_shape must be CxHxW with H and W of at least 8 for autoencoder, got 10"),
        ((1, 7, 9), 63, 16, "input_shape must be CxHxW with H and W of at least 8 for autoencoder, got 1x7x9"),
        ((1, 8, 8), 10, 16, "num_outputs must be 64 for .* on inputs 1x8x8, got 10$"),
        ((1, 8, 8), 64, 0, "code_size must be a whole number of at least 1, got 0;"),
        ((1, 8, 8), 64, 2.0, "code_size must be a whole number of at least 1, got 2.0;"),
        ((1, 8, 8), 64, True, "code_size must be a whole number of at least 1, got True;"),
    ],
)
def test_autoencoder_refuses_what_is_no_image_and_what_is_no_reconstruction(
    shape: tuple[int, ...], outputs: int, code: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ConvAutoencoder(shape, outputs, code)


def test_coupled_weight_decay_of_sgd_is_an_l2_penalty_on_logistic_regression() -> None:
    (x, y), _, _ = digits.load()
    decay, weights = 0.3, []
    for penalty in (False, True):
        model = LogisticRegression((1, 8, 8), 10).double()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5, weight_decay=0.0 if penalty else decay)
        for _ in range(20):
            optimizer.zero_grad()
            loss = cross_entropy(model(x.double()), y)
            if penalty:
                loss = loss + 0.5 * decay * sum(p.square().sum() for p in model.parameters())
            loss.backward()
            optimizer.step()
        weights.append(model.linear.weight.detach())
    assert weights[0].abs().max() > 0.01
    assert torch.allclose(weights[0], weights[1], rtol=1e-9, atol=1e-12)


def test_logistic_starts_at_the_uniform_prediction() -> None:
    model = LogisticRegression((1, 8, 8), 10)
    outputs = model(torch.randn(5, 1, 8, 8))
    assert torch.equal(outputs, torch.zeros(5, 10))


@pytest.mark.parametrize(
    ("name", "side", "size"),
    [("resnet18", 32, 11_181_642), ("mobilenet_v3_small", 32, 1_528_106), ("vit_b_32", 64, 87_428_362)],
)
def test_torchvision_classifiers(name: str, side: int, size: int) -> None:
    model = build(name, (3, side, side), 10)
    assert model(torch.zeros(2, 3, side, side)).shape == (2, 10)
    assert _size(model) == size


@pytest.mark.parametrize(("name", "side"), [("inception_v3", 75), ("googlenet", 32)])
def test_torchvision_without_auxiliary_outputs_and_without_a_word(name: str, side: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with torch.device("meta"):
            model = build(name, (3, side, side), 7)
    assert model.training
    assert model(torch.zeros(2, 3, side, side, device="meta")).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "close"),
    [
        ("resnet5", "resnet50"),
        ("fasterrcnn_resnet50_fpn", "resnet18"),
        ("deeplabv3_resnet50", "resnet50"),
        ("r3d_18", "resnet18"),
        ("quantized_resnet18", "resnet18"),
        ("torchvision", "resnet18"),
        ("ResNet50", "resnet50"),
    ],
)
def test_torchvision_refuses_what_is_no_classifier_and_names_some(name: str, close: str) -> None:
    with pytest.raises(
        ValueError, match=f"model.name must be one of torchvision's .* got {name}; try .*{close}"
    ) as caught:
        build(name, (3, 32, 32), 10)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(1, 28, 28), (4,), (28, 28)])
def test_torchvision_wants_colour(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"input_shape must be 3xHxW for resnet18, got [x0-9]+$"):
        build("resnet18", shape, 10)


@pytest.mark.parametrize(
    ("name", "size"),
    [("resnet18", 11_173_962), ("resnet50", 23_520_842), ("resnext50_32x4d", None), ("wide_resnet50_2", None)],
)
def test_resnets_for_small_images_keep_their_resolution(name: str, size: int | None) -> None:
    sides = {}
    with torch.device("meta"):
        x = torch.zeros(2, 3, 32, 32)
        for small in (False, True):
            model = build(name, (3, 32, 32), 10, small)
            model.layer4.register_forward_hook(lambda _, __, out, small=small: sides.update({small: out.shape[-1]}))
            assert model(x).shape == (2, 10)
    assert sides == {False: 1, True: 4}
    if size is not None:  # as in the well-known networks of this shape for CIFAR-10
        assert _size(model) == size


def test_the_stem_for_small_images_starts_as_the_other_convolutions_do() -> None:
    weight = _seeded(build, "resnet18", (3, 32, 32), 10, True).conv1.weight
    assert weight.shape == (64, 3, 3, 3)  # type: ignore[union-attr]
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.1)  # type: ignore[union-attr,operator]


def test_torchvision_without_the_option_is_torchvisions_own() -> None:
    ours = _seeded(build, "resnet18", (3, 64, 64), 10).state_dict()
    theirs = _seeded(torchvision.models.resnet18, num_classes=10).state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "densenet121", "vit_b_32"])
def test_architectures_without_a_stem_for_small_images_say_which_have_one(name: str) -> None:
    with (
        torch.device("meta"),
        pytest.raises(
            ValueError, match=rf"small_images must be false for {name}, got true; .* resnet\*, resnext\* and wide"
        ),
    ):
        build(name, (3, 64, 64), 10, small_images=True)


def test_torchvision_refuses_a_small_images_that_is_neither_true_nor_false() -> None:
    with pytest.raises(ValueError, match="small_images must be true or false, got 1; set one of them"):
        build("resnet18", (3, 32, 32), 10, small_images=1)  # type: ignore[arg-type]
