"""A pack holds the same data set: labels, pixels and what training sees; damage is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from keras_retina.data.formats.packs.pack import check_pack_input, read_pack
from keras_retina.data.images import read_image
from keras_retina.data.reading.folder import available_splits, load_dataset
from keras_retina.data.resize import STORED_AREA
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import tf

SIDE = 40  # of the network input, as in conftest.py


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


# Format 1


def as_format_1(folder: Path) -> None:
    """Makes of a pack what the first version wrote: one index for all shards of a split, no checksums of files."""
    about = json.loads((folder / "pack.json").read_text(encoding="utf-8"))
    for split, packed in about["splits"].items():
        entries = []
        for number, shard in enumerate(packed["shards"]):
            index = (folder / shard["file"]).with_suffix(".jsonl")
            entries += [json.loads(line) | {"shard": number} for line in index.read_text(encoding="utf-8").splitlines()]
            index.unlink()
        (folder / f"{split}.json").write_text(json.dumps(entries), encoding="utf-8")
        packed["shards"] = [{name: shard[name] for name in ("file", "bytes")} for shard in packed["shards"]]
    (folder / "pack.json").write_text(json.dumps(about | {"format": 1}), encoding="utf-8")


def test_packs_of_the_first_format_are_read(copy, pack):
    as_format_1(copy)
    for split in available_splits(pack):
        for one, other in zip(read_pack(copy, split).records, read_pack(pack, split).records, strict=True):
            assert one.path.read_bytes() == other.path.read_bytes()
            assert (one.image_id, one.file_name, one.height, one.width) == (
                other.image_id,
                other.file_name,
                other.height,
                other.width,
            )
            np.testing.assert_array_equal(one.boxes, other.boxes)
            np.testing.assert_array_equal(one.classes, other.classes)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shard": -1}, r"entry 1: shard: expected a whole number from 0 to 0\. Received: shard=-1"),
        ({"shard": None}, r"entry 1: shard: expected a whole number"),
        ({"classes": [-1]}, r"entry 1: classes\[0\]: expected an index of 2 classes"),
        ({"image_id": 90}, r"entry 1: image_id: expected another one than that of .*entry 0"),
    ],
)
def test_a_wrong_entry_of_the_first_format_is_refused(copy, fields, message: str):
    as_format_1(copy)
    index = copy / "val.json"
    entries = json.loads(index.read_text(encoding="utf-8"))
    entries[1] |= fields
    index.write_text(json.dumps(entries), encoding="utf-8")
    with pytest.raises(InputError, match=rf"val\.json: {message}"):
        read_pack(copy, "val")


# Bad input


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


def test_an_index_cut_in_half_or_changed_is_refused(copy):
    index = copy / "val-00000.jsonl"
    text = index.read_text(encoding="utf-8")
    index.write_text(text[:100], encoding="utf-8")
    with pytest.raises(
        InputError, match=r"val-00000\.jsonl: the index of \d+ bytes .* Received: 100 bytes with another"
    ):
        load_dataset(copy, "val")
    index.write_text(text.replace("val_0.jpg", "val_9.jpg"), encoding="utf-8")
    with pytest.raises(
        InputError, match=r"val-00000\.jsonl: the index of .* with another SHA-256\. Copy the file again"
    ):
        load_dataset(copy, "val")
    index.unlink()
    with pytest.raises(InputError, match=r"val-00000\.jsonl: a file that .* No such file"):
        load_dataset(copy, "val")
    load_dataset(copy, "train")  # which is whole


def change_about(folder: Path, change: Callable[[dict], object]) -> None:
    about = json.loads((folder / "pack.json").read_text(encoding="utf-8"))
    change(about)
    (folder / "pack.json").write_text(json.dumps(about), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda about: about.update(format=9), r"format: expected Input should be 1 or 2\. Received: format=9"),
        (lambda about: about.pop("name"), "name: expected Field required"),
        (lambda about: about.update(class_names=["a"]), r"category_ids: expected one for each of 1 class_names"),
        (lambda about: about.update(class_names=["a", "a"]), r"class_names: expected each value once.*='a'"),
        (lambda about: about.update(category_ids=[3, 3]), r"category_ids: expected each value once.*=3"),
        (
            lambda about: about.update(category_ids=[3, 10**200]),
            r"category_ids\.1: expected .* Received: .*a huge number",
        ),
        (lambda about: about.update(splits={}), "splits: expected at least one"),
        (lambda about: about["splits"]["val"].update(images=7), r"splits\.val\.images: expected 3, as in its shards"),
        (
            lambda about: about["splits"]["val"]["shards"][0].update(bytes=0),
            r"splits\.val\.shards\.0\.bytes: .*bytes=0",
        ),
        (
            lambda about: about["splits"]["val"]["shards"][0].pop("sha256"),
            r"splits\.val\.shards\.0\.sha256: expected a value",
        ),
        (
            lambda about: about["splits"]["val"]["shards"].append(about["splits"]["val"]["shards"][0]),
            r"splits\.val\.shards: expected each file once",
        ),
        (lambda about: about["reduced_for"].update(height=0), r"reduced_for\.height: .*height=0"),
        (lambda about: about["splits"].update({"../val": about["splits"]["val"]}), "splits: expected names without a"),
    ],
)
def test_a_pack_file_that_contradicts_itself_is_refused(copy, change, message: str):
    change_about(copy, change)
    with pytest.raises(InputError, match=rf"pack\.json: {message}") as error:
        load_dataset(copy, "val")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "9" * 5000, "[]", "null"])
def test_a_pack_file_that_is_no_object_is_refused(copy, text: str):
    """Nor are its shards then read as TFRecord files of another program."""
    (copy / "pack.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"pack\.json") as error:
        load_dataset(copy, "val")
    assert len(str(error.value)) < 400


def test_a_pack_cannot_reach_outside_its_folder(copy):
    change_about(copy, lambda about: about["splits"]["val"]["shards"][0].update(file="../secret.tfrecord"))
    (copy.parent / "secret.tfrecord").write_bytes((copy / "val-00000.tfrecord").read_bytes())
    with pytest.raises(InputError, match=r"copy.secret\.tfrecord: a shard"):
        load_dataset(copy, "val")


def test_a_pack_made_for_a_smaller_input_is_refused_for_training_alone(pack, tmp_path):
    check_pack_input(pack, "train", height=SIDE, width=SIDE)
    check_pack_input(pack, "val", height=2 * SIDE, width=SIDE)
    check_pack_input(tmp_path, "train", height=2 * SIDE, width=SIDE)  # no pack
    with pytest.raises(InputError, match=r"an input of at least 80 x 40 were expected\. Received: 40 x 40"):
        check_pack_input(pack, "train", height=2 * SIDE, width=SIDE)
