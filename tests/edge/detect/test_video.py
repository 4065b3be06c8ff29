"""`detect` on videos and before a camera made of pictures: every frame once, tidy ends, one line for what is wrong."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.detect import cameras, capture, video
from edge.detect import video_file as video_writer
from edge.detect.capture import Frame, Source, open_video
from edge.runtime import Detections, Detector
from keras_retina.data.images import read_image
from keras_retina.foundation.errors import InputError

pytest.importorskip("av", reason="needs PyAV: pip install av")

FRAMES = 7
SCORE = 0.1


@pytest.fixture
def clip(tmp_path, image_paths, make_film) -> Path:
    """The test photographs one after the other."""
    pictures = [read_image(image_paths[index % len(image_paths)]) for index in range(FRAMES)]
    return make_film(tmp_path / "clip.avi", pictures, "mjpeg")


class FakeCamera:
    """A camera that shows one picture for ever, or `frames` times and then breaks, and calls `at(frame index)`."""

    def __init__(self, picture: np.ndarray, frames: int | None = None, at=lambda index: None) -> None:
        self.picture, self.frames, self.at = picture, frames, at
        self.released = False

    def read(self, stopped: threading.Event):
        index = 0
        try:
            while not stopped.is_set():
                self.at(index)
                if index == self.frames:
                    raise capture.SourceError(
                        f"camera:0: expected pictures until Ctrl-C. Received: {index}, then none."
                    )
                yield Frame(index, index / 20.0, time.perf_counter(), lambda picture=self.picture: picture)
                index += 1
        finally:
            self.released = True


def camera(shown: FakeCamera) -> Source:
    return Source("camera:0", "camera", 20.0, shown.read, live=True, endless=True)


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def frames_of(path: Path):
    return open_video(path).read(threading.Event())


def number_of_frames(path: Path) -> int:
    return sum(1 for _ in frames_of(path))


def command(monkeypatch, capfd, *arguments: str) -> tuple[int, str, list[str]]:
    """Returns exit status, standard output and our lines of standard error of `keras-retina detect`."""
    from keras_retina.cli.app import main

    monkeypatch.setattr(sys, "argv", ["keras-retina", "detect", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    out, err = capfd.readouterr()
    assert "Traceback" not in err
    return caught.value.code or 0, out, [line for line in err.splitlines() if line.startswith("keras-retina: ")]


def test_a_video_gives_a_line_and_a_picture_for_each_frame(exported, clip, tmp_path):
    detector, told = Detector(exported["int8_raw"]), []
    watched = video.watch(
        detector, open_video(clip), out_dir=tmp_path / "out", score_threshold=SCORE, progress=told.append
    )
    assert (watched.frames, watched.last_index, watched.stopped) == (FRAMES, FRAMES - 1, False)
    assert number_of_frames(watched.recordings[0]) == FRAMES
    rows = lines_of(tmp_path / "out" / "detections.jsonl")
    assert [row["frame"] for row in rows] == list(range(FRAMES))
    for row, frame, drawn in zip(rows, frames_of(clip), frames_of(watched.recordings[0]), strict=True):
        found = detector.detect(frame.image, SCORE)
        assert row["time"] == pytest.approx(frame.seconds)
        assert [one["score"] for one in row["detections"]] == [round(float(score), 4) for score in found.scores]
        assert len({one["track"] for one in row["detections"]}) == len(found.scores) > 0
        assert drawn.image.shape == frame.image.shape
        assert np.abs(drawn.image.astype(int) - frame.image).max() > 60  # something is drawn


def test_an_object_at_rest_has_one_number_in_all_frames(exported, image_paths, tmp_path):
    shown = FakeCamera(read_image(image_paths[0]), frames=5)
    video.watch(Detector(exported["int8_raw"]), camera(shown), out_dir=tmp_path, score_threshold=SCORE)
    numbers = [[one["track"] for one in row["detections"]] for row in lines_of(tmp_path / "detections.jsonl")]
    assert len(numbers[0]) > 0
    assert all(one == numbers[0] for one in numbers)


def test_of_a_camera_that_is_faster_than_the_network_frames_are_left_out(exported, image_paths, tmp_path):
    detector, seen, asked = Detector(exported["int8_raw"]), [], threading.Event()
    shown = FakeCamera(read_image(image_paths[0]), frames=20)
    shown.at = lambda index: asked.set() if index == 20 else None

    class Slow:
        class_names = detector.class_names

        def detect(self, image, score_threshold):
            assert asked.wait(30)  # the first frame takes until the camera has shown all
            seen.append(image)
            return detector.detect(image, score_threshold)

    watched = video.watch(Slow(), camera(shown), out_dir=tmp_path, score_threshold=SCORE)
    rows = lines_of(tmp_path / "detections.jsonl")
    assert watched.last_index == rows[-1]["frame"] == 19
    assert watched.frames == len(rows) == len(seen) <= 3
    assert shown.released


def test_ctrl_c_finishes_the_files_of_a_camera(exported, image_paths, tmp_path, monkeypatch, capfd):
    before, lines, sent = signal.getsignal(signal.SIGINT), tmp_path / "o" / "detections.jsonl", threading.Event()

    def interrupt(index: int) -> None:
        if not sent.is_set() and lines.exists() and lines.read_text().count("\n") >= 2:
            sent.set()
            os.kill(os.getpid(), signal.SIGINT)

    shown = FakeCamera(read_image(image_paths[0]), at=interrupt)
    monkeypatch.setattr(cameras, "open_camera", lambda number, tell: camera(shown))
    arguments = (str(exported["int8_raw"]), "camera:0", "--out", str(tmp_path / "o"), "--score", str(SCORE))
    status, out, errors = command(monkeypatch, capfd, *arguments)
    assert (status, errors) == (0, [])
    assert "stopped: " in out and "left out" in out
    assert signal.getsignal(signal.SIGINT) is before
    assert len(lines_of(lines)) >= 2
    assert number_of_frames(tmp_path / "o" / "camera.webm") >= 1
    assert shown.released


def test_ctrl_c_in_a_file_finishes_what_there_is_and_ends_with_130(exported, clip, tmp_path, monkeypatch, capfd):
    opened = open_video(clip)

    def read(stopped):
        for frame in opened.read(stopped):
            if frame.index == 3:
                os.kill(os.getpid(), signal.SIGINT)
            yield frame

    source = dataclasses.replace(opened, read=read)
    monkeypatch.setattr(capture, "open_video", lambda path: source)
    status, out, errors = command(monkeypatch, capfd, str(exported["int8"]), str(clip), "--out", str(tmp_path / "o"))
    assert (status, errors) == (130, [])
    assert "stopped: " in out
    assert len(lines_of(tmp_path / "o" / "detections.jsonl")) < FRAMES


def test_a_camera_that_is_unplugged_is_an_error_after_its_frames(exported, image_paths, tmp_path, monkeypatch, capfd):
    shown = FakeCamera(read_image(image_paths[0]), frames=3)
    monkeypatch.setattr(cameras, "open_camera", lambda number, tell: camera(shown))
    arguments = (str(exported["int8"]), "camera:0", "--out", str(tmp_path / "o"))
    status, _, errors = command(monkeypatch, capfd, *arguments)
    assert status == 2
    assert "until Ctrl-C. Received: " in errors[0]
    assert number_of_frames(tmp_path / "o" / "camera.webm") >= 1


def test_a_video_that_ends_in_a_frame_is_finished_first_and_then_status_2(exported, clip, tmp_path, monkeypatch, capfd):
    data = clip.read_bytes()
    clip.write_bytes(data[: len(data) * 6 // 10])
    arguments = (str(exported["int8"]), str(clip), "--out", str(tmp_path / "o"), "--score", str(SCORE))
    status, out, errors = command(monkeypatch, capfd, *arguments)
    assert status == 2
    rows = lines_of(tmp_path / "o" / "detections.jsonl")
    assert 0 < len(rows) < FRAMES
    assert f"{len(rows)} of {FRAMES} frames, then the file ends in the middle" in errors[0]
    assert number_of_frames(tmp_path / "o" / "clip.webm") == len(rows)
    assert f"wrote {tmp_path / 'o' / 'clip.webm'}" in out


def test_bad_sources_and_places_are_one_line_and_status_2(exported, clip, image_paths, tmp_path, monkeypatch, capfd):
    (tmp_path / "text.mp4").write_text("hello\n" * 100)
    (tmp_path / "file").write_text("")
    model = str(exported["int8"])
    same = clip.rename(clip.with_suffix(".webm"))  # an AVI whose name is where the drawn one would go
    before = same.read_bytes()
    for arguments, said in (
        ([model, str(tmp_path / "text.mp4")], "text.mp4: expected a video"),
        ([model, "camera:97"], "camera:97: expected a camera"),
        ([model, str(tmp_path / "no.avi")], "no such file"),
        ([str(same), str(same)], "without the mark TFL3"),
        ([model, str(same), "--out", str(tmp_path / "file")], "a file"),
        ([model, str(same), "--out", str(tmp_path)], "would be replaced"),
        ([model, str(same), "--record", str(same)], "--record: expected another than the video"),
        ([model, str(same), "--record", str(tmp_path / "a.wemb")], "Did you mean '.webm'"),
        ([model, str(same), "--record", str(same / "a.webm")], "expected a folder, or a place for a new one"),
        ([model, str(image_paths[0]), "--record", "none"], "--record: expected a video, a stream or a camera"),
        ([model, str(same), "--json-lines", str(same / "x"), "--out", str(tmp_path / "o")], "expected a folder, or a"),
        ([model, str(same), "--delegate", "/nowhere/lib.so"], "/nowhere/lib.so"),
        ([model, str(image_paths[0]), "--every", "2"], "--every: expected a video, a stream or a camera"),
        ([model, str(same), "--recursive"], "--recursive: expected a folder of images"),
        ([model, str(same), "--input-format", "h264"], "--input-format: expected a stream"),
        ([model, "-", "--reconnect", "2"], "--reconnect: expected a stream"),
        ([model, "-", "--input-format", "h246"], "Did you mean 'h264'"),
        ([model, "rtsp://me:secret@127.0.0.1:9/x"], "rtsp://127.0.0.1:9/x: expected a video stream"),
        ([model, "gs://place/film.mp4"], "expected an address of rtsp, rtsps, http, https, tcp"),
        (
            [model, str(same), "--out", str(tmp_path / "o"), "--mqtt", "mqtt://127.0.0.1"],
            "--mqtt: expected mqtt://HOST",
        ),
    ):
        status, _, errors = command(monkeypatch, capfd, *arguments)
        assert (status, len(errors)) == (2, 1), arguments
        assert said in errors[0]
    assert same.read_bytes() == before


def test_a_folder_of_images_says_how_many_objects_were_found(exported, image_paths, tmp_path, monkeypatch, capfd):
    arguments = [str(exported["int8"]), str(image_paths[0].parent), "--out", str(tmp_path / "new" / "o")]
    images = len(list(image_paths[0].parent.glob("*.png")))
    for score, said in (("0.3", r"[1-9]\d* objects of score 0.3"), ("1", "0 objects of score 1")):
        _, output, _ = command(monkeypatch, capfd, *arguments, "--score", score)
        hint = "; try --score 0.05" if score == "1" else ""
        assert re.fullmatch(f"{said} or more in {images} images{re.escape(hint)}", output.splitlines()[0])


def test_lines_on_standard_output_stand_alone(exported, clip, image_paths, tmp_path, monkeypatch, capfd):
    model, out = str(exported["int8"]), str(tmp_path / "o")
    for source, key, number in ((clip, "frame", FRAMES), (image_paths[0], "file", 1)):
        status, printed, _ = command(monkeypatch, capfd, model, str(source), "--out", out, "--json-lines", "-")
        rows = [json.loads(line) for line in printed.splitlines()]
        assert (status, len(rows)) == (0, number)
        assert all(key in row and isinstance(row["detections"], list) for row in rows)
    assert not (tmp_path / "o" / "detections.jsonl").exists()


def test_an_error_of_the_network_ends_the_command_and_not_a_thread_alone(clip, tmp_path):
    class Broken:
        class_names = ("a",)

        def detect(self, image, score_threshold):
            raise RuntimeError("device lost")

    with pytest.raises(RuntimeError, match="device lost"):
        video.watch(Broken(), open_video(clip), out_dir=tmp_path / "o", score_threshold=SCORE)


def test_a_place_that_cannot_be_written_is_an_error_and_the_source_is_closed(exported, image_paths, tmp_path, capfd):
    (tmp_path / "camera.webm").mkdir()
    shown = FakeCamera(read_image(image_paths[0]))
    with pytest.raises(InputError, match=r"camera\.webm: expected to write a video of 160 x 120 pixels"):
        video.watch(Detector(exported["int8"]), camera(shown), out_dir=tmp_path, score_threshold=SCORE)
    assert shown.released


@pytest.mark.parametrize("ending", [".webm", ".mp4", ".avi"])
def test_frames_of_odd_and_of_changing_size_are_all_written(exported, tmp_path, ending):
    shown = FakeCamera(np.full((61, 91, 3), 90, np.uint8), frames=4)

    def change(index: int) -> None:
        if index == 2:
            shown.picture = np.full((41, 55, 3), 90, np.uint8)

    shown.at = change
    source, told = Source("odd", "odd", 20.0, shown.read), []
    watched = video.watch(
        Detector(exported["int8"]), source, out_dir=tmp_path, score_threshold=SCORE, tell=told.append,
        record=str(tmp_path / f"odd{ending}"),
    )  # fmt: skip
    assert number_of_frames(watched.recordings[0]) == watched.frames == 4
    assert told == ["odd: the picture is now 55 x 41 pixels; boxes are in these from here on"]
    rows = lines_of(tmp_path / "detections.jsonl")
    assert [(row["height"], row["width"]) for row in rows] == [(61, 91), (61, 91), (41, 55), (41, 55)]


def test_a_recording_keeps_the_times_of_a_source_that_stops_for_a_while(tmp_path):
    """A frame that is not later than the last one, in what the file counts in, is left out."""
    picture, times = np.full((48, 64, 3), 90, np.uint8), (5.0, 5.1, 5.1, 5.5, 5.55)
    with video_writer.Writer(tmp_path / "a.webm", 10.0) as writer:
        for index, seconds in enumerate(times):
            writer.write(Frame(index, seconds, 0.0, lambda: picture), picture, rate=10.0)
    written = [frame.seconds for frame in frames_of(tmp_path / "a.webm")]
    assert written == pytest.approx([0.0, 0.1, 0.5, 0.55])


def found_at(*seconds_with_an_object: float):
    """A detector that finds one square in the frames of these times; the time is in the picture."""

    class Fake:
        class_names = ("square",)

        def detect(self, image, score_threshold):
            here = image[0, 0, 0] / 10 in seconds_with_an_object
            box = np.array([[4, 4, 30, 30]], np.float32)[: int(here)]
            return Detections(box, np.full(int(here), 0.9, np.float32), np.zeros(int(here), np.int32))

    return Fake()


def ten_a_second(seconds: float, *, live: bool = False) -> Source:
    """Grey frames; the first pixel is the time in tenths of a second."""

    def read(stopped: threading.Event):
        for index in range(round(seconds * 10)):
            picture = np.full((48, 64, 3), 90, np.uint8)
            picture[0, 0] = index
            yield Frame(index, index / 10, time.perf_counter(), lambda picture=picture: picture)

    return Source("film", "film", 10.0, read, live=live)


def test_events_are_files_of_the_stretches_with_detections_and_numbers_in_the_lines(tmp_path):
    """Found at 1.0 to 1.1 s and 2.5 s: one event until 4.5 s; and at 8.0 s: a second one until the end."""
    detector = found_at(1.0, 1.1, 2.5, 8.0)
    watched = video.watch(detector, ten_a_second(9.0), out_dir=tmp_path, score_threshold=SCORE, record="events")
    assert (watched.frames, watched.events, watched.stopped) == (90, 2, False)
    names = [path.relative_to(tmp_path).as_posix() for path in watched.recordings]
    assert names == ["events/film_0001.webm", "events/film_0002.webm"]
    assert [number_of_frames(path) for path in watched.recordings] == [36, 10]
    rows = lines_of(tmp_path / "detections.jsonl")
    events = [row.get("event") for row in rows]
    assert events == [None] * 10 + [1] * 36 + [None] * 34 + [2] * 10
    assert not (tmp_path / "film.webm").exists()


def test_nothing_is_recorded_or_made_when_nothing_is_asked_for(tmp_path, capsys):
    out = tmp_path / "o"
    watched = video.watch(
        found_at(0.5), ten_a_second(1.0), out_dir=out, score_threshold=SCORE, record="none", json_lines="-"
    )
    assert (watched.frames, watched.recorded, watched.recordings) == (10, 0, [])
    assert len(capsys.readouterr().out.splitlines()) == 10
    assert not out.exists()


def test_of_so_many_frames_one_is_looked_at(tmp_path):
    watched = video.watch(
        found_at(0.5), ten_a_second(2.0), out_dir=tmp_path, score_threshold=SCORE, record=None, every=7
    )
    rows = lines_of(tmp_path / "detections.jsonl")
    assert [row["frame"] for row in rows] == [0, 7, 14]
    assert (watched.frames, watched.last_index) == (3, 14)
    assert [frame.seconds for frame in frames_of(watched.recordings[0])] == pytest.approx([0.0, 0.7, 1.4])


def test_only_lines_of_a_live_source_say_how_old_they_are(tmp_path):
    for live, name in ((True, "a"), (False, "b")):
        watched = video.watch(
            found_at(), ten_a_second(1.0, live=live), out_dir=tmp_path / name, score_threshold=SCORE, record="none"
        )
        rows = lines_of(tmp_path / name / "detections.jsonl")
        assert all(("latency_ms" in row) is live for row in rows)
        assert bool(watched.latencies.summary()) is live
    assert min(row["latency_ms"] for row in lines_of(tmp_path / "a" / "detections.jsonl")) >= 0


def test_a_recording_that_is_slow_does_not_make_lines_late(tmp_path, monkeypatch):
    """The first drawn picture waits until all lines are written; then the newest few are recorded."""
    done, real = threading.Event(), video.annotated

    def annotated(*given, **named):
        assert done.wait(30)
        return real(*given, **named)

    monkeypatch.setattr(video, "annotated", annotated)
    source = ten_a_second(3.0, live=True)

    def read(stopped):
        lines = tmp_path / "detections.jsonl"
        for frame in source.read(stopped):
            yield frame
            end = time.monotonic() + 30
            while time.monotonic() < end and lines.read_text().count("\n") <= frame.index:
                time.sleep(0.001)
        done.set()

    watched = video.watch(found_at(), dataclasses.replace(source, read=read), out_dir=tmp_path, score_threshold=SCORE)
    assert watched.frames == 30
    assert 2 <= watched.recorded <= video.AHEAD + 2


def test_a_directory_or_the_video_itself_is_not_written_over(tmp_path):
    source = Source("a.webm", "a", 10.0, iter, path=tmp_path / "a.webm")
    with pytest.raises(InputError, match="would be replaced"):
        video_writer.video_path(source, tmp_path)
    assert video_writer.video_path(source, tmp_path / "o") == tmp_path / "o" / "a.webm"
    live = camera(FakeCamera(np.zeros((2, 2, 3), np.uint8)))
    assert video_writer.video_path(live, tmp_path).name == "camera.webm"


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, Any]:
    """`{ending: path}` of five frames, and the encoder that was taken at `<ending> codec`."""
    folder, frame = tmp_path_factory.mktemp("written"), np.full((48, 64, 3), 90, np.uint8)
    paths = {}
    for ending in video_writer.CODECS:
        path = folder / f"film{ending}"
        with video_writer.Writer(path, 10.0) as writer:
            for index in range(5):
                writer.write(Frame(index, index / 10, 0.0, lambda: frame), frame, rate=10.0)
        paths[ending] = path
        paths[ending + " codec"] = writer.codec
    return paths


def test_every_ending_gives_a_video_of_its_codec(written):
    for ending, codecs in video_writer.CODECS.items():
        assert number_of_frames(written[ending]) == 5
        assert written[ending + " codec"] in codecs


def test_what_is_written_plays_in_a_browser_where_we_say_so(written, tmp_path):
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs chromium: apt-get install chromium")
    page = tmp_path / "page.html"
    tell = "v => v.onloadeddata = v.onerror = e => v.parentNode.title = e.type + ' ' + v.readyState"
    videos = "".join(f'<p id="{name}"><video preload="auto" src="{written[name].as_uri()}"></video></p>'
                     for name in video_writer.CODECS)  # fmt: skip
    page.write_text(f"{videos}<script>document.querySelectorAll('video').forEach({tell})</script>")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", "--dump-dom"]
    done = subprocess.run([program, *flags, page.as_uri()], capture_output=True, text=True, timeout=240, check=True)
    states = dict(re.findall(r'<p id="(\.\w+)" title="(\w+ \d)">', done.stdout))
    assert states.keys() == video_writer.CODECS.keys()
    for name, state in states.items():
        if written[name + " codec"] in video_writer.IN_BROWSERS:
            assert state in ("loadeddata 2", "loadeddata 3", "loadeddata 4"), name
        else:
            assert state == "error 0", name


def test_opening_a_video_prints_nothing_and_leaves_standard_error_as_it_was(tmp_path, capfd):
    frame = np.zeros((48, 64, 3), np.uint8)
    for name in ("a.webm", "a.mp4"):
        with video_writer.Writer(tmp_path / name, 10.0) as writer:
            writer.write(Frame(0, 0.0, 0.0, lambda: frame), frame, rate=1.0)
    os.write(2, b"heard\n")
    assert capfd.readouterr().err == "heard\n"


def test_a_stream_through_the_command_line_is_lines_alone_and_ends_with_ctrl_c(exported, tmp_path, monkeypatch, capfd):
    """Cut in the middle; Ctrl-C when it was back for a while."""
    from streams import MjpegServer

    out, lines = tmp_path / "o", tmp_path / "lines.jsonl"
    arguments = ["--record", "none", "--json-lines", str(lines), "--reconnect", "0.1", "--out", str(out)]
    with MjpegServer(size=(128, 128)) as running:

        def act() -> None:
            cut, end = False, time.monotonic() + 60
            while time.monotonic() < end:
                time.sleep(0.05)
                count = lines.read_text().count("\n") if lines.exists() else 0
                if count >= 5 and not cut:
                    running.cut()
                    cut, running.sent = True, {}
                if cut and count >= 15 and len(running.sent) >= 8:
                    break
            os.kill(os.getpid(), signal.SIGINT)

        acting = threading.Thread(target=act)
        acting.start()
        status, printed, errors = command(monkeypatch, capfd, str(exported["int8"]), running.address, *arguments)
        acting.join()
    assert (status, errors) == (0, [])
    assert "stopped: " in printed
    assert "from frame to line: median " in printed
    rows = lines_of(lines)
    assert len(rows) >= 15
    assert all(row["latency_ms"] >= 0 and row["height"] == 128 for row in rows)
    assert not out.exists()
