"""The runtime refuses files that somebody changed, and names them; as a program it never says less."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge import runtime
from edge.runtime import (
    ImageFileError,
    ModelFileError,
    description_sha256,
    read_description,
    read_image,
    read_member,
)
from edge.tflite.flatbuffer import append_members
from keras_retina.foundation.files.reading import sha256_of
from keras_retina.model.spec import DetectorSpec

NETWORK = b"\x00\x00\x00\x00TFL3"
LABELS = b"disc\nsquare\n"
SPEC = DetectorSpec(
    class_names=("disc", "square"),
    height=64,
    width=64,
    resize="stretch",
    levels=(3, 5),
    anchor_size=3.0,
    anchor_scales=(1.0,),
    anchor_ratios=(0.5, 1.0),
    coder_weights=(10.0, 10.0, 5.0, 5.0),
)


def a_file(path: Path, spec: dict | None = None, export: dict | None = None, *, checksum: bool = True) -> Path:
    """A description behind a network that holds nothing, with the changes in it and the checksums that belong to it."""
    text = json.dumps({**json.loads(SPEC.to_json()), **(spec or {})}).encode()
    facts = {"kind": "int8", "head": "raw", "score_threshold": 0.01, "iou_threshold": 0.5, "max_detections": 10}
    facts |= {"flatbuffer_bytes": len(NETWORK), "flatbuffer_sha256": sha256_of(NETWORK), **(export or {})}
    if checksum:
        facts["description_sha256"] = description_sha256(text, LABELS, export=facts)
    members = {"detector.json": text, "labels.txt": LABELS, "export.json": json.dumps(facts).encode()}
    path.write_bytes(append_members(NETWORK, members))
    return path


def test_a_sound_description_is_read_with_and_without_its_checksum(tmp_path):
    for checksum in (True, False):  # files of older versions have none
        assert read_description(a_file(tmp_path / "a.tflite", checksum=checksum)).class_names == ("disc", "square")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"anchor_size": 3.0', b'"anchor_size": 3.5'),
        (b'"score_threshold": 0.01', b'"score_threshold": 0.09'),
        (b"square\n", b"sphere\n"),
    ],
)
def test_a_description_that_was_changed_is_refused_by_its_checksum(tmp_path, old, new):
    path = a_file(tmp_path / "a.tflite")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    changed = {name: text.replace(old, new) for name, text in members.items()}
    assert changed != members
    path.write_bytes(append_members(NETWORK, changed))
    with pytest.raises(ModelFileError, match="a.tflite: .* the description inside does not have the checksum"):
        read_description(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("height", 64.0),
        ("height", True),
        ("anchor_size", 10**400),
        ("anchor_size", float("inf")),
        ("anchor_size", float("nan")),
        ("anchor_size", 1e300),
        ("anchor_scales", [1e-300]),
        ("levels", [3, 5, 6]),
        ("levels", [0, 10]),
        ("anchor_offset", "0.5"),
        ("coder_weights", [10.0, 10.0, 5.0, float("inf")]),
        ("max_detections", 10**9),
        ("max_detections", 1.5),
        ("iou_threshold", float("nan")),
        ("score_threshold", float("inf")),
        ("nms", ["per_class"]),
        ("flatbuffer_bytes", -1),
        ("flatbuffer_bytes", 10**400),
        ("flatbuffer_bytes", None),
    ],
)
def test_an_impossible_number_is_refused_with_the_right_checksum_too(tmp_path, field, value):
    place = "spec" if field in json.loads(SPEC.to_json()) else "export"
    with pytest.raises(ModelFileError, match="a.tflite: expected a complete detector file") as error:
        read_description(a_file(tmp_path / "a.tflite", **{place: {field: value}}))
    assert "\n" not in str(error.value) and len(str(error.value)) < 700


def test_more_anchors_than_fit_into_memory_are_counted_and_not_made(tmp_path):
    changes = {"height": 8192, "width": 8192, "levels": [0, 3], "anchor_ratios": [1.0] * 50}
    with pytest.raises(ModelFileError, match="4456448000 anchors"):
        read_description(a_file(tmp_path / "a.tflite", changes))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_of_another_method_is_not_unpacked(tmp_path, method):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("detector.json", b"{}")
    with zipfile.ZipFile(path) as archive, pytest.raises(ValueError, match="neither stored nor deflated"):
        read_member(archive, "detector.json")


def test_a_member_is_read_up_to_the_limit_whatever_it_declares(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("detector.json", b" " * 5_000_000)
    with zipfile.ZipFile(path) as archive, pytest.raises(ValueError, match="larger than 4000000 bytes"):
        read_member(archive, "detector.json")
    with zipfile.ZipFile(path) as archive:
        archive.getinfo("detector.json").file_size = 100  # as a forged list of contents would say it
        with pytest.raises((ValueError, zipfile.BadZipFile)):
            read_member(archive, "detector.json")


def test_changed_bytes_behind_a_network_are_refused_or_read(tmp_path):
    data, generator = a_file(tmp_path / "a.tflite").read_bytes(), np.random.default_rng(0)
    for _ in range(300):
        changed = bytearray(data)
        for _ in range(int(generator.integers(1, 5))):
            changed[int(generator.integers(len(NETWORK), len(data)))] = int(generator.integers(256))
        (tmp_path / "a.tflite").write_bytes(changed)
        try:
            read_description(tmp_path / "a.tflite")
        except ModelFileError as error:
            assert "a.tflite" in str(error) and "\n" not in str(error)


def test_eps_is_no_photo_whatever_it_is_called(tmp_path, monkeypatch):
    """Pillow would start Ghostscript on it."""
    monkeypatch.setattr(subprocess, "check_call", lambda *_, **__: pytest.fail("a program was started"))
    for name in ("photo.jpg", "photo.eps"):
        (tmp_path / name).write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
        with pytest.raises(ImageFileError, match=f"{name}: expected a complete image file"):
            read_image(tmp_path / name)


@pytest.mark.parametrize("size", [(65_501, 1), (1, 65_501), (11_000, 10_000)])
def test_a_photo_that_is_too_large_is_refused_before_it_is_decoded(tmp_path, size):
    Image.new("1", size).save(tmp_path / "photo.png")
    with pytest.raises(ImageFileError, match=f"photo.png: .*width={size[0]}, height={size[1]}"):
        read_image(tmp_path / "photo.png")


def refusals(folder: Path) -> dict[str, list[str]]:
    """Command lines that cannot be done, by the file that each has to name."""
    photo = folder / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)).save(photo)
    (folder / "cut.png").write_bytes(photo.read_bytes()[:500])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.tflite").write_bytes(b"no network")
    model = a_file(folder / "empty.tflite")
    named = {name: [name, str(photo)] for name in ("text.tflite", "empty.tflite", "missing.tflite")}
    named[folder.name] = [".", str(photo)]
    return {**named, "empty.tflite --threads": [str(model), str(photo), "--threads", "0"]}


def test_as_a_program_it_names_the_file_in_every_refusal(tmp_path):
    for name, words in refusals(tmp_path).items():
        command = [sys.executable, runtime.__file__, *words]
        ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
        assert ended.returncode == 2, ended.stderr
        line = ended.stderr.strip().splitlines()[-1]
        assert words[0] in line, (name, ended.stderr)
        assert "Traceback" not in ended.stderr


def test_as_a_program_it_names_the_photo(exported, tmp_path):
    refusals(tmp_path)
    for name in ("cut.png", "empty.jpg", "missing.png"):
        command = [sys.executable, runtime.__file__, str(exported["int8"]), name]
        ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
        assert ended.returncode == 2 and name in ended.stderr and "Traceback" not in ended.stderr, ended.stderr
