"""Files with the heads of other detectors come from the script that the benchmark of heads writes them with."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[4] / "benchmarks" / "files" / "heads"))

HEIGHT, WIDTH = 128, 192


@pytest.fixture(scope="session")
def network(tmp_path_factory):
    """A function that writes a file of one form once, 128 x 192 pixels and three classes.

    A form is a `peer_networks.Form`, or a `peer_levels.LevelForm`.
    """
    from peer_levels import LevelForm, write_levels
    from peer_networks import write_network

    folder, written = tmp_path_factory.mktemp("networks"), {}

    def write(form, **changes):
        key = (form, *changes.items())
        if key not in written:
            path = folder / f"{len(written)}_{form.name}.tflite"
            write_one = write_levels if isinstance(form, LevelForm) else write_network
            written[key] = write_one(form, path, height=HEIGHT, width=WIDTH, **changes)
        return written[key]

    return write
