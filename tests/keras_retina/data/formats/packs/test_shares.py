"""A pack at an address is read by several workers: together what one process reads, and continued inside an epoch."""

from __future__ import annotations

from pathlib import Path

import pytest

from keras_retina.data.formats.packs.write_pack import write_pack
from keras_retina.data.pipeline import training_views
from keras_retina.data.reading.folder import load_dataset
from keras_retina.data.reading.order import BatchShare
from keras_retina.data.records import Dataset
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files import reading
from keras_retina.model.spec import detector_spec
from keras_retina.recipe.data import Augmentation
from keras_retina.recipe.model import Input, Model

SIDE = 40  # of the pack, as in conftest.py
SPEC = detector_spec(Model(input=Input(height=64, width=64)), ("a", "b"))


@pytest.fixture(scope="module")
def remote(datasets) -> Dataset:
    folder = "ram://workers/noise"
    write_pack(Path(folder), datasets, training_split="train", height=SIDE, width=SIDE, shard_bytes=9000)
    return load_dataset(folder, "train")


def samples(dataset: Dataset, count: int, **options) -> list[tuple[bytes, ...]]:
    """The bytes of image, boxes, classes and flags of the first samples, with the usual augmentation."""
    views = training_views(dataset, SPEC, augmentation=Augmentation(), seed=5, cache_mebibytes=0, **options)
    return [tuple(part.tobytes() for part in sample) for sample in views.take(count).as_numpy_iterator()]


@pytest.fixture(scope="module")
def whole(remote) -> list[tuple[bytes, ...]]:
    """Twelve samples of one process, three epochs."""
    return samples(remote, 12)


def test_two_workers_have_together_the_samples_of_one_process(remote, whole):
    """In batches of 6, which do not divide the 4 images, each reads 3."""
    assert len(set(whole)) == 12
    for worker in range(2):
        own = samples(remote, 6, batch_size=6, share=BatchShare(worker, 2))
        assert own == whole[3 * worker : 3 * worker + 3] + whole[6 + 3 * worker : 9 + 3 * worker]


def test_a_worker_continues_inside_an_epoch(remote, whole):
    """Three workers have taken one step: 3 of the 4 images of the first epoch are read."""
    assert samples(remote, 2, batch_size=3, share=BatchShare(1, 3), first_sample=3) == whole[4:10:3]


def test_a_file_address_is_the_local_folder(datasets, tmp_path):
    address = (tmp_path / "noise").as_uri()
    assert address.startswith("file:///")
    write_pack(Path(address), datasets, training_split="train", height=SIDE, width=SIDE)
    assert (tmp_path / "noise" / "pack.json").is_file()
    local, same = (load_dataset(place, "val").records for place in (tmp_path / "noise", address))
    assert [record.path for record in local] == [record.path for record in same]


@pytest.mark.parametrize("address", ["s3://bucket/pack", "https://host/pack"])
def test_an_address_without_a_file_system_says_what_to_install(datasets, address: str):
    scheme = address.partition(":")[0]
    wanted = rf"^{address}\S*: an address that TensorFlow .* can open .* {scheme}://, .* Install rclone, .* folder\.$"
    with pytest.raises(InputError, match=wanted) as error:
        load_dataset(address, "train")
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=wanted):
        write_pack(Path(address), datasets, training_split="train", height=SIDE, width=SIDE)


def test_no_more_of_a_remote_file_is_read_than_the_image(datasets, tmp_path, monkeypatch):
    """Python's GFile would ask for 512 KiB; here the system counts what the process reads."""
    counter = Path("/proc/self/io")
    if not counter.exists():
        pytest.skip("no count of bytes on this system")
    shard = tmp_path / "shard"
    shard.write_bytes(bytes(range(256)) * 2**14)
    monkeypatch.setattr(reading, "remote_address", lambda path: f"file://{path}")

    def characters() -> int:
        return int(counter.read_text(encoding="ascii").split()[1])

    reading.read_bytes(shard, 5, length=10)
    before = characters()
    assert reading.read_bytes(shard, 1_000_000, length=20_000) == shard.read_bytes()[1_000_000:1_020_000]
    own = characters() - before - shard.stat().st_size
    assert 20_000 <= own < 40_000
