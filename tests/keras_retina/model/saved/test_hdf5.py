"""Weights in HDF5 are in their own file alone, and have no more values than it has room for."""

from __future__ import annotations

import io

import h5py
import numpy as np
import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.model.saved.hdf5 import require_plain_weights


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "w.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("layers/conv/vars/0", data=np.ones((3, 3), np.float32))
        file.create_group("layers/relu/vars")
    return path


def refusal(path) -> str:
    with pytest.raises(InputError) as error:
        require_plain_weights(path, "model.keras")
    assert str(error.value).startswith("model.keras: expected weights of Keras in HDF5")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_groups_and_arrays_of_numbers_are_accepted_from_a_file_and_from_memory(weights):
    require_plain_weights(weights, "model.keras")
    require_plain_weights(io.BytesIO(weights.read_bytes()), "model.keras")


def test_values_of_another_file_of_the_machine_are_refused(weights, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"password" * 8)
    with h5py.File(weights, "a") as file:
        file.create_dataset("layers/conv/vars/1", (16,), "f4", external=[(str(secret), 0, 64)])
        assert file["layers/conv/vars/1"][0] != 0  # what it is about: HDF5 hands the bytes over
    assert "layers/conv/vars/1, an array whose values are in another file" in refusal(weights)


def test_a_virtual_array_is_refused(weights, tmp_path):
    layout = h5py.VirtualLayout((3, 3), "f4")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (3, 3))
    with h5py.File(weights, "a") as file:
        file.create_virtual_dataset("layers/conv/vars/1", layout)
    assert "whose values are in another file" in refusal(weights)


@pytest.mark.parametrize("link", [h5py.SoftLink("/layers/conv"), h5py.ExternalLink("other.h5", "/x")])
def test_links_are_refused(weights, link):
    with h5py.File(weights, "a") as file:
        file["layers/other"] = link
    assert "layers/other, a link" in refusal(weights)


def test_a_group_inside_itself_ends(weights):
    with h5py.File(weights, "a") as file:
        file["layers/conv/again"] = file["layers"]
    require_plain_weights(weights, "model.keras")


def test_an_array_that_unpacks_to_gigabytes_is_refused(weights):
    with h5py.File(weights, "a") as file:
        file.create_dataset("bomb", (10**9,), "f4", chunks=(2**20,), compression="gzip")
    assert "bytes, more than the file has room for" in refusal(weights)


def test_an_array_of_texts_is_refused(weights):
    with h5py.File(weights, "a") as file:
        file.create_dataset("names", data=np.array([b"x"] * 3))
    assert "names, an array of |S1" in refusal(weights)


@pytest.mark.parametrize("share", [0, 1, 2, 5, 9])
def test_a_cut_or_empty_file_is_refused(weights, share):
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size * share // 10])
    refusal(weights)


def test_changed_bytes_are_refused_or_read(weights):
    data, generator = weights.read_bytes(), np.random.default_rng(0)
    for _ in range(150):
        changed = bytearray(data)
        for _ in range(int(generator.integers(1, 4))):
            changed[generator.integers(len(data))] = generator.integers(256)
        try:
            require_plain_weights(io.BytesIO(bytes(changed)), "model.keras")
        except InputError as error:
            assert "\n" not in str(error)
