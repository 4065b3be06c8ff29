"""A picture of what the network is trained on: the first samples of the real pipeline, with their targets drawn in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from keras_retina.data.pipeline import training_batches, training_labels
from keras_retina.data.records import Dataset
from keras_retina.foundation.drawing import draw_boxes
from keras_retina.foundation.errors import InputError, printable
from keras_retina.foundation.files.writing import make_folder, require_writable
from keras_retina.geometry.boxes import decode
from keras_retina.geometry.matching import IGNORED
from keras_retina.model.spec import detector_spec
from keras_retina.recipe.recipe import Recipe

MOST_IMAGES = 64
COLUMNS = 4
TILE = 560  # pixels of the longer side of a drawn sample
CAPTION = 40  # pixels above it, so that no text of the caption covers an object
_GAP = 6
_SAME_BOX = 0.05  # pixels: far more than the rounding of the coder, far less than labels differ
_BOX_COLOUR, _UNMATCHED_COLOUR = (46, 204, 113), (255, 60, 60)
_ANCHOR_COLOUR, _IGNORED_COLOUR = (72, 140, 255), (170, 170, 170)


@dataclass(frozen=True)
class Sample:
    """One training sample: the image the network gets, and what the losses compare its outputs with.

    Boxes are float32 `[n, 4]`, `[y1, x1, y2, x2]` pixels of `image`.

    Attributes:
        name: file name of the image in the labels.
        image: uint8 `[height, width, 3]`, after augmentation.
        boxes, classes: first the objects that are in the targets, decoded from them, then the labelled boxes that are
            in no target, though neither crowd nor mostly cut away; classes int `[n]`.
        matched: bool `[n]`, in the targets.
        anchors: the positive anchors.
        ignored: number of anchors that take no part in the loss.
    """

    name: str
    image: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    matched: np.ndarray
    anchors: np.ndarray
    ignored: int


def check_request(images: int, path: Path) -> None:
    """Refuses what cannot be drawn, before the data set is read.

    Raises:
        InputError: `images` is not in 1..`MOST_IMAGES`, or `path` is not the name of a PNG file.
    """
    if not 1 <= images <= MOST_IMAGES:
        nearest = max(1, min(images, MOST_IMAGES))
        raise InputError(
            f"--images: a number from 1 to {MOST_IMAGES} was expected. Received: images={images}. Use {nearest}."
        )
    if path.suffix.lower() != ".png" or path.is_dir():
        raise InputError(
            f"--out: the name of a .png file was expected. Received: out={printable(path)}. Use {printable(path)}.png."
        )
    make_folder(path.parent)
    require_writable(path, "--out")


def first_samples(recipe: Recipe, dataset: Dataset, *, images: int) -> list[Sample]:
    """Returns the first `images` samples that a training of the recipe on this split sees, in that order.

    Raises:
        InputError: an image cannot be read.
    """
    spec = detector_spec(recipe.model, dataset.class_names)
    anchors = spec.anchors()
    cache = recipe.data.cache_mebibytes
    # A sample does not depend on the size of its batch.
    batches = training_batches(
        dataset,
        spec,
        augmentation=recipe.augmentation,
        matching=recipe.training.matching,
        batch_size=1,
        seed=recipe.seed,
        cache_mebibytes=cache,
    )
    labels = training_labels(dataset, spec, augmentation=recipe.augmentation, seed=recipe.seed, cache_mebibytes=cache)
    samples = []
    for (image, wanted), (index, boxes, classes, ignored) in zip(
        batches.take(images).as_numpy_iterator(), labels.take(images).as_numpy_iterator(), strict=True
    ):
        codes, targets = wanted["classes"][0], wanted["boxes"][0]
        learnt, learnt_classes = targets_to_boxes(codes, targets, anchors=anchors, coder_weights=spec.coder_weights)
        missed = ~ignored & ~_contained(boxes, classes, others=learnt, other_classes=learnt_classes)
        samples.append(
            Sample(
                name=dataset.records[index].file_name,
                image=spec.unscale(image[0]),
                boxes=np.concatenate([learnt, boxes[missed]]),
                classes=np.concatenate([learnt_classes, classes[missed]]),
                matched=np.arange(len(learnt) + missed.sum()) < len(learnt),
                anchors=anchors[targets[:, 4] == 1],
                ignored=int((codes == IGNORED).sum()),
            )
        )
    return samples


def targets_to_boxes(
    codes: np.ndarray, targets: np.ndarray, *, anchors: np.ndarray, coder_weights: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the objects in the targets of one image, each once, and their classes.

    Shapes: `[A]`, `[A, 5]` and `[A, 4]`, as `keras_retina.geometry.matching.targets` makes them, to `[n, 4]` and `[n]`.
    """
    positive = targets[:, 4] == 1
    decoded, classes = decode(targets[positive, :4], anchors[positive], weights=coder_weights), codes[positive]
    kept: list[int] = []
    for index in range(len(decoded)):
        one = slice(index, index + 1)
        if not _contained(decoded[one], classes[one], others=decoded[kept], other_classes=classes[kept])[0]:
            kept.append(index)
    return decoded[kept], classes[kept]


def write_sheet(path: Path, samples: Sequence[Sample], *, class_names: Sequence[str]) -> None:
    """Writes `contact_sheet` as a PNG file, and the folders above it where they are missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(contact_sheet(samples, class_names)).save(path, "PNG")


def contact_sheet(samples: Sequence[Sample], class_names: Sequence[str]) -> np.ndarray:
    """Draws one or more samples, `COLUMNS` a row: boxes green, positive anchors thin and blue, unmatched boxes red.

    Returns:
        uint8 `[height, width, 3]`, RGB. Each sample takes its image with a longer side of `TILE` pixels, `CAPTION`
        pixels above it and a gap around.
    """
    tiles = [_tile(sample, class_names) for sample in samples]
    height, width = tiles[0].shape[0] + _GAP, tiles[0].shape[1] + _GAP
    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * height + _GAP, columns * width + _GAP, 3), 255, np.uint8)
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        y, x = row * height + _GAP, column * width + _GAP
        sheet[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    return sheet


def _tile(sample: Sample, class_names: Sequence[str]) -> np.ndarray:
    factor = TILE / max(sample.image.shape[:2])
    height, width = (round(side * factor) for side in sample.image.shape[:2])
    picture = Image.fromarray(sample.image).resize((width, height), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(picture, "RGBA")
    for y1, x1, y2, x2 in sample.anchors * factor:
        # Translucent, because one object has many anchors and must still be seen.
        draw.rectangle([float(x1), float(y1), float(x2), float(y2)], outline=(*_ANCHOR_COLOUR, 110), width=1)
    boxes, names = sample.boxes * factor, [class_names[index] for index in sample.classes]
    colours = [_BOX_COLOUR if matched else _UNMATCHED_COLOUR for matched in sample.matched]
    drawn = draw_boxes(np.asarray(picture), boxes, labels=names, colours=colours, line_width=2, font_size=11)
    return np.concatenate([_caption(sample, width), drawn])


def _caption(sample: Sample, width: int) -> np.ndarray:
    """Returns name and counts on a dark strip; the colours of the counts are the legend of the picture."""
    strip = Image.new("RGB", (width, CAPTION), (32, 32, 32))
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default(size=14)
    name = printable(sample.name)
    while len(name) > 2 and draw.textlength(name, font=font) > width - 8:
        name = "…" + name[2:]  # names of one folder mostly differ at their end
    draw.text((4, 2), name, fill=(255, 255, 255), font=font)
    counts = [(f"boxes {len(sample.boxes)}", _BOX_COLOUR)]
    if not sample.matched.all():
        counts.append((f"without an anchor {(~sample.matched).sum()}", _UNMATCHED_COLOUR))
    counts.append((f"positive anchors {len(sample.anchors)}", _ANCHOR_COLOUR))
    counts.append((f"ignored {sample.ignored}", _IGNORED_COLOUR))
    x = 4.0
    for text, colour in counts:
        draw.text((x, 20), text, fill=colour, font=font)
        x += draw.textlength(text, font=font) + 14
    return np.asarray(strip)


def _contained(boxes: np.ndarray, classes: np.ndarray, *, others: np.ndarray, other_classes: np.ndarray) -> np.ndarray:
    """Returns which boxes are among the others with the same class, bool `[n]`."""
    near = np.abs(boxes[:, None] - others[None]).max(axis=-1) < _SAME_BOX  # [n, others]
    return (near & (classes[:, None] == other_classes[None])).any(axis=1)
