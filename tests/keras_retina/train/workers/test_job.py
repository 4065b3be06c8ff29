"""What a worker is told when another one is gone, and that differing data have different digests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from keras_retina.data.records import Dataset, Record
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.train.workers import job
from keras_retina.train.workers.cluster import Cluster
from keras_retina.train.workers.job import ALONE, Job, digest_of_data, is_of_lost_worker, joined

GONE = "{{function_node}} Collective ops is aborted by: Error reported from /job:worker/task:1"


def after(cause: Exception) -> InputError:
    """Returns an error that says that a checkpoint could not be written, as one of `replacing` would."""
    try:
        try:
            raise cause
        except Exception as error:
            raise OSError(0, "reason") from error
    except OSError as error:
        wrapped = InputError("could not be written")
        wrapped.__cause__ = error
        return wrapped


@pytest.mark.parametrize("kind", [tf.errors.UnavailableError, tf.errors.InternalError, tf.errors.AbortedError])
def test_a_lost_worker_is_told_from_a_full_disk_however_deep_it_lies(kind):
    assert is_of_lost_worker(kind(None, None, GONE))
    assert is_of_lost_worker(after(kind(None, None, GONE)))
    assert not is_of_lost_worker(after(tf.errors.ResourceExhaustedError(None, None, "No space left on device")))
    assert not is_of_lost_worker(InputError("data: expected images"))


def dataset(folder, **changes) -> Dataset:
    path = folder / "a.png"
    if not path.exists():
        path.write_bytes(b"12345")
    fields = {
        "image_id": 1,
        "path": path,
        "file_name": "a.png",
        "height": 5,
        "width": 6,
        "boxes": np.array([[0, 0, 2, 2]], np.float32),
        "classes": np.array([0], np.int32),
        "crowd": np.array([False]),
    }
    return Dataset("set", "train", ("ring", "cross"), (1, 2), (Record(**fields | changes),))


@pytest.mark.parametrize(
    "changes",
    [
        {"boxes": np.array([[0, 0, 2, 3]], np.float32)},
        {"classes": np.array([1], np.int32)},
        {"crowd": np.array([True])},
        {"file_name": "b.png"},
        {"width": 7},
    ],
)
def test_any_change_of_the_labels_changes_the_digest(tmp_path, changes):
    assert digest_of_data({"train": dataset(tmp_path)}) == digest_of_data({"train": dataset(tmp_path)})
    assert digest_of_data({"train": dataset(tmp_path, **changes)}) != digest_of_data({"train": dataset(tmp_path)})


def test_another_file_and_another_class_name_change_the_digest(tmp_path):
    first = dataset(tmp_path)
    before = digest_of_data({"train": first})
    assert digest_of_data({"train": replace(first, class_names=("ring", "star"))}) != before
    assert digest_of_data({"val": first}) != before
    (tmp_path / "a.png").write_bytes(b"123456")
    assert digest_of_data({"train": first}) != before


def test_a_process_that_trains_alone_agrees_with_itself(tmp_path):
    with joined(None, None, run_dir=tmp_path) as own:
        assert own is ALONE
        assert own.is_chief
        assert own.agree_on_data(lambda: {"train": dataset(tmp_path)}).keys() == {"train"}
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_workers_that_would_compute_in_another_precision_are_told_which(monkeypatch):
    model, worker = keras.Sequential([keras.layers.Dense(1, input_shape=(1,))]), Job(Cluster(("a:1", "b:2"), 0))
    monkeypatch.setattr(job, "gather_json", lambda _, said: [said, said])
    worker.agree_on_start(model, precision="float32")
    monkeypatch.setattr(job, "gather_json", lambda _, said: [said, {"facts": said["facts"] | {"precision": "float16"}}])
    told = r"the same precision on all of them\. Received: worker 1 at b:2 has precision float16; worker 0"
    with pytest.raises(InputError, match=told):
        worker.agree_on_start(model, precision="float32")
