"""What several test files share: a tiny drawn COCO set, a tiny recipe, and the real data and weights where they are."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

SHARED = Path(__file__).parents[2] / "shared"
TINY_CLASSES = ("disc", "square")
TINY_IDS = (3, 7)  # category ids that are no class indices


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the real data sets, beside the repository."""
    return _shared("data")


@pytest.fixture(scope="session")
def shared_weights() -> Path:
    """The folder with ImageNet weights, beside the repository."""
    return _shared("weights")


class Lines(logging.Handler):
    """Collects what both packages log, as the command line prints it, and tells `hook` each line."""

    def __init__(self, hook: Callable[[str], None]) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.hook = hook

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(("warning: " if record.levelno >= logging.WARNING else "") + record.getMessage())
        self.hook(self.lines[-1])


@pytest.fixture(scope="session")
def logged():
    """`with logged() as lines`: the lines that are logged inside; `hook` is called with each and may raise."""

    @contextlib.contextmanager
    def collect(hook: Callable[[str], None] = lambda line: None) -> Iterator[list[str]]:
        handler, loggers = Lines(hook), [logging.getLogger(name) for name in ("keras_retina", "edge")]
        levels = [logger.level for logger in loggers]
        for logger in loggers:
            logger.addHandler(handler)
            logger.setLevel(logging.INFO)
        try:
            yield handler.lines
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.removeHandler(handler)
                logger.setLevel(level)

    return collect


@dataclass(frozen=True)
class Ended:
    """What a command left behind; the names are those of `subprocess.CompletedProcess`."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def keras_retina() -> Callable[..., Ended]:
    """`keras_retina("inspect", path)`: the command line in this process, which has all imports behind it.

    What only a process has (signals, limits, what it imports) needs one of its own.
    """

    def run(*words: object) -> Ended:
        from keras_retina.cli.app import main

        out, error = io.StringIO(), io.StringIO()
        loggers = [logging.getLogger(name) for name in ("keras_retina", "edge")]
        levels = [logger.level for logger in loggers]
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            for logger in loggers:  # `show_log` changes them
                patch.setattr(logger, "handlers", [])
                patch.setattr(logger, "propagate", False)
            patch.setattr(sys, "argv", ["keras-retina", *map(str, words)])
            with pytest.raises(SystemExit) as caught:
                main()
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        return Ended(int(caught.value.code or 0), out.getvalue(), error.getvalue())

    return run


def _shared(name: str) -> Path:
    if not (SHARED / name).is_dir():
        pytest.skip(f"needs ../shared/{name} beside the repository, which is not here")
    return SHARED / name


@pytest.fixture(scope="session")
def tiny_coco(tmp_path_factory) -> Path:
    """A COCO folder with `train` (10 images) and `val` (4): discs and squares, the first image of each without."""
    folder = tmp_path_factory.mktemp("tiny_coco")
    (folder / "images").mkdir()
    (folder / "annotations").mkdir()
    for number, (split, count) in enumerate((("train", 10), ("val", 4))):
        labels = _draw_split(folder / "images", split, count, np.random.default_rng(number))
        (folder / "annotations" / f"{split}.json").write_text(json.dumps(labels), encoding="utf-8")
    return folder


def _draw_split(image_dir: Path, split: str, count: int, generator: np.random.Generator) -> dict:
    images, annotations = [], []
    for index in range(count):
        height, width = (96, 128) if index % 2 else (128, 96)
        picture = Image.fromarray(generator.integers(60, 130, (height, width, 3), np.uint8))
        draw = ImageDraw.Draw(picture)
        for _ in range(0 if index == 0 else 1 + index % 3):
            side = int(generator.integers(16, 56))
            x, y = int(generator.integers(0, width - side)), int(generator.integers(0, height - side))
            is_disc = bool(generator.integers(0, 2))
            shape = draw.ellipse if is_disc else draw.rectangle
            shape((x, y, x + side - 1, y + side - 1), fill=(250, 40, 40) if is_disc else (40, 250, 250))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index + 1,
                    "category_id": TINY_IDS[0 if is_disc else 1],
                    "bbox": [x, y, side, side],
                    "area": side * side,
                    "iscrowd": 0,
                }
            )
        name = f"{split}_{index}.png"
        picture.save(image_dir / name)
        images.append({"id": index + 1, "file_name": name, "height": height, "width": width})
    categories = [{"id": number, "name": name} for number, name in zip(TINY_IDS, TINY_CLASSES, strict=True)]
    return {"images": images, "annotations": annotations, "categories": categories}


@pytest.fixture(scope="session")
def tiny_recipe():
    """MobileNetV2 0.35 from random weights on 128 x 128 pixels, a thin pyramid and one convolution in each head."""
    from keras_retina.recipe.recipe import recipe_from_fields

    return recipe_from_fields(
        {
            "name": "tiny",
            "seed": 5,
            "model": {
                "backbone": {"alpha": 0.35, "weights": "none", "frozen_stages": 0, "batch_norm": "trained"},
                "input": {"height": 128, "width": 128},
                "pyramid": {"width": 16},
                "head": {"width": 16, "convolutions": 1},
            },
            "training": {"epochs": 3, "batch_size": 4, "steps_per_epoch": 2, "warmup_steps": 2, "evaluate_every": 2},
        },
        "tests/conftest.py",
    )


@pytest.fixture(scope="session")
def tiny_detector(tiny_recipe):
    """The model of `tiny_recipe` as it starts, and its description; tests must leave its weights as they are."""
    from keras_retina.foundation.legacy_keras import keras
    from keras_retina.model.retinanet import detector_network
    from keras_retina.model.spec import detector_spec

    keras.utils.set_random_seed(1)
    return detector_network(tiny_recipe.model, len(TINY_CLASSES)), detector_spec(tiny_recipe.model, TINY_CLASSES)


@pytest.fixture(scope="session")
def plain_detector(tiny_recipe):
    """`tiny_detector` with the plain backbone, for what no backbone matters to: a fifth of the layers to build."""
    from keras_retina.foundation.legacy_keras import keras
    from keras_retina.model.retinanet import detector_network
    from keras_retina.model.spec import detector_spec
    from keras_retina.recipe.model import Model

    fields = tiny_recipe.model.model_dump()
    fields["backbone"] |= {"name": "plain", "alpha": 1.0}
    settings = Model.model_validate(fields)
    keras.utils.set_random_seed(1)
    return detector_network(settings, len(TINY_CLASSES)), detector_spec(settings, TINY_CLASSES)


@pytest.fixture(scope="session")
def write_tflite():
    """A function that writes a `.tflite` by hand.

    `tensors` is `{name: (shape, type, constant values or None)}`, `operators` a list of (builtin or custom name,
    version, names of inputs, names of outputs, schema options or None); the first tensor, and those that are read and
    made by no operator, are the inputs of the model, and the outputs of the last operator are its outputs.
    """
    from ai_edge_litert import schema_py_generated as schema

    from edge.tflite.flatbuffer import TYPES, write_flatbuffer
    from keras_retina.foundation.files.writing import write_file

    def write(
        path: Path, tensors: dict, operators: list, metadata: bytes | None = None, more_subgraphs: int = 0
    ) -> Path:
        names, buffers, made, codes, graph = list(tensors), [schema.BufferT()], [], [], []
        for name, (shape, kind, values) in tensors.items():
            data = None if values is None else np.frombuffer(np.ascontiguousarray(values, kind).tobytes(), np.uint8)
            buffers.append(schema.BufferT(data=data))
            quantization = schema.QuantizationParametersT(
                scale=np.array([0.5], np.float32), zeroPoint=np.array([0], np.int64)
            )
            tensor = schema.TensorT(name=name.encode(), type=TYPES[kind], buffer=len(buffers) - 1, hasRank=True)
            tensor.shape, tensor.quantization = np.array(shape, np.int32), quantization
            made.append(tensor)
        for name, version, inputs, outputs, options in operators:
            builtin = getattr(schema.BuiltinOperator, name, schema.BuiltinOperator.CUSTOM)
            custom = name.encode() if builtin == schema.BuiltinOperator.CUSTOM else None
            code = schema.OperatorCodeT(min(builtin, 127), custom, version, builtin)
            codes.append(code)
            operator = schema.OperatorT(opcodeIndex=len(codes) - 1, builtinOptions=options)
            if options is not None:
                operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__[:-1])
            operator.inputs, operator.outputs = (
                np.array([-1 if one is None else names.index(one) for one in side], np.int32)
                for side in (inputs, outputs)
            )
            graph.append(operator)
        last = graph[-1].outputs if graph else np.zeros(0, np.int32)
        computed = {int(index) for operator in graph for index in operator.outputs}
        constant = {index for index, (_, _, values) in enumerate(tensors.values()) if values is not None}
        read = {int(index) for operator in graph for index in operator.inputs if index >= 0}
        given = [0, *sorted(read - computed - constant - {0})]
        subgraph = schema.SubGraphT(tensors=made, inputs=np.array(given, np.int32), outputs=last, operators=graph)
        subgraph.name = b"main"
        model = schema.ModelT(version=3, operatorCodes=codes, buffers=buffers)
        model.subgraphs = [subgraph] * (1 + more_subgraphs)
        if metadata is not None:
            buffers.append(schema.BufferT(data=np.frombuffer(metadata, np.uint8)))
            model.metadata = [schema.MetadataT(name=b"TFLITE_METADATA", buffer=len(buffers) - 1)]
        write_file(path, write_flatbuffer(model))
        return path

    return write


@pytest.fixture(scope="session")
def classifier_layers() -> tuple[dict, list]:
    """Tensors and operators for `write_tflite`: convolution, mean, dense layer and softmax, fully int8."""
    from ai_edge_litert import schema_py_generated as schema

    tensors = {
        "image": ((1, 8, 8, 3), "uint8", None),
        "quantized": ((1, 8, 8, 3), "int8", None),
        "kernel": ((4, 3, 3, 3), "int8", np.ones((4, 3, 3, 3))),
        "bias": ((4,), "int32", np.zeros(4)),
        "features": ((1, 8, 8, 4), "int8", None),
        "axes": ((2,), "int32", [1, 2]),
        "mean": ((1, 4), "int8", None),
        "matrix": ((10, 4), "int8", np.ones((10, 4))),
        "logits": ((1, 10), "int8", None),
        "scores": ((1, 10), "int8", None),
    }
    operators = [
        ("QUANTIZE", 1, ["image"], ["quantized"], None),
        ("CONV_2D", 3, ["quantized", "kernel", "bias"], ["features"], schema.Conv2DOptionsT()),
        ("MEAN", 2, ["features", "axes"], ["mean"], schema.ReducerOptionsT()),
        ("FULLY_CONNECTED", 4, ["mean", "matrix", None], ["logits"], schema.FullyConnectedOptionsT()),
        ("SOFTMAX", 2, ["logits"], ["scores"], schema.SoftmaxOptionsT(beta=1.0)),
    ]
    return tensors, operators
