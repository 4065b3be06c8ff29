"""The programs of docs/examples find what the runtime finds; each runs where its compiler or library is."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge import runtime
from edge.runtime import Detector, dequantized
from keras_retina.data.images import read_image

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "docs/examples"
LEAST = 0.3


def run(command: list, **variables: str) -> str:
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, env=os.environ | variables
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def run_python(script: str, *arguments) -> list[list[str]]:
    return [
        line.split()
        for line in run([sys.executable, EXAMPLES / script, *arguments], PYTHONPATH=str(ROOT / "edge")).splitlines()
    ]


def rows_of(found, names) -> list[tuple]:
    """(name, score, y1, x1, y2, x2) of each detection."""
    rows = zip(found.classes.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True)
    return [(names[label], score, *box) for label, score, box in rows]


def assert_same(lines: list[list[str]], expected: list[tuple], *, score: float, pixels: float) -> None:
    """Each line has its own counterpart and each counterpart its line; in any order, since printed scores are equal."""
    left = [(name, *map(float, numbers)) for name, *numbers in lines]
    assert len(left) == len(expected) > 2
    for name, *numbers in expected:
        differences = [np.abs(np.subtract(row[1:], numbers)) if row[0] == name else np.full(5, np.inf) for row in left]
        fitting = [index for index, one in enumerate(differences) if one[0] <= score and (one[1:] <= pixels).all()]
        assert fitting, f"{name} {numbers} is not among {left}"
        del left[fitting[0]]


def library() -> Path:
    spec = importlib.util.find_spec("ai_edge_litert")
    path = Path(spec.origin).parent / "libLiteRt.so" if spec and spec.origin else Path("libLiteRt.so")
    if shutil.which("g++") is None or not path.is_file():
        pytest.skip("needs g++ and the libLiteRt.so of the wheel ai-edge-litert")
    return path


@pytest.fixture(scope="module")
def compiled_cpp(tmp_path_factory) -> Path:
    shared, program = library(), tmp_path_factory.mktemp("cpp") / "detect"
    flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror"]
    run(["g++", *flags, EXAMPLES / "litert_cpp/detect.cpp", shared, f"-Wl,-rpath,{shared.parent}", "-o", program])
    return program


def labels_file(detector: Detector, folder: Path) -> Path:
    (folder / "labels.txt").write_text("".join(f"{name.split()[0]}\n" for name in detector.class_names))
    return folder / "labels.txt"


@pytest.mark.parametrize("stem", ["int8", "float32"])
def test_cpp_finds_the_same(compiled_cpp, exported, image_paths, tmp_path, stem):
    detector = Detector(exported[stem], threads=1)
    pixels, _ = detector.prepare(read_image(image_paths[0]))
    Image.fromarray(pixels[0]).save(tmp_path / "photo.ppm")
    output = run([compiled_cpp, exported[stem], tmp_path / "photo.ppm", labels_file(detector, tmp_path), 0.1])
    found, side = detector.detect(pixels[0], 0.1), pixels.shape[1]
    expected = rows_of(runtime.Detections(found.boxes / side, found.scores, found.classes), detector.class_names)
    assert_same([line.split() for line in output.splitlines()], expected, score=1e-4, pixels=1e-4)


@pytest.mark.parametrize("wrong", ["size", "form", "file"])
def test_cpp_refuses_what_it_cannot_read(compiled_cpp, exported, tmp_path, wrong):
    model = exported["float32_raw" if wrong == "form" else "float32"]
    Image.new("RGB", (10, 10) if wrong == "size" else (128, 128)).save(tmp_path / "photo.ppm")
    model = tmp_path / "photo.ppm" if wrong == "file" else model
    command = [str(word) for word in (compiled_cpp, model, tmp_path / "photo.ppm", "labels.txt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert re.search("^detect: .*(expected a|LiteRT said)", done.stderr, re.MULTILINE)


KOTLIN = """
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder

fun floats(path: String): FloatArray {
    val buffer = ByteBuffer.wrap(File(path).readBytes()).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()
    return FloatArray(buffer.remaining()).also { buffer.get(it) }
}

fun main(arguments: Array<String>) {
    val description = Description(
        height = HEIGHT, width = WIDTH, classNames = listOf(NAMES), levels = FIRST..LAST, anchorSize = SIZE,
        anchorScales = listOf(SCALES), anchorRatios = listOf(RATIOS), coderWeights = listOf(WEIGHTS),
    )
    val scale = arguments[2].toFloat()
    val logits = if (scale > 0) {
        dequantize(File(arguments[0]).readBytes(), scale, arguments[3].toInt(), true)
    } else {
        floats(arguments[0])
    }
    for (found in Decoder(description).detect(logits, floats(arguments[1]), LEASTf)) {
        println("${found.label} ${found.score} ${found.box.joinToString(" ")}")
    }
}
"""


@pytest.fixture(scope="module")
def compiled_kotlin(exported, tmp_path_factory) -> Path:
    if shutil.which("kotlinc") is None or shutil.which("java") is None:
        pytest.skip("needs java and kotlinc on the PATH: npm install kotlin-compiler, then its bin/")
    folder, own = tmp_path_factory.mktemp("kotlin"), Detector(exported["float32_raw"]).description
    values = {
        "HEIGHT": own.height,
        "WIDTH": own.width,
        "NAMES": ", ".join(json.dumps(name.split()[0]) for name in own.class_names),
        "FIRST": own.levels[0],
        "LAST": own.levels[1],
        "SIZE": float(own.anchor_size),
        "SCALES": ", ".join(str(float(value)) for value in own.anchor_scales),
        "RATIOS": ", ".join(str(float(value)) for value in own.anchor_ratios),
        "WEIGHTS": ", ".join(f"{float(value)}f" for value in own.coder_weights),
        "LEAST": LEAST / 3,
    }
    text = KOTLIN
    for name, value in values.items():
        text = text.replace(name, str(value))
    (folder / "Main.kt").write_text(text)
    program = folder / "program.jar"
    decoder = EXAMPLES / "litert_kotlin/Decoder.kt"
    run(["kotlinc", decoder, folder / "Main.kt", "-include-runtime", "-Werror", "-d", program])
    return program


@pytest.mark.parametrize("stem", ["float32_raw", "int8_raw"])
def test_kotlin_decodes_the_same(compiled_kotlin, exported, image_paths, tmp_path, stem):
    detector = Detector(exported[stem])
    pixels, _ = detector.prepare(read_image(image_paths[0]))
    detector.invoke(pixels)
    boxes, classes = (detector.interpreter.get_tensor(detail["index"])[0] for detail in detector._outputs)
    scale, zero_point = detector._outputs[1]["quantization"]
    (tmp_path / "logits").write_bytes(classes.tobytes())
    (tmp_path / "deltas").write_bytes(dequantized(boxes, detector._outputs[0]).tobytes())
    output = run(["java", "-jar", compiled_kotlin, tmp_path / "logits", tmp_path / "deltas", scale, zero_point])
    expected = rows_of(detector.postprocess(LEAST / 3, 0.5, max_detections=100), detector.class_names)
    assert_same([line.split() for line in output.splitlines()], expected, score=1e-5, pixels=2e-3)


def test_opencv_reads_a_video(exported, image_paths, tmp_path):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    film, pixels = tmp_path / "film.avi", read_image(image_paths[0])
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter.fourcc(*"MJPG"), 5, (pixels.shape[1], pixels.shape[0]))
    for _ in range(2):
        writer.write(pixels[..., ::-1])
    writer.release()
    frame = cv2.VideoCapture(str(film)).read()[1][..., ::-1]
    detector = Detector(exported["float32"])
    lines = run_python("opencv_camera.py", exported["float32"], film)
    assert_same(lines, rows_of(detector.detect(frame), detector.class_names) * 2, score=0.0051, pixels=0.51)


def test_opencv_alone_runs_the_raw_file(exported, image_paths, tmp_path):
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    detector = Detector(exported["float32_raw"])
    pixels, _ = detector.prepare(read_image(image_paths[0]))
    Image.fromarray(pixels[0]).save(tmp_path / "photo.png")
    lines = run_python("opencv_dnn.py", exported["float32_raw"], tmp_path / "photo.png")
    assert_same(lines, rows_of(detector.detect(pixels[0]), detector.class_names), score=0.0051, pixels=0.51)


def test_mediapipe_reads_a_photo(exported, image_paths, tmp_path):
    pytest.importorskip("mediapipe", reason="MediaPipe is not installed")
    detector = Detector(exported["float32"])
    pixels, _ = detector.prepare(read_image(image_paths[0]))
    Image.fromarray(pixels[0]).save(tmp_path / "photo.png")
    lines = run_python("mediapipe_tasks.py", exported["float32"], tmp_path / "photo.png")
    expected = rows_of(detector.detect(pixels[0]), detector.class_names)
    known = {(name, round(score, 2)) for name, score, *_ in expected}
    assert {(name, float(score)) for name, score, *_ in lines} <= known
    assert len(expected) >= len(lines) > 0.9 * len(expected)  # several classes of one box are one detection there


PYCORAL = {
    "__init__.py": "",
    "adapters/__init__.py": "",
    "utils/__init__.py": "",
    "utils/edgetpu.py": "from ai_edge_litert.interpreter import Interpreter as make_interpreter\n",
    "utils/dataset.py": "def read_label_file(path):\n    return dict(enumerate(open(path).read().splitlines()))\n",
    "adapters/common.py": """
def input_size(interpreter):
    _, height, width, _ = interpreter.get_input_details()[0]["shape"]
    return width, height
def set_input(interpreter, data):
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], __import__("numpy").asarray(data)[None])
""",
    "adapters/detect.py": """
from types import SimpleNamespace as Named
def get_objects(interpreter, score_threshold, image_scale):
    names = interpreter._get_full_signature_list()
    (outputs,) = [signature["outputs"] for signature in names.values()]
    count, scores, labels, boxes = (interpreter.get_tensor(outputs[f"output_{n}"]) for n in range(4))
    _, height, width, _ = interpreter.get_input_details()[0]["shape"]
    scale = [height / image_scale[1], width / image_scale[0]] * 2
    for row in range(int(count[0])):
        if scores[0, row] >= score_threshold:
            ymin, xmin, ymax, xmax = (int(side * one) for side, one in zip(boxes[0, row], scale))
            box = Named(ymin=ymin, xmin=xmin, ymax=ymax, xmax=xmax)
            yield Named(id=int(labels[0, row]), score=scores[0, row], bbox=box)
""",
}


def test_the_pycoral_example_asks_for_what_the_file_has(exported, image_paths, tmp_path):
    """These few lines stand for pycoral, which needs a Coral, and keep its rules: names of outputs, sizes, scales."""
    for name, text in PYCORAL.items():
        path = tmp_path / "pycoral" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    detector = Detector(exported["float32"])
    command = [
        sys.executable,
        EXAMPLES / "coral_pycoral.py",
        exported["float32"],
        labels_file(detector, tmp_path),
        image_paths[0],
    ]
    lines = [line.split() for line in run(command, PYTHONPATH=str(tmp_path)).splitlines()]
    assert_same(lines, rows_of(detector.detect(image_paths[0]), detector.class_names), score=0.0051, pixels=1.01)
