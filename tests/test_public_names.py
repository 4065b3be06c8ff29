"""The public names: listed once in each package, documented on the pages, typed, lazy, and called by keyword."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import edge
import keras_retina

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "api").glob("*.md"))
PUBLIC = [f"{face.__name__}.{name}" for face in (keras_retina, edge) for name in face.__all__ if name != "__version__"]
# Functions of a detector take its model, its description and one thing more: a path, a dataset or batches.
DETECTOR = ["model", "spec"]


def found(path: str):
    package, _, name = path.partition(".")
    return getattr(importlib.import_module(package), name)


def test_the_pages_document_exactly_the_public_names():
    documented = [name for page in PAGES for name in re.findall(r"^::: (\S+)$", page.read_text("utf-8"), re.MULTILINE)]
    assert sorted(documented) == sorted(PUBLIC)


def test_the_overview_names_each_of_them_and_leads_to_its_page():
    overview = (ROOT / "docs" / "api" / "index.md").read_text("utf-8")
    for page, names in re.findall(r"^\| \[.*?\]\((\w+\.md)\) \| (.*) \|$", overview, re.MULTILINE):
        listed = [name.replace("kr.", "keras_retina.") for name in re.findall(r"`([\w.]+)`", names)]
        text = (ROOT / "docs" / "api" / page).read_text("utf-8")
        assert listed == re.findall(r"^::: (\S+)$", text, re.MULTILINE)
    assert len(PAGES) == 1 + overview.count(".md) |")


@pytest.mark.parametrize("face", [keras_retina, edge])
def test_dir_and_types_know_the_same_names(face):
    assert set(face.__all__) <= set(dir(face))
    source = Path(face.__file__).read_text("utf-8")
    typed = source[source.index("if TYPE_CHECKING:") : source.index("__all__")]
    assert [name for name in face.__all__ if not re.search(rf"\b{name}\b", typed)] == []
    assert set(face._HOMES) == set(face.__all__) - {"__version__"}
    assert (Path(face.__file__).parent / "py.typed").is_file()
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = face.nothing


def test_the_version_is_that_of_the_installed_package():
    assert keras_retina.__version__ == importlib.metadata.version("keras-retina")


def test_no_name_is_that_of_a_room():
    for face in (keras_retina, edge):
        rooms = {entry.stem for entry in Path(face.__file__).parent.iterdir()}
        assert not rooms & set(face.__all__)


@pytest.mark.parametrize("path", PUBLIC)
def test_a_name_is_documented(path):
    value = found(path)
    text = inspect.getdoc(value) or ""
    assert text and text.splitlines()[0].endswith(".") and (len(text.splitlines()) == 1 or not text.splitlines()[1])
    if inspect.isfunction(value):
        named = [name for name in inspect.signature(value).parameters if name not in ("model", "spec")]
        listed = re.findall(r"^    ([\w, ]+): ", text, re.MULTILINE)
        documented = {name.strip() for names in listed for name in names.split(",")}
        assert set(named) - documented == set()
        assert "Raises:" in text or path == "edge.float_model"


@pytest.mark.parametrize("path", PUBLIC)
def test_arguments_behind_the_second_are_given_by_name(path):
    value = found(path)
    if inspect.isclass(value) and issubclass(value, Exception):
        return
    parameters = list(inspect.signature(value).parameters.values())
    by_place = [one.name for one in parameters if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    if path == "edge.Detections":  # a value of three arrays
        return
    assert len(by_place) <= (3 if by_place[:2] == DETECTOR else 2)


def test_a_type_checker_sees_what_a_name_is(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import edge\nimport keras_retina as kr\n"
        "reveal_type(kr.retinanet)\nreveal_type(edge.export_detector)\nreveal_type(kr.save_detector)\nkr.retinane\n"
    )
    command = [sys.executable, "-m", "mypy", "--config-file=", "--ignore-missing-imports", str(program)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "def (settings: keras_retina.recipe.model.Model | typing.Mapping[str, Any]" in done.stdout.replace(
        "Union[keras_retina.recipe.model.Model, typing.Mapping[str, Any]]",
        "keras_retina.recipe.model.Model | typing.Mapping[str, Any]",
    )
    assert "-> pathlib.Path" in done.stdout
