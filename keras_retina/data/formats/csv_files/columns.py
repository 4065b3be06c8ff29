"""Which column of a CSV file means what: told by its header, or without a header by the first rows.

Sources: https://github.com/fizyr/keras-retinanet#csv-datasets,
https://cloud.google.com/vertex-ai/docs/image-data/object-detection/prepare-data,
https://storage.googleapis.com/openimages/web/download_v7.html, https://www.robots.ox.ac.uk/~vgg/software/via/.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from keras_retina.data.formats.csv_files.table import Row, Sample
from keras_retina.data.images import IMAGE_SUFFIXES

BoxForm = Literal["corners", "size", "center", "vertices", "bbox", "bbox_corners", "bbox_size", "via"]
"""How the cells of `Columns.box` give a box: xyxy; xy and size; centre and size; up to four corners; one cell, whose
four numbers are corners or a corner and a size; one cell of VIA's JSON."""

MISSING = ("", "nan", "none", "null", "na", "n/a", "[]", "()", "no_box")
"""Cells that hold nothing, in lower case."""

FILE = ("filename", "file", "image", "imagepath", "path", "filepath", "imagename", "imageid", "imagefile", "img",
        "imgname", "imgpath", "imageurl", "imagefilename", "frame", "id")  # fmt: skip
CLASS_NAME = ("class", "classname", "label", "labelname", "name", "category", "categoryname", "objectclass", "classes",
              "celltype", "objecttype", "labels", "species", "tag")  # fmt: skip
CLASS_NUMBER = ("classid", "labelid", "categoryid", "classnumber", "classindex")
SPLIT = ("split", "subset", "set", "dataset", "usage", "mluse", "fold", "type", "partition", "data")
HEIGHT = ("height", "imageheight", "imgheight", "imageh", "imgh")
WIDTH = ("width", "imagewidth", "imgwidth", "imagew", "imgw")

_BOXES: tuple[tuple[BoxForm, tuple[tuple[str, ...], ...]], ...] = (
    ("corners", (
        ("xmin", "ymin", "xmax", "ymax"),
        ("bboxxmin", "bboxymin", "bboxxmax", "bboxymax"),
        ("minx", "miny", "maxx", "maxy"),
        ("x0", "y0", "x1", "y1"),
        ("x1", "y1", "x2", "y2"),
        ("bboxx1", "bboxy1", "bboxx2", "bboxy2"),
        ("left", "top", "right", "bottom"),
        ("xtl", "ytl", "xbr", "ybr"),
    )),
    ("center", tuple(
        (x, y, width, height)
        for x, y in (("xcenter", "ycenter"), ("xcentre", "ycentre"), ("centerx", "centery"), ("centrex", "centrey"),
                     ("cx", "cy"), ("xc", "yc"), ("xmid", "ymid"))
        for width, height in (("bboxwidth", "bboxheight"), ("boxwidth", "boxheight"), ("w", "h"), ("width", "height"))
    )),
    ("size", tuple(
        (x, y, width, height)
        for x, y in (("x", "y"), ("xmin", "ymin"), ("left", "top"), ("bboxx", "bboxy"), ("x1", "y1"))
        for width, height in (("bboxwidth", "bboxheight"), ("bboxw", "bboxh"), ("boxwidth", "boxheight"), ("w", "h"),
                              ("width", "height"))
    )),
    ("via", (("regionshapeattributes",),)),
    ("bbox_corners", (("bboxxyxy",), ("xyxy",), ("boxesstring",))),
    ("bbox_size", (("bboxxywh",), ("xywh",))),
    ("bbox", (("bbox",), ("boundingbox",), ("bboxes",), ("box",), ("boxes",))),
)  # fmt: skip
_COORDINATES = {name for form, choices in _BOXES if form in ("corners", "center") for choice in choices
                for name in choice} - {"w", "h", *HEIGHT, *WIDTH}  # fmt: skip
_SETS = ("train", "training", "validation", "validate", "val", "valid", "test", "testing", "unassigned")


@dataclass(frozen=True)
class Columns:
    """What the cells of a row are; columns are numbers, None where the file has no such column.

    Attributes:
        kind: what people call files like this.
        header: the first row is one.
        file, class_name, split, crowd: one column each.
        size: the columns of the height and width of the image.
        box: the columns of the box, as `form` says.
        split_named: the column for splits is called so; other names may mean another thing, such as a type of object.
        normalized: boxes are shares of the image by definition of the format.
    """

    kind: str
    delimiter: str
    header: bool
    file: int
    form: BoxForm
    box: tuple[int, ...]
    class_name: int | None
    size: tuple[int, int] | None = None
    split: int | None = None
    split_named: bool = False
    crowd: int | None = None
    normalized: bool = False


@dataclass(frozen=True)
class Incomplete:
    """A header that has some of the columns of boxes: `missing` are the names of the others."""

    header: str
    missing: tuple[str, ...]


def recognise(sample: Sample) -> Columns | Incomplete | None:
    """Tells what the columns of a file are, from its beginning; None for a file that holds no boxes."""
    incomplete = None
    for delimiter, rows in sample.rows.items():
        if not rows:
            continue
        found = _without_header(rows, delimiter) or _with_header(rows[0][1], delimiter)
        if isinstance(found, Columns):
            return found
        incomplete = incomplete or found
    return incomplete


def plain(name: str) -> str:
    """Returns a column name in lower case without blanks, underscores and signs."""
    return re.sub(r"[^a-z0-9]+", "", name.lower())


def _with_header(header: Sequence[str], delimiter: str) -> Columns | Incomplete | None:
    names = [plain(cell) for cell in header]
    file = _column(names, FILE)
    box = _box_columns(names)
    if file is None or box is None:
        coordinates = [name for name in names if name in _COORDINATES]
        if not coordinates or (file is None and len(coordinates) < 4):
            return None
        # The style that the header is nearest to.
        choices = [choice for form, group in _BOXES if form == "corners" for choice in group]
        nearest = max(choices, key=lambda choice: sum(name in names for name in choice))
        missing = ["filename"] * (file is None) + [name for name in nearest if name not in names] * (box is None)
        return Incomplete(delimiter.join(header), tuple(missing))
    form, columns = box
    used = {file, *columns}
    left = [name if index not in used else "" for index, name in enumerate(names)]
    if form == "via":
        class_name = _column(names, ("regionattributes",))
    else:
        class_name = _column(left, CLASS_NAME)
        class_name = _column(left, CLASS_NUMBER) if class_name is None else class_name
    height, width = _column(left, HEIGHT), _column(left, WIDTH)
    split = _column(left, SPLIT)
    openimages = form == "corners" and {"imageid", "labelname", "xmin"} <= set(names)
    return Columns(
        kind=_kind(names, form, openimages=openimages),
        delimiter=delimiter,
        header=True,
        file=file,
        form=form,
        box=columns,
        class_name=class_name,
        size=None if height is None or width is None else (height, width),
        split=split,
        split_named=split is not None and names[split] in ("split", "subset", "mluse", "partition"),
        crowd=_column(left, ("isgroupof", "iscrowd")),
        normalized=openimages,
    )


def _without_header(rows: Sequence[Row], delimiter: str) -> Columns | None:
    first = rows[0][1]
    if len(first) >= 2 and first[0].lower() in _SETS and is_image_name(first[1]):
        box = tuple(range(3, 11))
        return Columns("AutoML CSV", delimiter, False, 1, "vertices", box, 2, split=0, normalized=True)
    if len(first) >= 3 and is_image_name(first[0]) and len(first) in (10, 11) and not _number(first[1], delimiter):
        box = tuple(range(2, 10))
        if all(_number(cell, delimiter) or not cell for cell in first[2:]):
            return Columns("AutoML CSV", delimiter, False, 0, "vertices", box, 1, normalized=True)
    if is_image_name(first[0]) and any(_is_retinanet(row, delimiter) for _, row in rows):
        return Columns("keras-retinanet CSV", delimiter, False, 0, "corners", (1, 2, 3, 4), 5)
    if len(first) == 8 and all(_number(cell, delimiter) for cell in (*first[1:5], *first[6:])):
        if is_image_name(first[0]):
            return Columns("SKU-110K CSV", delimiter, False, 0, "corners", (1, 2, 3, 4), 5, size=(7, 6))
        if is_image_name(first[5]):
            return Columns("makesense CSV", delimiter, False, 5, "size", (1, 2, 3, 4), 0, size=(7, 6))
    return None


def _is_retinanet(row: Sequence[str], delimiter: str) -> bool:
    return len(row) == 6 and (not any(row[1:]) or all(_number(cell, delimiter) for cell in row[1:5]))


def is_image_name(text: str) -> bool:
    """Tells whether a cell ends like the name of an image file."""
    return PurePosixPath(text.replace("\\", "/")).suffix.lower() in IMAGE_SUFFIXES


def label_file(file: Path) -> bool:
    """Tells by its name whether a CSV file may hold labels; lists of classes and what a model found do not."""
    words = re.split(r"[^a-z]+", file.stem.lower())
    return "submission" not in words and not class_file(file)


def class_file(file: Path) -> bool:
    """Tells by its name whether a CSV file lists the names of the classes."""
    name = plain(file.stem)
    return name in ("classes", "class", "classmapping", "classmap", "classnames") or "classdescriptions" in name


def _kind(names: Sequence[str], form: BoxForm, *, openimages: bool) -> str:
    if openimages:
        return "OpenImages CSV"
    if form == "via":
        return "VIA CSV"
    if form.startswith("bbox"):
        return "Kaggle CSV"
    if {"filename", "width", "height", "class", "xmin"} <= set(names):
        return "TensorFlow CSV"
    return "CSV"


def _box_columns(names: Sequence[str]) -> tuple[BoxForm, tuple[int, ...]] | None:
    for form, choices in _BOXES:
        for choice in choices:
            if all(name in names for name in choice):
                return form, tuple(names.index(name) for name in choice)
    return None


def _column(names: Sequence[str], wanted: Sequence[str]) -> int | None:
    return next((names.index(name) for name in wanted if name in names), None)


def _number(text: str, delimiter: str) -> bool:
    try:
        float(text if delimiter == "," else text.replace(",", "."))
    except ValueError:
        return False
    return True
