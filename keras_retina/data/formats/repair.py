"""The rules that every label format shares: which labels are mended, which are refused, and how both are told.

Mended and counted: boxes that leave the image are clipped, boxes wholly outside and boxes without area are dropped,
exact copies of a box are dropped, labels of the stored frame of an EXIF-rotated image are turned upright. Refused:
everything whose meaning has to be guessed, such as corners in the wrong order (perhaps a width and a height).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np

from keras_retina.data.images import image_orientation, inspect_complete
from keras_retina.data.records import Problem, Record
from keras_retina.foundation.errors import InputError, one_line, printable
from keras_retina.foundation.progress import tell_progress

OUTSIDE_TOLERANCE = 0.1  # pixels; clipped like the rest, but the rounding of a label file is no problem to report
_LONGEST_DETAIL = 1_000  # characters; a label may be of any length
_DRIVE = re.compile("[A-Za-z]:")  # of Windows


@dataclass(frozen=True)
class LabelledBox:
    """One box as the labels have it: `corners` is `(y1, x1, y2, x2)`, `where` is file and line or record."""

    where: str
    corners: tuple[float, float, float, float]
    class_index: int
    crowd: bool = False


@dataclass(frozen=True)
class LabelledImage:
    """One image as the labels have it; `size` is their `(height, width)`, None where they give none.

    With `normalized` the corners are in 0..1 of the upright image (YOLO).
    """

    where: str
    image_id: int
    file_name: str
    size: tuple[int, int] | None
    boxes: tuple[LabelledBox, ...]
    normalized: bool = False


def problem(kind: str, where: str, *, detail: str, fixed: bool) -> Problem:
    """Makes a Problem whose texts are one printable line, whatever the labels contain."""
    return Problem(kind, printable(where), one_line(detail, most=_LONGEST_DETAIL), fixed)


def refuse_unfixed(problems: Iterable[Problem]) -> None:
    """Raises InputError with the first problem that was not fixed and the number of the others."""
    message = first_unfixed(problems)
    if message is not None:
        raise InputError(message)


def first_unfixed(problems: Iterable[Problem]) -> str | None:
    """Returns the first problem that was not fixed and the number of the others in one line, None for none."""
    unfixed = [item for item in problems if not item.fixed]
    if not unfixed:
        return None
    more = f" {len(unfixed) - 1} more such problems; check-data lists them all." if len(unfixed) > 1 else ""
    return f"{unfixed[0].where}: {unfixed[0].detail}{more}"


BAD_IMAGES = ("unreadable_image", "missing_image")
_SKIP = "To leave such images out: --set data.bad_images=skip"
_PACKED = (".zip", ".tar", ".tar.gz", ".tgz", ".rar", ".7z")


def skip_bad_images(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Returns the problems with images that cannot be read counted as left out."""
    return tuple(
        problem(item.kind, item.where, detail=f"image left out. {item.detail.removesuffix(_SKIP).rstrip()}", fixed=True)
        if item.kind in BAD_IMAGES
        else item
        for item in problems
    )


def safe_path(root: Path, name: str) -> Path:
    """Returns `root / name`.

    A name in labels comes from whoever wrote them and must stay inside. A link on the disk may lead out of the folder:
    the user made it, since archives are unpacked without such links.

    Raises:
        InputError: `name` is empty, absolute, or climbs with `..`.
    """
    parts = PurePosixPath(name.replace("\\", "/"))
    if not parts.parts or parts.is_absolute() or _DRIVE.match(name) or ".." in parts.parts or "\0" in name:
        raise InputError(f"a file name inside the data folder was expected. Received: {name!r}. Correct the label.")
    return root / parts


def build_records(images: Iterable[LabelledImage], image_dir: Path) -> tuple[list[Record], list[Problem]]:
    """Checks labels against the image files; images with a problem that cannot be fixed give no record.

    How far it is, is logged.
    """
    images = list(images)
    records: list[Record] = []
    problems: list[Problem] = []
    seen: dict[Path, str] = {}
    advice = cache(lambda: _advice_for_missing(image_dir))
    for image in tell_progress(images, total=len(images), title=f"image files in {printable(image_dir)}"):
        try:
            path = safe_path(image_dir, image.file_name)
        except InputError as error:
            problems.append(problem("unsafe_path", image.where, detail=str(error), fixed=False))
            continue
        if path in seen:
            detail = f"each image listed once was expected. Received: {image.file_name!r}, also at {seen[path]}."
            problems.append(problem("image_listed_twice", image.where, detail=f"{detail} Remove one.", fixed=False))
            continue
        seen[path] = image.where
        if not os.path.isfile(path):  # unlike Path.is_file, it is False for a name that is too long
            detail = f"an image file in {image_dir} was expected. Received: {image.file_name!r}, which is not there."
            problems.append(problem("missing_image", image.where, detail=f"{detail} {advice()}", fixed=False))
            continue
        record, found = _build_record(image, path)
        problems.extend(found)
        if record is not None:
            records.append(record)
    return records, problems


def repair_boxes(
    corners: np.ndarray, classes: np.ndarray, *, height: int, width: int, where: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, list[Problem]]:
    """Applies the box rules to one image.

    Args:
        corners: float `[boxes, 4]`, `[y1, x1, y2, x2]` pixels, as labelled.
        classes: int `[boxes]`; copies are sought within a class.
        where: for each box, its place in the labels.

    Returns:
        boxes: float32 `[kept, 4]`, inside the image, of positive height and width.
        kept: int `[kept]`, rows of `corners` they come from, ascending.
        problems: one for each change and for each box that was refused (not finite, or reversed).
    """
    problems: list[Problem] = []
    kept: list[int] = []
    boxes: list[np.ndarray] = []
    seen: set[tuple[float, ...]] = set()
    limits = np.array([height, width, height, width], np.float32)
    with np.errstate(over="ignore"):  # beyond float32 becomes infinite, which is reported below
        corners = np.asarray(corners, np.float64).reshape(-1, 4).astype(np.float32)
    if _are_sound(corners, classes, limits=limits):  # nearly always, and much faster than box by box
        return corners, np.arange(len(corners)), []
    for index, labelled in enumerate(corners):
        place, shown = where[index], _show(labelled)
        if not np.isfinite(labelled).all():
            detail = f"finite box corners were expected. Received: {shown}. Correct the label."
            problems.append(problem("invalid_box", place, detail=detail, fixed=False))
            continue
        if (labelled[2:] < labelled[:2]).any():
            detail = f"x1 <= x2 and y1 <= y2 were expected. Received: {shown}. Correct the label."
            problems.append(problem("reversed_box", place, detail=detail, fixed=False))
            continue
        if (labelled[2:] <= labelled[:2]).any():
            problems.append(problem("degenerate_box", place, detail=f"no area, dropped: {shown}", fixed=True))
            continue
        inside = np.clip(labelled, 0, limits)
        if (inside[2:] <= inside[:2]).any():
            detail = f"wholly outside the {width}x{height} image, dropped: {shown}"
            problems.append(problem("outside_box_dropped", place, detail=detail, fixed=True))
            continue
        if np.abs(inside - labelled).max() > OUTSIDE_TOLERANCE:
            detail = f"clipped to the {width}x{height} image: {shown}"
            problems.append(problem("outside_box", place, detail=detail, fixed=True))
        key = (float(classes[index]), *inside.tolist())
        if key in seen:
            problems.append(
                problem("duplicate_box", place, detail=f"exact copy of a box, dropped: {shown}", fixed=True)
            )
            continue
        seen.add(key)
        kept.append(index)
        boxes.append(inside)
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(kept, np.int64), problems


def turn_boxes(boxes: np.ndarray, height: int, *, width: int, orientation: int) -> np.ndarray:
    """Maps boxes `[boxes, 4]` of the stored `height` x `width` frame to the upright one, for EXIF orientation 5..8."""
    y1, x1, y2, x2 = boxes.T
    corners = {
        5: (x1, y1, x2, y2),
        6: (x1, height - y2, x2, height - y1),
        7: (width - x2, height - y2, width - x1, height - y1),
        8: (width - x2, y1, width - x1, y2),
    }[orientation]
    return np.stack(corners, axis=-1).astype(np.float32)


def _advice_for_missing(image_dir: Path) -> str:
    """Returns what to do about images that are not there: they may still be packed, as on Kaggle."""
    folders = [folder for folder in (image_dir, image_dir.parent) if folder.is_dir()]
    packed = [path.name for folder in folders for path in sorted(folder.iterdir()) if path.name.endswith(_PACKED)]
    if packed:
        return f"Unpack {packed[0]}, if it is in there."
    return f"Add it or remove its label. {_SKIP}"


def _build_record(image: LabelledImage, path: Path) -> tuple[Record | None, list[Problem]]:
    try:
        height, width, mode, rotated = inspect_complete(path)
    except InputError as error:
        return None, [problem("unreadable_image", image.where, detail=f"{error} {_SKIP}", fixed=False)]
    problems = []
    if mode != "RGB":
        detail = f"{image.file_name!r}: pixels of mode {mode} become RGB"
        problems.append(problem("non_rgb_image", image.where, detail=detail, fixed=True))
    stored_frame = rotated and not image.normalized and image.size == (width, height) and height != width
    if image.size is not None and image.size != (height, width) and not stored_frame:
        detail = (
            f"the size of {image.file_name!r} was expected. Received: width={image.size[1]}, height={image.size[0]}, "
            f"but the file is {width}x{height}. Correct the labels or the file."
        )
        return None, [*problems, problem("size_mismatch", image.where, detail=detail, fixed=False)]
    if rotated:
        frame = "labels turned upright with it" if stored_frame else "labels taken as upright"
        problems.append(problem("exif_rotated_image", image.where, detail=f"{image.file_name!r}: {frame}", fixed=True))

    corners = np.array([box.corners for box in image.boxes], np.float64).reshape(-1, 4)
    if image.normalized:
        corners = corners * (height, width, height, width)
    classes = np.array([box.class_index for box in image.boxes], np.int32)
    crowd = np.array([box.crowd for box in image.boxes], bool)
    frame_height, frame_width = (width, height) if stored_frame else (height, width)
    where = [box.where for box in image.boxes]
    boxes, kept, found = repair_boxes(corners, classes, height=frame_height, width=frame_width, where=where)
    if stored_frame:
        boxes = turn_boxes(boxes, frame_height, width=frame_width, orientation=image_orientation(path))
    record = Record(
        image_id=image.image_id,
        path=path,
        file_name=image.file_name,
        height=height,
        width=width,
        boxes=boxes,
        classes=classes[kept],
        crowd=crowd[kept],
    )
    return record, problems + found


def _are_sound(corners: np.ndarray, classes: np.ndarray, *, limits: np.ndarray) -> bool:
    """Tells whether all boxes have an area inside the image and none is there twice; not so for a box of NaN."""
    if not ((corners[:, 2:] > corners[:, :2]).all() and (corners >= 0).all() and (corners <= limits).all()):
        return False
    return len(set(zip(classes.tolist(), *corners.T.tolist(), strict=True))) == len(corners)


def _show(box: np.ndarray) -> str:
    return "y1={:g}, x1={:g}, y2={:g}, x2={:g}".format(*box.tolist())
