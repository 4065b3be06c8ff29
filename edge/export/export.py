"""Writes the `.tflite` files of a detector, each described inside and beside, with what it was calibrated on."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edge.export.artifact import Artifact
from edge.export.convert import Samples, convert_heads
from edge.export.tails import end_at_heads, end_with_builtin, end_with_postprocess
from edge.quantize.calibration import LISTING, calibration_listing, calibration_samples
from edge.runtime import EXPORT_MEMBER, LABELS_MEMBER, SPEC_MEMBER, description_sha256
from edge.tflite.flatbuffer import (
    append_members,
    operator_histogram,
    read_flatbuffer,
    tensor_quantization,
    tensor_type,
    write_flatbuffer,
)
from edge.tflite.metadata import add_metadata
from keras_retina.data.records import ImageFile
from keras_retina.foundation.errors import InputError, closest
from keras_retina.foundation.files.reading import sha256_of
from keras_retina.foundation.files.writing import write_file, write_json
from keras_retina.foundation.json_values import read_mapping
from keras_retina.foundation.legacy_keras import keras
from keras_retina.foundation.machine import package_version
from keras_retina.model.spec import DetectorSpec
from keras_retina.recipe.formats import FORMATS, FormatName, calibrated_names, format_of
from keras_retina.recipe.recipe import Export

logger = logging.getLogger(__name__)

LABELS, LABELMAP = "labels.txt", "labelmap.txt"
SETTINGS = ("score_threshold", "iou_threshold", "max_detections", "nms", "mediapipe_raw")
DEFAULTS = {
    "nms": "per_class",
    "float_layers": [],
    "quantizer": "tensorflow",
}  # of files made before there was a choice
BY_EITHER = ("dynamic", "int8", "int16", "int4")  # formats that both quantizers make
UNKNOWN_ORIGIN: Mapping[str, str] = MappingProxyType({})


def export_files(
    model: keras.Model,
    spec: DetectorSpec,
    *,
    out_dir: Path,
    name: str,
    settings: Export,
    calibration_images: Sequence[ImageFile],
    model_name: str | None = None,
    origin: Mapping[str, str] = UNKNOWN_ORIGIN,
) -> list[Path]:
    """Writes `NAME_<format>.tflite` (postprocess), `..._raw.tflite` and `..._builtin.tflite` as `settings` asks.

    Beside them: `labels.txt`, `labelmap.txt` where `settings` asks for it, `calibration.txt` when int8, int16 or int4
    is among the formats, and a `.json` for every file.
    Each format is converted (and calibrated) once; its forms share the network bit by bit.

    Args:
        calibration_images: files of the training split; at most `settings.calibration_images` of them are used.
        model_name: that of a smaller model, which stands behind the format in the names of its files.
        origin: what `origin_of` says of the model, to be stored in every file.

    Returns:
        The `.tflite` files in the order of `settings.formats` and `settings.heads`.

    Raises:
        InputError: no calibration image for a format that needs some, an unknown float layer, a model that TFLite
            cannot express, an image cannot be read, or a file cannot be written.
    """
    out_dir = Path(out_dir)
    images = list(calibration_images)[: settings.calibration_images]
    _check(model, spec, settings=settings, images=images)
    out_dir.mkdir(parents=True, exist_ok=True)
    write_file(out_dir / LABELS, labels_text(spec.class_names).encode())
    if settings.labelmap:
        write_file(out_dir / LABELMAP, labelmap_text(spec.class_names).encode())
    if needs_calibration(settings):
        write_file(out_dir / LISTING, calibration_listing(images).encode())
    paths = []
    for kind in settings.formats:
        logger.info(Artifact(name, FORMATS[kind], model_name).path(out_dir).name)
        samples = functools.partial(calibration_samples, images, spec)
        heads_only = converted(model, spec, kind=kind, samples=samples, settings=settings)
        for head in settings.heads:
            path = Artifact(name, FORMATS[kind], model_name, head).path(out_dir)
            write_detector(
                path,
                heads_only,
                spec=spec,
                kind=kind,
                head=head,
                settings=settings,
                calibration_images=len(images),
                origin=origin,
            )
            paths.append(path)
    return paths


def converted(
    model: keras.Model, spec: DetectorSpec, *, kind: FormatName, samples: Samples | None, settings: Export
) -> bytes:
    """Returns what `convert_heads` does, by the quantizer that the settings name."""
    if settings.quantizer == "ai_edge" and kind in BY_EITHER:
        from edge.export.ai_edge import ai_edge_heads

        return ai_edge_heads(model, spec, kind=kind, samples=samples)
    return convert_heads(model, spec, kind=kind, samples=samples, float_layers=settings.float_layers)


def origin_of(recipe_file: Path, model_file: Path) -> dict[str, str]:
    """Returns the hashes that tell which training a file comes from: of the resolved recipe and the trained model."""
    return {"recipe_sha256": sha256_of(recipe_file.read_bytes()), "model_sha256": sha256_of(model_file.read_bytes())}


def needs_calibration(settings: Export) -> bool:
    """Tells whether one of the formats is quantized with images."""
    return any(FORMATS[kind].calibrated for kind in settings.formats)


def is_exported(path: Path, settings: Export) -> bool:
    """Tells whether a file is there, and made with the settings that are inside it."""
    sidecar = path.with_suffix(".json")
    if not path.exists() or not sidecar.exists():
        return False
    try:
        facts = read_mapping(sidecar)
    except InputError:  # cut off or edited: the export writes it again
        return False
    if facts is None or facts.get("kind") not in FORMATS:
        return False
    wanted = {name: getattr(settings, name) for name in SETTINGS}
    if format_of(facts["kind"]).calibrated:
        wanted["float_layers"] = list(settings.float_layers)
    if facts["kind"] in BY_EITHER:
        wanted["quantizer"] = settings.quantizer
    return wanted == {name: facts.get(name, DEFAULTS.get(name)) for name in wanted}


def labels_text(class_names: Sequence[str]) -> str:
    """Returns one class name a line, without a background row; line breaks inside a name become spaces."""
    return "".join(" ".join(name.split()) + "\n" for name in class_names)


def labelmap_text(class_names: Sequence[str]) -> str:
    """Returns `number name`, one class a line.

    Frigate also takes names alone, but then a first name that begins with a number is read as one.
    Source: `load_labels` of frigate/util/builtin.py.
    """
    return "".join(f"{number} {name}\n" for number, name in enumerate(labels_text(class_names).splitlines()))


def described(
    flatbuffer: bytes,
    spec: DetectorSpec,
    *,
    kind: str,
    head: str,
    settings: Export,
    origin: Mapping[str, str] = UNKNOWN_ORIGIN,
) -> bytes:
    """Appends detector, export settings and labels to a flatbuffer; `edge.runtime` reads them."""
    export = _export_facts(kind, head, settings=settings, origin=origin) | {
        "flatbuffer_bytes": len(flatbuffer),
        "flatbuffer_sha256": sha256_of(flatbuffer),
    }
    members = {
        SPEC_MEMBER: spec.to_json().encode(),
        LABELS_MEMBER: labels_text(spec.class_names).encode(),
    }
    export["description_sha256"] = description_sha256(members[SPEC_MEMBER], members[LABELS_MEMBER], export=export)
    return append_members(flatbuffer, members | {EXPORT_MEMBER: json.dumps(export, indent=2).encode()})


def finished_graph(heads_only: bytes, spec: DetectorSpec, *, head: str, settings: Export) -> schema.ModelT:
    """Puts the tail of `head` and the metadata behind converted heads (`convert_heads`)."""
    graph = read_flatbuffer(heads_only)
    if head == "raw":
        end_at_heads(graph, unsigned=settings.mediapipe_raw)
    else:
        end = end_with_builtin if head == "builtin" else end_with_postprocess
        end(graph, spec, settings=settings)
    if head != "raw" or settings.mediapipe_raw:
        add_metadata(graph, spec, labels_file=LABELS_MEMBER, head=head)
    return graph


def write_detector(
    path: Path,
    heads_only: bytes,
    *,
    spec: DetectorSpec,
    kind: FormatName,
    head: str,
    settings: Export,
    calibration_images: int = 0,
    origin: Mapping[str, str] = UNKNOWN_ORIGIN,
) -> None:
    """Puts the tail of `head` behind converted heads (`convert_heads`); writes the file and the `.json` beside it."""
    graph = finished_graph(heads_only, spec, head=head, settings=settings)
    data = described(write_flatbuffer(graph), spec, kind=kind, head=head, settings=settings, origin=origin)
    write_file(path, data)
    facts = _export_facts(kind, head, settings=settings, origin=origin) | _sidecar(
        path.name, data, graph=graph, spec=spec
    )
    if FORMATS[kind].calibrated:
        facts |= {"float_layers": list(settings.float_layers), "calibration_images": calibration_images}
    write_json(path.with_suffix(".json"), facts)


def _export_facts(kind: str, head: str, *, settings: Export, origin: Mapping[str, str]) -> dict[str, Any]:
    chosen = {name: getattr(settings, name) for name in SETTINGS}
    if kind in BY_EITHER:
        chosen["quantizer"] = settings.quantizer
    return {"kind": kind, "head": head, **chosen, "keras_retina": package_version(), **origin}


def _sidecar(file: str, data: bytes, *, graph: schema.ModelT, spec: DetectorSpec) -> dict[str, Any]:
    subgraph = graph.subgraphs[0]
    names = {int(entry.tensorIndex): entry.name.decode() for entry in graph.signatureDefs[0].outputs}
    return {
        "file": file,
        "sha256": sha256_of(data),
        "size_bytes": len(data),
        "input": _tensor_facts(subgraph.tensors[subgraph.inputs[0]]),
        "outputs": [
            {"signature": names[int(index)], **_tensor_facts(subgraph.tensors[index])} for index in subgraph.outputs
        ],
        "operators": operator_histogram(graph),
        "detector": json.loads(spec.to_json()),
    }


def _tensor_facts(tensor: schema.TensorT) -> dict[str, Any]:
    scale, zero_point = tensor_quantization(tensor) or (None, None)
    return {
        "name": tensor.name.decode(),
        "dtype": tensor_type(tensor),
        "shape": [int(side) for side in tensor.shape],
        "scale": scale,
        "zero_point": zero_point,
    }


def check_heads(model: keras.Model, spec: DetectorSpec) -> None:
    """Raises InputError unless the outputs of the model are those that its description expects."""
    anchors, number = len(spec.anchors()), len(spec.class_names)
    expected = {"classes": (anchors, number), "boxes": (anchors, 4)}
    received = {name: tuple(tensor.shape[1:]) for name, tensor in model.output.items()}
    if received != expected:
        raise InputError(
            f"export: expected the heads {expected} of the detector description. Received: {received}. "
            "Export a model together with the description it was saved with."
        )


def _check(model: keras.Model, spec: DetectorSpec, *, settings: Export, images: list[ImageFile]) -> None:
    check_heads(model, spec)
    layers = [layer.name for layer in model.layers]
    for name in settings.float_layers if needs_calibration(settings) else ():
        if name not in layers:  # told here at once; a layer that left no operator, after the conversion
            raise InputError(
                f"export.float_layers: expected names of Keras layers. Received: {name!r}. {closest(name, layers)}"
            )
    if needs_calibration(settings) and not images:
        raise InputError(
            f"export: {calibrated_names()} need images of the training split to calibrate on. "
            "Received: calibration_images=[]. Pass --data, or leave them out of export.formats."
        )
