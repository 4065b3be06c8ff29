"""What the four numbers of a column `bbox` are: x1, y1, x2, y2 as in some files, x, y, width, height in others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from keras_retina.data.formats.csv_files.boxes import NoBoxError, numbers_of_cell
from keras_retina.data.formats.csv_files.columns import BoxForm, Columns
from keras_retina.data.formats.csv_files.find_images import (
    SeveralFilesError,
    find_image,
    image_folder,
    image_folders,
)
from keras_retina.data.formats.csv_files.rows import image_size
from keras_retina.data.formats.csv_files.table import Row
from keras_retina.data.formats.image_files import ImageFiles
from keras_retina.data.images import inspect_image
from keras_retina.foundation.errors import InputError

_ROUNDING = 1.01  # boxes may leave their image by so much
_TOO_MANY_REVERSED = 0.2  # of all boxes: no file of corners has so many in the wrong order
_DAMAGED = 20  # so many boxes outweigh one

Size = tuple[int, int]


def bbox_form(
    tables: Sequence[tuple[Path, Columns, Sequence[Row]]], images: Callable[[], ImageFiles]
) -> BoxForm | None:
    """Tells whether a column `bbox` has corners or a corner and a size; None when the boxes do not tell.

    A box whose third number is not above its first has no two corners; one that would leave its image has no corner and
    size. A few damaged boxes against many others do not count. The sizes of the images are read from their files only
    where they matter.

    Args:
        tables: each file, its columns and its rows.
        images: lists the image files of the folder.
    """
    cells = [row[columns.box[0]] if columns.box[0] < len(row) else "" for _, columns, rows in tables for _, row in rows]
    given = [image_size(row, columns) for _, columns, rows in tables for _, row in rows]
    evidence = _evidence(cells, given)
    if evidence.no_corners > _TOO_MANY_REVERSED * evidence.boxes:
        return "bbox_size"
    if None in given:
        sizes = [size for file, columns, rows in tables for size in _file_sizes(file, columns, rows, images())]
        evidence = _evidence(cells, sizes)
    if evidence.no_corners > _DAMAGED * evidence.no_size:
        return "bbox_size"
    if evidence.no_size > _DAMAGED * evidence.no_corners:
        return "bbox_corners"
    return None


@dataclass(frozen=True)
class _Evidence:
    """How many boxes there are, and how many cannot be two corners, or a corner and a size."""

    boxes: int
    no_corners: int
    no_size: int


def _evidence(cells: Iterable[str], sizes: Iterable[Size | None]) -> _Evidence:
    boxes: list[tuple[tuple[float, float, float, float], Size | None]] = []
    for text, image in zip(cells, sizes, strict=True):
        try:
            boxes.extend((box, image) for box in numbers_of_cell(text))
        except NoBoxError:
            continue  # read_labels tells of the row
    shares = all(max(box) <= 1 for box, _ in boxes)
    no_corners = no_size = 0
    for (a, b, c, d), image in boxes:
        height, width = (1, 1) if shares else image or (None, None)
        no_corners += c <= a or d <= b
        no_size += bool(height and width and (a + c > _ROUNDING * width or b + d > _ROUNDING * height))
    return _Evidence(len(boxes), no_corners, no_size)


def _file_sizes(file: Path, columns: Columns, rows: Sequence[Row], images: ImageFiles) -> list[Size | None]:
    names = [row[columns.file] for _, row in rows]
    folder = image_folder(image_folders(images.root, file.parent, split=file.stem), names)
    sizes: dict[str, Size | None] = {}
    for name in names:
        if name not in sizes:
            sizes[name] = _file_size(name, folder, images=images, split=file.stem)
    return [sizes[name] for name in names]


def _file_size(name: str, folder: Path, *, images: ImageFiles, split: str) -> Size | None:
    try:
        found = find_image(name, folder, files=images, split=split)
        return None if found is None else inspect_image(found.folder / found.name)[:2]
    except (InputError, SeveralFilesError):
        return None  # place_images tells of the image
