"""Local and remote files are read alike; an address survives pathlib."""

from __future__ import annotations

from pathlib import Path

import pytest

from keras_retina.foundation.files import address, file_size, matching_files, read_bytes, remote_address, write_text


@pytest.mark.parametrize(
    ("path", "remote"),
    [
        ("gs://bucket/pack", "gs://bucket/pack"),
        ("s3://bucket/a/b.tfrecord", "s3://bucket/a/b.tfrecord"),
        ("gs:/bucket/pack", "gs://bucket/pack"),
        ("/data/pack", None),
        ("data/gs:/pack", None),
        ("C:/data", None),
        (".", None),
    ],
)
def test_an_address_is_recognised_after_pathlib_took_a_slash(path: str, remote: str | None):
    assert remote_address(Path(path)) == remote
    assert address(Path(path)) == (remote or str(Path(path)))


@pytest.mark.parametrize("place", ["local", "remote"])
def test_files_are_written_found_and_read_in_parts(place: str, tmp_path):
    folder = tmp_path if place == "local" else Path("ram://storage/folder")
    assert matching_files(folder, "*.txt") == []
    write_text(folder / "b.txt", "0123456789")
    write_text(folder / "a.txt", "\N{BLACK STAR}")
    write_text(folder / "c.json", "")
    assert matching_files(folder, "*.txt") == [folder / "a.txt", folder / "b.txt"]
    assert [file_size(folder / name) for name in ("a.txt", "b.txt", "c.json", "none")] == [3, 10, 0, 0]
    assert file_size(folder) == 0
    assert read_bytes(folder / "b.txt") == b"0123456789"
    assert read_bytes(folder / "b.txt", 3, 4) == b"3456"
    assert read_bytes(folder / "b.txt", 8, 4) == b"89"
    with pytest.raises(OSError):
        read_bytes(folder / "none")
