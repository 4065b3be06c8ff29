"""Videos that open, that end too early, and that are none."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from edge.detect import capture
from edge.detect.capture import SourceError, missing_frames, open_video
from keras_retina.foundation.errors import InputError

av = pytest.importorskip("av", reason="needs PyAV: pip install av")

FRAMES = 6
GOING_ON = threading.Event()


def pictures(noise: int = 0) -> list[np.ndarray]:
    """Picture k is 48 x 64 pixels of brightness 40 k with a red left edge."""
    made = []
    for index in range(FRAMES):
        picture = np.full((48, 64, 3), 40 * index, np.uint8)
        picture[:, :16] = (255, 0, 0)
        grain = np.random.default_rng(index).integers(0, noise + 1, picture.shape)
        made.append(np.minimum(picture + grain, 255).astype(np.uint8))
    return made


@pytest.fixture
def avi(tmp_path, make_film) -> Path:
    return make_film(tmp_path / "small.avi", pictures(), "mjpeg")


@pytest.fixture
def mp4(tmp_path, make_film) -> Path:
    return make_film(tmp_path / "small.mp4", pictures(), "libx264")


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    target = path.with_name(f"cut{path.suffix}")
    target.write_bytes(data[: int(len(data) * share)])
    return target


def read(source: capture.Source) -> tuple[list[capture.Frame], str]:
    """Returns the frames and what is said at the end."""
    frames = []
    try:
        for frame in source.read(GOING_ON):
            frames.append(frame)
    except SourceError as error:
        return frames, str(error)
    return frames, ""


def test_frames_arrive_in_order_as_rgb_with_their_times(avi, mp4):
    for path in (avi, mp4):
        source = open_video(path)
        frames, said = read(source)
        assert said == ""
        assert (source.rate, source.frame_count, source.live, source.title) == (10.0, FRAMES, False, "small")
        assert [frame.index for frame in frames] == list(range(FRAMES))
        assert [frame.seconds for frame in frames] == pytest.approx([0.1 * index for index in range(FRAMES)])
        assert all(one.arrived <= two.arrived for one, two in zip(frames, frames[1:], strict=False))
        for frame in frames:
            assert frame.image.shape == (48, 64, 3)
            np.testing.assert_allclose(frame.image[24, 48], 40 * frame.index, atol=12)
            np.testing.assert_allclose(frame.image[24, 5], (255, 0, 0), atol=25)


@pytest.mark.parametrize(("ending", "codec"), [("h264", "libx264"), ("mjpeg", "mjpeg"), ("hevc", "libx265")])
def test_raw_streams_in_files_are_films_without_a_frame_count(tmp_path, make_film, ending, codec):
    if codec not in av.codecs_available:
        pytest.skip(f"needs an FFmpeg with {codec}")
    source = open_video(make_film(tmp_path / f"raw.{ending}", pictures(), codec, form=ending))
    frames, said = read(source)
    assert (len(frames), said) == (FRAMES, "")
    times = [frame.seconds for frame in frames]
    assert times == sorted(set(times))
    np.testing.assert_allclose(frames[3].image[24, 48], 120, atol=12)


def test_a_film_that_a_phone_took_upright_is_turned(tmp_path, mp4):
    """In the header of the track (tkhd) lies the matrix: here that of a quarter turn clockwise, as phones write it."""
    data = mp4.read_bytes()
    place = data.index(b"tkhd") + 4 + 40
    turned = (0, 0x10000, 0, -0x10000 & 0xFFFFFFFF, 0, 0, 48 << 16, 0, 0x40000000)
    matrix = b"".join(value.to_bytes(4, "big") for value in turned)
    path = tmp_path / "phone.mp4"
    path.write_bytes(data[:place] + matrix + data[place + len(matrix) :])
    frames, said = read(open_video(path))
    assert (len(frames), said) == (FRAMES, "")
    assert frames[2].image.shape == (64, 48, 3)
    np.testing.assert_allclose(frames[2].image[5, 24], (255, 0, 0), atol=25)  # what was left is on top
    np.testing.assert_allclose(frames[2].image[48, 24], 80, atol=12)


def test_a_name_with_a_colon_is_a_file_and_no_address(mp4):
    frames, said = read(open_video(mp4.rename(mp4.with_name("12:30.mp4"))))
    assert (len(frames), said) == (FRAMES, "")


def test_closing_the_iteration_closes_the_file(avi, monkeypatch):
    opened = []
    real = av.open
    monkeypatch.setattr(av, "open", lambda *given, **named: opened.append(real(*given, **named)) or opened[-1])
    frames = open_video(avi).read(GOING_ON)
    next(frames)
    frames.close()
    with pytest.raises(AssertionError, match="not open"):
        next(opened[0].demux())


def test_the_event_ends_a_film_without_complaint(avi):
    stopped = threading.Event()
    frames = open_video(avi).read(stopped)
    next(frames)
    stopped.set()
    assert len(list(frames)) < FRAMES - 1


@pytest.mark.parametrize("share", [0.8, 0.9])
def test_an_avi_that_ends_in_the_middle_of_a_frame_gives_the_frames_before_and_says_how_many(
    tmp_path, make_film, share
):
    whole = make_film(tmp_path / "grain.avi", pictures(noise=200), "mjpeg")  # frames that outweigh the header
    frames, said = read(open_video(cut(whole, share)))
    assert 0 < len(frames) <= FRAMES
    assert f"{len(frames)} of {FRAMES} frames, then the file ends in the middle" in said


def test_an_mp4_with_its_index_first_that_is_cut_off_says_so(tmp_path, mp4):
    fast = tmp_path / "fast.mp4"
    with av.open(str(mp4)) as source, av.open(str(fast), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    assert read(open_video(fast))[1] == ""
    frames, said = read(open_video(cut(fast, 0.95)))
    assert len(frames) < FRAMES
    assert f"{len(frames)} of {FRAMES} frames, then the file ends in the middle" in said


def test_an_mp4_without_its_index_is_refused(tmp_path, make_film):
    """The index lies at the end, behind frames that outweigh it."""
    whole = make_film(tmp_path / "grain.mp4", pictures(noise=200), "libx264")
    for share in (0.1, 0.6):
        with pytest.raises(InputError, match=r"cut\.mp4: expected a video\. Received: ") as caught:
            open_video(cut(whole, share))
        assert "\n" not in str(caught.value)


def test_a_damaged_frame_is_left_out_and_the_others_are_read(tmp_path, make_film):
    path = make_film(tmp_path / "grain.avi", pictures(noise=200), "mjpeg")
    data = bytearray(path.read_bytes())
    second = data.index(b"\xff\xd8", data.index(b"\xff\xd8") + 2)
    data[second : second + 700] = bytes(700)
    path.write_bytes(bytes(data))
    frames, said = read(open_video(path))
    assert len(frames) == FRAMES - 1
    assert f"{FRAMES - 1} of {FRAMES} frames, the rest is not there or cannot be decoded" in said


def missing(
    received: int, counted: int | None, *, seconds: float, duration: float | None, cut_off: bool = False
) -> str:
    return missing_frames(received, counted=counted, seconds=seconds, duration=duration, cut_off=cut_off)


def test_missing_frames_are_told_by_the_index_else_by_the_time():
    rest = "the rest is not there or cannot be decoded"
    assert missing(100, 100, seconds=4.0, duration=10.0) == ""  # sound may be longer
    assert missing(80, 100, seconds=10.0, duration=10.0) == f"80 of 100 frames, {rest}"
    assert missing(3, None, seconds=9.5, duration=10.0) == ""  # a camera that was slow
    assert missing(80, None, seconds=4.0, duration=10.0) == f"80 frames, 4.0 of 10.0 s, {rest}"
    assert missing(3, None, seconds=0.3, duration=None) == ""
    assert missing(0, None, seconds=0.1, duration=None) == "no frame"
    assert missing(5, 6, seconds=5.0, duration=6.0, cut_off=True) == "5 of 6 frames, then the file ends in the middle"


def test_a_mkv_that_ends_early_says_of_what_time(tmp_path, make_film):
    film = make_film(tmp_path / "film.mkv", pictures(noise=200) * 4, "mjpeg")
    frames, said = read(open_video(cut(film, 0.5)))
    assert 0 < len(frames) < 4 * FRAMES
    assert f"Received: {len(frames)} frames, " in said
    assert " of 2.4 s, the rest" in said


def test_what_is_no_video_is_refused_with_one_line(tmp_path, capfd):
    (tmp_path / "text.mp4").write_text("hello\n" * 100)
    (tmp_path / "empty.avi").write_bytes(b"")
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    for name in ("text.mp4", "empty.avi", "missing.mp4", "sound.mp4"):
        with pytest.raises(InputError, match=f"{name}: expected a video") as caught:
            open_video(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert "audio, without pictures" in str(caught.value)
    assert capfd.readouterr().err == ""


def test_pyav_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"pip install 'keras-retina\[video\]'"):
        capture.import_av()
