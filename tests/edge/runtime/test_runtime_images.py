"""What the runtime takes for an image, and what it says where one cannot be read or a package is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from edge import runtime
from edge.runtime import Detector, ImageFileError
from keras_retina.data.images import read_image

PIXELS = np.random.default_rng(3).integers(0, 255, (24, 32, 3), np.uint8)


def same(first, second) -> None:
    for name in ("boxes", "scores", "classes"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_an_array_a_pillow_image_and_a_path_find_the_same(exported, image_paths):
    detector, pixels = Detector(exported["int8"]), read_image(image_paths[0])
    found = detector.detect(pixels, 0.01)
    assert len(found.scores) > 3
    same(found, detector.detect(image_paths[0], 0.01))
    same(found, detector.detect(Image.fromarray(pixels), 0.01))
    same(found, detector.detect(Image.fromarray(pixels).convert("RGBA"), 0.01))


@pytest.mark.parametrize(
    ("pixel_format", "in_memory"), [("BGR888", "rgb"), ("RGB888", "bgr"), ("XBGR8888", "rgbx"), ("XRGB8888", "bgrx")]
)
def test_a_frame_of_picamera2_becomes_rgb(pixel_format, in_memory):
    planes = {"r": PIXELS[..., 0], "g": PIXELS[..., 1], "b": PIXELS[..., 2], "x": np.full((24, 32), 255, np.uint8)}
    frame = np.stack([planes[name] for name in in_memory], axis=-1)
    rgb = runtime.picamera2_frame(frame, pixel_format)
    np.testing.assert_array_equal(rgb, PIXELS)
    assert rgb.flags.c_contiguous


@pytest.mark.parametrize(
    ("frame", "pixel_format"),
    [
        (PIXELS, "XRGB8888"),
        (PIXELS, "YUV420"),
        (PIXELS, "RGBX8888"),
        (PIXELS.astype(np.float32), "RGB888"),
        (PIXELS[0], "RGB888"),
    ],
)
def test_a_frame_of_another_format_is_refused(frame, pixel_format):
    with pytest.raises(ValueError, match=f"RGB888.*Received:.*pixel_format='{pixel_format}'"):
        runtime.picamera2_frame(frame, pixel_format)


def test_four_channels_are_refused_with_the_way_to_give_them(exported):
    with pytest.raises(ValueError, match=r"\[5, 5, 4\]\. A frame of picamera2: picamera2_frame\(frame, 'XRGB8888'\)"):
        Detector(exported["float32"]).detect(np.zeros((5, 5, 4), np.uint8))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_a_large_file_is_read_in_strips_as_the_other_reader_reads_it_whole(tmp_path, monkeypatch, mode, orientation):
    picture, exif = Image.fromarray(PIXELS), Image.Exif()
    picture.putalpha(picture.convert("L"))
    exif[0x0112] = orientation
    picture.convert(mode).save(tmp_path / "a.png", exif=exif, **({"transparency": 3} if mode == "P" else {}))
    monkeypatch.setattr(runtime, "STRIP_PIXELS", 5 * 32)  # four strips of five rows and one of four
    np.testing.assert_array_equal(runtime.read_image(tmp_path / "a.png"), read_image(tmp_path / "a.png"))


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "bmp"])
def test_a_file_that_was_cut_off_is_named(tmp_path, suffix):
    whole, cut = tmp_path / f"whole.{suffix}", tmp_path / f"cut.{suffix}"
    Image.fromarray(PIXELS).save(whole)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(ImageFileError, match="expected a complete image file. Received:") as caught:
        runtime.read_image(cut)
    assert str(caught.value).startswith(str(cut)) and "\n" not in str(caught.value)
    assert str(caught.value).count(str(cut)) == 1


@pytest.mark.parametrize("content", [b"", b"no image", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"])
def test_a_file_that_is_no_image_is_named(tmp_path, content):
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageFileError, match="photo.jpg: expected a complete image file"):
        runtime.read_image(path)


def test_a_missing_file_stays_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing.jpg"):
        runtime.read_image(tmp_path / "nothing.jpg")


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow was built without AVIF")
def test_an_avif_file_is_read(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "photo.avif", quality=100, subsampling="4:4:4")
    assert np.abs(runtime.read_image(tmp_path / "photo.avif").astype(int) - PIXELS).mean() < 6


def test_a_heic_file_is_read_where_pillow_heif_is_and_needs_it_elsewhere(tmp_path, monkeypatch):
    pillow_heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    path = tmp_path / "PHOTO.HEIC"
    pillow_heif.from_pillow(Image.fromarray(np.full((24, 32, 3), 90, np.uint8))).save(path)
    assert np.abs(runtime.read_image(path).astype(int) - 90).max() < 4
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImportError, match="PHOTO.HEIC: expected pillow-heif.*Run: pip install pillow-heif"):
        runtime.read_image(path)


def test_without_pillow_the_message_says_what_to_install(exported, monkeypatch):
    detector = Detector(exported["int8"])
    height, width = detector.description.height, detector.description.width
    monkeypatch.setitem(sys.modules, "PIL", None)
    detector.detect(np.zeros((height, width, 3), np.uint8))  # of the network's own size: nothing to resize
    for image in ("photo.jpg", np.zeros((height + 1, width, 3), np.uint8)):
        with pytest.raises(ImportError, match="expected Pillow to re.*Run: pip install pillow, or pass uint8 arrays"):
            detector.detect(image)


def interpreters(folder: Path, **errors: str) -> Path:
    """Writes packages whose `interpreter` raises, as a wheel for another system does; the others are not there."""
    for name in ("ai_edge_litert", "tflite_runtime"):
        if name in errors:
            (folder / name).mkdir()
            (folder / name / "__init__.py").write_text("")
            (folder / name / "interpreter.py").write_text(f"raise ImportError({errors[name]!r})\n")
        else:
            (folder / f"{name}.py").write_text(f"raise ModuleNotFoundError('No module named {name}', name='{name}')\n")
    return folder


GLIBC = "/lib/aarch64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found (required by litert.so)"


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ({}, "neither ai_edge_litert nor tflite_runtime is installed for .*Run: pip install ai-edge-litert"),
        ({"ai_edge_litert": GLIBC}, "ai_edge_litert is installed and does not load: .*GLIBC_2.38.*upgrade the system"),
        ({"tflite_runtime": "numpy.core.multiarray failed to import"}, "multiarray failed .*another NumPy"),
        ({"ai_edge_litert": "libcpu.so: no such file"}, "libcpu.so: no such file. Mend what the cause names"),
    ],
)
def test_why_an_interpreter_does_not_load_is_said(exported, image_paths, tmp_path, errors, expected):
    import re

    environment = {"PYTHONPATH": str(interpreters(tmp_path, **errors))}
    command = [sys.executable, str(Path(runtime.__file__)), str(exported["int8"]), str(image_paths[0])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert re.search(expected, done.stderr), done.stderr


def test_an_interpreter_that_loads_is_taken_where_the_first_does_not(tmp_path, monkeypatch):
    interpreters(tmp_path, ai_edge_litert=GLIBC, tflite_runtime="")
    (tmp_path / "tflite_runtime" / "interpreter.py").write_text("Interpreter = 'the older one'\n")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import runtime; print(runtime._interpreter_module().Interpreter)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(runtime.__file__).parent)],
        capture_output=True, text=True, check=False, env={"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.strip() == "the older one", done.stderr


def stored(detector: Detector, monkeypatch, order: list[int]) -> None:
    """Makes the operator leave four boxes in some order: two of one class and score, one of another, one better."""
    boxes = np.array([[0.5, 0, 1, 1], [0.1, 0.2, 1, 1], [0.1, 0.1, 1, 1], [0, 0, 1, 1]], np.float32)
    classes, scores = np.array([1, 0, 0, 1], np.float32), np.array([0.5, 0.5, 0.5, 0.9], np.float32)
    values = [array[order][None] for array in (boxes, classes, scores)] + [np.array([4.0], np.float32)]
    monkeypatch.setattr(detector, "_output", lambda position: values[position])


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]])
def test_equal_scores_come_in_one_order_whatever_the_operator_did(exported, monkeypatch, order):
    detector = Detector(exported["float32"])
    stored(detector, monkeypatch, order)
    found = detector.postprocess(0.3)
    assert found.classes.tolist() == [1, 0, 0, 1]
    np.testing.assert_allclose(found.boxes[:, 1] / detector.description.width, [0, 0.1, 0.2, 0], atol=1e-6)
    assert detector.postprocess(0.3, max_detections=2).scores.tolist() == found.scores[:2].tolist()


@pytest.mark.parametrize("stem", ["float32", "float32_raw"])  # of equal int8 scores the operator drops others
def test_one_thread_and_four_give_equal_scores_in_the_same_order(exported, image_paths, stem):
    detectors = [Detector(exported[stem], threads) for threads in (1, 4)]
    for path in image_paths:
        same(*(detector.detect(path, 0.01) for detector in detectors))
