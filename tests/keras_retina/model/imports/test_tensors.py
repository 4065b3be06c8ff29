"""Files of tensors: what is read, and what is refused in one line without running it."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from keras_retina.foundation.errors import InputError
from keras_retina.model.imports import read_original
from keras_retina.model.imports.tensors import read_checkpoint


class Harmful:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder) -> None:
        self.folder = folder

    def __reduce__(self):
        import os

        return os.mkdir, (str(self.folder),)


def test_safetensors_are_read_without_pytorch(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    path = tmp_path / "half.safetensors"
    save_file({"module.a": np.array([1.5], np.float16), "module.count": np.array(7)}, path)
    tensors = read_checkpoint(path).tensors
    assert tensors["a"].dtype == np.float32 and tensors["a"].tolist() == [1.5]
    assert tensors["count"] == 7 and len(tensors) == 2


def test_a_pickle_called_safetensors_is_refused_and_not_run(tmp_path):
    path = tmp_path / "disguised.safetensors"
    path.write_bytes(pickle.dumps(Harmful(tmp_path / "made")))
    with pytest.raises(InputError, match="expected a complete .safetensors file") as error:
        read_checkpoint(path)
    assert not (tmp_path / "made").exists() and "\n" not in str(error.value)


def test_a_pth_without_pytorch_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "a.pth").write_bytes(b"")
    with pytest.raises(InputError, match=r"PyTorch was expected.*keras-retina\[torch\]"):
        read_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize(("name", "received"), [("a.onnx", r"\.onnx"), ("weights", "no ending")])
def test_other_endings_are_refused(tmp_path, name, received):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=f"Received: {received}"):
        read_checkpoint(tmp_path / name)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_checkpoint(tmp_path / "a.pth")


def test_tensors_of_another_network_are_refused_by_name(tmp_path):
    save_file({"fc.weight": np.zeros((2, 2), np.float32)}, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=r"Received: 1 tensors of another network, fc\.weight first"):
        read_original(tmp_path / "a.safetensors")


def test_pytorch_runs_nothing_and_finds_nested_weights(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch, which reads .pth files, is not installed")
    path = tmp_path / "a.pth"
    torch.save(Harmful(tmp_path / "made"), path)
    with pytest.raises(InputError, match="expected tensors by their names") as error:
        read_checkpoint(path)
    assert not (tmp_path / "made").exists() and "\n" not in str(error.value)
    path.write_bytes(pickle.dumps(Harmful(tmp_path / "made")))
    with pytest.raises(InputError, match="need no code to be read"):
        read_checkpoint(path)
    assert not (tmp_path / "made").exists()
    path.write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match="expected tensors by their names"):
        read_checkpoint(path)
    torch.save({"model": {"module.a": torch.ones(2, dtype=torch.bfloat16)}, "epoch": 3}, path)
    assert read_checkpoint(path).tensors["a"].tolist() == [1.0, 1.0]
    torch.save([torch.ones(1)], path)
    with pytest.raises(InputError, match="Received: a list"):
        read_checkpoint(path)
