"""Detections of a split are the same from one process and from several, and errors in a process arrive."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edge.detectors.split import detect_split
from edge.quantize.calibration import calibration_listing
from edge.runtime import ModelFileError
from edge.verify.verify import dataset_sha256
from keras_retina.data.formats.packs.pack import read_pack
from keras_retina.data.formats.packs.write_pack import write_pack
from keras_retina.data.records import Dataset, Record
from keras_retina.foundation.errors import InputError


@pytest.fixture(scope="module")
def split(tiny_spec, image_paths) -> Dataset:
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.int32), np.zeros(0, bool)
    records = tuple(Record(number, path, path.name, 120, 160, *nothing) for number, path in enumerate(image_paths))
    return Dataset("drawn", "val", tiny_spec.class_names, (7, 3, 5), records)


def test_several_processes_find_what_one_finds_in_the_same_order(exported, split):
    alone = detect_split(exported["int8"], split, processes=1)
    assert len({item["image_id"] for item in alone}) == len(split.records)
    assert detect_split(exported["int8"], split, processes=2) == alone
    assert detect_split(exported["int8"], split) == alone


def test_a_packed_split_gives_the_detections_calibration_and_hash_of_its_files(exported, split, tmp_path):
    write_pack(tmp_path / "pack", [split], training_split="train", height=128, width=128)
    packed = read_pack(tmp_path / "pack", "val")
    assert detect_split(exported["int8"], packed, processes=2) == detect_split(exported["int8"], split, processes=1)
    assert dataset_sha256(packed) == dataset_sha256(split)
    images = [record.path for record in packed.records]
    assert calibration_listing(images) == calibration_listing([record.path for record in split.records])


def test_more_processes_than_images_leave_nothing_out(exported, split):
    two = dataclasses.replace(split, records=split.records[:2])
    assert detect_split(exported["float32"], two, processes=3) == detect_split(exported["float32"], two, processes=1)


def test_an_image_that_a_process_cannot_read_is_named(exported, split, tmp_path):
    broken = tmp_path / "cut.jpg"
    broken.write_bytes(split.records[0].path.read_bytes()[:200])
    records = (*split.records[:-1], dataclasses.replace(split.records[-1], path=broken))
    with pytest.raises(InputError, match=r"cut\.jpg: a complete image file was expected"):
        detect_split(exported["int8"], dataclasses.replace(split, records=records), processes=2)


def test_a_file_that_is_no_detector_is_refused_from_a_process_too(split, tmp_path):
    (tmp_path / "x.tflite").write_bytes(b"\0\0\0\0TFL3")
    with pytest.raises(ModelFileError, match=r"x\.tflite: expected a complete detector file"):
        detect_split(tmp_path / "x.tflite", split, processes=2)


def test_a_process_that_dies_is_an_error_with_its_last_line(exported, split, monkeypatch):
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(ModelFileError, match="its process ended with 1"):
        detect_split(exported["int8"], split, processes=2)
