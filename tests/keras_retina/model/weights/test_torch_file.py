"""Files of PyTorch are read without PyTorch, strides included, and nothing that they name is called."""

from __future__ import annotations

import io
import pickle
import struct
import sys
import types
from collections import OrderedDict

import numpy as np
import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.model.weights.torch_file import MAGIC_NUMBER, read_tensors


class Storage:
    def __init__(self, key: str, kind: type, values: np.ndarray) -> None:
        self.key, self.kind, self.values = key, kind, values


class Rebuilt:
    """Pickled as a call of torch._utils._rebuild_tensor_v2, as PyTorch does."""

    def __init__(self, storage: Storage, offset: int, shape: tuple, strides: tuple) -> None:
        self.arguments = (storage, offset, shape, strides, False, OrderedDict())

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.arguments


class Writer(pickle.Pickler):
    def persistent_id(self, value):
        if isinstance(value, Storage):
            return ("storage", value.kind, value.key, "cpu", value.values.size, None)
        return None


@pytest.fixture
def torch_names(monkeypatch) -> types.ModuleType:
    """Modules with the names that a file of PyTorch mentions."""
    torch, inner = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "LongStorage", "HalfStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def rebuild(*_):
        raise AssertionError("called")

    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    inner._rebuild_tensor_v2 = rebuild
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", inner)
    return torch


def torch_file(tensors: dict, storages: list[Storage]) -> bytes:
    file = io.BytesIO()
    for value in (MAGIC_NUMBER, 1001, {"little_endian": True}, OrderedDict(tensors), [one.key for one in storages]):
        Writer(file, protocol=2).dump(value)
    for storage in storages:
        file.write(struct.pack("<q", storage.values.size) + storage.values.tobytes())
    return file.getvalue()


def test_tensors_come_in_their_order_with_offset_and_strides(torch_names):
    numbers = Storage("7", torch_names.FloatStorage, np.arange(12, dtype=np.float32))
    count = Storage("3", torch_names.LongStorage, np.array([2**40]))
    tensors = {
        "kernel": Rebuilt(numbers, 0, (2, 3), (1, 2)),  # stored column by column
        "part": Rebuilt(numbers, 6, (2, 2), (3, 1)),
        "count": Rebuilt(count, 0, (), ()),
    }
    found = read_tensors(torch_file(tensors, [count, numbers]), "a.pth")
    assert list(found) == ["kernel", "part", "count"]
    assert found["kernel"].tolist() == [[0, 2, 4], [1, 3, 5]]
    assert found["part"].tolist() == [[6, 7], [9, 10]]
    assert found["count"] == 2**40


def test_an_empty_state_dictionary_is_empty():
    assert read_tensors(torch_file({}, []), "a.pth") == {}


@pytest.mark.parametrize(("offset", "shape", "strides"), [(7, (2, 3), (3, 1)), (0, (2,), (-1,)), (-1, (2,), (1,))])
def test_a_tensor_outside_its_storage_is_refused(torch_names, offset, shape, strides):
    numbers = Storage("7", torch_names.FloatStorage, np.arange(12, dtype=np.float32))
    data = torch_file({"kernel": Rebuilt(numbers, offset, shape, strides)}, [numbers])
    with pytest.raises(InputError, match=r"a\.pth: expected a \.pth file"):
        read_tensors(data, "a.pth")


def test_a_file_that_is_cut_off_or_of_another_kind_is_refused(torch_names):
    numbers = Storage("7", torch_names.FloatStorage, np.arange(12, dtype=np.float32))
    data = torch_file({"kernel": Rebuilt(numbers, 0, (12,), (1,))}, [numbers])
    halves = Storage("7", torch_names.HalfStorage, np.zeros(4, np.float16))
    others = [b"", b"PK\x03\x04zip", data[:40], data[:-1], pickle.dumps(5), pickle.dumps(MAGIC_NUMBER, protocol=2)]
    for other in [*others, torch_file({"kernel": Rebuilt(halves, 0, (4,), (1,))}, [halves])]:
        with pytest.raises(InputError, match=r"a\.pth: expected") as error:
            read_tensors(other, "a.pth")
        assert "\n" not in str(error.value)


def test_nothing_that_a_file_names_is_called(tmp_path):
    class Attack:
        def __reduce__(self):
            return (tmp_path / "made").touch, ()

    with pytest.raises(InputError, match="UnpicklingError"):
        read_tensors(pickle.dumps(Attack(), protocol=2), "a.pth")
    assert not (tmp_path / "made").exists()
