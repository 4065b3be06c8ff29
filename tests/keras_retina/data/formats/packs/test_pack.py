"""A pack holds the same data set: labels, pixels and what training sees; damage is named."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_retina.data.formats.packs.pack import check_pack_input, read_pack
from keras_retina.data.formats.packs.write_pack import write_pack
from keras_retina.data.images import read_image
from keras_retina.data.reading.folder import available_splits, load_dataset
from keras_retina.data.records import Dataset, Record
from keras_retina.data.resize import STORED_AREA
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import tf

SIDE = 40  # of the network input


def make_dataset(folder: Path, split: str, sizes: list[tuple[int, int]], first_id: int) -> Dataset:
    """Noise of the given sizes; image n has n objects."""
    generator = np.random.default_rng(first_id)
    records = []
    for index, (height, width) in enumerate(sizes):
        path = folder / f"{split}_{index}.jpg"
        Image.fromarray(generator.integers(0, 256, (height, width, 3), np.uint8)).save(path, quality=90)
        corners = generator.uniform(0, [height / 2, width / 2], (index, 2))
        boxes = np.concatenate([corners, corners + [height / 3, width / 3]], axis=1).astype(np.float32)
        classes = (np.arange(index) % 2).astype(np.int32)
        name = f"photos/{split}_{index}.jpg"
        records.append(Record(first_id + index, path, name, height, width, boxes, classes, np.arange(index) == 2))
    return Dataset("noise", split, ("a", "b"), (3, 8), tuple(records))


@pytest.fixture(scope="module")
def datasets(tmp_path_factory) -> list[Dataset]:
    folder = tmp_path_factory.mktemp("files")
    return [
        make_dataset(folder, "train", [(50, 60), (200, 100), (64, 48), (300, 300)], 10),
        make_dataset(folder, "val", [(200, 100), (30, 30)], 90),
    ]


@pytest.fixture(scope="module")
def pack(datasets, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("packs") / "noise"
    write_pack(folder, datasets, training_split="train", height=SIDE, width=SIDE, shard_bytes=9000)
    return folder


def test_labels_names_and_ids_are_those_of_the_data_set(pack, datasets):
    assert available_splits(pack) == ["train", "val"]
    for dataset in datasets:
        packed = load_dataset(pack, dataset.split)
        assert (packed.name, packed.class_names, packed.category_ids) == ("noise", ("a", "b"), (3, 8))
        for record, original in zip(packed.records, dataset.records, strict=True):
            assert (record.image_id, record.file_name) == (original.image_id, original.file_name)
            scale = np.tile([record.height / original.height, record.width / original.width], 2)
            np.testing.assert_allclose(record.boxes, original.boxes * scale, rtol=1e-5)
            assert record.boxes.shape == original.boxes.shape
            np.testing.assert_array_equal(record.classes, original.classes)
            np.testing.assert_array_equal(record.crowd, original.crowd)


def test_images_that_are_measured_are_kept_byte_for_byte(pack, datasets):
    packed = read_pack(pack, "val")
    assert [record.path.read_bytes() for record in packed.records] == [
        record.path.read_bytes() for record in datasets[1].records
    ]


def test_large_training_images_are_stored_at_the_size_that_training_keeps(pack, datasets):
    for record, original in zip(read_pack(pack, "train").records, datasets[0].records, strict=True):
        image, before = read_image(record.path), read_image(original.path)
        assert image.shape == (record.height, record.width, 3)
        if before.shape[0] * before.shape[1] > STORED_AREA * SIDE * SIDE:
            assert image.shape[0] * image.shape[1] == pytest.approx(STORED_AREA * SIDE * SIDE, rel=0.05)
        else:
            np.testing.assert_array_equal(image, before)


def test_shards_are_tfrecords_that_other_programs_read(pack, datasets):
    shards = sorted(pack.glob("train-*.tfrecord"))
    assert len(shards) > 1
    examples = [
        tf.train.Example.FromString(record).features.feature
        for record in tf.data.TFRecordDataset([str(path) for path in shards]).as_numpy_iterator()
    ]
    packed = read_pack(pack, "train").records
    assert [example["image/encoded"].bytes_list.value[0] for example in examples] == [
        record.path.read_bytes() for record in packed
    ]
    third = examples[3]
    assert list(third["image/object/class/label"].int64_list.value) == [1, 2, 1]
    assert list(third["image/object/class/text"].bytes_list.value) == [b"a", b"b", b"a"]
    heights = [record.height for record in packed]
    np.testing.assert_allclose(
        third["image/object/bbox/ymin"].float_list.value, packed[3].boxes[:, 0] / heights[3], rtol=1e-5
    )


def test_classes_may_be_wanted_in_another_order_but_not_others(pack):
    turned = load_dataset(pack, "train", classes=["b", "a"])
    assert turned.category_ids == (8, 3)
    np.testing.assert_array_equal(turned.records[3].classes, [1, 0, 1])
    with pytest.raises(InputError, match=r"data\.classes: a class of the labels was expected"):
        load_dataset(pack, "train", classes=["a", "c"])


# Remote


def test_a_pack_in_a_remote_folder_is_the_same_data_set(pack, datasets):
    """`ram://` is TensorFlow's file system in memory; gs:// and others are reached through the same calls."""
    remote = Path("ram://bucket/packs/noise")  # pathlib makes ram:/bucket/... of it
    write_pack(remote, datasets, training_split="train", height=SIDE, width=SIDE, shard_bytes=9000)
    assert tf.io.gfile.exists("ram://bucket/packs/noise/pack.json")
    assert available_splits("ram://bucket/packs/noise") == available_splits(remote) == ["train", "val"]
    for split in ("train", "val"):
        here, there = load_dataset(pack, split), load_dataset(remote, split)
        assert len(here.records) == len(there.records)
        for one, other in zip(here.records, there.records, strict=True):
            assert other.path.read_bytes() == one.path.read_bytes()
            np.testing.assert_array_equal(other.boxes, one.boxes)
    with pytest.raises(InputError, match=r"an input of at least 80 x 40"):
        check_pack_input(remote, "train", height=2 * SIDE, width=SIDE)
    with pytest.raises(InputError, match=r"a new or empty folder was expected\. Received: ram://bucket/packs/noise\."):
        write_pack(remote, datasets, training_split="train", height=SIDE, width=SIDE)


def test_damage_in_a_remote_pack_is_named(datasets):
    remote = "ram://bucket/damaged"
    write_pack(Path(remote), datasets, training_split="train", height=SIDE, width=SIDE)
    record = read_pack(Path(remote), "val").records[0]
    shard = f"{remote}/val-00000.tfrecord"
    with tf.io.gfile.GFile(shard, "rb") as file:
        data = bytearray(file.read())
    data[record.path.offset + 5] ^= 1
    tf.io.gfile.remove(shard)  # ram:// appends to what is there
    with tf.io.gfile.GFile(shard, "wb") as file:
        file.write(bytes(data))
    with pytest.raises(InputError, match=r"ram://bucket/damaged/val-00000\.tfrecord: expected the bytes of val_0\.jpg"):
        read_image(record.path)
    tf.io.gfile.remove(shard)  # ram:// appends to what is there
    with tf.io.gfile.GFile(shard, "wb") as file:
        file.write(bytes(data[: len(data) // 2]))
    with pytest.raises(InputError, match=r"ram://bucket/damaged/val-00000\.tfrecord: a shard of \d+ bytes"):
        load_dataset(remote, "val")
    tf.io.gfile.remove(shard)
    with pytest.raises(InputError, match="Received: 0 bytes"):
        load_dataset(remote, "val")


@pytest.mark.parametrize("place", ["ram://bucket/nothing", "nosuchscheme://bucket/pack"])
def test_a_remote_folder_without_a_pack_is_refused_in_one_line(place: str):
    with pytest.raises(InputError, match=rf"{place}: pack\.json or .* was expected\. Received: [^\n]+\.$"):
        load_dataset(place, "train")


# Bad input


@pytest.fixture
def copy(pack, tmp_path) -> Path:
    return Path(shutil.copytree(pack, tmp_path / "copy"))


def test_a_shard_cut_in_half_is_refused_before_anything_is_read(copy):
    shard = copy / "val-00000.tfrecord"
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    with pytest.raises(InputError, match=r"val-00000\.tfrecord: a shard of \d+ bytes was expected"):
        load_dataset(copy, "val")
    shard.unlink()
    with pytest.raises(InputError, match="Received: 0 bytes"):
        load_dataset(copy, "val")


def test_changed_bytes_of_an_image_are_noticed_when_it_is_read(copy):
    record = read_pack(copy, "val").records[1]
    data = bytearray(record.path.shard.read_bytes())
    data[record.path.offset + 5] ^= 1
    record.path.shard.write_bytes(data)
    with pytest.raises(InputError, match=r"expected the bytes of val_1\.jpg as they were packed"):
        read_image(record.path)


def test_an_index_cut_in_half_or_of_another_version_is_refused(copy):
    index = copy / "val.json"
    index.write_text(index.read_text(encoding="utf-8")[:100], encoding="utf-8")
    with pytest.raises(InputError, match=r"val\.json: the JSON that .* was expected"):
        load_dataset(copy, "val")
    about = json.loads((copy / "pack.json").read_text(encoding="utf-8"))
    (copy / "pack.json").write_text(json.dumps(about | {"format": 9}), encoding="utf-8")
    with pytest.raises(InputError, match=r"pack\.json: the file that .* Received: format: Input should be 1"):
        load_dataset(copy, "train")
    (copy / "pack.json").write_text(json.dumps({"format": 1}), encoding="utf-8")
    with pytest.raises(InputError, match="Received: name: Field required"):
        load_dataset(copy, "train")


def test_a_pack_cannot_reach_outside_its_folder(copy):
    about = json.loads((copy / "pack.json").read_text(encoding="utf-8"))
    about["splits"]["val"]["shards"][0]["file"] = "../secret.tfrecord"
    (copy / "pack.json").write_text(json.dumps(about), encoding="utf-8")
    (copy.parent / "secret.tfrecord").write_bytes((copy / "val-00000.tfrecord").read_bytes())
    with pytest.raises(InputError, match=r"copy.secret\.tfrecord: a shard"):
        load_dataset(copy, "val")


def test_a_pack_made_for_a_smaller_input_is_refused_for_training_alone(pack, tmp_path):
    check_pack_input(pack, "train", height=SIDE, width=SIDE)
    check_pack_input(pack, "val", height=2 * SIDE, width=SIDE)
    check_pack_input(tmp_path, "train", height=2 * SIDE, width=SIDE)  # no pack
    with pytest.raises(InputError, match=r"an input of at least 80 x 40 were expected\. Received: 40 x 40"):
        check_pack_input(pack, "train", height=2 * SIDE, width=SIDE)


def test_an_image_that_cannot_be_read_leaves_no_pack_behind(datasets, tmp_path):
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(datasets[1].records[0].path.read_bytes()[:300])
    broken = dataclasses.replace(datasets[1], records=(dataclasses.replace(datasets[1].records[0], path=cut),))
    with pytest.raises(InputError, match=r"cut\.jpg: a complete image file was expected"):
        write_pack(tmp_path / "pack", [broken], training_split="train", height=SIDE, width=SIDE)
    assert [path.name for path in tmp_path.iterdir()] == ["cut.jpg"]


def test_a_folder_that_holds_something_is_left_alone(datasets, tmp_path):
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="a new or empty folder was expected"):
        write_pack(tmp_path, datasets, training_split="train", height=SIDE, width=SIDE)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
