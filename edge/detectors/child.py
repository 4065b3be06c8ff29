"""Runs a module of this package as a program of its own: what may crash, or must not share memory, happens there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Any


class ChildError(RuntimeError):
    """The program ended without an answer. The message is one line."""


def run_module(
    module: str, task: Mapping[str, Any], *, environment: Mapping[str, str] | None = None, timeout: float | None = None
) -> dict[str, Any]:
    """Returns the JSON that `python -m module` prints when it gets `task` as JSON on its standard input.

    It is started, not forked: the threads of TensorFlow and LiteRT would not survive a fork.

    Raises:
        ChildError: it crashed, ended with an error, or took more than `timeout` seconds.
    """
    path = os.pathsep.join(entry for entry in sys.path if entry)
    variables = {**os.environ, "PYTHONPATH": path, **(environment or {})}
    command = [sys.executable, "-m", module]
    try:
        ended = subprocess.run(
            command,
            input=json.dumps(task),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=variables,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ChildError(f"its process did not end within {timeout:g} seconds") from error
    if ended.returncode < 0:
        raise ChildError(f"its process was ended by {_signal_name(-ended.returncode)}")
    if ended.returncode:
        lines = ended.stderr.strip().splitlines()
        raise ChildError(f"its process ended with {ended.returncode}: {lines[-1] if lines else ''}")
    return dict(json.loads(ended.stdout))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
