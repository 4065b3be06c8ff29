"""The verb that opens a detector in the browser."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from keras_retina.cli.output import say


def serve_web(
    file: Annotated[Path, typer.Argument(help="A .tflite file that `export` wrote, one without _raw.")],
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any free one.")] = 8000,
    tasks_vision: Annotated[
        Path | None,
        typer.Option("--tasks-vision", help="Folder of the npm package @mediapipe/tasks-vision. Default: found."),
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only say the address.")] = False,
) -> None:
    """Open a .tflite in the browser, on pictures, videos and the camera; served to this machine only."""
    from edge.detect.web.server import check_model, page_server
    from edge.detect.web.tasks_vision import find_tasks_vision

    check_model(file)  # before MediaPipe is fetched for nothing
    with page_server(file, find_tasks_vision(tasks_vision, say), port) as server:
        say(f"{file.name} is at {server.address} (Ctrl-C ends)")
        if not no_browser:
            webbrowser.open(server.address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("\nended")
