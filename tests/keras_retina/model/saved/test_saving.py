"""`model.keras` loads with plain Keras, carries anchors and coder, survives a full disk, and runs nobody's code."""

from __future__ import annotations

import dataclasses
import datetime
import errno
import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.losses import BoxLoss, FocalLoss
from keras_retina.model.retinanet import detector_network
from keras_retina.model.saved.archive import ANCHORS_MEMBER, SPEC_MEMBER
from keras_retina.model.saving import load_detector, save_detector
from keras_retina.model.spec import detector_spec
from keras_retina.recipe.model import Model


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (1, 128, 128, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def saved(tiny_detector, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    save_detector(*tiny_detector, path)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as error:
        load_detector(path)
    message = str(error.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_the_same_detector_is_the_same_file_whenever_it_is_saved(tiny_detector, saved, tmp_path, monkeypatch):
    class Later(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2031, 5, 17, 12, 30, 58, tzinfo=tz)

    monkeypatch.setattr("tf_keras.src.saving.saving_lib.datetime.datetime", Later)
    monkeypatch.setattr("zipfile.time.localtime", lambda *_: (2031, 5, 17, 12, 30, 58, 5, 137, 0))
    again = tmp_path / "again.keras"
    save_detector(*tiny_detector, again)
    assert again.read_bytes() == saved.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["again.keras"]


def rewrite(source: Path, target: Path, changes: dict[str, bytes | None]) -> Path:
    """Copies a zip with some members replaced, added, or (None) left out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            if name not in changes:
                new.writestr(name, old.read(name))
        for name, content in changes.items():
            if content is not None:
                new.writestr(name, content)
    return target


def config_of(path: Path) -> dict:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("config.json"))


# What is saved


def test_a_saved_detector_is_loaded_back_with_equal_outputs_and_description(saved, tiny_detector, images):
    model, spec = load_detector(saved)
    original, original_spec = tiny_detector
    assert spec == original_spec
    ours, theirs = model(images), original(images)
    assert sorted(ours) == ["boxes", "classes"]
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_an_efficientnet_is_loaded_back_in_a_process_without_keras_cv(tmp_path, images):
    settings = Model(
        backbone={"name": "efficientnet_lite0", "weights": "none", "frozen_stages": 0, "batch_norm": "trained"},
        input={"height": 128, "width": 128},
        pyramid={"levels": (3, 5), "width": 8},
        head={"width": 8, "convolutions": 0},
    )
    model = detector_network(settings, 2)
    save_detector(model, detector_spec(settings, ("a", "b")), tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", images)
    code = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from keras_retina.model.saving import load_detector\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "model, _ = load_detector(folder / 'model.keras')\n"
        "np.savez(folder / 'outputs.npz', **model(np.load(folder / 'images.npy')))\n"
        "assert 'keras_cv' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    for name, received in np.load(tmp_path / "outputs.npz").items():
        np.testing.assert_allclose(received, model(images)[name], rtol=1e-5, atol=1e-6)


def test_plain_keras_opens_the_file_where_this_project_is_not_installed(saved, tiny_detector, images, tmp_path):
    expected = {name: value.numpy() for name, value in tiny_detector[0](images).items()}
    np.savez(tmp_path / "images.npz", images=images)
    script = (
        "import sys, numpy as np, tf_keras\n"
        "model = tf_keras.models.load_model(sys.argv[1])\n"
        "outputs = model(np.load(sys.argv[2])['images'])\n"
        "np.savez(sys.argv[3], **{name: value.numpy() for name, value in outputs.items()})\n"
        "assert not any(name.startswith('keras_retina') for name in sys.modules)\n"
    )
    command = [sys.executable, "-c", script, str(saved), str(tmp_path / "images.npz"), str(tmp_path / "outputs.npz")]
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(tmp_path / "outputs.npz") as outputs:
        for name, value in expected.items():
            np.testing.assert_allclose(outputs[name], value, rtol=1e-5, atol=1e-6)


def test_a_detector_is_loaded_without_tensorflows_files(saved, monkeypatch):
    """With Python 3.12.1 and 3.13.0, Keras ends in an OutOfRangeError when it reads the zip through `tf.io.gfile`."""
    monkeypatch.setattr(tf.io.gfile.GFile, "__init__", lambda *_, **__: pytest.fail("tf.io.gfile was asked to open it"))
    load_detector(saved)


def test_the_name_of_the_file_does_not_matter(saved, tiny_detector, tmp_path):
    path = tmp_path / "model.weights"
    path.write_bytes(saved.read_bytes())
    assert load_detector(path)[1] == tiny_detector[1]


def test_anchors_and_coder_are_members_of_the_file(saved, tiny_detector):
    _, spec = tiny_detector
    with zipfile.ZipFile(saved) as archive:
        anchors = np.load(io.BytesIO(archive.read(ANCHORS_MEMBER)), allow_pickle=False)
        description = json.loads(archive.read(SPEC_MEMBER))
    assert anchors.dtype == np.float32
    np.testing.assert_array_equal(anchors, spec.anchors())
    assert description["coder_weights"] == [10.0, 10.0, 5.0, 5.0]
    assert description["class_names"] == ["disc", "square"]
    assert (description["height"], description["width"], description["resize"]) == (128, 128, "stretch")


def test_a_trained_model_is_saved_without_losses_and_optimiser_state(saved, tiny_detector, tmp_path):
    original, spec = tiny_detector
    model = keras.models.clone_model(original)
    model.compile(keras.optimizers.AdamW(), {"classes": FocalLoss(), "boxes": BoxLoss()})
    model.optimizer.build(model.trainable_variables)
    path = tmp_path / "model.keras"
    save_detector(model, spec, path)
    assert path.stat().st_size < 1.05 * saved.stat().st_size
    assert config_of(path).get("compile_config") is None
    assert keras.models.load_model(path).optimizer is None


def test_only_the_file_is_left_behind(saved):
    assert [path.name for path in saved.parent.iterdir()] == ["model.keras"]


def test_class_names_of_any_kind_survive(tiny_detector, tmp_path):
    model, spec = tiny_detector
    spec = dataclasses.replace(spec, class_names=("größe\n", "<script>../x"))
    save_detector(model, spec, tmp_path / "model.keras")
    assert load_detector(tmp_path / "model.keras")[1] == spec


# What is not saved, because it would not be loaded


@keras.saving.register_keras_serializable(package="tests")
class Doubled(keras.layers.Layer):
    def call(self, inputs):
        return 2 * inputs


@pytest.mark.parametrize(
    ("layer", "received"),
    [
        (keras.layers.Lambda(lambda x: 2 * x, name="odd"), "layer 'odd' of class 'Lambda'"),
        (keras.layers.LeakyReLU(name="odd"), "layer 'odd' of class 'LeakyReLU'"),
        (Doubled(name="odd"), "layer 'odd' of class 'Doubled'"),
        (
            keras.layers.Conv2D(3, 1, kernel_regularizer="l2", name="odd"),
            "layer 'odd' of class 'Conv2D', with an object of class 'L2'",
        ),
    ],
)
def test_a_layer_that_would_not_be_loaded_is_not_saved(tiny_detector, tmp_path, layer, received: str):
    original, spec = tiny_detector
    image = keras.Input((128, 128, 3), name="image")
    model = keras.Model(image, original(layer(image)))
    with pytest.raises(InputError, match=f"Received: {received}\\. Build the detector from plain Keras") as error:
        save_detector(model, spec, tmp_path / "model.keras")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_model_inside_a_model_is_not_saved(tiny_detector, tmp_path):
    original, spec = tiny_detector
    image = keras.Input((128, 128, 3), name="image")
    with pytest.raises(InputError, match="Received: layer 'retinanet' of class 'Functional'"):
        save_detector(keras.Model(image, original(image)), spec, path=tmp_path / "model.keras")


# A full disk


class FullDisk:
    """After `room` bytes, every write into a file of the folder raises ENOSPC."""

    def __init__(self, monkeypatch, folder: Path, room: int) -> None:
        self.room = room
        original = zipfile.ZipFile._open_to_write
        disk = self

        def open_to_write(archive, *args, **kwargs):
            handle = original(archive, *args, **kwargs)
            write = handle.write

            def limited(data):
                disk.room -= len(data)
                if disk.room < 0 and str(archive.filename).startswith(str(folder)):
                    raise OSError(errno.ENOSPC, "No space left on device")
                return write(data)

            handle.write = limited
            return handle

        monkeypatch.setattr(zipfile.ZipFile, "_open_to_write", open_to_write)


@pytest.mark.parametrize("room", [0, 50_000, 1_000_000])
def test_a_full_disk_leaves_the_previous_file(saved, tiny_detector, tmp_path, monkeypatch, room: int):
    path = tmp_path / "model.keras"
    path.write_bytes(saved.read_bytes())
    FullDisk(monkeypatch, tmp_path, room)
    with pytest.raises(InputError, match="No space left on device") as error:
        save_detector(*tiny_detector, path)
    assert "\n" not in str(error.value)
    assert path.read_bytes() == saved.read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["model.keras"]


def test_a_disk_that_fills_while_anchors_are_added_or_at_the_rename_leaves_the_previous_file(
    saved, tiny_detector, tmp_path, monkeypatch
):
    path = tmp_path / "model.keras"
    path.write_bytes(saved.read_bytes())

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    for owner, name in ((zipfile.ZipFile, "writestr"), (os, "replace")):
        with monkeypatch.context() as patch, pytest.raises(InputError, match="No space left"):
            patch.setattr(owner, name, full)
            save_detector(*tiny_detector, path)
        assert path.read_bytes() == saved.read_bytes()
        assert [file.name for file in tmp_path.iterdir()] == ["model.keras"]


# Files that are no model


@pytest.mark.parametrize(
    "content", [b"", b"just text", pickle.dumps({"a": 1}), b"\x89HDF\r\n\x1a\n", b"PK\x05\x06" + b"\0" * 18], ids=repr
)
def test_a_pickle_or_a_text_called_keras_is_refused(tmp_path, content: bytes):
    path = tmp_path / "model.keras"
    path.write_bytes(content)
    refusal(path)


class Bomb:
    def __reduce__(self):
        return os.system, ("touch bomb_went_off",)


def test_a_pickle_is_not_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.keras"
    path.write_bytes(pickle.dumps(Bomb()))
    refusal(path)
    assert [file.name for file in tmp_path.iterdir()] == ["model.keras"]


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    assert "no such file" in refusal(tmp_path / "model.keras")
    assert "no such file" in refusal(tmp_path)


def test_a_keras_model_that_is_not_ours_is_refused(tmp_path):
    path = tmp_path / "model.keras"
    keras.Sequential([keras.layers.Dense(1, input_shape=(2,))]).save(path)
    assert SPEC_MEMBER in refusal(path)


@pytest.mark.parametrize("member", ["config.json", "model.weights.h5", SPEC_MEMBER])
def test_a_file_without_one_of_its_members_is_refused(saved, tmp_path, member: str):
    refusal(rewrite(saved, tmp_path / "model.keras", {member: None}))


@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
def test_a_file_cut_short_is_refused(saved, tmp_path, share: float):
    path = tmp_path / "model.keras"
    content = saved.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    refusal(path)


def test_damaged_weights_are_refused(saved, tmp_path):
    path = tmp_path / "model.keras"
    content = bytearray(saved.read_bytes())
    start = content.index(b"\x89HDF")
    content[start : start + 4096] = bytes(4096)
    path.write_bytes(content)
    refusal(path)


def test_one_wrong_byte_in_the_weights_is_refused(saved, tmp_path):
    path = tmp_path / "model.keras"
    content = bytearray(saved.read_bytes())
    content[content.index(b"\x89HDF") + 200_000] ^= 1
    path.write_bytes(content)
    assert "CRC" in refusal(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("height", 256),  # the network has other outputs
        ("height", "128"),
        ("height", 10**9),
        ("class_names", ["one"]),
        ("levels", [5, 3]),
        ("coder_weights", [10, 10, 5]),
        ("pixel_scale", 0),
        ("resize", "strech"),
        ("hight", 3),
    ],
)
def test_a_description_that_is_wrong_or_of_another_network_is_refused(saved, tmp_path, field: str, value):
    with zipfile.ZipFile(saved) as archive:
        description = json.loads(archive.read(SPEC_MEMBER))
    description[field] = value
    refusal(rewrite(saved, tmp_path / "model.keras", {SPEC_MEMBER: json.dumps(description).encode()}))


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"[" * 100_000, b"\xff\xfe", b'{"height": NaN}'], ids=repr)
def test_a_description_that_is_no_json_of_ours_is_refused(saved, tmp_path, text: bytes):
    refusal(rewrite(saved, tmp_path / "model.keras", {SPEC_MEMBER: text}))


def test_a_description_that_unpacks_to_gigabytes_is_refused_before_it_is_unpacked(saved, tmp_path, monkeypatch):
    path = tmp_path / "model.keras"
    rewrite(saved, path, {SPEC_MEMBER: None})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(SPEC_MEMBER, b" " * (32 * 2**20))

    def read(*_, **__):
        pytest.fail("the member was unpacked")

    monkeypatch.setattr(zipfile.ZipFile, "read", read)
    assert "larger than" in refusal(path)


def test_an_encrypted_member_is_refused(saved, tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(saved.read_bytes())
    with zipfile.ZipFile(path) as archive:
        offset = archive.getinfo(SPEC_MEMBER).header_offset
    content = bytearray(path.read_bytes())
    content[offset + 6] |= 1
    directory = content.index(b"PK\x01\x02")
    while content[directory + 46 : directory + 46 + len(SPEC_MEMBER)] != SPEC_MEMBER.encode():
        directory = content.index(b"PK\x01\x02", directory + 4)
    content[directory + 8] |= 1
    path.write_bytes(content)
    assert "encrypted" in refusal(path)


# Files that would run code


def with_layer(saved: Path, target: Path, layer: dict) -> Path:
    """The saved detector with one more layer behind the input, in the file only."""
    config = config_of(saved)
    layer = {"name": "extra", "inbound_nodes": [[["image", 0, 0, {}]]], "registered_name": None, **layer}
    config["config"]["layers"].append(layer)
    return rewrite(saved, target, {"config.json": json.dumps(config).encode()})


def test_a_lambda_layer_is_refused(saved, tmp_path):
    layer = keras.layers.Lambda(lambda x: x + 1.0)
    serialized = keras.saving.serialize_keras_object(layer)
    assert "Lambda" in refusal(with_layer(saved, tmp_path / "model.keras", serialized))


@pytest.mark.parametrize(
    "layer",
    [
        # Keras imports the module and calls the function on the constants of the inbound node.
        {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"},
        {"module": "subprocess", "class_name": "Popen", "config": {"args": ["touch", "went_off"]}},
        # An ordinary layer of Keras that calls any TensorFlow function, such as one that writes files.
        {"module": "keras.layers", "class_name": "TFOpLambda", "config": {"name": "x", "function": "io.write_file"}},
        {"module": "keras.layers", "class_name": "Lambda", "config": {"function": "x"}},
        {"module": "keras.layers", "class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}},
        {"module": "antigravity", "class_name": "Conv2D", "config": {}},
        {"module": "keras.layers", "class_name": "Conv2D", "config": {}, "registered_name": "other>Thing"},
        {
            "module": "keras.layers",
            "class_name": "Activation",
            "config": {"activation": {"class_name": "__lambda__", "config": {"value": ["AAAA", None, None]}}},
        },
        {
            "module": "keras.layers",
            "class_name": "Activation",
            "config": {"activation": {"module": "os", "class_name": "function", "config": "system"}},
        },
    ],
    ids=lambda layer: f"{layer['module']}.{layer['class_name']}",
)
def test_a_model_that_would_run_code_is_refused_before_keras_sees_it(saved, tmp_path, monkeypatch, layer: dict):
    monkeypatch.chdir(tmp_path)
    for owner, name in ((keras.saving, "deserialize_keras_object"), (keras.models, "load_model")):
        monkeypatch.setattr(owner, name, lambda *_, **__: pytest.fail("Keras was asked to load it"))
    assert "could run code" in refusal(with_layer(saved, tmp_path / "model.keras", layer))
    assert "antigravity" not in sys.modules
    assert [file.name for file in tmp_path.iterdir()] == ["model.keras"]


def test_a_whole_model_of_another_class_is_refused(saved, tmp_path):
    config = config_of(saved)
    for changes in ({"module": "subprocess", "class_name": "Popen"}, {"class_name": "Sequential"}):
        changed = json.dumps({**config, **changes}).encode()
        assert "could run code" in refusal(rewrite(saved, tmp_path / "model.keras", {"config.json": changed}))


def test_a_layer_that_calls_tensorflow_is_what_a_saved_lambda_call_would_be(tmp_path, saved):
    """What the operator form of Keras saves is refused too: the file says which function to call."""
    image = keras.Input((128, 128, 3), name="image")
    model = keras.Model(image, {"classes": tf.reshape(image, (-1, 3)), "boxes": image})
    model.save(tmp_path / "other.keras")
    with zipfile.ZipFile(saved) as archive:
        description = archive.read(SPEC_MEMBER)
    path = rewrite(tmp_path / "other.keras", tmp_path / "model.keras", {SPEC_MEMBER: description})
    assert "TFOpLambda" in refusal(path)
