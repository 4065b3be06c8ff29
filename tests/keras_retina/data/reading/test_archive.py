from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from keras_retina.data.reading import archive
from keras_retina.data.reading.archive import is_archive, unpacked
from keras_retina.foundation.errors import InputError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(archive.CACHE_VARIABLE, str(tmp_path / "cache"))


def write_zip(path, members):
    with zipfile.ZipFile(path, "w") as opened:
        for name, text in members.items():
            opened.writestr(name, text)
    return path


def write_tar(path, members):
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as opened:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            opened.addfile(info, io.BytesIO(text.encode()))
    return path


@pytest.mark.parametrize(
    ("name", "write"), [("pets.zip", write_zip), ("pets.tar", write_tar), ("pets.tar.gz", write_tar)]
)
def test_an_archive_is_unpacked_once_into_a_folder_of_its_name(tmp_path, name, write):
    file = write(tmp_path / name, {"pets/a.txt": "one"})
    assert is_archive(file)
    folder = unpacked(file)
    assert folder.name == "pets" and (folder / "pets" / "a.txt").read_text() == "one"
    (folder / "mark").touch()
    assert (unpacked(file) / "mark").exists()


def test_two_processes_that_unpack_at_the_same_time_share_the_folder(tmp_path, monkeypatch):
    file, original = write_zip(tmp_path / "pets.zip", {"a.txt": "one"}), archive._unpack

    def after_another(*arguments) -> None:
        monkeypatch.setattr(archive, "_unpack", original)
        unpacked(file)  # the other one, which is faster
        original(*arguments)

    monkeypatch.setattr(archive, "_unpack", after_another)
    folder = unpacked(file)
    assert (folder / "a.txt").read_text() == "one"
    assert list(folder.parent.iterdir()) == [folder]


def test_a_changed_archive_is_unpacked_anew(tmp_path):
    file = write_zip(tmp_path / "pets.zip", {"a.txt": "one"})
    unpacked(file)
    write_zip(file, {"a.txt": "another"})
    os.utime(file, (1, 1))
    assert (unpacked(file) / "a.txt").read_text() == "another"


@pytest.mark.parametrize("name", ["pets.zip", "pets.tar", "pets.tar.gz"])
def test_a_damaged_archive_is_refused_and_leaves_nothing(tmp_path, name):
    (tmp_path / name).write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(InputError, match=f"{name}: a complete zip or tar file was expected"):
        unpacked(tmp_path / name)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_members_that_would_leave_the_folder_stay_inside_or_are_refused(tmp_path):
    folder = unpacked(write_zip(tmp_path / "pets.zip", {"../../evil.txt": "x"}))
    assert [path.name for path in folder.rglob("*.txt")] == ["evil.txt"]
    with pytest.raises(InputError, match=r"pets\.tar: a complete zip or tar file"):
        unpacked(write_tar(tmp_path / "pets.tar", {"../../evil.txt": "x"}))
    assert not list(tmp_path.glob("evil.txt"))


def test_an_archive_larger_than_the_disk_is_refused(tmp_path, monkeypatch):
    file = write_zip(tmp_path / "pets.zip", {"a.txt": "one"})
    monkeypatch.setattr(archive.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 2}))
    with pytest.raises(InputError, match=r"3 bytes of free disk were expected.*Received: 2"):
        unpacked(file)


def test_other_files_and_folders_are_no_archives(tmp_path):
    (tmp_path / "folder.zip").mkdir()
    (tmp_path / "data.yaml").touch()
    assert not any(is_archive(path) for path in (tmp_path / "folder.zip", tmp_path / "data.yaml", Path("none.zip")))


def write_bomb(path: Path, size: int) -> Path:
    """A tar whose header promises `size` bytes, or a deflated zip of so many zeros."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
            opened.writestr("zeros", bytes(size))
        return path
    member = tarfile.TarInfo("zeros")
    member.size = size
    path.write_bytes(member.tobuf() + bytes(1024))
    return path


@pytest.mark.parametrize("name", ["pets.zip", "pets.tar"])
def test_an_archive_that_unpacks_to_a_thousand_times_its_size_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.setattr(archive, "SMALL", 1 << 20)
    with pytest.raises(InputError, match=f"{name}: at most 3000000 files and 1048576 bytes were expected"):
        unpacked(write_bomb(tmp_path / name, 3 << 20))
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_an_archive_of_too_many_files_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MEMBER_LIMIT", 3)
    with pytest.raises(InputError, match="at most 3 files"):
        unpacked(write_zip(tmp_path / "pets.zip", {str(number): "" for number in range(4)}))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_out_of_the_folder_and_devices_are_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "pets.tar", "w") as opened:
        member = tarfile.TarInfo("pets/a.png")
        member.type, member.linkname = kind, "../../../secret"
        opened.addfile(member)
    with pytest.raises(InputError, match=r"pets\.tar: a complete zip or tar file was expected"):
        unpacked(tmp_path / "pets.tar")


def test_a_header_of_a_tar_that_claims_gigabytes_is_not_read(tmp_path):
    member = tarfile.TarInfo("pets")
    member.type, member.size = tarfile.XHDTYPE, 2 << 30
    (tmp_path / "pets.tar").write_bytes(member.tobuf() + bytes(4096))
    with pytest.raises(InputError, match=r"pets\.tar: a complete zip or tar file was expected"):
        unpacked(tmp_path / "pets.tar")
