"""`weights`: what each backbone can start from, and our file of it out of the one that the user downloads; `import`: a
detector that another library trained, as a run.
"""

from __future__ import annotations

import copy
import math
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keras_retina.cli.options import DATA_HELP, DataOption, OverwriteOption, SetOption, command, finite
from keras_retina.cli.output import say, suggest
from keras_retina.train.workers.cluster import is_left_to_chief

if TYPE_CHECKING:
    import numpy as np

    from edge.tflite.backbones.run import InputRange
    from keras_retina.model.imports import Original
    from keras_retina.model.weights.starts import Start
    from keras_retina.recipe.recipe import Recipe

CHECKPOINT_HELP = (
    "A .pth or .safetensors of torchvision's retinanet_resnet50_fpn, the .index or the folder of a checkpoint of Model "
    "Garden's RetinaNet, or the preset folder or the .keras of KerasHub's or KerasCV's."
)
PHOTO_SIZE, PHOTO_BATCH = 224, 16
FEWEST_PHOTOS, MOST_PHOTOS = 32, 320


def weights(
    data: Annotated[
        Path | None, typer.Option("--data", help=f"Look in weights/ beside it as well. {DATA_HELP}")
    ] = None,
    make: Annotated[
        Path | None, typer.Option("--make", help="Make our file from this downloaded file, or from any .tflite.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option("--images", help="Photos for the statistics of BatchNorm, where they are not stored.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for the file that is made.")] = Path("weights"),
    input_range: Annotated[
        str | None, typer.Option("--input-range", help="BLACK,WHITE of the input of a .tflite that does not say it.")
    ] = None,
) -> None:
    """List the trained weights that each backbone can start from, or make the file of one."""
    from keras_retina.foundation.errors import InputError
    from keras_retina.foundation.files.places import remote_address

    if make is not None:
        from keras_retina.model.weights.packages import is_listed

        if make.suffix == ".tflite" and not is_listed(make):
            make_from_tflite(make, images, out=out, input_range=input_range)
            return
        path = make_weights(make, images, out=out)
        say(f"wrote {path}")
        say(f"next: export KERAS_RETINA_WEIGHTS={out}")
        return
    if data is not None and not remote_address(data) and not data.exists():
        raise InputError(f"--data: expected an existing data folder. Received: {data}, nothing there. Check the path.")
    for line in listed_weights(data):
        say(line)


def listed_weights(data: Path | None) -> list[str]:
    """Returns the lines of the list: each backbone, what it can start from, and where that is or how to get it."""
    from keras_retina.model.weights.starts import STARTS
    from keras_retina.recipe.backbones import BACKBONE_STARTS

    lines = []
    for name, starts in STARTS.items():
        lines.append(f"{name}: {', '.join([*(start.name for start in starts), 'none'])}")
        for start in starts:
            lines.append(f"  {start.name}: {start.trained_on}. {start.source}. Licence: {start.licence}")
            lines += [f"    {line}" for line in _places(start, BACKBONE_STARTS[name][start.name], data=data)]
            if start.package is not None:
                lines.append(f"    get it: {start.package.get}")
                photos = "" if start.package.has_batch_norm else " --images PHOTOS"
                lines.append(f"    then: keras-retina weights --make FILE --out DIR{photos}")
    return lines


def _places(start: Start, alphas: tuple[float, ...], *, data: Path | None) -> list[str]:
    from keras_retina.model.weights.download import keras_cache
    from keras_retina.model.weights.pretrained import found_file

    lines = []
    for alpha in alphas:
        width = f"alpha {alpha}: " if "{alpha}" in start.file else ""
        found = found_file(start, alpha, data_dir=data) or keras_cache(start, alpha)
        missing = "downloaded by Keras when it is used" if start.keras_file else "not found"
        lines.append(f"{width}{found or missing}")
    return lines


def make_weights(file: Path, images: Path | None, *, out: Path) -> Path:
    """Writes our file of the weights in a downloaded file and returns its path.

    Raises:
        InputError: the file is none that is listed, or there are too few photos.
    """
    from keras_retina.foundation.files.locks import one_at_a_time
    from keras_retina.foundation.files.writing import make_folder, replacing
    from keras_retina.model.weights.packages import recognised, weight_bytes
    from keras_retina.model.weights.starts import file_name

    name, start, package = recognised(file)
    photos = [] if package.has_batch_norm else photo_files(images)
    make_folder(out)

    from edge.tflite.backbones.convolutions import folded_convolutions
    from keras_retina.model.backbones import kind_of
    from keras_retina.model.weights.make import set_folded, set_torch_tensors
    from keras_retina.model.weights.torch_file import read_tensors
    from keras_retina.recipe.model import Backbone

    settings = Backbone(name=name, alpha=start.package_alpha, weights=start.name)
    network = kind_of(settings).build(
        settings, include_top=False, weights=None, input_shape=(PHOTO_SIZE, PHOTO_SIZE, 3)
    )
    data = weight_bytes(file, package)
    if package.has_batch_norm:
        set_torch_tensors(network, read_tensors(data, str(file)))
    else:
        convolutions = folded_convolutions(data, str(file))
        set_folded(network, convolutions, layers=package.layers, batches=photo_batches(photos, PHOTO_SIZE))
    path = out / file_name(start, start.package_alpha)
    with one_at_a_time(path), replacing(path) as unfinished:
        network.save_weights(unfinished)
    return path


def photo_files(folder: Path | None) -> list[Path]:
    """Returns the pictures in a folder and in those inside it, by name, evenly spaced ones where there are many."""
    from keras_retina.data.images import IMAGE_SUFFIXES
    from keras_retina.foundation.errors import InputError

    place = folder.rglob("*") if folder is not None else ()
    found = sorted(path for path in place if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    if len(found) < FEWEST_PHOTOS:
        raise InputError(
            f"--images: expected a folder with {FEWEST_PHOTOS} photos or more, since the file has no statistics of "
            f"BatchNorm. Received: {folder} with {len(found)}. Give photos of any kind, such as your own."
        )
    step = max(1, len(found) / MOST_PHOTOS)
    return [found[int(number * step)] for number in range(min(len(found), MOST_PHOTOS))]


def make_from_tflite(file: Path, images: Path | None, *, out: Path, input_range: str | None) -> None:
    """Writes our file of the backbone in any `.tflite`, and says how near it is to the file and how it is used.

    Raises:
        InputError: the file has no backbone of ours, or there are too few photos.
    """
    from keras_retina.foundation.errors import InputError
    from keras_retina.foundation.files.locks import one_at_a_time
    from keras_retina.foundation.files.writing import make_folder, replacing
    from keras_retina.recipe.backbones import BACKBONE_ALPHAS

    if not file.is_file():
        raise InputError(f"--make: expected a downloaded file. Received: {file}, no such file. Correct the path.")
    range_ = parsed_range(input_range)
    photos = photo_files(images)

    from edge.tflite.backbones.make import file_name, make_from_file

    made = make_from_file(file, lambda height, width: photo_batches(photos, height, width), input_range=range_)
    say(made.told)
    found = made.found
    make_folder(out)
    path = out / file_name(found.settings, file)
    with one_at_a_time(path), replacing(path) as unfinished:
        found.network.save_weights(unfinished)
    say(f"wrote {path}")
    fields = {"name": found.settings.name, "alpha": found.settings.alpha, "weights": shlex.quote(str(path))}
    if len(BACKBONE_ALPHAS[found.settings.name]) == 1:
        del fields["alpha"]
    settings = " ".join(f"--set model.backbone.{key}={value}" for key, value in fields.items())
    suggest(f"keras-retina run RECIPE --data DIR {settings}")


def parsed_range(text: str | None) -> InputRange | None:
    """Returns BLACK,WHITE as numbers.

    Raises:
        InputError: it is no two different numbers.
    """
    from keras_retina.foundation.errors import InputError

    if text is None:
        return None

    from edge.tflite.backbones.run import InputRange

    try:
        black, white = map(float, text.split(","))
        if black == white or not math.isfinite(black) or not math.isfinite(white):
            raise ValueError
    except ValueError as error:
        raise InputError(
            f"--input-range: expected what the input is for black and for white. Received: {text!r}. "
            "Give two numbers, such as -1,1 or 0,255."
        ) from error
    return InputRange((black,), (white,), "as --input-range says")


def photo_batches(photos: list[Path], height: int, width: int | None = None) -> Iterator[np.ndarray]:
    """Yields float32 `[batch, height, width, 3]` RGB in [-1, 1]: the middle square of each photo."""
    import numpy as np

    from keras_retina.data.images import read_image
    from keras_retina.data.resize import resize_image

    for first in range(0, len(photos), PHOTO_BATCH):
        squares = []
        for path in photos[first : first + PHOTO_BATCH]:
            image = read_image(str(path))
            side = min(image.shape[:2])
            top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
            square = image[top : top + side, left : left + side]
            squares.append(resize_image(square, height, width=width or height, mode="stretch"))
        yield np.stack(squares).astype(np.float32) / 127.5 - 1


def import_(
    checkpoint: Annotated[Path, typer.Argument(help=CHECKPOINT_HELP)],
    out: Annotated[Path, typer.Option("--out", help="Run folder.")],
    data: DataOption = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="Class names, one a line, where they are not those of COCO.")
    ] = None,
    epsilon: Annotated[
        float | None,
        typer.Option(
            "--epsilon", help="Of the BatchNorms, where it is not the default of the library.", callback=finite
        ),
    ] = None,
    set_: SetOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Make a run of a detector that was trained with another library: it evaluates, exports and verifies like ours."""
    if is_left_to_chief("import"):
        return
    from keras_retina.model.imports import names_of_outputs, read_original
    from keras_retina.model.saving import save_detector
    from keras_retina.run.folder import refuse_other_files, start_run

    refuse_other_files(out, overwrite=overwrite)
    original = read_original(checkpoint, epsilon)
    names = names_of_outputs(original, labels)
    recipe = imported_recipe(original, out, overrides=set_)

    from keras_retina.model.imports import build

    model, spec = build(original, recipe.model, names=names, classes=recipe.data.classes)
    run = start_run(out, recipe, data_dir=data or Path(), command=command(), overwrite=overwrite)
    save_detector(model, spec, run.model)
    say(f"{original.name}: {original.told}; {len(spec.class_names)} classes, {model.count_params():,} parameters")
    say(f"wrote {run.model}")
    suggest(f"keras-retina evaluate {out} --data DIR")


def imported_recipe(original: Original, out: Path, *, overrides: list[str] | None) -> Recipe:
    """Returns the recipe of the run: the settings of the original. A training with it starts from its weights."""
    from keras_retina.foundation.run_paths import RunPaths
    from keras_retina.recipe.recipe import recipe_from_fields
    from keras_retina.recipe.yaml_file import apply_override

    fields: dict[str, Any] = {"name": run_name(out), **copy.deepcopy(dict(original.fields))}
    fields["model"]["backbone"]["weights"] = str(RunPaths(out).model)
    for override in overrides or []:
        apply_override(fields, override)
    return recipe_from_fields(fields, " ".join(["import", *(f"--set {one}" for one in overrides or [])]))


def run_name(out: Path) -> str:
    """Returns the name of the folder as that of a recipe."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", out.resolve().name)[:64].lstrip("_.-")
    return name or "imported"
