"""Videos and cameras that open, that end too early, and that are none."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from edge.detect import capture as video_capture
from edge.detect.capture import camera_name, is_cut_off, missing_frames, open_camera, open_video
from keras_retina.foundation.errors import InputError

try:
    cv2 = video_capture.import_cv2()
except InputError as error:
    pytest.skip(str(error), allow_module_level=True)

FRAMES = 6


def make_video(path: Path, code: str, noise: int = 0) -> Path:
    """Frame k is 48 x 64 pixels of brightness 40 k with a red left edge."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), 10.0, (64, 48))
    for index in range(FRAMES):
        picture = np.full((48, 64, 3), 40 * index, np.uint8)
        picture[:, :16] = (0, 0, 255)  # BGR
        grain = np.random.default_rng(index).integers(0, noise + 1, picture.shape, np.uint8)
        writer.write(cv2.add(picture, grain))
    writer.release()
    return path


@pytest.fixture
def avi(tmp_path) -> Path:
    return make_video(tmp_path / "small.avi", "MJPG")


@pytest.fixture
def mp4(tmp_path) -> Path:
    return make_video(tmp_path / "small.mp4", "mp4v")


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    target = path.with_name(f"cut{path.suffix}")
    target.write_bytes(data[: int(len(data) * share)])
    return target


def test_frames_arrive_in_order_as_rgb_with_their_times(avi, mp4):
    for path in (avi, mp4):
        source = open_video(path)
        frames = list(source.frames())
        assert (source.rate, source.frame_count, source.live) == (10.0, FRAMES, False)
        assert [frame.index for frame in frames] == list(range(FRAMES))
        assert [frame.seconds for frame in frames] == pytest.approx([0.1 * index for index in range(FRAMES)])
        for frame in frames:
            assert frame.image.shape == (48, 64, 3)
            np.testing.assert_allclose(frame.image[24, 48], 40 * frame.index, atol=12)
            np.testing.assert_allclose(frame.image[24, 5], (255, 0, 0), atol=25)
        assert not source.capture.isOpened()


def test_closing_the_iteration_closes_the_file(avi):
    source = open_video(avi)
    frames = source.frames()
    next(frames)
    frames.close()
    assert not source.capture.isOpened()


def test_a_complete_file_misses_nothing(avi, mp4):
    for path in (avi, mp4):
        assert not is_cut_off(path)
        assert missing_frames(path, FRAMES, expected=FRAMES) == ""


@pytest.mark.parametrize("share", [0.8, 0.9])
def test_an_avi_that_ends_in_the_middle_of_a_frame_gives_the_frames_before_and_says_how_many(tmp_path, share):
    broken = cut(make_video(tmp_path / "grain.avi", "MJPG", noise=200), share)  # frames that outweigh the header
    source = open_video(broken)
    received = len(list(source.frames()))
    assert 0 < received <= FRAMES
    assert is_cut_off(broken)
    expected = f"{received} of {FRAMES} frames, then the file ends in the middle"
    assert missing_frames(broken, received, expected=source.frame_count) == expected


def test_an_mp4_without_its_index_is_refused_and_called_incomplete(mp4):
    with pytest.raises(InputError, match=r"cut\.mp4: expected a video\. Received: \d+ bytes that ends too early"):
        open_video(cut(mp4, 0.6))


def mp4_box(name: bytes, length: int, held: int | None = None) -> bytes:
    return length.to_bytes(4, "big") + name + bytes((length if held is None else held) - 8)


@pytest.mark.parametrize(
    ("data", "cut_off"),
    [
        (mp4_box(b"ftyp", 16) + mp4_box(b"moov", 40) + mp4_box(b"mdat", 100), False),
        (mp4_box(b"ftyp", 16) + mp4_box(b"moov", 40) + mp4_box(b"mdat", 100, held=60), True),  # streamed: index first
        (mp4_box(b"ftyp", 16) + mp4_box(b"mdat", 0, held=60), False),  # reaches to the end, however long
        (mp4_box(b"ftyp", 16) + b"\0\0\0\1mdat" + (32).to_bytes(8, "big") + bytes(16), False),  # a length of 64 bits
        (mp4_box(b"ftyp", 16) + b"\0\0\0\1mdat" + (33).to_bytes(8, "big") + bytes(16), True),
        (mp4_box(b"ftyp", 16) + b"abc", False),  # a few bytes behind the last part harm nobody
        (b"RIFF" + (30).to_bytes(4, "little") + b"AVI " + bytes(26), False),
        (b"RIFF" + (30).to_bytes(4, "little") + b"AVI " + bytes(25), True),
        (b"RIFF" + (30).to_bytes(4, "little") + b"WAVE", False),  # no AVI: not known here
        (b"", False),
    ],
)
def test_the_lengths_of_the_parts_tell_whether_a_file_is_cut_off(tmp_path, data, cut_off):
    (tmp_path / "x").write_bytes(data)
    assert is_cut_off(tmp_path / "x") is cut_off


def test_a_guessed_frame_count_may_be_a_little_off_but_not_much(tmp_path):
    path = tmp_path / "any.mkv"
    path.write_bytes(b"\x1aE\xdf\xa3" + bytes(100))
    assert missing_frames(path, 95, expected=100) == ""
    assert missing_frames(path, 80, expected=100) == "80 of 100 frames, the rest cannot be decoded"
    assert missing_frames(path, 3, expected=None) == ""
    assert missing_frames(path, 0, expected=None) == "no frame"


def test_what_is_no_video_is_refused_with_one_line(tmp_path, capfd):
    (tmp_path / "text.mp4").write_text("hello\n" * 100)
    (tmp_path / "empty.avi").write_bytes(b"")
    for name in ("text.mp4", "empty.avi", "missing.mp4"):
        with pytest.raises(InputError, match=f"{name}: expected a video") as caught:
            open_video(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_a_camera_that_is_not_there_is_refused_with_one_line(capfd):
    for camera in (97, "/dev/video97"):
        with pytest.raises(InputError, match="97: expected a camera. Received: none that can be opened"):
            open_camera(camera)
    assert capfd.readouterr().err == ""


def test_names_of_cameras(tmp_path, monkeypatch):
    names = {"camera:0": 0, "2": 2, "/dev/video1": "/dev/video1", "a.mp4": None, "camera:": None, "folder/1": None}
    assert {name: camera_name(name) for name in names} == names
    monkeypatch.chdir(tmp_path)
    (tmp_path / "2").mkdir()
    assert camera_name("2") is None  # a folder of that name
    assert camera_name("camera:2") == 2


def test_opencv_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(InputError, match=r"pip install 'keras-retina\[video\]'"):
        video_capture.import_cv2()
