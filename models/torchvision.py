"""Any image classifier of torchvision, by its name there."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from torch import nn


def build(architecture: str, input_shape: Sequence[int], num_outputs: int) -> nn.Module:
    """A classifier of `torchvision.models` with fresh weights.

    inception_v3 and googlenet come without their auxiliary classifiers, vision transformers for the
    size of the images.

    Args:
        architecture: One of `torchvision.models.list_models(module=torchvision.models)`, such as resnet50.
        input_shape: Must be (3, height, width).
        num_outputs: Number of classes.

    Shapes:
        Input (N, 3, height, width), output (N, num_outputs).

    Raises:
        ValueError: There is no such classifier, or the images do not have 3 channels.
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
        raise ValueError(
            f"input_shape must be 3xHxW for {architecture}, got {got}; set data.channels=3 where data has it"
        )
    options: dict[str, Any] = {}
    if architecture in ("inception_v3", "googlenet"):
        options = {"aux_logits": False, "init_weights": True}
    elif architecture.startswith("vit_"):
        options = {"image_size": input_shape[-1]}
    model: nn.Module = models.get_model(architecture, weights=None, num_classes=num_outputs, **options)
    return model
