"""Servers of streams for these tests, which benchmarks/files/live.py uses too, and films made by PyAV."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[3] / "benchmarks" / "files"))


@pytest.fixture(scope="session")
def make_film():
    """`make_film(path, pictures, codec, rate=10)`: an encoded film of uint8 RGB pictures of one size; needs PyAV."""
    av = pytest.importorskip("av", reason="needs PyAV: pip install av")

    def make(
        path: Path, pictures: Sequence[np.ndarray], codec: str, *, rate: int = 10, form: str | None = None
    ) -> Path:
        height, width = pictures[0].shape[:2]
        with av.open(str(path), "w", format=form) as container:
            stream = container.add_stream(codec, rate=Fraction(rate))
            stream.width, stream.height = width, height
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.options = {"tune": "zerolatency", "crf": "10"} if codec == "libx264" else {"q": "2"}
            for picture in pictures:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
        return path

    return make
