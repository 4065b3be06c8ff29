"""Options that several verbs share, and how a recipe is found by path or by name."""

from __future__ import annotations

import math
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:  # pydantic takes a while, and `--help` does not need it
    from edge.detectors.reading import ReadingOptions
    from keras_retina.plan.wishes import Wishes
    from keras_retina.recipe.recipe import Recipe


def output_file(parameter: typer.CallbackParam, path: Path | None) -> Path | None:
    """Makes the folder of a file, and refuses a file that could not be written at the end, before the work begins."""
    from keras_retina.foundation.errors import InputError
    from keras_retina.foundation.files.places import address, remote_address
    from keras_retina.foundation.files.writing import make_folder, require_writable

    if path is None:
        return None
    if path.is_dir() or remote_address(path):
        received = "a folder" if path.is_dir() else "not on this machine"
        raise InputError(
            f"{parameter.opts[0]}: expected a file to write. Received: {address(path)}, {received}. "
            "Choose another place."
        )
    make_folder(path.parent)
    require_writable(path, parameter.opts[0])
    return path


def data_place(path: Path | None) -> Path | None:
    """Returns the folder that `file:///data` names, and any other place as it is."""
    from keras_retina.foundation.files.places import local_path

    return None if path is None else local_path(path)


def finite(parameter: typer.CallbackParam, value: float | None) -> float | None:
    """Refuses NaN and infinity, which pass every range."""
    from keras_retina.foundation.errors import InputError

    if value is not None and not math.isfinite(value):
        raise InputError(f"{parameter.opts[0]}: expected a finite number. Received: {value}. Correct it.")
    return value


def picture_file(parameter: typer.CallbackParam, path: Path | None) -> Path | None:
    """Does what `output_file` does, and refuses an ending that is no picture's."""
    from keras_retina.foundation.errors import InputError

    output_file(parameter, path)
    if path is not None and path.suffix.lower() not in PICTURE_SUFFIXES:
        raise InputError(
            f"{parameter.opts[0]}: expected a file that ends in {', '.join(PICTURE_SUFFIXES)}. Received: {path}. "
            "Correct the ending."
        )
    return path


def refuse_among_data(option: str, path: Path | None, *, data: Path) -> None:
    """Refuses to replace a file of the data folder: labels and pictures are what the user cannot make again."""
    from keras_retina.foundation.errors import InputError
    from keras_retina.foundation.files.places import real_path

    if path is not None and path.is_file() and data.is_dir() and real_path(path).is_relative_to(real_path(data)):
        raise InputError(
            f"{option}: expected a place outside of the data. Received: {path}, a file of {data}, which would be lost. "
            "Choose another place."
        )


PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
DATA_HELP = "Folder, pack or TFRecord pattern; also gs:// and the like."
DataOption = Annotated[Path | None, typer.Option("--data", help=DATA_HELP, callback=data_place)]
RequiredDataOption = Annotated[Path, typer.Option("--data", help=DATA_HELP, callback=data_place)]
OutOption = Annotated[Path | None, typer.Option("--out", help="Run folder. Default: runs/<recipe name>.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="section.key=value, overrides the recipe.")]
FormatOption = Annotated[
    str | None, typer.Option("--format", help="How the folder is read, where it can be read in several ways.")
]
JsonOption = Annotated[
    Path | None, typer.Option("--json", help="Write the measurements to this file.", callback=output_file)
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Delete the run that is in the folder.")]
MinutesOption = Annotated[
    float | None,
    typer.Option(
        "--minutes", help="For training alone, on this machine; export and verify come on top.", callback=finite
    ),
]
LatencyOption = Annotated[
    float | None,
    typer.Option(
        "--latency", help="Milliseconds the file may take for an image, timed on this machine.", callback=finite
    ),
]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", help="Threads of the file, for --latency and in verify. Default: 2.")
]
TargetOption = Annotated[
    str | None, typer.Option("--target", help="Where the file runs: phone, pi, coral, browser or frigate.")
]
ObjectiveOption = Annotated[
    str | None, typer.Option("--objective", help="What counts most: smallest, fastest or best.")
]
BackboneOption = Annotated[
    str | None, typer.Option("--backbone", help="Of the planned network, as in a recipe. Default: mobilenet_v2.")
]
RecipeArgument = Annotated[str, typer.Argument(help="A recipe file, or the name of a recipe that is installed.")]
RunArgument = Annotated[Path, typer.Argument(help="A run folder.")]
AnyFileArgument = Annotated[Path, typer.Argument(help="Any .tflite file, whoever wrote it.")]
LabelsOption = Annotated[
    Path | None, typer.Option("--labels", help="Class names, one a line. For a file that is not ours.")
]
ClassMapOption = Annotated[
    str | None, typer.Option("--class-map", help="class of the file=class of the data,...; or a file of such lines.")
]
MeanOption = Annotated[
    float | None,
    typer.Option("--input-mean", help="Mean of the pixels. For a float file that is not ours.", callback=finite),
]
StdOption = Annotated[
    float | None,
    typer.Option("--input-std", help="Deviation of the pixels. For a float file that is not ours.", callback=finite),
]
ResizeOption = Annotated[
    str | None,
    typer.Option(
        "--resize",
        help="stretch, letterbox, letterbox-centre, letterbox-grey or crop. Default: as the kind of file wants it.",
    ),
]
ChannelsOption = Annotated[
    str | None, typer.Option("--channels", help="rgb or bgr. Default: as the kind of file wants it.")
]
HeadOption = Annotated[
    str | None, typer.Option("--head", help="How outputs are read, where they can be in two ways: yolov8, yolox, ...")
]
BoxUnitsOption = Annotated[
    str | None, typer.Option("--box-units", help="pixels or shares (0 to 1) of the input. Default: found.")
]

AnchorsOption = Annotated[
    str | None,
    typer.Option(
        "--anchors",
        help="Of a YOLO in maps: w,h,w,h,.../... in pixels, finest level first; or its .yaml or Darknet's .cfg.",
    ),
]


def reading_options(
    labels: Path | None,
    class_map: str | None,
    *,
    mean: float | None,
    std: float | None,
    resize: str | None,
    channels: str | None,
    head: str | None,
    box_units: str | None,
    anchors: str | None,
) -> ReadingOptions:
    """Returns what the options say about a file that does not say it itself."""
    from edge.detectors.heads.head import UNITS
    from edge.detectors.pictures import RESIZE_MODES
    from edge.detectors.reading import CHANNELS, ReadingOptions

    check_choice("--resize", resize, choices=RESIZE_MODES)
    check_choice("--channels", channels, choices=CHANNELS)
    check_choice("--head", head, choices=heads())
    check_choice("--box-units", box_units, choices=UNITS)
    return ReadingOptions(labels, class_map, mean, std, resize, channels, head, box_units, anchors)


def heads() -> tuple[str, ...]:
    """Returns what `--head` takes."""
    from edge.detectors.heads.recognise import KNOWN

    return tuple(KNOWN)


def check_choice(option: str, value: str | None, *, choices: tuple[str, ...]) -> None:
    """Refuses a value that is none of the choices, and names the nearest."""
    from keras_retina.foundation.errors import InputError, closest

    if value is not None and value not in choices:
        raise InputError(
            f"{option}: expected one of {', '.join(choices)}. Received: {value}. {closest(value, choices)}"
        )


def wishes_of(
    *,
    minutes: float | None,
    latency: float | None,
    threads: int | None,
    target: str | None,
    objective: str | None,
    backbone: str | None,
    seed: int = 0,
) -> Wishes:
    """Returns what the options of `plan` and `run` ask for; an unknown name or a wrong number is an InputError."""
    from keras_retina.plan.wishes import Wishes

    return Wishes(minutes, latency, threads, target, objective, seed, backbone)  # type: ignore[arg-type]  # checked there


def with_format(set_: list[str] | None, format: str | None) -> list[str]:
    """Returns the overrides with that of `--format`: the same as `--set data.format=...`."""
    from keras_retina.recipe.yaml_file import flow_yaml

    return [*(set_ or []), *([] if format is None else [f"data.format={flow_yaml(format)}"])]


def load_named(recipe: str, set_: list[str] | None) -> Recipe:
    """Returns the recipe of a path or a name with `--set` applied."""
    from keras_retina.recipe.recipe import load_recipe

    return load_recipe(find_recipe(recipe), set_)


def default_recipe(set_: list[str] | None) -> Recipe:
    """Returns the defaults of every section with `--set` applied, for a verb that can do without a recipe."""
    from keras_retina.recipe.recipe import recipe_from_fields
    from keras_retina.recipe.yaml_file import apply_override

    fields: dict[str, Any] = {"name": "default"}
    for override in set_ or []:
        apply_override(fields, override)
    return recipe_from_fields(fields, " ".join(["--set", *(set_ or [])]))


def find_recipe(name: str) -> Path:
    """Returns the path of a recipe file, or of an installed recipe (`bccd`, `demo`)."""
    from keras_retina.foundation.errors import InputError, closest

    path = Path(name)
    if path.suffix in {".yaml", ".yml"}:
        return path
    here = Path(__file__).parents[1]
    folder = here / "recipes" if (here / "recipes").is_dir() else here.parent / "recipes"
    deepest_first = sorted(folder.rglob("*.yaml"), key=lambda file: -len(file.parts))
    installed = {file.stem: file for file in deepest_first}  # recipes/bccd.yaml and not recipes/ablation/bccd.yaml
    if name not in installed and path.exists():
        raise InputError(
            f"recipe: expected a .yaml file or an installed recipe. Received: {name}, "
            f"{'a folder' if path.is_dir() else 'another file'}. If it is your data, say --data {name}"
        )
    if name not in installed:
        raise InputError(
            f"recipe: expected a .yaml file or an installed recipe. Received: {name!r}. {closest(name, installed)}"
        )
    return installed[name]


def command() -> str:
    """Returns the command line as it was typed."""
    return shlex.join(["keras-retina", *sys.argv[1:]])
