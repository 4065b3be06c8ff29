"""The rooms of both packages: arrows between them go one way, there are no circles, and none is too large."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("keras_retina", "edge")

# A room may import the rooms above it in this list, and itself. `__init__` holds the public names alone.
ROOMS = (
    "keras_retina.foundation",
    "keras_retina.recipe",
    "keras_retina.geometry",
    "keras_retina.model",
    "keras_retina.losses",
    "keras_retina.data",
    "keras_retina.evaluate",
    "keras_retina.train",
    "keras_retina.run",
    "keras_retina.plan",
    "edge.runtime",
    "edge.tflite",
    "edge.quantize",
    "edge.export",
    "edge.detectors",
    "edge.edgetpu",
    "edge.benchmark",
    "edge.compress",
    "edge.verify",
    "edge.report",
    "edge.detect",
    "edge.stages",
    "keras_retina.cli",
    "keras_retina.__main__",
)
FACES = {"keras_retina", "edge"}  # they hand on names of any room, so no module may import them

LONGEST_FILE = 300  # lines
MOST_NAMES = 13  # in a folder
HIDDEN = {"__pycache__", "py.typed", "node_modules", ".cache"}  # for programs, not for readers
LONG_ON_PURPOSE = {"edge/runtime.py"}  # copied to a device as one file


def modules() -> dict[str, Path]:
    """`{dotted name: file}` of every module, a package by the name of its folder."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if "node_modules" not in path.parts:
                parts = path.relative_to(ROOT).with_suffix("").parts
                found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(tree: ast.Module, known: set[str]) -> Iterator[str]:
    """Yields the modules of the project that a file imports, inside functions and `if TYPE_CHECKING` too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                if name in known or node.module in known:
                    yield name if name in known else node.module


def arrows() -> dict[str, set[str]]:
    """`{module: the modules that it imports}`."""
    files = modules()
    return {
        name: set(imported(ast.parse(path.read_text(encoding="utf-8")), set(files))) - {name}
        for name, path in files.items()
        if name not in FACES
    }


def room(module: str) -> str:
    """Returns the first folder, or the file beside the folders, that a module lies in."""
    return ".".join(module.split(".")[:2])


def test_imports_inside_functions_and_of_modules_by_name_are_read():
    inside = "def f():\n    from edge.tflite import writer\n    from edge.tflite.graph import Graph\n"
    source = f"import edge.runtime\n{inside}"
    known = {"edge.runtime", "edge.tflite", "edge.tflite.writer", "edge.tflite.graph"}
    assert set(imported(ast.parse(source), known)) == known - {"edge.tflite"}


def test_every_module_is_in_a_room():
    assert {room(name) for name in modules()} - FACES == set(ROOMS)


def test_arrows_between_rooms_go_one_way():
    place = {name: number for number, name in enumerate(ROOMS)}
    back_up = [
        f"{source} imports {target}"
        for source, targets in arrows().items()
        for target in targets
        if target in FACES or place[room(target)] > place[room(source)]
    ]
    assert not back_up, "\n".join(back_up)


def test_the_detector_knows_nothing_of_edge_outside_the_command_line():
    strangers = [
        f"{source} imports {target}"
        for source, targets in arrows().items()
        if source.startswith("keras_retina.") and not source.startswith("keras_retina.cli")
        for target in targets
        if target.startswith("edge")
    ]
    assert not strangers, "\n".join(strangers)


@pytest.mark.parametrize("depth", [2, 3, 4, 9])
def test_no_circle_between_files_or_folders(depth):
    """Folders at each depth: a room, a room in it, and at last the files."""
    graph: dict[str, set[str]] = {}
    for source, targets in arrows().items():
        own = ".".join(source.split(".")[:depth])
        graph.setdefault(own, set()).update(".".join(target.split(".")[:depth]) for target in targets)
        graph[own].discard(own)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_no_file_is_too_long():
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in modules().values()}
    long = {str(path.relative_to(ROOT)) for path, count in lines.items() if count > LONGEST_FILE}
    assert long - LONG_ON_PURPOSE == set()


def test_no_folder_shows_too_many_names():
    beside = ("tests", "benchmarks", "docs", "recipes")
    folders = [ROOT / top for top in (*PACKAGES, *beside)]
    folders += [path for top in folders for path in top.rglob("*") if path.is_dir()]
    folders = [folder for folder in folders if not HIDDEN & set(folder.relative_to(ROOT).parts)]
    shown = {folder: [entry.name for entry in folder.iterdir() if entry.name not in HIDDEN] for folder in folders}
    crowded = {str(folder): len(names) for folder, names in shown.items() if len(names) > MOST_NAMES}
    assert not crowded


def loaded(code: str) -> set[str]:
    """Returns the first parts of the names of all modules that are loaded after `code`, in a process of its own."""
    program = f"import sys\n{code}\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_loads_no_tensorflow(package):
    assert not {"tensorflow", "tf_keras", "keras", "pydantic"} & loaded(f"import {package}")


def test_help_loads_no_tensorflow():
    code = (
        "sys.argv = ['keras-retina', '--help']\n"
        "from keras_retina.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0"
    )
    assert not {"tensorflow", "tf_keras", "keras"} & loaded(code)


def test_the_runtime_loads_numpy_alone():
    heavy = loaded("import edge.runtime") - loaded("import numpy")
    third_party = {name for name in heavy if name not in sys.stdlib_module_names}
    assert third_party == {"edge"}


def test_verifying_loads_no_tensorflow_model_optimization():
    assert "tensorflow_model_optimization" not in loaded("import edge.verify.verify, edge.stages")
