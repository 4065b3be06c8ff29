from __future__ import annotations

import pytest
from PIL import Image

BOX = "1 0.5 0.5 0.2 0.4\n"


@pytest.fixture
def pets(tmp_path):
    """Returns a function that writes `{path: text}` below a folder; images are 200 x 100 pixels."""

    def write(files, folder="pets"):
        root = tmp_path / folder
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix.lower() in (".jpg", ".png"):
                Image.new("RGB", (200, 100)).save(path)
            elif isinstance(text, bytes):
                path.write_bytes(text)
            else:
                path.write_text(text, encoding="utf-8")
        return root

    return write


@pytest.fixture
def pairs():
    """Returns a function that gives the files of one image and its label, class 1 in the middle."""

    def write(image, label, text=BOX):
        return {image: None, label: text}

    return write
