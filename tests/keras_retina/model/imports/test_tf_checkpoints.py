"""Checkpoints of TensorFlow: by what path they are found, and what is refused in one line."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import tf
from keras_retina.model.imports import read_original
from keras_retina.model.imports.tf_checkpoints import prefix_of, read_tf_checkpoint


@pytest.fixture
def folder(tmp_path):
    """A folder with two checkpoints, of which `checkpoint` names the second one."""
    variable = tf.Variable(np.arange(1000, dtype=np.float32), name="layer/kernel")
    tree = tf.train.Checkpoint(head=tf.train.Checkpoint(kernel=variable, half=tf.Variable(1.5, dtype=tf.bfloat16)))
    saved = tmp_path / "saved"
    for _ in range(2):
        tree.save(str(saved / "ckpt"))
    return saved


def test_a_checkpoint_is_found_by_its_folder_its_path_and_its_files(folder):
    for name in ("ckpt-2", "ckpt-2.index", "ckpt-2.data-00000-of-00001", ""):
        assert prefix_of(folder / name) == folder / "ckpt-2"
    assert prefix_of(folder / "ckpt-1") == folder / "ckpt-1"


def test_a_folder_that_was_moved_is_still_found(folder, tmp_path):
    shutil.move(folder, tmp_path / "moved")
    assert prefix_of(tmp_path / "moved") == tmp_path / "moved" / "ckpt-2"


def test_weights_are_float32_with_the_names_of_their_layers(folder):
    checkpoint = read_tf_checkpoint(folder / "ckpt-2")
    np.testing.assert_array_equal(checkpoint.tensors["head/kernel"], np.arange(1000))
    assert checkpoint.tensors["head/half"].dtype == np.float32 and checkpoint.tensors["head/half"] == 1.5
    assert checkpoint.layer_names["head/kernel"] == "layer/kernel" and not checkpoint.averages


def test_other_paths_are_no_checkpoint_of_tensorflow(tmp_path):
    assert prefix_of(tmp_path) is None and prefix_of(tmp_path / "a.pth") is None
    with pytest.raises(InputError, match="or with a file called checkpoint .Model Garden.. Received: neither"):
        read_original(tmp_path)
    with pytest.raises(InputError, match="ends in .pth, .pt or .safetensors, or one of TensorFlow with its .index"):
        (tmp_path / "a.bin").touch()
        read_original(tmp_path / "a.bin")


@pytest.mark.parametrize("text", ["", "no list", 'model_checkpoint_path: "ckpt-9"'])
def test_a_folder_whose_latest_checkpoint_is_not_there_is_refused(tmp_path, text):
    (tmp_path / "checkpoint").write_text(text)
    with pytest.raises(InputError, match="expected the name of a checkpoint in this folder") as error:
        read_original(tmp_path)
    assert "\n" not in str(error.value)


def test_data_without_an_index_are_refused(folder):
    (folder / "ckpt-2.index").unlink()
    with pytest.raises(InputError, match="expected the index of the checkpoint. Received: no such file"):
        read_original(folder / "ckpt-2.data-00000-of-00001")


@pytest.mark.parametrize("damage", ["truncated data", "no data", "truncated index", "another index"])
def test_damaged_files_are_refused_in_one_line(folder, damage):
    data, index = folder / "ckpt-2.data-00000-of-00001", folder / "ckpt-2.index"
    if damage == "no data":
        data.unlink()
    elif damage == "another index":
        index.write_bytes(b"not an index at all" * 20)
    else:
        path = data if damage == "truncated data" else index
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="expected a whole checkpoint of TensorFlow") as error:
        read_original(folder / "ckpt-2")
    assert "\n" not in str(error.value)


def test_a_checkpoint_of_tensorflow_1_is_refused(tmp_path):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.get_variable("resnet/kernel", initializer=np.ones(3, np.float32))
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver().save(session, str(tmp_path / "model.ckpt"))
    with pytest.raises(InputError, match="Received: one of TensorFlow 1, with resnet/kernel"):
        read_original(tmp_path / "model.ckpt")
