"""torchvision's RetinaNet with lively random weights: its state dictionary, and what it makes of an image.

    python benchmarks/imports/torchvision_original.py v1 OUT

Writes OUT/checkpoint.pth, OUT/checkpoint.safetensors and OUT/expected.npz, for check.py. Needs torch and torchvision.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torchvision.models.detection import (
    RetinaNet_ResNet50_FPN_Weights,
    retinanet_resnet50_fpn,
    retinanet_resnet50_fpn_v2,
)

BUILD = {"v1": retinanet_resnet50_fpn, "v2": retinanet_resnet50_fpn_v2}
NO_CLASS = ("__background__", "N/A")
SIZE, CELL = 256, 16
LOGIT_SPREAD, LOGIT_MEAN, DELTA_SPREAD = 2.0, -8.0, 0.2


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("version", choices=sorted(BUILD))
    made.add_argument("out", type=Path)
    arguments = made.parse_args()
    write_original(arguments.version, arguments.out)


def write_original(version: str, out: Path) -> None:
    """Writes the checkpoint, in both forms, and what the original finds."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model = BUILD[version](weights=None, weights_backbone=None, min_size=SIZE, max_size=SIZE).eval()
    enliven(model, torch.Generator().manual_seed(1))
    image = np.random.default_rng(0).integers(0, 256, (SIZE // CELL, SIZE // CELL, 3)).astype(np.uint8)
    image = image.repeat(CELL, 0).repeat(CELL, 1)
    pixels = torch.from_numpy(image.transpose(2, 0, 1).copy()).float() / 255
    with torch.no_grad():
        inputs, _ = model.transform([pixels])
        features = list(model.backbone(inputs.tensors).values())
        spread_heads(model, model.head(features))
        heads = model.head(features)
        found = model([pixels])[0]
        anchors = model.anchor_generator(inputs, features)[0]
    state = model.state_dict()
    torch.save(state, out / "checkpoint.pth")
    save_file(state, out / "checkpoint.safetensors")
    np.savez(
        out / "expected.npz",
        image=image,
        logits=heads["cls_logits"][0],
        deltas=heads["bbox_regression"][0][:, [1, 0, 3, 2]],
        anchors=anchors[:, [1, 0, 3, 2]],
        boxes=found["boxes"][:, [1, 0, 3, 2]],
        scores=found["scores"],
        classes=found["labels"],
    )


def enliven(model: torch.nn.Module, generator: torch.Generator) -> None:
    """Gives every norm statistics, scales and offsets of its own, and the hidden convolutions enough to pass on."""
    for name, values in model.named_buffers():
        if name.endswith("running_mean"):
            values.copy_(torch.randn(values.shape, generator=generator) * 0.1)
        elif name.endswith("running_var"):
            values.copy_(torch.rand(values.shape, generator=generator) + 0.5)
    for part in model.modules():
        if isinstance(part, (torch.nn.BatchNorm2d, torch.nn.GroupNorm)):
            part.weight.data = torch.rand(part.weight.shape, generator=generator) * 0.5 + 0.25
            part.bias.data = torch.randn(part.bias.shape, generator=generator) * 0.1
    for head in (model.head.classification_head, model.head.regression_head):
        for block in head.conv:
            torch.nn.init.kaiming_normal_(block[0].weight, generator=generator)


def spread_heads(model: torch.nn.Module, outputs: dict[str, torch.Tensor]) -> None:
    """Scales the last convolutions, so that some hundred boxes are found, none of them of no class."""
    classes, boxes = model.head.classification_head.cls_logits, model.head.regression_head.bbox_reg
    classes.weight.data *= LOGIT_SPREAD / outputs["cls_logits"].std()
    boxes.weight.data *= DELTA_SPREAD / outputs["bbox_regression"].std()
    names = RetinaNet_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    classes.bias.data.fill_(LOGIT_MEAN)
    classes.bias.data.view(-1, len(names))[:, [name in NO_CLASS for name in names]] = -30.0


if __name__ == "__main__":
    main()
