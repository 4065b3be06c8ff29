"""The verb that finds objects: in an image, a folder, a video or before a camera."""

from __future__ import annotations

import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from keras_retina.cli.options import (
    AnchorsOption,
    BoxUnitsOption,
    ChannelsOption,
    HeadOption,
    LabelsOption,
    MeanOption,
    ResizeOption,
    StdOption,
    finite,
    reading_options,
)
from keras_retina.cli.output import note, say
from keras_retina.foundation.errors import InputError, printable
from keras_retina.foundation.files.places import real_path
from keras_retina.foundation.machine import MOST_THREADS

if TYPE_CHECKING:
    from edge.detect.capture import Source
    from edge.detect.video import Watched
    from edge.runtime import Detector

LOW_SCORE = 0.05  # what a network that learned little still reaches
INTERRUPTED = 130  # as a shell says it of a program that Ctrl-C ended


def detect(
    model: Annotated[Path, typer.Argument(help="A .tflite detection file, whoever wrote it.")],
    source: Annotated[
        str,
        typer.Argument(
            help="An image, a folder of images, a video, rtsp:// or http:// (a stream), camera:0, /dev/video0, "
            "picamera2, or - (standard input)."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for pictures, video and results.")] = Path("detections"),
    score: Annotated[
        float | None,
        typer.Option("--score", min=0.0, max=1.0, help="Lowest score shown. Default: 0.3.", callback=finite),
    ] = None,
    json_lines: Annotated[
        str | None, typer.Option("--json-lines", help="File, or - for standard output. Default: OUT/detections.jsonl.")
    ] = None,
    record: Annotated[
        str | None,
        typer.Option(
            "--record",
            help="none, events (only stretches with detections), or a file: .webm, .mkv, .mp4, .mov or .avi. "
            "Default: OUT/<name>.webm.",
        ),
    ] = None,
    every: Annotated[int, typer.Option("--every", min=1, help="Look at one of so many frames.")] = 1,
    recursive: Annotated[bool, typer.Option("--recursive", help="Of a folder, its subfolders too.")] = False,
    reconnect: Annotated[
        float | None,
        typer.Option(
            "--reconnect", min=0.1, help="Seconds before a cut stream is tried. Default: 0.5.", callback=finite
        ),
    ] = None,
    input_format: Annotated[
        str | None,
        typer.Option("--input-format", help="Of - or a stream: mjpeg, h264, hevc or mpegts. Default: found out."),
    ] = None,
    mqtt: Annotated[
        str | None, typer.Option("--mqtt", help="Publishes the lines: mqtt://[USER:PASSWORD@]HOST[:PORT]/TOPIC.")
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, max=MOST_THREADS, help="Threads of the network.")] = 2,
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
    anchors: AnchorsOption = None,
) -> None:
    """Find objects with a .tflite file: draws boxes, writes COCO results of images and JSON lines of anything."""
    from edge.detect.images import detect_paths
    from edge.detectors.reading import open_for_detection
    from edge.runtime import SHOW_SCORE_THRESHOLD

    if out.is_dir() and real_path(out) == real_path(Path(source)):
        raise InputError(f"--out: expected another folder than that of the images. Received: {out}. Choose a new one.")
    options = reading_options(
        labels,
        None,
        mean=input_mean,
        std=input_std,
        resize=resize,
        channels=channels,
        head=head,
        box_units=box_units,
        anchors=anchors,
    )
    loaded, read_as = open_for_detection(model, threads, options=options, delegate=delegate)
    detector = cast("Detector", loaded)  # anybody's file has `detect` and `class_names`, and no more is used of it
    for line in read_as:
        note(line)
    threshold = SHOW_SCORE_THRESHOLD if score is None else score
    opened = _open(source, reconnect=reconnect, form=input_format)
    of_videos = {"--record": record, "--mqtt": mqtt, "--every": None if every == 1 else every}
    if opened is not None:
        if recursive:
            raise InputError(f"--recursive: expected a folder of images. Received: {opened.name}. Leave it out.")
        watched = _watch(
            detector, opened, out=out, score=threshold, json_lines=json_lines, record=record, every=every, mqtt=mqtt
        )
        kept = watched.recordings or json_lines is None
        if watched.broken is not None:
            raise InputError(f"{watched.broken}{f' What there is, is finished in {out}.' if kept else ''}")
        if watched.stopped and not opened.live:
            raise typer.Exit(INTERRUPTED)
    elif wrong := [option for option, value in of_videos.items() if value is not None]:
        raise InputError(f"{wrong[0]}: expected a video, a stream or a camera. Received: {source}. Leave it out.")
    else:
        tell = note if json_lines == "-" else say
        found = detect_paths(
            detector,
            Path(source),
            out_dir=out,
            score_threshold=threshold,
            json_lines=json_lines,
            recursive=recursive,
            tell=tell,
        )
        hint = f"; try --score {LOW_SCORE}" if not found.objects and threshold > LOW_SCORE else ""
        objects = f"{found.objects} object{'s' * (found.objects != 1)}"
        images = f"{found.images} image{'s' * (found.images != 1)}"
        tell(f"{objects} of score {threshold:g} or more in {images}{hint}")
        tell(f"wrote the pictures into {out}, and {found.results}")


def _open(source: str, *, reconnect: float | None, form: str | None) -> Source | None:
    """Opens a video, stream or camera; None for what has to be images."""
    from edge.detect import cameras, capture, live
    from keras_retina.foundation.errors import closest

    stream = source == "-" or live.is_address(source)
    for option, value in (("--input-format", form), ("--reconnect", reconnect)):
        if value is not None and (not stream or (source == "-" and option == "--reconnect")):
            raise InputError(f"{option}: expected a stream, such as rtsp://. Received: {source}. Leave it out.")
    if form not in (None, *live.FORMATS):
        raise InputError(
            f"--input-format: expected {', '.join(live.FORMATS)}. Received: {form}. {closest(str(form), live.FORMATS)}"
        )
    if source == "-":
        return live.open_standard_input(form, tell=_note)
    if stream:
        wait = live.RECONNECT if reconnect is None else reconnect
        return live.open_address(source, tell=_note, reconnect=wait, form=form)
    camera, picamera = cameras.camera_name(source), cameras.picamera_number(source)
    if camera is not None:
        return cameras.open_camera(camera, tell=_note)
    if picamera is not None:
        return cameras.open_picamera(picamera)
    if Path(source).suffix.lower() in capture.VIDEO_SUFFIXES and not Path(source).is_dir():
        return capture.open_video(Path(source))
    return None


def _watch(
    detector: Detector,
    source: Source,
    *,
    out: Path,
    score: float,
    json_lines: str | None,
    record: str | None,
    every: int,
    mqtt: str | None,
) -> Watched:
    """Detects until the source ends, and says what was written."""
    from edge.detect.lines import LINES
    from edge.detect.video import watch
    from edge.detect.video_file import IN_BROWSERS

    tell = note if json_lines == "-" else say
    shown = sys.stderr.isatty() or not source.live  # the log of a service would get a line every two seconds for ever
    watched = watch(
        detector,
        source,
        out_dir=out,
        score_threshold=score,
        json_lines=json_lines,
        record=record,
        every=every,
        mqtt=mqtt,
        tell=_note,
        progress=_progress if shown else None,
    )
    if sys.stderr.isatty():
        print(file=sys.stderr)  # ends the line of progress
    written = [str(path) for path in watched.recordings[:1]] if record != "events" else []
    written += [f"{watched.events} events into {out / 'events'}"] if record == "events" else []
    written += [str(out / LINES)] if json_lines is None and watched.frames else []
    if written:
        tell(f"wrote {' and '.join(written)}")
    if watched.codecs - set(IN_BROWSERS):
        tell(f"its codec is {', '.join(sorted(watched.codecs))}, which browsers do not play; a .webm plays")
    looked_at = watched.last_index // every + 1 if watched.frames else 0
    left_out = [f"{looked_at - watched.frames} were left out"] if source.live else []
    if watched.recorded and source.live and record != "events":
        left_out.append(f"{watched.frames - watched.recorded} are not in the recording")
    tell(
        ("stopped: " if watched.stopped else "")
        + "; ".join([f"{watched.frames} frames in {watched.seconds:.1f} s, {watched.rate:.1f} frames/s", *left_out])
    )
    if summary := watched.latencies.summary():
        tell(summary)
    return watched


def _note(text: str) -> None:
    """Tells of a source, on standard error: standard output is for lines."""
    note(f"{chr(10) if sys.stderr.isatty() else ''}{text}")


def _progress(text: str) -> None:
    """Shows how far it is: in one line of a terminal that is written anew, else line by line."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{printable(text)}", end="", file=sys.stderr, flush=True)
    else:
        note(text)


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
