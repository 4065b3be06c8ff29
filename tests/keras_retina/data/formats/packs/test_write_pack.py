"""A pack is written whole or not at all, here and at an address, and what an error or a kill ended is continued."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from keras_retina.data.formats.packs import unfinished
from keras_retina.data.formats.packs import write_pack as writing
from keras_retina.data.formats.packs.pack import check_pack_input, read_pack
from keras_retina.data.formats.packs.unfinished import only_writer
from keras_retina.data.formats.packs.write_pack import write_pack
from keras_retina.data.images import read_image
from keras_retina.data.reading.folder import available_splits, load_dataset
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import tf

SIDE = 40  # of the network input, as in conftest.py


def write(folder: Path, datasets, **options) -> None:
    write_pack(
        folder, datasets, **{"training_split": "train", "height": SIDE, "width": SIDE, "shard_bytes": 9000} | options
    )


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


@pytest.mark.parametrize("place", ["ram://bucket/nothing", "ram://nowhere"])
def test_a_remote_folder_without_a_pack_is_refused_in_one_line(place: str):
    with pytest.raises(InputError, match=rf"{place}: pack\.json or .* was expected\. Received: [^\n]+\.$"):
        load_dataset(place, "train")


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


def test_nothing_to_pack_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"splits to pack were expected\. Received: none"):
        write(tmp_path / "pack", [])


def test_labels_that_a_pack_would_be_refused_for_are_not_packed(datasets, tmp_path):
    first = datasets[1].records[2]
    outside = dataclasses.replace(first, boxes=first.boxes + 1000)
    with pytest.raises(InputError, match=r"photos/val_2\.jpg: boxes\[0\]: expected corners inside the 100x200 image"):
        write(tmp_path / "pack", [dataclasses.replace(datasets[1], records=(outside,))])
    assert list(tmp_path.iterdir()) == []


# Killed


class Killed(BaseException):
    """Ends `write_pack` where a signal would: no `except Exception` sees it."""


@pytest.fixture
def kill_at(monkeypatch):
    """kill_at(n) ends the process at the n-th image from now on; kill_at(None) never. Returns the images read."""
    read: list[str] = []

    def at(number: int | None) -> list[str]:
        def counted(path):
            read.append(str(path))
            if number is not None and len(read) > number:
                raise Killed
            return read_image(path)

        read.clear()
        monkeypatch.setattr(writing, "read_image", counted)
        return read

    return at


@pytest.mark.parametrize("place", ["local", "remote"])
@pytest.mark.parametrize("killed", [0, 1, 3, 6])
def test_a_killed_process_is_continued_to_the_same_pack(datasets, pack, kill_at, tmp_path, place: str, killed: int):
    """Seven images in several shards: it dies before the first, inside and between shards, and in the second split."""
    folder = tmp_path / "noise" if place == "local" else Path(f"ram://killed/{killed}/noise")
    kill_at(killed)
    with pytest.raises(Killed):
        write(folder, datasets)
    assert not folder.exists()
    if place == "remote":
        with pytest.raises(
            InputError, match=r"noise: a pack that was written to its end .* Repeat the `keras-retina pack`"
        ):
            load_dataset(folder, "train")
    read = kill_at(None)
    write(folder, datasets)
    about = json.loads((pack / "pack.json").read_text(encoding="utf-8"))
    shards = [shard for split in ("train", "val") for shard in about["splits"][split]["shards"]]
    ends = np.cumsum([0, *(shard["images"] for shard in shards)])
    assert len(read) == 7 - max(end for end in ends if end <= killed)  # finished shards are not made again
    for split in ("train", "val"):
        assert [record.path.read_bytes() for record in read_pack(folder, split).records] == [
            record.path.read_bytes() for record in read_pack(pack, split).records
        ]
    names = {"pack.json"} | {shard["file"] for shard in shards}
    names |= {shard["file"].replace(".tfrecord", ".jsonl") for shard in shards}
    if place == "local":
        assert (folder / "pack.json").read_bytes() == (pack / "pack.json").read_bytes()
        assert {path.name for path in folder.iterdir()} == names
        assert [path.name for path in tmp_path.iterdir()] == ["noise"]
    else:
        assert set(tf.io.gfile.listdir(f"ram://killed/{killed}/noise")) == names


@pytest.mark.parametrize("call", ["write_text", "os.rename"])
def test_a_process_that_is_killed_after_the_last_shard_is_continued(
    datasets, pack, kill_at, tmp_path, monkeypatch, call
):
    """It dies when half of `pack.json` is written, or when the folder would get its name."""
    owner, _, name = call.rpartition(".")
    original = getattr(os if owner else writing, name)

    def killed(first: Path, second: Path | str) -> None:
        if owner or first.name == "pack.json":
            if not owner:
                first.write_text(second[: len(second) // 2], encoding="utf-8")
            raise Killed
        original(first, second)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(os if owner else writing, name, killed)
        write(tmp_path / "noise", datasets)
    assert [path.name for path in tmp_path.iterdir()] == [".noise.unfinished"]
    read = kill_at(None)
    write(tmp_path / "noise", datasets)
    assert read == []
    assert [path.name for path in tmp_path.iterdir()] == ["noise"]
    assert (tmp_path / "noise" / "pack.json").read_bytes() == (pack / "pack.json").read_bytes()
    assert not list((tmp_path / "noise").glob("unfinished*"))


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("full_at", ["pack.json", "val-00000.jsonl", "unfinished-val-00000.json"])
def test_a_full_disk_leaves_the_finished_shards_and_the_next_call_continues(
    datasets, pack, kill_at, tmp_path, monkeypatch, logged, full_at: str
):
    """Half of a file gets onto the disk: of the last one of all, of the last index, of the mark that it is whole."""
    hidden, original = tmp_path / ".noise.unfinished", writing.write_text

    def write_text(path: Path, text: str) -> None:
        if path.name == full_at:
            path.write_text(text[: len(text) // 2], encoding="utf-8")
            raise OSError(28, "No space left on device")
        original(path, text)

    with monkeypatch.context() as patch, logged() as lines, pytest.raises(InputError) as error:
        for module in (writing, unfinished):
            patch.setattr(module, "write_text", write_text)
        write(tmp_path / "noise", datasets)
    assert str(error.value) == (
        f"{tmp_path / 'noise'}: the pack could not be written. Received: No space left on device. Free disk space and "
        "repeat the command, which continues with the finished shards; or choose another folder."
    )
    about = json.loads((pack / "pack.json").read_text(encoding="utf-8"))
    shards = [Path(shard["file"]).stem for split in ("train", "val") for shard in about["splits"][split]["shards"]]
    whole = shards if full_at == "pack.json" else [shard for shard in shards if shard.startswith("train")]
    assert names_in(hidden) == {"unfinished.json", "unfinished.lock"} | {
        name for shard in whole for name in (f"{shard}.tfrecord", f"{shard}.jsonl", f"unfinished-{shard}.json")
    }
    assert lines[-1].startswith(f"finished shards kept in {hidden}: {len(whole)}. The same command continues")
    read = kill_at(None)
    write(tmp_path / "noise", datasets)
    assert len(read) == (0 if full_at == "pack.json" else 3)
    assert [path.name for path in tmp_path.iterdir()] == ["noise"]
    assert names_in(tmp_path / "noise") == names_in(pack)
    assert (tmp_path / "noise" / "pack.json").read_bytes() == (pack / "pack.json").read_bytes()


def test_a_bad_image_is_mended_and_the_shards_before_it_are_not_made_again(datasets, pack, kill_at, tmp_path):
    last, files = datasets[1].records[-1], tmp_path / "files"
    files.mkdir()
    own = files / "last.jpg"
    own.write_bytes(last.path.read_bytes()[:300])
    records = (*datasets[1].records[:-1], dataclasses.replace(last, path=own))
    broken = [datasets[0], dataclasses.replace(datasets[1], records=records)]
    with pytest.raises(InputError, match=r"last\.jpg: a complete image file was expected"):
        write(tmp_path / "noise", broken)
    shutil.copy2(last.path, own)
    read = kill_at(None)
    write(tmp_path / "noise", broken)
    assert set(map(Path, read)) & {record.path for record in datasets[0].records} == set()
    assert (tmp_path / "noise" / "pack.json").read_bytes() == (pack / "pack.json").read_bytes()


def test_other_settings_begin_anew_and_say_so(datasets, kill_at, logged):
    folder = Path("ram://killed/other/noise")
    kill_at(5)
    with pytest.raises(Killed):
        write(folder, datasets)
    read = kill_at(None)
    with logged() as lines:
        write(folder, datasets, height=2 * SIDE)
    assert any("has other labels or settings; beginning anew" in line for line in lines)
    assert len(read) == 7
    assert len(load_dataset(folder, "train").records) == 4


@pytest.mark.parametrize("damage", ["cut", "changed", "no marker", "new image"])
def test_a_finished_shard_that_was_damaged_is_made_again(datasets, pack, kill_at, tmp_path, damage: str):
    files = tmp_path / "files"
    files.mkdir()
    own = [
        dataclasses.replace(
            dataset,
            records=tuple(
                dataclasses.replace(record, path=Path(shutil.copy2(record.path, files))) for record in dataset.records
            ),
        )
        for dataset in datasets
    ]
    kill_at(4)
    with pytest.raises(Killed):
        write(tmp_path / "noise", own)
    shard = tmp_path / ".noise.unfinished" / "train-00000.tfrecord"
    if damage == "cut":
        shard.write_bytes(shard.read_bytes()[:-10])
    elif damage == "changed":
        data = bytearray(shard.read_bytes())
        data[50] ^= 1
        shard.write_bytes(data)
    elif damage == "no marker":
        (shard.parent / "unfinished-train-00000.json").write_text("{", encoding="utf-8")
    else:
        own[0].records[0].path.touch()
    read = kill_at(None)
    write(tmp_path / "noise", own)
    assert f"{files / 'train_0.jpg'}" in read
    assert (tmp_path / "noise" / "pack.json").read_bytes() == (pack / "pack.json").read_bytes()


def test_an_unfinished_folder_with_files_of_others_is_left_alone(datasets, kill_at):
    folder = Path("ram://killed/mixed/noise")
    kill_at(2)
    with pytest.raises(Killed):
        write(folder, datasets)
    with tf.io.gfile.GFile("ram://killed/mixed/noise/mine.txt", "w") as file:
        file.write("mine")
    kill_at(None)
    with pytest.raises(InputError, match="a new or empty folder was expected"):
        write(folder, datasets, height=2 * SIDE)
    assert tf.io.gfile.exists("ram://killed/mixed/noise/mine.txt")


# Two at the same time


def test_a_second_process_is_refused_and_takes_nothing_from_the_first(datasets, pack, kill_at, tmp_path):
    """The first one has finished shards; settings of the second are others, for which it would begin anew."""
    folder, hidden = tmp_path / "noise", tmp_path / ".noise.unfinished"
    kill_at(4)
    with pytest.raises(Killed):
        write(folder, datasets)
    before = {path.name: path.read_bytes() for path in hidden.iterdir()}
    kill_at(None)
    is_refused = pytest.raises(
        InputError, match=r"--out: expected a folder that no other process writes\..* is at work"
    )
    with only_writer(hidden), is_refused:  # the first one is at work again
        write(folder, datasets, height=2 * SIDE)
    assert {path.name: path.read_bytes() for path in hidden.iterdir()} == before
    assert not folder.exists()
    write(folder, datasets)
    assert (folder / "pack.json").read_bytes() == (pack / "pack.json").read_bytes()


def test_at_an_address_the_first_process_ends_when_another_began(datasets, monkeypatch):
    """The second one begins, and ends, while the first one reads its third image."""
    folder, read = Path("ram://twice/noise"), []

    def read_and_begin(path):
        read.append(path)
        if len(read) == 3:
            write(folder, datasets, height=2 * SIDE)
        return read_image(path)

    monkeypatch.setattr(writing, "read_image", read_and_begin)
    with pytest.raises(InputError, match=r"--out: expected a folder that no other process writes\. .* began later"):
        write(folder, datasets)
    for split in ("train", "val"):  # the pack of the second one is whole
        for record in load_dataset(folder, split).records:
            read_image(record.path)
    check_pack_input(folder, "train", height=2 * SIDE, width=SIDE)
