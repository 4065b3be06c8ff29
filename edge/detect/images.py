"""Objects in an image or a folder of images, through a `.tflite`: pictures with boxes, COCO results, JSON lines."""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from edge.detect.lines import detection_line, open_lines
from edge.runtime import SHOW_SCORE_THRESHOLD, Detections, Detector
from keras_retina.data.images import IMAGE_SUFFIXES, read_image
from keras_retina.foundation.drawing import class_colour, draw_boxes_on
from keras_retina.foundation.errors import InputError, printable
from keras_retina.foundation.files.places import real_path
from keras_retina.foundation.files.writing import make_folder, write_file, write_json
from keras_retina.geometry.boxes import yxyx_to_xywh

RESULTS = "results.json"
IMAGES = "images.json"
NAMED = 5  # files and folders that are skipped and named


@dataclass(frozen=True)
class FoundInImages:
    """Where the results of several images are, and how much is in them."""

    results: Path
    images: int
    objects: int


def detect_paths(
    detector: Detector,
    inputs: Path,
    *,
    out_dir: Path,
    score_threshold: float = SHOW_SCORE_THRESHOLD,
    json_lines: str | None = None,
    recursive: bool = False,
    tell: Callable[[str], None] = lambda text: None,
    progress: Callable[[str], None] | None = None,
) -> FoundInImages:
    """Detects in one image, or in every image of a folder; with `recursive` of its subfolders too.

    What else is in the folder is counted and named through `tell`.

    Writes into `out_dir`, as the work goes on: `<image>.jpg`, a copy of each image with boxes and labels, and
    `detections.jsonl` (or to `json_lines`), one line an image: `{"file", "detections": [{"label", "score", "box"}]}`,
    or `{"file", "error"}`. After every image has been tried:
    `results.json`: a list in the COCO results format, `category_id` is the class index + 1;
    `images.json`: the images and categories those ids mean, and the unreadable images with the reason.

    Raises:
        InputError: there is no image, the pictures would replace the originals, or images could not be read; those
            that could are finished before it is raised.
    """
    paths, skipped = image_paths(inputs, recursive=recursive, out_dir=out_dir)
    names = [path.relative_to(inputs).as_posix() if inputs.is_dir() else path.name for path in paths]
    targets = picture_paths(paths, out_dir)
    if skipped:
        tell(skipped)
    make_folder(out_dir)
    results: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    unreadable: list[dict[str, str]] = []
    with open_lines(json_lines, out_dir) as lines:
        for image_id, (path, name, target) in enumerate(zip(paths, names, targets, strict=True), start=1):
            try:
                image = read_image(path)
            except InputError as error:
                unreadable.append({"file_name": name, "reason": str(error)})
                lines.write(json.dumps({"file": name, "error": str(error)}) + "\n")
                continue
            found = detector.detect(image, score_threshold)
            labels = [detector.class_names[index] for index in found.classes]
            make_folder(target.parent)
            colours = [class_colour(int(index)) for index in found.classes]
            canvas = Image.fromarray(image)
            draw_boxes_on(canvas, found.boxes, labels=labels, scores=found.scores, colours=colours)
            write_file(target, _jpeg_bytes(canvas))
            lines.write(detection_line({"file": name}, found, class_names=detector.class_names))
            images.append(
                {"id": image_id, "file_name": name, "height": image.shape[0], "width": image.shape[1]}
                | {"picture": target.relative_to(out_dir).as_posix()}
            )
            results += coco_results(found, image_id)
            if progress:
                progress(f"{printable(name)}: {len(labels)} objects")
    categories = [{"id": index, "name": name} for index, name in enumerate(detector.class_names, start=1)]
    listing = {"images": images, "categories": categories, "unreadable": unreadable}
    write_json(out_dir / IMAGES, listing)
    write_json(out_dir / RESULTS, results)
    if unreadable:
        raise InputError(
            f"{len(unreadable)} of {len(paths)} images could not be read; the others are finished in {out_dir}. "
            + _reasons(unreadable)
        )
    return FoundInImages(out_dir / RESULTS, images=len(images), objects=len(results))


def image_paths(inputs: Path, *, recursive: bool = False, out_dir: Path | None = None) -> tuple[list[Path], str]:
    """Returns the image itself, or the image files of a folder in order of their names; and what is skipped there.

    `recursive`: those of its subfolders too, but not of `out_dir` and of hidden folders.

    Raises:
        InputError: there is nothing there, or no image in the folder.
    """
    if not inputs.is_dir():
        if not inputs.exists():
            raise InputError(
                f"{printable(inputs)}: expected an image, a folder, a video, an address such as rtsp://, or camera:0. "
                "Received: nothing there. Correct the path."
            )
        return [inputs], ""
    own = None if out_dir is None else real_path(out_dir)
    paths: list[Path] = []
    others: list[str] = []
    folders = [inputs]
    while folders:
        for path in sorted(folders.pop(0).iterdir()):
            if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
                paths.append(path)
            elif path.name.startswith(".") or real_path(path) == own:
                continue
            elif path.is_dir() and recursive and not path.is_symlink():  # a link may lead back
                folders.append(path)
            else:
                others.append(f"{path.relative_to(inputs).as_posix()}{'/' * path.is_dir()}")
    skipped = skipped_line(inputs, others, recursive=recursive)
    if not paths:
        raise InputError(
            f"{printable(inputs)}: expected images ({', '.join(IMAGE_SUFFIXES)}) in the folder. Received: none. "
            f"{skipped or 'Pass an image, or the folder that holds the images.'}"
        )
    return sorted(paths), skipped


def skipped_line(inputs: Path, others: list[str], *, recursive: bool) -> str:
    """Returns one line that counts and names what in a folder is no image; empty if there is nothing.

    The name of a folder ends with a slash.
    """
    if not others:
        return ""
    folders = sum(name.endswith("/") for name in others)
    counts = [(len(others) - folders, "file"), (folders, "subfolder")]
    counted = " and ".join(f"{count} {kind}{'s' * (count != 1)}" for count, kind in counts if count)
    named = ", ".join(printable(name) for name in others[:NAMED]) + (", ..." if len(others) > NAMED else "")
    advice = " --recursive takes the images in subfolders." if folders and not recursive else ""
    return f"{printable(inputs)}: skipped {counted} ({named}).{advice}"


def picture_paths(paths: list[Path], out_dir: Path) -> list[Path]:
    """Returns where the drawn copy of each image goes: `<stem>.jpg`, or `<whole name>.jpg` where stems repeat.

    Images of several folders keep their folders, below the one that holds them all.

    Raises:
        InputError: a copy would replace one of the images, or `out_dir` is a file.
    """
    if out_dir.exists() and not out_dir.is_dir():
        raise InputError(f"--out: expected a folder. Received: {printable(out_dir)}, a file. Choose another name.")
    folder = Path(os.path.commonpath([path.parent for path in paths]))
    stems = Counter(path.with_suffix("").as_posix().casefold() for path in paths)
    targets = []
    for path in paths:
        alone = stems[path.with_suffix("").as_posix().casefold()] == 1
        targets.append(out_dir / path.parent.relative_to(folder) / f"{path.stem if alone else path.name}.jpg")
    originals = {real_path(path) for path in paths}
    for target in targets:
        if real_path(target) in originals:
            raise InputError(
                f"--out: expected another folder than that of the images. Received: {printable(out_dir)}, where "
                f"{printable(target.name)} would replace an original. Choose another folder."
            )
    return targets


def _reasons(unreadable: list[dict[str, str]]) -> str:
    more = f" And {len(unreadable) - 3} more, see {IMAGES}." if len(unreadable) > 3 else ""
    return " ".join(entry["reason"] for entry in unreadable[:3]) + more


def coco_results(found: Detections, image_id: int) -> list[dict[str, Any]]:
    """Returns detections in the COCO results format, boxes `[x, y, width, height]` in pixels of the image."""
    return [
        {
            "image_id": image_id,
            "category_id": int(class_index) + 1,
            "bbox": [round(float(side), 2) for side in box],
            "score": round(float(score), 4),
        }
        for box, score, class_index in zip(yxyx_to_xywh(found.boxes), found.scores, found.classes, strict=True)
    ]


def _jpeg_bytes(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()
