"""Every backbone by its name in a recipe: widths, trained weights, work, and which layer of it forbids what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

BackboneName = Literal[
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "mobilenet_v3_small_minimalistic",
    "mobilenet_v3_large_minimalistic",
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "efficientnet_lite3",
    "efficientnet_lite4",
    "efficientnet_v2_b0",
    "efficientnet_v2_b1",
    "efficientnet_v2_b2",
    "efficientnet_v2_b3",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "csp_darknet_tiny",
    "csp_darknet_s",
    "csp_darknet_m",
    "csp_darknet_l",
    "mit_b0",
    "resnet50_torchvision",
    "resnet50_model_garden",
    "resnet50_keras_cv",
    "plain",
]
BACKBONE_ALPHAS: dict[BackboneName, tuple[float, ...]] = {
    **dict.fromkeys(get_args(BackboneName), (1.0,)),
    "mobilenet_v1": (0.25, 0.5, 0.75, 1.0),
    "mobilenet_v2": (0.35, 0.5, 0.75, 1.0, 1.3, 1.4),
    "mobilenet_v3_small": (0.75, 1.0),
    "mobilenet_v3_large": (0.75, 1.0),
}
"""The widths that each backbone exists in. `keras_retina.model.backbones.BACKBONES` says how each is built."""

BACKBONE_STARTS: dict[BackboneName, dict[str, tuple[float, ...]]] = {
    **dict.fromkeys(get_args(BackboneName), {}),
    "mobilenet_v1": {"imagenet": BACKBONE_ALPHAS["mobilenet_v1"]},
    "mobilenet_v2": {"imagenet": BACKBONE_ALPHAS["mobilenet_v2"], "openimages": (1.0,), "voc": (0.5,)},
    **dict.fromkeys(("mobilenet_v3_small", "mobilenet_v3_large"), {"imagenet": (0.75, 1.0)}),
    **dict.fromkeys(
        (
            "mobilenet_v3_small_minimalistic",
            "mobilenet_v3_large_minimalistic",
            "efficientnet_lite0",
            "efficientnet_v2_b0",
            "efficientnet_v2_b1",
            "efficientnet_v2_b2",
            "efficientnet_v2_b3",
            "resnet50",
            "resnet101",
            "resnet152",
        ),
        {"imagenet": (1.0,)},
    ),
}
"""The trained weights that each backbone can start from, by the name in a recipe, and the widths that have them.
`keras_retina.model.weights.starts.STARTS` says what each was trained on and where it is."""

PIXEL_SCALED: tuple[BackboneName, ...] = ("mobilenet_v2", "resnet50_model_garden")  # can begin with pixel_scaling


def start_names(name: BackboneName, alpha: float) -> list[str]:
    """Returns what `weights` may be for a backbone of this width, beside `none` and the path of a file."""
    return [start for start, alphas in BACKBONE_STARTS[name].items() if alpha in alphas]


@dataclass(frozen=True)
class BackboneFacts:
    """One backbone of width 1.

    Attributes:
        title: what people call it.
        work: multiply-adds of an image of 224 x 224 up to C5, in millions.
        channels: of C3, C4 and C5.
        not_pruned: what in it has channels that cannot be removed; empty where all goes.
        not_trained_in_int8: what in it quantization-aware training and clusters do not know.
        off_edge_tpu: what the Edge TPU is predicted not to run, and what becomes of the rest.
        instead: for the Edge TPU.
    """

    title: str
    work: float
    channels: tuple[int, int, int]
    not_pruned: str = ""
    not_trained_in_int8: str = ""
    off_edge_tpu: str = ""
    instead: BackboneName = "mobilenet_v2"


HARD_SWISH = "hard-swish and squeeze-and-excitation"
SWISH = "swish"
SWISH_AND_WEIGHTS = "swish and squeeze-and-excitation"
GROUPS = "grouped convolutions"
NORMS = "layer normalization"
ON_CPU = "stays on the CPU with all that follows"
NOT_READ = "the compiler does not read, so that the whole file stays on the CPU"

BACKBONE_FACTS: dict[BackboneName, BackboneFacts] = {
    "mobilenet_v1": BackboneFacts("MobileNetV1", 567.7, (256, 512, 1024)),
    "mobilenet_v2": BackboneFacts("MobileNetV2", 279.4, (32, 96, 320)),
    "mobilenet_v3_small": BackboneFacts(
        "MobileNetV3 small",
        52.2,
        (24, 48, 96),
        not_trained_in_int8=HARD_SWISH,
        off_edge_tpu=f"HARD_SWISH {ON_CPU}",
        instead="mobilenet_v3_small_minimalistic",
    ),
    "mobilenet_v3_large": BackboneFacts(
        "MobileNetV3 large",
        206.6,
        (40, 112, 160),
        not_trained_in_int8=HARD_SWISH,
        off_edge_tpu=f"HARD_SWISH {ON_CPU}",
        instead="mobilenet_v3_large_minimalistic",
    ),
    "mobilenet_v3_small_minimalistic": BackboneFacts("MobileNetV3 small minimalistic", 48.0, (24, 48, 96)),
    "mobilenet_v3_large_minimalistic": BackboneFacts("MobileNetV3 large minimalistic", 199.1, (40, 112, 160)),
    "efficientnet_lite0": BackboneFacts("EfficientNet-Lite0", 363.8, (40, 112, 320)),
    "efficientnet_lite1": BackboneFacts("EfficientNet-Lite1", 481.1, (40, 112, 320)),
    "efficientnet_lite2": BackboneFacts("EfficientNet-Lite2", 553.2, (48, 120, 352)),
    "efficientnet_lite3": BackboneFacts("EfficientNet-Lite3", 826.7, (48, 136, 384)),
    "efficientnet_lite4": BackboneFacts("EfficientNet-Lite4", 1318.3, (56, 160, 448)),
    "efficientnet_v2_b0": BackboneFacts(
        "EfficientNetV2-B0", 704.8, (48, 112, 192), not_trained_in_int8=SWISH_AND_WEIGHTS
    ),
    "efficientnet_v2_b1": BackboneFacts(
        "EfficientNetV2-B1", 1002.5, (48, 112, 192), not_trained_in_int8=SWISH_AND_WEIGHTS
    ),
    "efficientnet_v2_b2": BackboneFacts(
        "EfficientNetV2-B2", 1153.1, (56, 120, 208), not_trained_in_int8=SWISH_AND_WEIGHTS
    ),
    "efficientnet_v2_b3": BackboneFacts(
        "EfficientNetV2-B3", 1591.0, (56, 136, 232), not_trained_in_int8=SWISH_AND_WEIGHTS
    ),
    "resnet18": BackboneFacts("ResNet-18", 1813.6, (128, 256, 512)),
    "resnet34": BackboneFacts("ResNet-34", 3663.2, (128, 256, 512)),
    "resnet50": BackboneFacts("ResNet-50", 3855.9, (512, 1024, 2048)),
    "resnet50_torchvision": BackboneFacts("ResNet-50 of torchvision", 4087.3, (512, 1024, 2048)),
    "resnet50_model_garden": BackboneFacts("ResNet-50 of Model Garden", 4087.1, (512, 1024, 2048)),
    "resnet50_keras_cv": BackboneFacts("ResNet-50 of KerasCV", 3856.1, (512, 1024, 2048)),
    "resnet101": BackboneFacts("ResNet-101", 7568.1, (512, 1024, 2048)),
    "resnet152": BackboneFacts("ResNet-152", 11280.4, (512, 1024, 2048)),
    "resnext50_32x4d": BackboneFacts(
        "ResNeXt-50 32x4d", 4228.4, (512, 1024, 2048), not_pruned=GROUPS, off_edge_tpu=f"grouped CONV_2D {NOT_READ}"
    ),
    "resnext101_32x8d": BackboneFacts(
        "ResNeXt-101 32x8d", 16412.0, (512, 1024, 2048), not_pruned=GROUPS, off_edge_tpu=f"grouped CONV_2D {NOT_READ}"
    ),
    "csp_darknet_tiny": BackboneFacts("CSPDarkNet tiny", 382.9, (96, 192, 384), not_trained_in_int8=SWISH),
    "csp_darknet_s": BackboneFacts("CSPDarkNet s", 666.3, (128, 256, 512), not_trained_in_int8=SWISH),
    "csp_darknet_m": BackboneFacts("CSPDarkNet m", 2044.8, (192, 384, 768), not_trained_in_int8=SWISH),
    "csp_darknet_l": BackboneFacts("CSPDarkNet l", 4633.9, (256, 512, 1024), not_trained_in_int8=SWISH),
    "mit_b0": BackboneFacts(
        "MiT-B0",
        414.1,
        (64, 160, 256),
        not_pruned=NORMS,
        not_trained_in_int8=NORMS,
        off_edge_tpu=f"GELU {NOT_READ}",
    ),
    "plain": BackboneFacts("the plain backbone", 103.0, (64, 96, 128)),
}
"""Of every backbone. A test holds them against the networks, `docs/measurements/backbones.md` against their files."""
