"""MediaPipe for the browser: where the npm package is on this machine, and how it gets there."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from keras_retina.foundation.errors import InputError

logger = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "page"
PACKAGE = "@mediapipe/tasks-vision"
VARIABLE = "KERAS_RETINA_TASKS_VISION"
BUNDLE, WASM = "vision_bundle.mjs", "wasm/vision_wasm_internal.wasm"
INSTALL_SECONDS = 600


def find_tasks_vision(chosen: Path | None) -> Path:
    """Returns the folder of `@mediapipe/tasks-vision` on this machine.

    Order: `chosen`, the variable KERAS_RETINA_TASKS_VISION, `node_modules` of the current folder and of the page, the
    cache. The first two must be right.

    Raises:
        InputError: the named folder is not the package, or it is nowhere.
    """
    named = {"--tasks-vision": chosen, VARIABLE: os.environ.get(VARIABLE)}
    for source, value in named.items():
        if value:
            return _checked(Path(value), source)
    for folder in _places():
        if is_tasks_vision(folder):
            return folder
    raise InputError(
        f"serve-web: expected {PACKAGE} on this machine. Received: none in node_modules or in {cache_folder()}. "
        f"Add --install to fetch version {pinned_version()} with npm, once, about 40 MB; or {_by_hand()}."
    )


def find_or_install_tasks_vision(chosen: Path | None) -> Path:
    """Returns the folder of the package as `find_tasks_vision`; where it is nowhere, npm installs it into the cache.

    Raises:
        InputError: the named folder is not the package, or npm is missing or fails.
    """
    is_named = chosen is not None or bool(os.environ.get(VARIABLE))
    if not is_named and not any(is_tasks_vision(folder) for folder in _places()):
        install(cache_folder())
    return find_tasks_vision(chosen)


def _places() -> list[Path]:
    return [root / "node_modules" / PACKAGE for root in (Path.cwd(), PAGE, cache_folder())]


def _by_hand() -> str:
    return f"npm install {PACKAGE}@{pinned_version()} --prefix DIR, then --tasks-vision DIR/node_modules/{PACKAGE}"


def pinned_version() -> str:
    """Returns the version that the page was tested with."""
    return json.loads((PAGE / "package.json").read_text(encoding="utf-8"))["dependencies"][PACKAGE]


def cache_folder() -> Path:
    """Returns where `install` puts this version, under `$XDG_CACHE_HOME` or `~/.cache`."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "keras-retina" / f"tasks-vision-{pinned_version()}"


def is_tasks_vision(folder: Path) -> bool:
    """Tells whether the files that the page loads are there."""
    return all((folder / name).is_file() for name in (BUNDLE, WASM))


def install(folder: Path) -> None:
    """Installs the pinned package into `folder/node_modules` with npm, which checks it against the lock file's hash.

    Raises:
        InputError: npm is missing or fails.
    """
    version = pinned_version()
    npm = shutil.which("npm")
    if npm is None:
        raise InputError(
            f"serve-web: expected npm, to install {PACKAGE} {version}. Received: no npm on the PATH. "
            f"Install Node.js; or on another machine {_by_hand()}."
        )
    logger.info(f"installing {PACKAGE} {version} with npm into {folder} (once, about 40 MB)")
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        for file in ("package.json", "package-lock.json"):
            shutil.copyfile(PAGE / file, made / file)
        problem = _run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], made)
        if not problem and is_tasks_vision(made / "node_modules" / PACKAGE):
            shutil.rmtree(folder, ignore_errors=True)  # what an older try may have left
            os.replace(made, folder)
            return
    finally:
        shutil.rmtree(made, ignore_errors=True)
    raise InputError(
        f"serve-web: npm could not install {PACKAGE} {version}. Received: {problem or 'an incomplete package'}. "
        f"Repeat the command with a network; or {_by_hand()}."
    )


def _run(command: list[str], folder: Path) -> str:
    """Returns what went wrong, in one line; nothing when all went well."""
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=INSTALL_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{type(error).__name__}: {error}"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return "" if done.returncode == 0 else (lines[0] if lines else f"exit status {done.returncode}")


def _checked(folder: Path, source: str) -> Path:
    if not is_tasks_vision(folder):
        raise InputError(
            f"{source}: expected the folder of {PACKAGE}, with {BUNDLE} in it. Received: {folder}. "
            f"Run: npm install {PACKAGE}@{pinned_version()} --prefix DIR, and name DIR/node_modules/{PACKAGE}"
        )
    return folder
