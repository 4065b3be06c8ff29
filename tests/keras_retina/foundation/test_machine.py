"""The cores of this process, also on a system that does not tell which they are."""

from __future__ import annotations

import os

from keras_retina.foundation.machine import usable_cores


def test_only_the_cores_count_that_the_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {6, 4}, raising=False)
    assert usable_cores() == [4, 6]


def test_where_the_system_does_not_tell_all_cores_count(monkeypatch):
    """As on macOS."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert usable_cores() == [0, 1, 2]
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == [0]
