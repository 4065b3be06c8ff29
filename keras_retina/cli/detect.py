"""The verb that finds objects: in an image, a folder, a video or before a camera."""

from __future__ import annotations

import sys
import webbrowser
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from keras_retina.cli.options import (
    BoxUnitsOption,
    ChannelsOption,
    HeadOption,
    LabelsOption,
    MeanOption,
    ResizeOption,
    StdOption,
    reading_options,
)
from keras_retina.cli.output import say
from keras_retina.foundation.errors import InputError

if TYPE_CHECKING:
    from edge.detect.capture import Source
    from edge.runtime import Detector

LOW_SCORE = 0.05  # what a network that learned little still reaches
INTERRUPTED = 130  # as a shell says it of a program that Ctrl-C ended


def detect(
    model: Annotated[Path, typer.Argument(help="A .tflite detection file, whoever wrote it.")],
    source: Annotated[str, typer.Argument(help="An image, a folder of images, a video file, or camera:0.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for pictures, video and results.")] = Path("detections"),
    score: Annotated[
        float | None, typer.Option("--score", min=0.0, max=1.0, help="Lowest score shown. Default: 0.3.")
    ] = None,
    json_lines: Annotated[
        str | None, typer.Option("--json-lines", help="File, or - for standard output. Default: OUT/detections.jsonl.")
    ] = None,
    video: Annotated[
        Path | None,
        typer.Option("--video", help="The annotated video: .webm, .mkv, .mp4, .mov or .avi. Default: OUT/<name>.webm."),
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads of the network.")] = 2,
    delegate: Annotated[
        str | None, typer.Option("--delegate", help="edgetpu (a Coral), or a LiteRT delegate library.")
    ] = None,
    labels: LabelsOption = None,
    input_mean: MeanOption = None,
    input_std: StdOption = None,
    resize: ResizeOption = None,
    channels: ChannelsOption = None,
    head: HeadOption = None,
    box_units: BoxUnitsOption = None,
) -> None:
    """Find objects with a .tflite file: draws boxes, writes COCO results of images and JSON lines of anything."""
    from edge.detect.capture import VIDEO_SUFFIXES, camera_name, open_camera, open_video
    from edge.detect.images import detect_paths
    from edge.detectors.reading import open_for_detection
    from edge.runtime import SHOW_SCORE_THRESHOLD

    options = reading_options(
        labels,
        None,
        mean=input_mean,
        std=input_std,
        resize=resize,
        channels=channels,
        head=head,
        box_units=box_units,
    )
    loaded, read_as = open_for_detection(model, threads, options=options, delegate=delegate)
    detector = cast("Detector", loaded)  # anybody's file has `detect` and `class_names`, and no more is used of it
    for line in read_as:
        print(line, file=sys.stderr)
    threshold = SHOW_SCORE_THRESHOLD if score is None else score
    camera = camera_name(source)
    if camera is not None:
        _watch(detector, open_camera(camera), out=out, score=threshold, json_lines=json_lines, video=video)
    elif Path(source).suffix.lower() in VIDEO_SUFFIXES:
        _watch(detector, open_video(Path(source)), out=out, score=threshold, json_lines=json_lines, video=video)
    elif video is not None:
        raise InputError(f"--video: expected a video or a camera to annotate. Received: {source}. Leave it out.")
    else:
        tell = partial(print, file=sys.stderr) if json_lines == "-" else say
        found = detect_paths(detector, Path(source), out_dir=out, score_threshold=threshold, json_lines=json_lines)
        hint = f"; try --score {LOW_SCORE}" if not found.objects and threshold > LOW_SCORE else ""
        objects = f"{found.objects} object{'s' * (found.objects != 1)}"
        images = f"{found.images} image{'s' * (found.images != 1)}"
        tell(f"{objects} of score {threshold:g} or more in {images}{hint}")
        tell(f"wrote the pictures into {out}, and {found.results}")


def _watch(
    detector: Detector,
    source: Source,
    *,
    out: Path,
    score: float,
    json_lines: str | None,
    video: Path | None,
) -> None:
    from edge.detect.capture import missing_frames
    from edge.detect.lines import LINES
    from edge.detect.video import watch
    from edge.detect.video_file import IN_BROWSERS
    from keras_retina.foundation.errors import printable

    tell = partial(print, file=sys.stderr) if json_lines == "-" else say
    watched = watch(
        detector, source, out_dir=out, score_threshold=score, json_lines=json_lines, progress=_progress, video=video
    )
    if sys.stderr.isatty():
        print(file=sys.stderr)  # ends the line of progress
    left_out = watched.last_index + 1 - watched.frames
    if watched.frames:
        tell(f"wrote {watched.picture}" + (f" and {out / LINES}" if json_lines is None else ""))
        if watched.codec not in IN_BROWSERS:
            tell(f"its codec is {watched.codec}, which browsers do not play; a .webm plays")
    tell(
        ("stopped: " if watched.stopped else "")
        + f"{watched.frames} frames in {watched.seconds:.1f} s, {watched.rate:.1f} frames/s"
        + (f"; {left_out} of the camera's left out" if source.live else "")
    )
    if watched.stopped:
        if not source.live:
            raise typer.Exit(INTERRUPTED)
    elif source.live:
        raise InputError(f"{source.name}: expected pictures until Ctrl-C. Received: {watched.frames}, then none.")
    elif missing := missing_frames(Path(source.name), watched.frames, expected=source.frame_count):
        raise InputError(
            f"{printable(source.name)}: expected a complete video. Received: {missing}. "
            f"What there is, is finished in {printable(out)}."
        )


def _progress(text: str) -> None:
    """Shows how far it is: in one line of a terminal that is written anew, else line by line."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)


def serve_web(
    file: Annotated[Path, typer.Argument(help="A .tflite file that `export` wrote, one without _raw.")],
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any free one.")] = 8000,
    tasks_vision: Annotated[
        Path | None,
        typer.Option("--tasks-vision", help="Folder of the npm package @mediapipe/tasks-vision. Default: found."),
    ] = None,
    install: Annotated[
        bool, typer.Option("--install", help="Fetch that package with npm where it is missing, once, about 40 MB.")
    ] = False,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only say the address.")] = False,
) -> None:
    """Open a .tflite in the browser, on pictures, videos and the camera; served to this machine only."""
    from edge.detect.web.server import check_model, page_server
    from edge.detect.web.tasks_vision import find_or_install_tasks_vision, find_tasks_vision

    check_model(file)  # before MediaPipe is fetched for nothing
    package = find_or_install_tasks_vision(tasks_vision) if install else find_tasks_vision(tasks_vision)
    with page_server(file, package, port=port) as server:
        say(f"{file.name} is at {server.address} (Ctrl-C ends)")
        if not no_browser:
            webbrowser.open(server.address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("\nended")
