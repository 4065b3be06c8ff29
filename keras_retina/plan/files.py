"""Rules for what is made of the trained model: smaller models, files and the gate."""

from __future__ import annotations

from typing import Any

from keras_retina.plan.budget import Timing
from keras_retina.plan.learning import LIMITLESS_EPOCHS
from keras_retina.plan.wishes import Choice, Target, Wishes
from keras_retina.recipe.backbones import BACKBONE_FACTS
from keras_retina.recipe.formats import Form, RecipeFormat

KEEP, KEEP_SMALLER = 0.5, 0.4  # of the multiply-adds: both kept the AP on blood cells
QAT_SHARE, LEAST_QAT_EPOCHS = 0.1, 3  # our recipes: 6 to 8 epochs after 40 to 60
EVALUATIONS = 4  # of a fine-tuning
QAT_AP_RATIO = 0.98  # as in bccd.yaml and edgetpu_bccd.yaml
FEW_OBJECTS = 100  # of the split that is measured: under it AP is uncertain by several points
UNCERTAIN_AP = 5  # the tolerance of raccoon.yaml, measured on 44 objects

FORMATS: dict[Target | None, tuple[RecipeFormat, ...]] = {
    None: ("float32", "float16", "int8"),
    "phone": ("float32", "float16", "int8"),
    "pi": ("float32", "int8"),
    "coral": ("float32", "int8"),
    "browser": ("float32", "float16", "int8"),
    "frigate": ("float32", "int8"),
}
HEADS: dict[Target | None, tuple[Form, ...]] = {
    None: ("postprocess", "raw"),
    "phone": ("postprocess", "raw"),
    "pi": ("postprocess",),
    "coral": ("raw", "postprocess"),
    "browser": ("postprocess", "builtin"),
    "frigate": ("postprocess",),
}
WHY_FILES: dict[Target | None, str] = {
    None: (
        "int8 for most devices, float16 for phones, float32 as the reference. The first form ends in boxes, `raw` at "
        "the two heads, for the Edge TPU and your own decoding. --target phone, pi, coral, browser or frigate chooses "
        "fewer."
    ),
    "phone": (
        "MediaPipe opens the first form; float16 is there if the AP of int8 is too low. `raw` is for LiteRT and your "
        "own decoding. float32 is the reference of the gate."
    ),
    "pi": "`edge/runtime.py` runs both; measure on the Pi which is faster. The boxes come out of the file.",
    "coral": (
        "the Edge TPU runs int8 alone, and all of the `raw` form; post-processing stays on the CPU. Ask `keras-retina "
        "edgetpu FILE` what maps. float32 is the reference of the gate."
    ),
    "browser": (
        "MediaPipe opens the first form; `builtin` ends in boxes too, without custom operators, for other runtimes. "
        "float16 halves the download where int8 loses too much."
    ),
    "frigate": (
        "Frigate reads boxes, classes, scores and count by their position, which is that of the first form. Its "
        "detectors `cpu` and `edgetpu` feed bytes, as int8 files want them. float32 is the reference of the gate."
    ),
}

WHY_HEAL = "heal: an int8 file that misses the gate is made again in other ways, at last by a short training in int8."


def smaller_choice(wishes: Wishes, *, epochs: int, frozen: int, timing: Timing | None = None) -> Choice:
    """Says which smaller models are made, and how.

    Args:
        epochs: of the float training, or what is expected to fit in its minutes.
        frozen: stages of the backbone that the float training froze.
        timing: what was measured where a time was wished.
    """
    if wishes.objective == "best":
        return _none("the most accurate file was asked for")
    if wishes.latency is not None and wishes.objective != "smallest":
        return _none("the network itself was made for the latency that you asked for")
    if timing is not None and not timing.budget.of_small:
        return _none(f"{timing.budget.minutes:g} min are all needed for the float model")
    backbone = BACKBONE_FACTS[wishes.backbone or "mobilenet_v2"]
    if backbone.not_pruned:
        return _none(f"channels of the {backbone.not_pruned} in {backbone.title} cannot be removed")
    keep = KEEP if wishes.objective is None else KEEP_SMALLER
    length = _length(epochs, minutes=timing.budget.of_small if timing else None)
    small: dict[str, Any] = {
        "channels": {"keep": keep, "criterion": "taylor"},
        "fine_tune": {**length, "learning_rate": 1e-3, "weight_average": 0.99},
    }
    why = (
        f"{keep:g} of the multiply-adds, and {'as many epochs' if timing is None else 'the rest of the time'} to win "
        "back the AP. `taylor` removes the channels that the loss misses least. Leave it out with --set 'compress={}'."
    )
    if wishes.objective == "smallest" and backbone.not_trained_in_int8:
        why += (
            f" It is not trained in int8, which does not know the {backbone.not_trained_in_int8} of {backbone.title}."
        )
    if wishes.objective != "smallest" or backbone.not_trained_in_int8:
        return Choice("compress", {"small": small}, why, f"small ({keep:g})", "smaller model")
    few = max(LEAST_QAT_EPOCHS, round(QAT_SHARE * epochs))
    length = _length(few, minutes=timing.budget.of_quantized if timing else None)
    small["formats"] = ["float32"]
    small_qat = {
        "parent": "small",
        "quantize": {"calibration_images": 300},
        "fine_tune": {**length, "learning_rate": 1e-4, "weight_average": 0.99, "frozen_stages": frozen},
        "minimum_ap_ratio": QAT_AP_RATIO,
    }
    shown = f"small ({keep:g}), then trained in int8"
    return Choice("compress", {"small": small, "small_qat": small_qat}, why, shown, "smaller models")


def _length(epochs: int, *, minutes: float | None) -> dict[str, Any]:
    every = max(1, round(epochs / EVALUATIONS))
    if minutes is None:
        return {"epochs": epochs, "evaluate_every": every}
    return {"minutes": minutes, "epochs": LIMITLESS_EPOCHS, "evaluate_every": every}


def _none(why: str) -> Choice:
    return Choice("compress", {}, f"{why}. Add one later with `keras-retina compress RUN`.", "none", "smaller model")


def files_choice(wishes: Wishes) -> Choice:
    """Says formats and forms of the files."""
    formats, heads = FORMATS[wishes.target], HEADS[wishes.target]
    value: dict[str, Any] = {"formats": list(formats), "heads": list(heads), "heal": "full"}
    why = f"{WHY_FILES[wishes.target]} {WHY_HEAL}"
    if wishes.target == "coral":
        value |= {"mediapipe_raw": False, "integer_only": True}
        why += (
            " mediapipe_raw: false lets raw files end in int8, which is faster. integer_only: the Edge TPU computes "
            "nothing in float, and layers behind one in float would stay on the CPU too."
        )
    if wishes.target == "frigate":
        value |= {"labelmap": True, "integer_only": True}
        why += (
            " labelmap: writes labelmap.txt, the names by number, for `labelmap_path`. integer_only: so that the file "
            "can be compiled for a Coral."
        )
    return Choice("export", value, why, f"{', '.join(formats)}; {', '.join(heads)}", "files")


def edge_tpu_choice(mapped: int, operators: int) -> Choice:
    """Says what the Edge TPU is predicted to run of the raw int8 file; for the screen alone."""
    if mapped == operators:
        why = "the raw int8 file of this network maps completely, as predicted for compiler 16"
    else:
        why = "the rest of the raw int8 file stays on the CPU. `keras-retina edgetpu FILE` says why"
    return Choice("", None, f"{why}.", f"{mapped} of {operators} operators", "Edge TPU")


def gate_choice(objects: int, wishes: Wishes, *, split: str) -> Choice:
    """Says the gate; `objects` are those of the split that `verify` measures."""
    why = f"a file must keep 0.99 of the AP of its float model, measured on the {objects} objects of {split}."
    if objects < FEW_OBJECTS:
        why = (
            f"a file must keep 0.99 of its float model's AP, and {objects} objects of {split} make that AP uncertain "
            f"by about +-{UNCERTAIN_AP}. Label more before you compare two trainings."
        )
    value: dict[str, Any] = {"minimum_ap_ratio": 0.99}
    if wishes.threads is not None:
        value["threads"] = wishes.threads
    return Choice("verification", value, why, "0.99 of the float AP", "gate")
