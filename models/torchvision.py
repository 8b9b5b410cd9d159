"""Any image classifier of torchvision, by its name there."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from torch import nn


def build(architecture: str, input_shape: Sequence[int], num_outputs: int, small_images: bool = False) -> nn.Module:
    """Return a classifier of `torchvision.models` with fresh weights.

    inception_v3 and googlenet come without their auxiliary classifiers, vision transformers for the
    size of the images.

    Args:
        architecture: One of `torchvision.models.list_models(module=torchvision.models)`, such as resnet50.
        input_shape: Must be (3, height, width).
        num_outputs: Number of classes.
        small_images: The stem for images of about 32x32 that He et al. use on CIFAR-10: the first
            convolution 3x3 with stride 1 and padding 1, no max pooling. For resnet*, resnext* and
            wide_resnet* only.

    Shapes:
        Input (N, 3, height, width), output (N, num_outputs).

    Raises:
        ValueError: There is no such classifier, the images do not have 3 channels, or it has no stem for
            small images.

    References:
        He et al., "Deep Residual Learning for Image Recognition", 2016, arXiv:1512.03385, section 4.2:
        the stem for small images.

    Differs from He et al. with `small_images`: only the stem is theirs. What follows keeps the widths and
    blocks that it has for ImageNet, and so has more parameters than their networks for CIFAR-10.
    """
    from torchvision import models

    names = models.list_models(module=models)
    if architecture not in names:
        close = difflib.get_close_matches(architecture, names, n=4) or ["resnet18", "resnet50", "vit_b_16"]
        raise ValueError(
            f"model.name must be one of torchvision's {len(names)} image classifiers, got {architecture};"
            f" try {', '.join(close)} (torchvision.models.list_models(module=torchvision.models) lists all)"
        )
    if len(input_shape) != 3 or input_shape[0] != 3:
        got = "x".join(map(str, input_shape))
        raise ValueError(f"input_shape must be 3xHxW for {architecture}, got {got}")
    if not isinstance(small_images, bool):
        raise ValueError(f"small_images must be true or false, got {small_images}; set one of them")
    options: dict[str, Any] = {}
    if architecture in ("inception_v3", "googlenet"):
        options = {"aux_logits": False, "init_weights": True}
    elif architecture.startswith("vit_"):
        options = {"image_size": input_shape[-1]}
    try:
        model: nn.Module = models.get_model(architecture, weights=None, num_classes=num_outputs, **options)
    except AssertionError as error:
        got = "x".join(map(str, input_shape))
        raise ValueError(f"input_shape must be one that {architecture} takes, got {got} ({error})") from error
    if small_images:
        if not isinstance(model, models.ResNet):
            raise ValueError(
                f"small_images must be false for {architecture}, got true;"
                " there is a stem for small images for resnet*, resnext* and wide_resnet*"
            )
        model.conv1 = nn.Conv2d(3, model.conv1.out_channels, kernel_size=3, stride=1, padding=1, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
        model.maxpool = nn.Identity()
    return model
