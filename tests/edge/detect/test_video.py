"""`detect` on videos and before a camera made of pictures: every frame once, tidy ends, one line for what is wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge.detect import capture as video_capture
from edge.detect import video
from edge.detect import video_file as video_writer
from edge.detect.capture import Frame, Source, open_video
from edge.runtime import Detector
from keras_retina.data.images import read_image
from keras_retina.foundation.errors import InputError

try:
    cv2 = video_capture.import_cv2()
except InputError as error:
    pytest.skip(str(error), allow_module_level=True)

FRAMES = 7
SCORE = 0.1


@pytest.fixture
def clip(tmp_path, image_paths) -> Path:
    """The test photographs one after the other."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (160, 120))
    for index in range(FRAMES):
        writer.write(read_image(image_paths[index % len(image_paths)])[..., ::-1].copy())
    writer.release()
    return path


class FakeCamera:
    """A `cv2.VideoCapture` that shows one picture for ever, or `frames` times, and calls `at(frame index)`."""

    def __init__(self, picture: np.ndarray, frames: int | None = None, at=lambda index: None) -> None:
        self.picture, self.frames, self.at = picture, frames, at
        self.index, self.released = 0, False

    def read(self):
        self.at(self.index)
        self.index += 1
        if self.frames is not None and self.index > self.frames:
            return False, None
        return True, self.picture[..., ::-1].copy()

    def release(self) -> None:
        self.released = True


def camera(capture: FakeCamera) -> Source:
    return Source("camera:0", True, 20.0, None, capture)


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def number_of_frames(path: Path) -> int:
    return sum(1 for _ in open_video(path).frames())


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
    assert number_of_frames(watched.picture) == FRAMES
    rows = lines_of(tmp_path / "out" / "detections.jsonl")
    assert [row["frame"] for row in rows] == list(range(FRAMES))
    for row, frame, drawn in zip(rows, open_video(clip).frames(), open_video(watched.picture).frames(), strict=True):
        found = detector.detect(frame.image, SCORE)
        assert row["time"] == pytest.approx(frame.seconds)
        assert [one["score"] for one in row["detections"]] == [round(float(score), 4) for score in found.scores]
        assert len({one["track"] for one in row["detections"]}) == len(found.scores) > 0
        assert drawn.image.shape == frame.image.shape
        assert np.abs(drawn.image.astype(int) - frame.image).max() > 60  # something is drawn


def test_an_object_at_rest_has_one_number_in_all_frames(exported, image_paths, tmp_path):
    capture = FakeCamera(read_image(image_paths[0]), frames=5)
    video.watch(Detector(exported["int8_raw"]), camera(capture), out_dir=tmp_path, score_threshold=SCORE)
    numbers = [[one["track"] for one in row["detections"]] for row in lines_of(tmp_path / "detections.jsonl")]
    assert len(numbers[0]) > 0
    assert all(one == numbers[0] for one in numbers)


def test_of_a_camera_that_is_faster_than_the_network_frames_are_left_out(exported, image_paths, tmp_path):
    detector, seen, asked = Detector(exported["int8_raw"]), [], threading.Event()
    capture = FakeCamera(read_image(image_paths[0]), frames=20)
    capture.at = lambda index: asked.set() if index == 20 else None

    class Slow:
        class_names = detector.class_names

        def detect(self, image, score_threshold):
            assert asked.wait(30)  # the first frame takes until the camera has shown all
            seen.append(image)
            return detector.detect(image, score_threshold)

    watched = video.watch(Slow(), camera(capture), out_dir=tmp_path, score_threshold=SCORE)
    rows = lines_of(tmp_path / "detections.jsonl")
    assert watched.last_index == rows[-1]["frame"] == 19
    assert watched.frames == len(rows) == len(seen) <= 3
    assert capture.released


def test_ctrl_c_finishes_the_files_of_a_camera(exported, image_paths, tmp_path, monkeypatch, capfd):
    before, lines, sent = signal.getsignal(signal.SIGINT), tmp_path / "o" / "detections.jsonl", threading.Event()

    def interrupt(index: int) -> None:
        if not sent.is_set() and lines.exists() and lines.read_text().count("\n") >= 2:
            sent.set()
            os.kill(os.getpid(), signal.SIGINT)

    capture = FakeCamera(read_image(image_paths[0]), at=interrupt)
    monkeypatch.setattr(video_capture, "open_camera", lambda number: camera(capture))
    arguments = (str(exported["int8_raw"]), "camera:0", "--out", str(tmp_path / "o"), "--score", str(SCORE))
    status, out, errors = command(monkeypatch, capfd, *arguments)
    assert (status, errors) == (0, [])
    assert "stopped: " in out and "left out" in out
    assert signal.getsignal(signal.SIGINT) is before
    assert len(lines_of(lines)) >= 2
    assert number_of_frames(tmp_path / "o" / "camera.webm") >= 1
    assert capture.released


def test_ctrl_c_in_a_file_finishes_what_there_is_and_ends_with_130(exported, clip, tmp_path, monkeypatch, capfd):
    opened = open_video(clip)
    capture = SimpleNamespace(release=opened.capture.release)

    def read():
        if opened.capture.get(cv2.CAP_PROP_POS_FRAMES) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return opened.capture.read()

    capture.read = read
    source = Source(str(clip), False, 10.0, FRAMES, capture)
    monkeypatch.setattr(video_capture, "open_video", lambda path: source)
    status, out, errors = command(monkeypatch, capfd, str(exported["int8"]), str(clip), "--out", str(tmp_path / "o"))
    assert (status, errors) == (130, [])
    assert "stopped: " in out
    assert len(lines_of(tmp_path / "o" / "detections.jsonl")) < FRAMES


def test_a_camera_that_is_unplugged_is_an_error_after_its_frames(exported, image_paths, tmp_path, monkeypatch, capfd):
    capture = FakeCamera(read_image(image_paths[0]), frames=3)
    monkeypatch.setattr(video_capture, "open_camera", lambda number: camera(capture))
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
        ([str(same), str(same)], "no TFL3 mark"),
        ([model, str(same), "--out", str(tmp_path / "file")], "a file"),
        ([model, str(same), "--out", str(tmp_path)], "would be replaced"),
        ([model, str(same), "--video", str(same)], "--video: expected another than the video"),
        ([model, str(same), "--video", str(tmp_path / "a.wemb")], "Did you mean '.webm'"),
        ([model, str(same), "--video", str(same / "a.webm")], "expected a folder, or a place for a new one"),
        ([model, str(image_paths[0]), "--video", str(tmp_path / "a.webm")], "--video: expected a video or a camera"),
        ([model, str(same), "--json-lines", str(same / "x"), "--out", str(tmp_path / "o")], "expected a folder, or a"),
        ([model, str(same), "--delegate", "/nowhere/lib.so"], "/nowhere/lib.so"),
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
    capture = FakeCamera(read_image(image_paths[0]))
    with pytest.raises(InputError, match=r"camera\.webm: expected to write a video of 160 x 120 pixels"):
        video.watch(Detector(exported["int8"]), camera(capture), out_dir=tmp_path, score_threshold=SCORE)
    assert capture.released


def test_frames_of_odd_and_of_changing_size_are_all_written(exported, tmp_path):
    capture = FakeCamera(np.full((61, 91, 3), 90, np.uint8), frames=4)

    def change(index: int) -> None:
        if index == 2:
            capture.picture = np.full((41, 55, 3), 90, np.uint8)

    capture.at = change
    source = Source("odd.avi", False, 10.0, 4, capture)
    watched = video.watch(Detector(exported["int8"]), source, out_dir=tmp_path, score_threshold=SCORE)
    assert number_of_frames(watched.picture) == watched.frames == 4


def test_copies_of_a_cameras_frames_keep_the_time():
    """At 10 a second: frames of a camera that stopped for a third of a second are written again, hasty ones not."""
    written, times = [], (0.0, 0.1, 0.15, 0.5, 0.55)
    for seconds in times:
        written.append(video_writer.copies(seconds, 10.0, written=sum(written)))
    assert written == [1, 1, 0, 4, 0]


def test_a_directory_or_the_video_itself_is_not_written_over(tmp_path):
    source = Source(str(tmp_path / "a.webm"), False, 10.0, None, None)
    with pytest.raises(InputError, match="would be replaced"):
        video_writer.video_path(source, tmp_path)
    assert video_writer.video_path(source, tmp_path / "o") == tmp_path / "o" / "a.webm"
    live = camera(FakeCamera(np.zeros((2, 2, 3), np.uint8)))
    assert video_writer.video_path(live, tmp_path).name == "camera.webm"


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, Any]:
    """`{ending: path}` of five frames, and the FourCC that was taken at `<ending> codec`."""
    folder, frame = tmp_path_factory.mktemp("written"), np.full((48, 64, 3), 90, np.uint8)
    paths = {}
    for ending in video_writer.CODECS:
        path = folder / f"film{ending}"
        with video_writer.Writer(path, Source("film", False, 10.0, None, None)) as writer:
            for index in range(5):
                writer.write(Frame(index, index / 10, frame), frame, rate=10.0)
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
        with video_writer.Writer(tmp_path / name, Source("film", False, 10.0, None, None)) as writer:
            writer.write(Frame(0, 0.0, frame), frame, rate=1.0)
    os.write(2, b"heard\n")
    assert capfd.readouterr().err == "heard\n"
