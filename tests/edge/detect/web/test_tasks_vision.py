"""Where `serve-web` finds MediaPipe for the browser, and how npm brings it."""

from __future__ import annotations

import json
import sys

import pytest

from edge.detect.web import tasks_vision
from edge.detect.web.tasks_vision import (
    PACKAGE,
    PAGE,
    VARIABLE,
    find_or_install_tasks_vision,
    find_tasks_vision,
    pinned_version,
)
from keras_retina.foundation.errors import InputError

NPM = f"""#!{sys.executable}
import json, pathlib, sys
assert sys.argv[1:] == ["ci", "--ignore-scripts", "--no-audit", "--no-fund"], sys.argv
version = json.loads(pathlib.Path("package-lock.json").read_text())["packages"]["node_modules/{PACKAGE}"]["version"]
package = pathlib.Path("node_modules/{PACKAGE}")
(package / "wasm").mkdir(parents=True)
(package / "vision_bundle.mjs").write_text(version)
(package / "wasm/vision_wasm_internal.wasm").write_text("")
"""


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    """A current folder, a page and a cache without the package, and no npm."""
    (tmp_path / "page").mkdir()
    for name in ("package.json", "package-lock.json"):
        (tmp_path / "page" / name).write_bytes((PAGE / name).read_bytes())
    (tmp_path / "here").mkdir()
    (tmp_path / "bin").mkdir()
    monkeypatch.setattr(tasks_vision, "PAGE", tmp_path / "page")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv(VARIABLE, raising=False)


def write_package(folder):
    (folder / "wasm").mkdir(parents=True)
    (folder / "vision_bundle.mjs").write_text("")
    (folder / "wasm" / "vision_wasm_internal.wasm").write_text("")
    return folder


def write_npm(tmp_path, text: str) -> None:
    path = tmp_path / "bin" / "npm"
    path.write_text(text)
    path.chmod(0o755)


def test_the_nearest_package_is_taken(tmp_path, monkeypatch):
    roots = [tmp_path / "cache/keras-retina" / f"tasks-vision-{pinned_version()}", tmp_path / "page", tmp_path / "here"]
    for root in roots:  # each is before the last one
        package = write_package(root / "node_modules" / PACKAGE)
        assert find_tasks_vision(None) == package
    monkeypatch.setenv(VARIABLE, str(write_package(tmp_path / "variable")))
    assert find_tasks_vision(None) == tmp_path / "variable"
    assert find_tasks_vision(write_package(tmp_path / "option")) == tmp_path / "option"


def test_a_named_folder_must_be_the_package(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=f"--tasks-vision: expected the folder of {PACKAGE}.*Run: npm install"):
        find_tasks_vision(tmp_path)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(InputError, match=f"{VARIABLE}: expected the folder"):
        find_tasks_vision(None)


def test_nothing_is_installed_unasked(tmp_path):
    """npm is there and would work; the error says what to add."""
    write_npm(tmp_path, NPM)
    with pytest.raises(
        InputError, match=f"serve-web: expected {PACKAGE} .*Received: none.*Add --install .*or npm install"
    ):
        find_tasks_vision(None)
    assert not (tmp_path / "cache").exists()


def test_install_asks_npm_only_where_nothing_is_named_or_found(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="--tasks-vision: expected the folder"):
        find_or_install_tasks_vision(tmp_path)
    package = write_package(tmp_path / "here/node_modules" / PACKAGE)
    assert find_or_install_tasks_vision(None) == package  # though there is no npm
    monkeypatch.setenv(VARIABLE, str(write_package(tmp_path / "variable")))
    assert find_or_install_tasks_vision(None) == tmp_path / "variable"


def test_npm_installs_the_pinned_version_once(tmp_path, logged):
    write_npm(tmp_path, NPM)
    with logged() as said:
        folder = find_or_install_tasks_vision(None)
    assert (folder / "vision_bundle.mjs").read_text() == pinned_version()
    assert len(said) == 1
    assert str(tmp_path / "cache") in said[0]
    write_npm(tmp_path, "not run again")
    with logged() as said:
        assert find_or_install_tasks_vision(None) == folder
    assert said == []
    assert [path.name for path in folder.parents[3].iterdir()] == [f"tasks-vision-{pinned_version()}"]


def test_without_npm_the_error_says_what_to_run():
    with pytest.raises(InputError, match=f"no npm on the PATH.*npm install {PACKAGE}@{pinned_version()} --prefix DIR"):
        find_or_install_tasks_vision(None)


@pytest.mark.parametrize(
    ("npm", "received"),
    [
        ("#!/bin/sh\necho 'npm error network down' >&2; exit 3\n", "npm error network down"),
        ("#!/bin/sh\nexit 3\n", "exit status 3"),
        ("#!/bin/sh\nexit 0\n", "an incomplete package"),
        ("no program", "OSError"),
    ],
)
def test_when_npm_fails_its_first_line_is_told_and_nothing_stays(tmp_path, npm, received):
    write_npm(tmp_path, npm)
    with pytest.raises(InputError, match=f"could not install.*Received: .*{received}"):
        find_or_install_tasks_vision(None)
    assert list((tmp_path / "cache/keras-retina").iterdir()) == []


def test_the_lock_file_pins_the_same_version_by_its_hash():
    (lock,) = [
        entry for name, entry in json.loads((PAGE / "package-lock.json").read_text())["packages"].items() if name
    ]
    assert lock["version"] == pinned_version()
    assert lock["integrity"].startswith("sha512-")
