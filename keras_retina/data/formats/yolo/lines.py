"""Lines of YOLO label files: boxes, polygons, corners of turned boxes, key points, each as one upright box.

| numbers after the class | read as |
|---|---|
| 4 | centre x, centre y, width, height |
| 5 | the same and one more number, such as a confidence or a track |
| 4 and the key points of a pose set (`kpt_shape` in `data.yaml`) | the first four |
| 6, 8, 10, ... | x and y of the corners of a polygon or of a turned box: the box around it |

Sources: https://docs.ultralytics.com/datasets (detect, segment, pose, obb).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from keras_retina.data.formats.repair import LabelledBox, problem
from keras_retina.data.records import BoxValues, Problem

LARGEST_SHARE = 1.5
"""Centre and size up to here may be shares of the image.

A box that is no larger than the image and still touches it has its centre at most at 1.5. Beyond that, pixels are
likelier than a box out of sight.
"""


@dataclass(frozen=True)
class Line:
    """One label: `extra` tells of a sixth number, `large` of values that are no shares of the image."""

    box: LabelledBox
    extra: bool
    large: bool


def read_lines(
    text: str, file: str, *, class_index: Mapping[int, int], names: Mapping[int, str], keypoints: tuple[int, int] | None
) -> tuple[list[Line], list[Problem]]:
    """Reads one label file.

    Args:
        class_index: class number in the file -> class index.
        names: class number in the file -> name, for messages.
        keypoints: `(points, numbers a point)` of a pose set.
    """
    lines: list[Line] = []
    problems: list[Problem] = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        where = f"{file}: line {number}"
        try:
            category, *values = map(float, words)
        except ValueError:
            category, values = math.nan, []
        if not _is_readable(len(values), keypoints):
            problems.append(_unreadable(line, where, keypoints=keypoints))
            continue
        index = class_index.get(category)  # type: ignore[call-overload]  # 1.0 finds 1
        if index is None:
            valid = ", ".join(f"{number} ({name})" for number, name in list(names.items())[:8])
            more = ", ..." if len(names) > 8 else "."
            detail = f"a class index in use was expected. Received: class={words[0]}. Valid: {valid}{more}"
            problems.append(problem("unknown_category", where, detail=detail, fixed=False))
            continue
        polygon = keypoints is None and len(values) > 5
        x, y, width, height = _around(values) if polygon else values[:4]
        if width < 0 or height < 0:
            detail = f"width and height of at least 0 were expected. Received: {line!r:.80}. Correct the line."
            problems.append(problem("negative_box", where, detail=detail, fixed=False))
            continue
        corners = (y - height / 2, x - width / 2, y + height / 2, x + width / 2)
        large = LARGEST_SHARE < max(x, y, width, height) < math.inf
        lines.append(Line(LabelledBox(where, corners, index), len(values) == 5, large))
    return lines, problems


def settle(
    files: Sequence[Sequence[Line]], values: BoxValues, *, where: str
) -> tuple[list[tuple[LabelledBox, ...]], list[Problem]]:
    """Decides what only a whole split can tell: what a sixth number is, and whether values are pixels.

    Returns:
        boxes: for each file; lines that cannot be read so are left out.
        problems: one of each kind for the split, or one a line where only some lines have a sixth number.
    """
    lines = [line for file in files for line in file]
    extra = [line for line in lines if line.extra]
    large = [line for line in lines if line.large]
    problems: list[Problem] = []
    mixed = 0 < len(extra) < len(lines)
    if mixed:
        detail = "class x_centre y_centre width height, five numbers as in other lines, were expected. Received: six."
        problems += [
            problem("invalid_box", line.box.where, detail=f"{detail} Remove the sixth.", fixed=False) for line in extra
        ]
    elif extra:
        detail = "all lines have a sixth number, such as a confidence or a track: not read"
        problems.append(problem("sixth_number", where, detail=detail, fixed=True))
    if values == "auto" and large:
        detail = (
            f"centres and sizes as shares of the image, 0 to 1, were expected. Received: values over {LARGEST_SHARE} "
            f"in {len(large)} of {len(lines)} boxes, first at {large[0].box.where}. If they are centres and sizes in "
            "pixels, say --set data.boxes=pixels; if they are corners, convert them."
        )
        problems.append(problem("pixel_boxes", where, detail=detail, fixed=False))
    elif values == "pixels" and lines and not large:
        detail = (
            f"centres and sizes in pixels were expected, as data.boxes says. Received: {len(lines)} boxes without a "
            f"value over {LARGEST_SHARE}. Leave data.boxes=auto."
        )
        problems.append(problem("normalized_boxes", where, detail=detail, fixed=False))
    left_out = {id(line) for line in [*(extra if mixed else ()), *(large if values == "auto" else ())]}
    return [tuple(line.box for line in file if id(line) not in left_out) for file in files], problems


def _is_readable(count: int, keypoints: tuple[int, int] | None) -> bool:
    """Tells whether this many numbers after the class have a meaning."""
    if count in (4, 5):
        return True
    if keypoints is not None:
        points, _ = keypoints
        return count in (4 + 2 * points, 4 + 3 * points)
    return count >= 6 and count % 2 == 0


def _unreadable(line: str, where: str, *, keypoints: tuple[int, int] | None) -> Problem:
    detail = f"class x_centre y_centre width height, five numbers, were expected. Received: {line!r:.80}."
    advice = "Correct the line."
    if keypoints is not None:
        advice = f"Correct the line, or kpt_shape={list(keypoints)} in the YAML file."
    elif len(line.split()) > 6:
        advice = "Correct the line, or add kpt_shape to data.yaml if it has key points."
    return problem("invalid_box", where, detail=f"{detail} {advice}", fixed=False)


def _around(points: Sequence[float]) -> tuple[float, float, float, float]:
    """Returns centre and size of the box around `x1 y1 x2 y2 ...`."""
    if not all(map(math.isfinite, points)):  # min and max would pass over NaN
        return (math.nan, math.nan, math.nan, math.nan)
    xs, ys = points[0::2], points[1::2]
    x1, x2, y1, y2 = min(xs), max(xs), min(ys), max(ys)
    return ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)
