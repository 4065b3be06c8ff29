"""Turns: every file in every round, in an order that changes and repeats, warm-up left out; and the split of detect."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge.benchmark.interleave import INVOKES, WARM_UP, detection_split, interleaved, split_of_detect
from edge.runtime import Detector


def test_every_file_has_its_turn_in_every_round_in_a_changing_order():
    def order_of(rounds):
        called = []
        times = interleaved([lambda name=name: called.append(name) for name in "abc"], rounds)
        turns = [called[start] for start in range(0, len(called), WARM_UP + INVOKES)]
        assert len(called) == 3 * rounds * (WARM_UP + INVOKES)
        assert np.array(times).shape == (3, rounds, INVOKES)
        return ["".join(turns[start : start + 3]) for start in range(0, len(turns), 3)]

    first = order_of(12)
    assert {"".join(sorted(turn)) for turn in first} == {"abc"}
    assert len({turn[0] for turn in first}) == 3
    assert order_of(12) == first


def test_only_the_timed_invokes_of_a_file_are_in_its_milliseconds():
    now = [0.0]
    times = interleaved([lambda: now.__setitem__(0, now[0] + 0.25)], 2, clock=lambda: now[0])
    assert times == [[[250.0] * INVOKES] * 2]


def test_no_file_takes_no_turn():
    assert interleaved([], 3) == []


def test_a_whole_detection_is_split_into_its_steps(exported):
    image = np.zeros((90, 200, 3), np.uint8)
    found = split_of_detect(Detector(exported["float32_raw"]), image, runs=2)
    assert list(found) == ["prepare", "invoke", "postprocess"]
    assert min(found.values()) > 0


def test_a_file_that_can_be_read_in_two_ways_says_so_and_a_head_chooses(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "benchmarks" / "files" / "heads"))
    from peer_networks import Form, write_network

    path = write_network(Form("centernet"), tmp_path / "m.tflite", height=64, width=64)
    split, problem = detection_split(path, 1, runs=1, image=None)
    assert split is None
    assert "Say --head centernet or --head centernet-tf" in problem
    split, problem = detection_split(path, 1, runs=1, image=None, head="centernet")
    assert (list(split), problem) == (["prepare", "invoke", "postprocess"], "")
