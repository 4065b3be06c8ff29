"""TFRecord files of other tools: every record is read or refused, none is skipped."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_retina.data.images import read_image
from keras_retina.data.reading.folder import available_splits, load_dataset, read_dataset
from keras_retina.data.records import PackedImage
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import tf

BOX = (0.25, 0.1, 0.75, 0.6)  # ymin, xmin, ymax, xmax


def png(value: int, height: int = 40, width: int = 60) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (value, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def example(image: bytes, boxes=(BOX,), labels=(1,), texts=("disc",), **more) -> bytes:
    """A record as the object detection API's tools write it; `more` are other features, by their last name."""
    sides = np.array(boxes, float).reshape(-1, 4).T.tolist()
    corners = dict(zip(("ymin", "xmin", "ymax", "xmax"), sides, strict=True))
    features = {
        "image/encoded": [image],
        "image/object/class/label": list(labels),
        "image/object/class/text": [text.encode() for text in texts],
        **{f"image/object/bbox/{name}": side for name, side in corners.items()},
        **{f"image/{name}": value for name, value in more.items()},
    }
    kinds = {bytes: "bytes_list", int: "int64_list", float: "float_list"}
    built = {
        name: tf.train.Feature(**{kinds[type(values[0])]: {"value": values}})
        for name, values in features.items()
        if len(values)
    }
    return tf.train.Example(features=tf.train.Features(feature=built)).SerializeToString()


def write(path: Path | str, *examples: bytes) -> Path:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for one in examples:
            writer.write(one)
    return Path(path)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two files of `train` with three records, one of `val`; classes star = 5 (in val alone) and disc = 1."""
    write(
        tmp_path / "train-00000-of-00002.tfrecord",
        example(png(10), filename=[b"a/ten.png"], source_id=[b"70"], height=[40], width=[60]),
        example(png(20), (), (), (), source_id=[b"71"]),
    )
    crowd = {"object/is_crowd": [0, 1]}
    two = example(png(30), [BOX, (0, 0, 1, 1)], (1, 1), ("disc", "disc"), source_id=[b"9"], **crowd)
    write(tmp_path / "train-00001-of-00002.tfrecord", two)
    write(tmp_path / "val.tfrecord-00000-of-00001", example(png(40), labels=(5,), texts=("star",)))
    return tmp_path


def test_images_boxes_classes_and_ids_are_read(folder):
    assert available_splits(folder) == ["train", "val"]
    train, val = load_dataset(folder, "train"), load_dataset(folder, "val")
    assert train.class_names == val.class_names == ("disc", "star")
    assert train.category_ids == val.category_ids == (1, 5)
    assert [read_image(record.path)[0, 0, 0] for record in train.records] == [10, 20, 30]
    assert [record.image_id for record in train.records] == [70, 71, 9]
    names = [record.file_name for record in train.records]
    assert names == ["a/ten.png", "train-00000-of-00002.tfrecord#1", "train-00001-of-00002.tfrecord#0"]
    assert {(record.height, record.width) for record in train.records} == {(40, 60)}
    np.testing.assert_allclose(train.records[0].boxes, [[10, 6, 30, 36]], rtol=1e-6)
    assert train.records[1].boxes.shape == (0, 4)
    np.testing.assert_allclose(train.records[2].boxes, [[10, 6, 30, 36], [0, 0, 40, 60]], rtol=1e-6)
    assert train.records[2].crowd.tolist() == [False, True]
    assert val.records[0].classes.tolist() == [1]
    assert val.records[0].image_id == 1  # no source_id


def test_files_may_be_named_by_a_pattern_and_be_remote(folder):
    one = load_dataset(folder / "train-00001*.tfrecord", "train")
    assert [record.image_id for record in one.records] == [9]
    tf.io.gfile.makedirs("ram://records")
    for path in folder.iterdir():
        tf.io.gfile.copy(str(path), f"ram://records/{path.name}", overwrite=True)
    for place in ("ram://records", "ram://records/*.tfrecord*"):
        remote = load_dataset(place, "train")
        assert [read_image(record.path)[0, 0, 0] for record in remote.records] == [10, 20, 30]


def test_classes_may_be_given_and_then_other_splits_are_not_read(folder):
    (folder / "val.tfrecord-00000-of-00001").write_bytes(b"damaged")
    train = load_dataset(folder, "train", classes=["star", "disc"])
    assert train.class_names == ("star", "disc")
    assert train.records[0].classes.tolist() == [1]
    with pytest.raises(InputError, match=r"one of the classes \['star'\] was expected\. Received: label=1, text="):
        load_dataset(folder, "train", classes=["star"])


@pytest.mark.parametrize(
    ("records", "classes", "names", "indices"),
    [
        ([((2,), ()), ((7,), ())], None, ("2", "7"), [0, 1]),  # numbers alone
        ([((2,), ()), ((1,), ())], ["a", "b"], ("a", "b"), [1, 0]),
        ([((), ("pear",)), ((), ("apple",))], None, ("apple", "pear"), [1, 0]),  # names alone
    ],
)
def test_numbers_or_names_alone_are_enough(tmp_path, records, classes, names, indices):
    write(tmp_path / "train.tfrecord", *[example(png(1), labels=labels, texts=texts) for labels, texts in records])
    dataset = load_dataset(tmp_path, "train", classes=classes)
    assert dataset.class_names == names
    assert [record.classes[0] for record in dataset.records] == indices


def test_files_are_read_once_with_one_record_in_memory(tmp_path, monkeypatch):
    """Forty images of 400 kB: more than two of them are never held, and no image is read again for its size."""
    noise = np.random.default_rng(0).integers(0, 256, 400_000, np.uint8).tobytes()
    large = example(png(7) + noise, filename=[b"large.png"])
    for number in range(4):
        write(tmp_path / f"train-{number:05}-of-00004.tfrecord", *[large] * 10)
    load_dataset(tmp_path, "train")  # imports, and what TensorFlow makes the first time
    monkeypatch.setattr(PackedImage, "read_bytes", None)
    tracemalloc.start()
    try:
        dataset = load_dataset(tmp_path, "train")
        kept, highest = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(dataset.records) == 40
    assert kept < 300_000
    assert 400_000 < highest < 8 * 400_000


# Bad input


@pytest.mark.parametrize("cut", [0.5, 0.9, 0.99])
def test_a_file_cut_short_is_refused_with_the_place(folder, cut: float):
    path = folder / "train-00000-of-00002.tfrecord"
    data = path.read_bytes()
    first = len(tf.data.TFRecordDataset([str(path)]).as_numpy_iterator().next()) + 16
    path.write_bytes(data[: first + int((len(data) - first) * cut)])
    wanted = rf"00000-of-00002\.tfrecord: .* after 1 good records, .* at byte {first} of {path.stat().st_size}\. Copy"
    with pytest.raises(InputError, match=wanted):
        load_dataset(folder, "train")


def test_a_changed_byte_is_refused_by_the_checksum(folder):
    path = folder / "train-00001-of-00002.tfrecord"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"after 0 good records, a damaged or cut one at byte 0 of .* compressed"):
        load_dataset(folder, "train")


def test_a_file_that_is_missing_is_missed(folder):
    (folder / "train-00001-of-00002.tfrecord").unlink()
    with pytest.raises(InputError, match=r"2 TFRecord files of 'train' were expected, .* Received: 1\."):
        load_dataset(folder, "train")


def test_a_record_that_is_no_example_is_refused(tmp_path):
    write(tmp_path / "train.tfrecord", b"\xff\xff no protobuf")
    with pytest.raises(InputError, match=r"train\.tfrecord: record 0: a tf\.train\.Example was expected"):
        load_dataset(tmp_path, "train")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (example(b""), "image/encoded, the bytes of an image file, was expected"),
        (example(b"no image"), "a complete image file was expected"),
        (example(png(1), [BOX, BOX]), "as many corners as labels were expected"),
        (example(png(1), labels=(), texts=()), "image/object/class/label or .../text was expected"),
        (example(png(1), labels=(-1,)), r"class/label: numbers from 1 were expected\. Received: -1 to -1"),
        (example(png(1), height=[0], width=[40]), "the size of .* was expected"),
        (example(png(1), height=[60], width=[40]), "the size of .* was expected"),
        (example(png(1), [(0.5, 0.1, 0.2, 0.6)]), "y1 <= y2 were expected"),
        (example(png(1), [(np.nan, 0.1, 0.2, 0.6)]), "finite box corners were expected"),
    ],
)
def test_a_wrong_label_is_a_problem_that_names_its_record(tmp_path, record: bytes, message: str):
    write(tmp_path / "train.tfrecord", example(png(1)), record)
    with pytest.raises(InputError, match=rf"train\.tfrecord: record 1.*{message}"):
        load_dataset(tmp_path, "train")
    (found,) = read_dataset(tmp_path, "train").problems
    assert not found.fixed


def test_boxes_that_leave_the_image_are_mended_and_counted(tmp_path):
    write(tmp_path / "train.tfrecord", example(png(1), [(-0.2, 0.1, 0.5, 1.2)]))
    dataset = load_dataset(tmp_path, "train")
    np.testing.assert_allclose(dataset.records[0].boxes, [[0, 6, 20, 60]], rtol=1e-5)
    assert [item.kind for item in dataset.problems] == ["outside_box"]


def test_two_names_for_one_number_are_refused(tmp_path):
    write(tmp_path / "train.tfrecord", example(png(1)), example(png(2), texts=("ball",)))
    with pytest.raises(InputError, match=r"one number for each class name .* Received: 1 'ball' beside 1 'disc'"):
        load_dataset(tmp_path, "train")


def test_splits_in_folders_of_their_own_are_named_after_the_folders(tmp_path):
    for split, texts, labels in (("train", ("disc",), (1,)), ("valid", ("star",), (2,))):
        (tmp_path / split).mkdir()
        write(tmp_path / split / "cells.tfrecord", example(png(10), labels=labels, texts=texts))
        (tmp_path / split / "cells_label_map.pbtxt").touch()
    assert available_splits(tmp_path) == ["train", "valid"]
    train, val = load_dataset(tmp_path, "train"), load_dataset(tmp_path, "val")
    assert train.class_names == val.class_names == ("disc", "star")
    assert (train.records[0].classes.tolist(), val.records[0].classes.tolist()) == ([0], [1])
