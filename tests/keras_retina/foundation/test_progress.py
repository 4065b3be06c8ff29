from __future__ import annotations

from keras_retina.foundation import progress
from keras_retina.foundation.progress import tell_progress


def test_how_far_it_is_is_told_now_and_then(logged, monkeypatch):
    times = iter([0.0, 3.0, 6.0, 8.0, 11.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))
    with logged() as lines:
        assert list(tell_progress("abcd", total=4, title="train")) == list("abcd")
    assert lines == ["train: 2 of 4 images, 0 a second", "train: 4 of 4 images, 0 a second"]


def test_short_work_tells_nothing(logged):
    with logged() as lines:
        assert list(tell_progress([1, 2], total=2, title="train")) == [1, 2]
        assert list(tell_progress([], total=0, title="train")) == []
    assert lines == []
