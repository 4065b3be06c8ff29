"""The pages keep their promises: links lead to files, commands exist, and guides are short."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest
import typer

from keras_retina.recipe.recipe import load_recipe

ROOT = Path(__file__).parent.parent
GUIDES = sorted((ROOT / "docs" / "guides").rglob("*.md"))
ALONE = [
    ROOT / name
    for name in (
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "benchmarks/peers/README.md",
        "benchmarks/sets/README.md",
    )
]
PAGES = [page for page in ALONE if page.is_file()] + sorted((ROOT / "docs").rglob("*.md"))
# What may name a page: everything that is written by hand.
WRITTEN = [ROOT / "Makefile", ROOT / "pyproject.toml", *ALONE[:1]] + [
    path
    for folder in ("keras_retina", "edge", "recipes", "benchmarks", "tests", "docs")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".py", ".yaml", ".md", ".mjs", ".html", ".jinja"} and "node_modules" not in path.parts
]
MAXIMUM_WORDS, FIRST_LINES, MAXIMUM_NAMES = 700, 10, 13

_BLOCK = re.DOTALL | re.MULTILINE
_FENCE = re.compile(r"^```[a-z]*\n(.*?)^```", _BLOCK)
_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_END_OF_COMMAND = {"|", "&&", ";"}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def commands(text: str) -> list[list[str]]:
    """Returns the words of every `keras-retina ...` in fences and in inline code; a quoted word may span lines."""
    lines = [line for block in _FENCE.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    lines += [" ".join(span.split()) for span in _SPAN.findall(_FENCE.sub("", text))]
    found: list[list[str]] = []
    open_quote = ""
    for line in lines:
        if not open_quote and not line.startswith("keras-retina "):
            continue
        open_quote += line + "\n"
        command = words(open_quote)
        if command is not None:
            found.append(command)
            open_quote = ""
    assert not open_quote, f"a quote is not closed: {open_quote}"
    return found


def words(line: str) -> list[str] | None:
    """Returns the words of a command, without a comment or a second command behind it; None while a quote is open."""
    lexer = shlex.shlex(line, posix=True)
    lexer.whitespace_split, lexer.commenters = True, "#"
    result: list[str] = []
    try:
        for word in lexer:
            if word in _END_OF_COMMAND:
                break
            result.append(word)
    except ValueError:
        return None
    return result


def headings(page: Path) -> set[str]:
    """Returns the anchors of a page, as the site and code hosts make them of its headings."""
    lines = _FENCE.sub("", page.read_text(encoding="utf-8")).splitlines()
    titles = [line.lstrip("#").strip().lower() for line in lines if line.startswith("#")]
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", title)) for title in titles}


def verbs() -> dict[str, set[str]]:
    """Returns the options of every verb of the command line that pyproject.toml installs."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (module,) = re.findall(r'^keras-retina = "([\w.]+):main"$', project, flags=re.MULTILINE)
    group = typer.main.get_command(importlib.import_module(module).app)
    return {
        name: {option for parameter in command.params for option in parameter.opts} | {"--help"}
        for name, command in group.commands.items()
    }


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_to_a_file_and_a_heading(page):
    wrong = []
    for link in _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in headings(target)):
            wrong.append(link)
    assert wrong == []


def test_every_page_that_a_file_names_exists():
    named = {
        (name_of(path), page)
        for path in WRITTEN
        for page in re.findall(r"\bdocs/[\w/]+\.(?:md|png|ipynb)\b", path.read_text(encoding="utf-8"))
    }
    assert len(named) > 20
    assert [one for one in sorted(named) if not (ROOT / one[1]).is_file()] == []


@pytest.mark.parametrize("guide", GUIDES, ids=name_of)
def test_a_guide_is_short_and_begins_with_a_command(guide):
    text = guide.read_text(encoding="utf-8")
    assert len(text.split()) <= MAXIMUM_WORDS
    command = _FENCE.search(text)
    assert command and text[: command.start()].count("\n") < FIRST_LINES


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_verb_and_option_in_the_pages_exists(page):
    known = verbs()
    wrong = []
    for _, verb, *rest in (command for command in commands(page.read_text(encoding="utf-8")) if len(command) > 1):
        if verb.startswith("-"):
            continue
        options = {word.split("=")[0] for word in rest if word.startswith("--")}
        if verb not in known or options - known[verb]:
            wrong.append((verb, sorted(options - known.get(verb, set()))))
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_recipe_and_override_in_the_pages_is_accepted(page):
    for command in commands(page.read_text(encoding="utf-8")):
        recipes = [ROOT / word for word in command if re.fullmatch(r"recipes/\w+\.yaml", word)]
        overrides = [word for before, word in zip(command, command[1:], strict=False) if before == "--set"]
        if recipes and not any("..." in override for override in overrides):
            load_recipe(recipes[0], overrides)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_piece_of_a_recipe_in_the_pages_is_accepted(page, tmp_path):
    for number, block in enumerate(re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), _BLOCK)):
        recipe = tmp_path / f"{number}.yaml"
        recipe.write_text(f"name: piece\n{block}", encoding="utf-8")
        load_recipe(recipe)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_benchmark_in_the_pages_is_there(page):
    scripts = re.findall(r"\bbenchmarks/[\w/]+\.py\b", page.read_text(encoding="utf-8"))
    assert [script for script in scripts if not (ROOT / script).is_file()] == []


def test_the_list_of_commands_names_every_verb():
    listed = {command[1] for command in commands((ROOT / "docs" / "commands.md").read_text(encoding="utf-8"))}
    assert set(verbs()) - listed == set()


def test_no_folder_of_pages_is_crowded():
    folders = [ROOT / "docs", *(path for path in (ROOT / "docs").rglob("*") if path.is_dir())]
    assert [str(folder) for folder in folders if len(list(folder.iterdir())) > MAXIMUM_NAMES] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("```sh\nkeras-retina run a.yaml --out b  # then\n```\n", [["keras-retina", "run", "a.yaml", "--out", "b"]]),
        (
            "```sh\nkeras-retina run \\\n  --set 'a={b: 1,\n  c: 2}'\n```\n",
            [["keras-retina", "run", "--set", "a={b: 1,\n  c: 2}"]],
        ),
        ("text `keras-retina\nverify RUN` text `--json`", [["keras-retina", "verify", "RUN"]]),
        ("```python\nimport x\n```\n", []),
        ("", []),
    ],
)
def test_commands_are_found_in_fences_and_in_the_text(text, expected):
    assert commands(text) == expected


def test_the_places_that_the_page_for_contributors_names_exist_and_every_room_is_among_them():
    spans = _SPAN.findall(_FENCE.sub("", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))
    named = {span for span in spans if re.fullmatch(r"[\w/]+(\.py|/)", span)}
    packages = (ROOT / "keras_retina", ROOT / "edge")
    assert [name for name in sorted(named) if not any((start / name).exists() for start in (ROOT, *packages))] == []
    rooms = {path.name for package in packages for path in package.iterdir() if (path / "__init__.py").is_file()}
    assert {f"{room}/" for room in rooms} <= named
