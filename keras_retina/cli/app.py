"""`keras-retina`: the verbs of the command line, and the only file that knows both packages.

Exit status: 0 done, 1 a gate or check failed, 2 bad input (one line on stderr, no traceback), 69 the port of a worker
is taken, 75 ended by SIGTERM or a worker of a cluster is gone, and 130 ended by Ctrl-C: after the last three the same
command goes on from what a training had saved.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable

import typer

from keras_retina.cli.benchmark import benchmark
from keras_retina.cli.data import check_data, fit_anchors, pack, show_batch
from keras_retina.cli.detect import detect, serve_web
from keras_retina.cli.export import compress, evaluate, export, report, verify
from keras_retina.cli.inspect_file import edgetpu, inspect
from keras_retina.cli.output import any_character, end_output, note, show_log
from keras_retina.cli.plan import plan, tune
from keras_retina.cli.review import review
from keras_retina.cli.train import demo, launch, run, train
from keras_retina.cli.weights import import_, weights
from keras_retina.foundation.errors import (
    PORT_TAKEN,
    TRY_AGAIN,
    InputError,
    PortTakenError,
    WorkerLostError,
    one_line,
)
from keras_retina.foundation.interruption import Preempted, preemptible

app = typer.Typer(
    help="RetinaNet from labelled images to a .tflite file whose COCO accuracy was measured on that very file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

GROUPS: dict[str, dict[str, Callable[..., None]]] = {
    "From labelled images to a file": {
        "demo": demo,
        "check-data": check_data,
        "run": run,
        "plan": plan,
        "review": review,
        "detect": detect,
    },
    "Only one stage of run": {
        "train": train,
        "launch": launch,
        "compress": compress,
        "export": export,
        "verify": verify,
        "report": report,
    },
    "Files that end in .tflite": {
        "benchmark": benchmark,
        "evaluate": evaluate,
        "inspect": inspect,
        "edgetpu": edgetpu,
        "serve-web": serve_web,
    },
    "Before training": {
        "show-batch": show_batch,
        "fit-anchors": fit_anchors,
        "tune": tune,
        "pack": pack,
        "weights": weights,
        "import": import_,
    },
}
"""Every verb and its function, in the order and under the titles of `--help`."""

RESUMABLE = ("demo", "run", "train", "launch", "compress", "tune", "pack")
INTERRUPTED = {130: "interrupted", TRY_AGAIN: "ended by SIGTERM"}  # typer returns 130 after Ctrl-C
WHERE_DATA_GOES = {  # what typer says -> what it does not say
    ("check-data", "Missing option '--data'"): "The data folder comes behind --data",
    ("run", "Missing option '--data'"): "The data folder comes behind --data; the recipe, without an option, may be "
    "left out",
}

for _group, _verbs in GROUPS.items():
    for _name, _verb in _verbs.items():
        app.command(_name, rich_help_panel=_group)(_verb)


def main() -> None:
    """Entry point: turns bad input into one line on stderr and exit status 2."""
    any_character()
    show_log()
    try:
        with preemptible() if set(sys.argv[1:2]) & set(RESUMABLE) else contextlib.nullcontext():
            status = app(prog_name="keras-retina", standalone_mode=len(sys.argv) < 2)  # alone it prints the help
        unwritten = end_output()
        if unwritten is not None:
            raise unwritten
    except Preempted:
        end_output()
        status = TRY_AGAIN
    except (WorkerLostError, PortTakenError) as error:
        end_output()
        note(f"keras-retina: {error}")
        sys.exit(PORT_TAKEN if isinstance(error, PortTakenError) else TRY_AGAIN)
    except Exception as error:
        end_output()
        message = error_line(error)
        if message is None:
            raise
        note(f"keras-retina: {message}")
        sys.exit(2)
    if status in INTERRUPTED and sys.argv[1] in RESUMABLE:
        changed = " without --overwrite" if "--overwrite" in sys.argv else ""
        note(f"keras-retina: {INTERRUPTED[status]}. The same command{changed} goes on where it stopped.")
    sys.exit(status if isinstance(status, int) else 0)


def error_line(error: Exception) -> str | None:
    """Returns what to print of bad input, None for an error that is ours."""
    message = usage_error(error)
    if message is None and _is_bad_input(error):
        message = file_error(error) if isinstance(error, OSError) else str(error)
    return None if message is None else one_line(" ".join(message.split()))


def usage_error(error: Exception) -> str | None:
    """Returns what typer says of an option or argument that is wrong or missing, which it would print in a frame."""
    format_message, context = getattr(error, "format_message", None), getattr(error, "ctx", None)
    if format_message is None:
        return None
    message = format_message().rstrip(".")
    hint = WHERE_DATA_GOES.get((context.info_name if context else "", message))
    if not message.endswith("?"):
        message += "."
    told = f"{message} {hint}." if hint else message
    return f"{told} See: {context.command_path if context else 'keras-retina'} --help"


def file_error(error: OSError) -> str:
    """Returns which file could not be opened and why, in the order of all other errors."""
    if error.filename is None and error.strerror is not None:
        return f"expected output that can be written. Received: {error.strerror}. Correct the place and repeat it."
    if error.strerror is None:
        return str(error)
    return f"{error.filename}: expected a place that can be read or written. Received: {error.strerror}. Correct it."


def _is_bad_input(error: Exception) -> bool:
    # edge.runtime cannot import InputError: it is also used alone, on a device.
    runtime = sys.modules.get("edge.runtime")
    kinds: tuple[type[Exception], ...] = (InputError, OSError)
    return isinstance(error, kinds if runtime is None else (*kinds, runtime.ModelFileError))
