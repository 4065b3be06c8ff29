from __future__ import annotations

import hashlib
import threading

import numpy as np
import pytest
from PIL import Image

from keras_retina.data import fingerprints
from keras_retina.data.fingerprints import look_at, look_at_all, on_all_cores
from keras_retina.foundation import progress
from keras_retina.foundation.errors import InputError


def test_a_fingerprint_by_hand(tmp_path):
    """Columns that climb from left to right by 10 levels and then fall: eight set bits and eight clear ones a row."""
    levels = [*range(0, 90, 10), *range(70, -10, -10)]
    picture = np.repeat(np.repeat(np.array([levels], np.uint8), 16 * 4, axis=0), 4, axis=1)
    Image.fromarray(picture).convert("RGB").save(tmp_path / "a.png")
    seen = look_at(tmp_path / "a.png")
    assert (seen.mode, seen.exif_rotated) == ("RGB", False)
    assert seen.fingerprint.grey.tolist() == [levels] * 16
    assert np.unpackbits(seen.fingerprint.bits.view(np.uint8)).reshape(16, 16).tolist() == [[1] * 8 + [0] * 8] * 16
    assert seen.fingerprint.digest == hashlib.sha256((tmp_path / "a.png").read_bytes()).digest()


def test_images_come_in_order_and_damage_does_not_stop_the_others(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(100)]
    for number, path in enumerate(paths):
        Image.new("L" if number % 2 else "RGB", (20, 20), number).save(path)
    paths[3].write_bytes(paths[3].read_bytes()[:40])
    paths[50].unlink()
    seen = list(look_at_all(paths, title="train"))
    assert [isinstance(one, InputError) for one in seen] == [number in (3, 50) for number in range(100)]
    assert "3.png" in str(seen[3]) and "does not exist" in str(seen[50])
    assert [one.mode for one in seen if not isinstance(one, InputError)] == [
        "L" if number % 2 else "RGB" for number in range(100) if number not in (3, 50)
    ]
    assert list(look_at_all([], title="train")) == []


def test_results_come_in_order_and_how_far_it_is_is_told(logged, monkeypatch):
    monkeypatch.setattr(progress, "TELL_EVERY", 0.0)
    with logged() as lines:
        assert list(on_all_cores(lambda number: -number, range(70), title="train")) == [-n for n in range(70)]
    assert [line.partition(" images, ")[0] for line in lines] == [f"train: {number} of 70" for number in range(1, 71)]


def test_more_than_one_image_is_worked_on_at_a_time(monkeypatch):
    monkeypatch.setattr(fingerprints, "usable_cores", lambda: [0, 1])
    together = threading.Barrier(2, timeout=60)  # opens when two threads wait at it
    assert len(list(on_all_cores(lambda _: together.wait(), range(64), title="train"))) == 64


def test_an_error_of_ours_is_not_swallowed():
    with pytest.raises(ZeroDivisionError):
        list(on_all_cores(lambda number: 1 // number, [1, 0], title="train"))
