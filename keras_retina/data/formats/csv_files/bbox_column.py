"""What the four numbers of a column `bbox` are: x1, y1, x2, y2 as in some files, x, y, width, height in others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from keras_retina.data.formats.csv_files.boxes import NoBoxError, numbers_of_cell
from keras_retina.data.formats.csv_files.columns import BoxForm, Columns
from keras_retina.data.formats.csv_files.find_images import (
    ImageFiles,
    SeveralFilesError,
    find_image,
    image_folder,
    image_folders,
)
from keras_retina.data.formats.csv_files.rows import image_size
from keras_retina.data.formats.csv_files.table import Row
from keras_retina.data.images import inspect_image
from keras_retina.foundation.errors import InputError

_ROUNDING = 1.01  # boxes may leave their image by so much

Size = tuple[int, int]


def bbox_form(
    tables: Sequence[tuple[Path, Columns, Sequence[Row]]], images: Callable[[], ImageFiles]
) -> BoxForm | None:
    """Tells whether a column `bbox` has corners or a corner and a size; None when the boxes fit both or neither.

    A box whose third number is not above its first has a size; one that would leave its image as a corner and a size
    has corners. Sizes are taken from the image files only when the files say nothing.

    Args:
        tables: each file, its columns and its rows.
        images: lists the image files of the folder.
    """
    cells = [row[columns.box[0]] if columns.box[0] < len(row) else "" for _, columns, rows in tables for _, row in rows]
    given = [image_size(row, columns) for _, columns, rows in tables for _, row in rows]
    form = _form(cells, given)
    if form is None and None in given:
        sizes = (size for file, columns, rows in tables for size in _file_sizes(file, columns, rows, images()))
        form = _form(cells, sizes)
    return form


def _form(cells: Iterable[str], sizes: Iterable[Size | None]) -> BoxForm | None:
    boxes: list[tuple[tuple[float, float, float, float], Size | None]] = []
    for text, image in zip(cells, sizes, strict=True):
        try:
            found = numbers_of_cell(text)
        except NoBoxError:
            continue  # read_labels tells of the row
        boxes.extend((box, image) for box in found)
    corners = size = True
    shares = all(max(box) <= 1 for box, _ in boxes)
    for (a, b, c, d), image in boxes:
        height, width = (1, 1) if shares else image or (None, None)
        if c <= a or d <= b:
            corners = False
        elif height and width and (a + c > _ROUNDING * width or b + d > _ROUNDING * height):
            size = False
    if corners == size:
        return None
    return "bbox_corners" if corners else "bbox_size"


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
