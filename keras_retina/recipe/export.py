"""The sections `export` and `verification` of a recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from keras_retina.foundation.machine import MOST_THREADS
from keras_retina.recipe.formats import FORMATS, Form, RecipeFormat, calibrated_names
from keras_retina.recipe.section import Count, Fraction, Positive, Section

Quantizer = Literal["tensorflow", "ai_edge"]


class Export(Section):
    """Files to write. `heads`: with TFLite_Detection_PostProcess, ending at the two raw heads, and/or from builtin
    operators only with the outputs of the first.

    `mediapipe_raw`: raw files are MediaPipe's too: they hold what it decodes them with, 24 bytes an anchor, and int8
    ones end in uint8. Without, it refuses them, and int8 ones end in int8, which is faster.
    `nms`: suppress overlaps within each class, or `fast`, among the best class of every anchor.
    `int16` has int8 weights and 16-bit activations, `int4` 4-bit kernels and 8-bit activations. `float_layers` names
    Keras layers that stay float in the `int8`, `int16` and `int4` files; a layer that is shared by the pyramid levels
    stays float on all of them. `integer_only` forbids float layers, for devices that compute with integers alone.
    `quantizer` makes the `dynamic`, `int8`, `int16` and `int4` files: TensorFlow's with our ranges and biases, or the
    package ai-edge-quantizer as it is.
    `heal` says what happens when an int8 file misses the gate on the validation split: nothing, `quick` steps without
    training, or `full`, with a short quantization-aware training as the last step.
    `labelmap` writes `labelmap.txt` beside the files: the names with their numbers, as Frigate reads them.
    """

    formats: Annotated[tuple[RecipeFormat, ...], Field(min_length=1, strict=False)] = (
        "float32",
        "float16",
        "dynamic",
        "int8",
    )
    heads: Annotated[tuple[Form, ...], Field(min_length=1, strict=False)] = ("postprocess", "raw")
    mediapipe_raw: bool = True
    calibration_images: Count = 300
    quantizer: Quantizer = "tensorflow"
    float_layers: Annotated[tuple[str, ...], Field(strict=False)] = ()
    integer_only: bool = False
    heal: Literal["off", "quick", "full"] = "quick"
    labelmap: bool = False
    score_threshold: Annotated[float, Field(gt=0, lt=1)] = 0.01
    iou_threshold: Annotated[float, Field(gt=0, le=1)] = 0.5
    nms: Literal["per_class", "fast"] = "per_class"
    max_detections: Annotated[int, Field(ge=1, le=1000)] = 100

    @model_validator(mode="after")
    def _float_layers_have_a_file(self) -> Export:
        if self.float_layers and not any(FORMATS[name].calibrated for name in self.formats):
            raise ValueError(
                f"float_layers belongs to {calibrated_names()} files. Received: formats={list(self.formats)}. "
                "Add int8 to formats, or remove float_layers"
            )
        if self.float_layers and self.quantizer == "ai_edge":
            raise ValueError(
                f"float_layers needs quantizer: tensorflow. Received: float_layers={list(self.float_layers)}, "
                "quantizer='ai_edge'. Remove one of them"
            )
        if self.float_layers and self.integer_only:
            raise ValueError(
                f"integer_only forbids float layers. Received: float_layers={list(self.float_layers)}, "
                "integer_only=True. Remove one of them"
            )
        return self


class Verification(Section):
    """The gate of `verify`: AP against the float parent, on `split` (`test` if there is one, else `validation`)."""

    split: Literal["validation", "test"] | None = None
    minimum_ap_ratio: Fraction = 0.99
    maximum_class_drop: Annotated[float, Field(ge=0)] = 2.0
    parity: Positive = 1e-3
    latency_runs: Count = 30
    threads: Annotated[int, Field(ge=1, le=MOST_THREADS)] = 2
