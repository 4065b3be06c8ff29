"""Local and remote files are read alike, an address survives pathlib, and a file is written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
from pathlib import Path

import numpy as np
import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files.places import absolute_address, address, real_path, remote_address
from keras_retina.foundation.files.reading import file_size, matching_files, read_bytes, require_regular_file
from keras_retina.foundation.files.writing import replacing, require_writable, write_file, write_json, write_text


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


def test_a_place_is_named_from_any_folder_by_its_address_or_its_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute_address(Path("gs:/bucket/pack")) == "gs://bucket/pack"
    assert absolute_address(Path("data")) == str(real_path(tmp_path) / "data")
    assert absolute_address(Path("file:///data/pack")) == str(real_path(Path("/data/pack")))


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
    assert read_bytes(folder / "b.txt", 3, length=4) == b"3456"
    assert read_bytes(folder / "b.txt", 8, length=4) == b"89"
    with pytest.raises(OSError):
        read_bytes(folder / "none")


# Whole, or not at all


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def write_half(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data[: len(data) // 2])
    full()


def test_a_new_file_and_one_that_was_there_are_written_and_nothing_else(tmp_path):
    for data in (b"one", b"", b"three"):
        write_file(tmp_path / "a.bin", data)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.bin": data}


@pytest.mark.parametrize("before", [b"old", None])
@pytest.mark.parametrize("place", [(Path, "write_bytes", write_half), (os, "replace", full), (Path, "mkdir", full)])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, place, before):
    path = tmp_path / "a.bin"
    if before is not None:
        path.write_bytes(before)
    with monkeypatch.context() as patch, pytest.raises(InputError, match="No space left on device. Free disk") as error:
        patch.setattr(*place)
        write_file(path, b"something new")
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == ({"a.bin": before} if before else {})


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), ValueError("ours"), InputError("theirs")])
def test_an_interrupted_block_leaves_the_old_file_and_its_own_error(tmp_path, interruption):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(type(interruption)) as caught, replacing(path) as unfinished:
        unfinished.write_bytes(b"half")
        raise interruption
    assert caught.value is interruption
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"a.bin": b"old"}


def test_what_a_killed_process_left_is_in_nobodys_list_and_is_removed(tmp_path):
    block = replacing(tmp_path / "a.tflite")
    unfinished = block.__enter__()  # a killed process never gets to the end of the block
    unfinished.write_bytes(b"half")
    (unfinished.parent / "more").write_bytes(b"")
    assert list(tmp_path.glob("*.tflite")) == []
    write_file(tmp_path / "a.tflite", b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tflite"]
    assert (tmp_path / "a.tflite").read_bytes() == b"whole"


def test_a_library_that_goes_by_the_ending_writes_into_the_place(tmp_path):
    with replacing(tmp_path / "a.b.npz") as unfinished:
        np.savez(unfinished, values=np.arange(3))  # adds .npz to any other ending
    assert [path.name for path in tmp_path.iterdir()] == ["a.b.npz"]
    with np.load(tmp_path / "a.b.npz") as stored:
        np.testing.assert_array_equal(stored["values"], [0, 1, 2])


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(InputError, match="No such file"), replacing(tmp_path / "a.bin"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_appears_when_it_is_whole(tmp_path):
    refused = pytest.raises(InputError, match="No space left on device. Name another.")
    with refused, replacing(tmp_path / "folder", advice="Name another.") as unfinished:
        unfinished.mkdir()
        (unfinished / "one").write_bytes(b"1")
        full()
    assert list(tmp_path.iterdir()) == []
    with replacing(tmp_path / "folder") as unfinished:
        unfinished.mkdir()
        (unfinished / "one").write_bytes(b"1")
        assert not (tmp_path / "folder").exists()
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "one"]


@pytest.mark.parametrize("name", ["none/a.bin", "."])
def test_a_place_that_cannot_be_is_told_in_one_line(tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="could not be written. Received: ") as error:
        write_file(tmp_path / "folder" / name, b"1")
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


def test_an_error_of_many_lines_becomes_one(tmp_path):
    refused = pytest.raises(InputError, match="Received: write failed, errno = 28. Free")
    with refused as error, replacing(tmp_path / "a.h5"):
        raise OSError("write failed,\n  errno = 28")
    assert "\n" not in str(error.value)


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_a_file_gets_the_mode_of_new_files(tmp_path):
    path, mask = tmp_path / "a.bin", os.umask(0o027)
    try:
        write_file(path, b"1")
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o400)
        write_file(path, b"2")
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
    finally:
        os.umask(mask)


def test_json_is_ascii_with_a_line_end_and_what_has_no_json_is_not_written(tmp_path):
    path = tmp_path / "a.json"
    for value, text in (
        ({"größe": [1.5, None]}, '{\n "gr\\u00f6\\u00dfe": [\n  1.5,\n  null\n ]\n}\n'),
        ([{"a": 1}, "\ud800"], '[{"a": 1}, "\\ud800"]\n'),
        ({}, "{}\n"),
    ):
        write_json(path, value)
        assert path.read_bytes() == text.encode()
        assert json.loads(path.read_text()) == value
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert path.read_bytes() == b"{}\n"


@pytest.mark.parametrize("kind", ["named pipe", "socket", "device", "link to a device"])
def test_what_has_no_end_is_refused_before_it_is_opened(kind, tmp_path, monkeypatch):
    path = tmp_path / "a"
    if kind == "named pipe":
        os.mkfifo(path)
    elif kind == "socket":
        monkeypatch.chdir(tmp_path)  # the path of a socket may have 108 bytes
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("a")
    elif kind == "device":
        path = Path("/dev/zero")
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(OSError, match=f"a {kind.rpartition(' ')[2] if kind != 'named pipe' else kind}, not a regular"):
        read_bytes(path)


def test_a_folder_a_name_with_a_zero_byte_and_a_missing_file_are_errors_of_the_system(tmp_path):
    with pytest.raises(IsADirectoryError):
        require_regular_file(tmp_path)
    with pytest.raises(FileNotFoundError):
        require_regular_file(tmp_path / "none")
    with pytest.raises(OSError, match="null byte"):
        require_regular_file(f"{tmp_path}/a\0b")


@pytest.mark.parametrize("place", ["/dev/full", "/proc/new", "folder/", "x" * 300, "pipe"])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(place, tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="--json: expected a file that can be written"):
        require_writable(tmp_path / place, "--json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "pipe"]


def test_the_try_leaves_a_file_as_it_is_and_makes_none(tmp_path):
    (tmp_path / "there").write_text("a")
    for name in ("there", "new"):
        require_writable(tmp_path / name, "--json")
    assert (tmp_path / "there").read_text() == "a"
    assert not (tmp_path / "new").exists()
    require_writable(Path("/dev/null"), "--json")


def test_a_link_in_a_circle_has_a_real_path(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert real_path(tmp_path / "a").parent == tmp_path.resolve()
