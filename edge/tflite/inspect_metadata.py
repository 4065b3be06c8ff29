"""TFLite metadata of anybody's file as plain values: what it says of inputs, outputs, labels and decoding.

Source: mediapipe/tasks/metadata/metadata_schema.fbs, version 1.5.0; slot numbers are the order of its fields.
"""

from __future__ import annotations

from typing import Any

from edge.tflite import decoding_metadata
from edge.tflite.tables import Reader

CONTENTS = ("", "features", "image", "bounding boxes", "audio")
PROCESS_UNITS = (
    *("", "normalization", "score calibration", "score threshold"),
    *("BERT tokenizer", "SentencePiece tokenizer", "regular expression tokenizer"),
)
FILES = ("", "descriptions", "axis labels", "value labels", "score calibration", "vocabulary", "SCANN index")
NORMALIZATION, SCORE_THRESHOLD = 1, 3


def metadata_facts(data: bytes) -> dict[str, Any]:
    """Returns the metadata without what is empty.

    Raises:
        Exception: whatever wrong offsets in damaged metadata lead to.
    """
    root = Reader(data)
    graphs = list(root.children(3))
    facts: dict[str, Any] = {
        "name": root.text(0),
        "description": root.text(1),
        "version": root.text(2),
        "author": root.text(4),
        "license": root.text(5),
        "min_parser_version": root.text(7),
        "files": [_file(file) for file in root.children(6)],
    }
    if graphs:  # TFLite files have one
        facts["inputs"] = [_tensor(tensor) for tensor in graphs[0].children(2)]
        facts["outputs"] = [_tensor(tensor) for tensor in graphs[0].children(3)]
        facts["files"] += [_file(file) for file in graphs[0].children(4)]
        facts["custom"] = [_custom(custom) for custom in graphs[0].children(9)]
    return _filled(facts)


def _tensor(tensor: Reader) -> dict[str, Any]:
    content, stats = tensor.child(3), tensor.child(5)
    facts: dict[str, Any] = {
        "name": tensor.text(0),
        "description": tensor.text(1),
        "content": _choice(CONTENTS, content.byte(0)) if content else None,
        "files": [_file(file) for file in tensor.children(6)],
        "minimum": stats.floats(1) if stats else None,
        "maximum": stats.floats(0) if stats else None,
    }
    for unit in tensor.children(4):
        options, name = unit.child(1), _choice(PROCESS_UNITS, unit.byte(0))
        if options and unit.byte(0) == NORMALIZATION:
            facts[name] = {"mean": options.floats(0), "std": options.floats(1)}
        elif name:
            facts[name] = options.number(0) if options and unit.byte(0) == SCORE_THRESHOLD else True
    return _filled(facts)


def _custom(custom: Reader) -> dict[str, Any]:
    """Returns name and size, and of a raw detector how MediaPipe decodes it."""
    name, data = custom.text(0), custom.bytes(1) or b""
    facts: dict[str, Any] = {"name": name, "bytes": len(data)}
    if name == decoding_metadata.NAME:
        options = Reader(data)
        decoding, anchors = options.child(2), options.child(1)
        fixed = anchors.child(0) if anchors else None
        facts["anchors"] = sum(1 for _ in fixed.children(0)) if fixed else 0
        if decoding:
            facts |= {"classes": decoding.integer(0), "boxes": decoding.integer(1)}
            facts |= {scale: decoding.number(6 + place) for place, scale in enumerate(decoding_metadata.SCALES)}
            facts |= {"exponential": bool(decoding.byte(10)), "sigmoid": bool(decoding.byte(11))}
    return facts


def _file(file: Reader) -> dict[str, Any]:
    return _filled({"name": file.text(0), "type": _choice(FILES, file.byte(2)), "locale": file.text(3)})


def _choice(names: tuple[str, ...], value: int) -> str:
    return names[value] if value < len(names) else f"type {value}"


def _filled(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value not in (None, "", [])}
