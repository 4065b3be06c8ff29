"""TFRecord files that other tools wrote: `tf.train.Example` with the features of the TensorFlow object detection API.

There is no index, so one pass over the files makes it. One record is in memory at a time; of it only the labels and the
place of the image stay, which is read when its turn comes.

    image/encoded                                  a JPEG or PNG file
    image/object/bbox/{ymin,xmin,ymax,xmax}        0..1 of the upright image
    image/object/class/label, .../text             a number from 1, a name; one of the two is enough
    image/filename, image/source_id, image/height, image/width, image/object/is_crowd     optional
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from keras_retina.data.formats.repair import problem, repair_boxes
from keras_retina.data.images import inspect_bytes
from keras_retina.data.records import Dataset, PackedImage, Problem, Record
from keras_retina.foundation.errors import InputError, printable
from keras_retina.foundation.files.places import address, remote_errors
from keras_retina.foundation.files.reading import file_size, matching_files

RECORD_HEAD, RECORD_TAIL = 12, 4  # bytes that TFRecord puts around each record
_CORNERS = ("ymin", "xmin", "ymax", "xmax")


@dataclass(frozen=True)
class _Example:
    """What one record says: `labels` and `texts` are one for each box, or none at all.

    `size` is the `(height, width)` that it gives, `found` that of the image in it or what is wrong with the image;
    `corners` is float64 `[boxes, 4]`, y1, x1, y2, x2 in 0..1.
    """

    where: str
    image: PackedImage
    source_id: str
    file_name: str
    size: tuple[int, int] | None
    found: tuple[int, int] | str
    corners: np.ndarray
    labels: tuple[int, ...]
    texts: tuple[str, ...]
    crowd: tuple[bool, ...]

    def objects(self) -> list[tuple[int | None, str | None]]:
        """Returns number and name of the class of each box, None where the record has none."""
        count = len(self.corners)
        return list(zip(self.labels or [None] * count, self.texts or [None] * count, strict=True))


def read_tfrecords(
    splits: Mapping[str, Sequence[Path]], split: str, *, name: str, classes: Sequence[str] | None = None
) -> Dataset:
    """Reads every record of a split once.

    Args:
        splits: all of them: without `classes` the others are read too, so that a class has one number everywhere.
        classes: names in the wanted order; of records that have numbers only, those of 1, 2, ...

    Raises:
        InputError: a file is cut or damaged, is no TFRecord, or a record is no Example. What is wrong with single
            labels is in `Dataset.problems`.
    """
    examples: list[_Example] = []
    seen: dict[tuple[int | None, str | None], str] = {}  # a class as a record names it -> where
    problems: list[Problem] = []
    for other, files in splits.items():
        if other != split and classes is not None:
            continue
        for file in files:
            for example in _examples(file):
                if isinstance(example, Problem):
                    if other == split:
                        problems.append(example)
                    continue
                seen |= dict.fromkeys(set(example.objects()) - seen.keys(), example.where)
                if other == split:
                    examples.append(example)
    categories = dict(enumerate(classes, start=1)) if classes is not None else _categories(seen)
    sources = [example.source_id for example in examples]
    use_sources = len(set(sources)) == len(sources) and all(re.fullmatch(r"\d{1,18}", source) for source in sources)
    records = []
    for index, example in enumerate(examples):
        record, found = _record(example, int(sources[index]) if use_sources else index + 1, categories=categories)
        problems.extend(found)
        if record is not None:
            records.append(record)
    return Dataset(name, split, tuple(categories.values()), tuple(categories), tuple(records), tuple(problems))


def _categories(seen: Mapping[tuple[int | None, str | None], str]) -> dict[int, str]:
    """Returns number -> name: those of the records; without numbers in the order of the names."""
    if any(number is None for number, _ in seen):
        return dict(enumerate(sorted({str(text) for _, text in seen}), start=1))
    categories: dict[int, str] = {}
    for (number, text), where in seen.items():
        name = str(number) if text is None else text
        other = next((one for one in categories.items() if (one[0] == number) != (one[1] == name)), None)
        if other is not None:
            raise InputError(
                f"{where}: one number for each class name was expected. Received: {number} {printable(name)!r} beside "
                f"{other[0]} {printable(other[1])!r}. Write the files with one label map."
            )
        categories[int(number or 0)] = name
    return dict(sorted(categories.items()))


def _examples(file: Path) -> Iterator[_Example | Problem]:
    """Yields what each record of a file says; the checksums of all of it are verified."""
    from keras_retina.foundation.legacy_keras import tf

    number, offset, shown = 0, 0, printable(address(file))
    records = tf.data.TFRecordDataset(address(file), buffer_size=2**20).as_numpy_iterator()
    while True:
        try:
            with remote_errors():
                data = next(records, None)
        except OSError as error:
            hint = "Copy the file again" if number else "Is it compressed, or no TFRecord? Copy or unpack it"
            raise InputError(
                f"{shown}: a complete TFRecord file was expected. Received: after {number} good records, a damaged or "
                f"cut one at byte {offset} of {file_size(file)}. {hint}."
            ) from error
        if data is None:
            return
        where = f"{shown}: record {number}"
        try:
            features = tf.train.Example.FromString(data).features.feature
        except DecodeError as error:
            raise InputError(f"{where}: a tf.train.Example was expected. Received: {error}. Write it again.") from error
        yield _example(features, data, file=file, offset=offset + RECORD_HEAD, number=number, where=where)
        offset += RECORD_HEAD + len(data) + RECORD_TAIL
        number += 1


def _example(features: Any, data: bytes, *, file: Path, offset: int, number: int, where: str) -> _Example | Problem:
    encoded = b"".join(features["image/encoded"].bytes_list.value[:1])
    name = _texts(features, "image/filename")[:1] or (f"{file.name}#{number}",)
    sides = [features[f"image/object/bbox/{side}"].float_list.value for side in _CORNERS]
    labels = tuple(features["image/object/class/label"].int64_list.value)
    texts = _texts(features, "image/object/class/text")
    crowd = tuple(bool(flag) for flag in features["image/object/is_crowd"].int64_list.value)
    count = len(sides[0])
    if not encoded:
        detail = "image/encoded, the bytes of an image file, was expected. Received: none. Write the record again."
        return problem("missing_image", where, detail=detail, fixed=False)
    if any(len(side) != count for side in sides) or any(
        given and len(given) != count for given in (labels, texts, crowd)
    ):
        lengths = [*map(len, sides), len(labels), len(texts), len(crowd)]
        detail = f"as many corners as labels were expected. Received: {lengths}. Write the record again."
        return problem("malformed_labels", where, detail=detail, fixed=False)
    if count and not labels and not texts:
        detail = "image/object/class/label or .../text was expected. Received: neither. Write the record again."
        return problem("malformed_labels", where, detail=detail, fixed=False)
    if any(not 0 <= label < 2**31 for label in labels):
        detail = f"image/object/class/label: numbers from 1 were expected. Received: {min(labels)} to {max(labels)}. "
        return problem("malformed_labels", where, detail=f"{detail}Write the record again.", fixed=False)
    height, width = (features[f"image/{side}"].int64_list.value[:1] for side in ("height", "width"))
    image = PackedImage(file, offset + data.index(encoded), len(encoded), zlib.crc32(encoded), Path(name[0]).name)
    return _Example(
        where,
        image,
        "".join(_texts(features, "image/source_id")[:1]),
        name[0],
        (height[0], width[0]) if height and width else None,
        _image_size(encoded, image),
        np.array(sides, np.float64).T.reshape(-1, 4),
        labels,
        texts,
        crowd or (False,) * count,
    )


def _image_size(data: bytes, image: PackedImage) -> tuple[int, int] | str:
    try:
        return inspect_bytes(data, image)[:2]
    except InputError as error:
        return str(error)


def _texts(features: Any, name: str) -> tuple[str, ...]:
    return tuple(value.decode(errors="replace") for value in features[name].bytes_list.value)


def _record(example: _Example, image_id: int, *, categories: Mapping[int, str]) -> tuple[Record | None, list[Problem]]:
    if isinstance(example.found, str):
        return None, [problem("unreadable_image", example.where, detail=example.found, fixed=False)]
    height, width = example.found
    if example.size not in (None, (height, width)):
        detail = (
            f"the size of {example.file_name!r} was expected. Received: (height, width)={example.size}, but the "
            f"upright image has {(height, width)}. Correct the labels."
        )
        return None, [problem("size_mismatch", example.where, detail=detail, fixed=False)]
    index_of_name = {name: index for index, name in enumerate(categories.values())}
    index_of_number = {number: index for index, number in enumerate(categories)}
    classes = []
    for number, text in example.objects():
        index = index_of_number.get(number or 0) if text is None else index_of_name.get(text)
        if index is None:
            detail = (
                f"one of the classes {list(categories.values())} was expected. Received: label={number}, text={text!r}."
                " Correct data.classes or the record."
            )
            return None, [problem("unknown_category", example.where, detail=detail, fixed=False)]
        classes.append(index)
    corners = example.corners * (height, width, height, width)
    where = [f"{example.where}, box {index}" for index in range(len(corners))]
    boxes, kept, problems = repair_boxes(corners, np.array(classes, np.int32), height=height, width=width, where=where)
    record = Record(
        image_id,
        example.image,
        example.file_name,
        height,
        width,
        boxes,
        np.array(classes, np.int32)[kept],
        np.array(example.crowd, bool)[kept],
    )
    return record, problems


# train.tfrecord, train-00000-of-00010.tfrecord, train-00000.tfrecord, train.tfrecord-00000-of-00010
_FILE_NAME = re.compile(r"(?P<split>.+?)(?:[-_.]\d+(?:-of-(?P<of>\d+))?)?\.tfrecords?(?:-\d+-of-(?P<count>\d+))?")


def tfrecord_splits(place: Path) -> dict[str, list[Path]]:
    """Maps each split to its files: those of a folder, or those that a pattern such as `DIR/train-*.tfrecord` matches.

    Raises:
        InputError: a file of a folder says that there are more of its split than there are.
        OSError: a remote place cannot be reached.
    """
    is_pattern = is_tfrecord_pattern(place)
    folder, pattern = (place.parent, place.name) if is_pattern else (place, "*.tfrecord*")
    splits: dict[str, list[Path]] = {}
    wanted: dict[str, int] = {}
    for file in matching_files(folder, pattern):
        name = _FILE_NAME.fullmatch(file.name)
        if name:
            splits.setdefault(name["split"], []).append(file)
            wanted[name["split"]] = int(name["of"] or name["count"] or 0)
    for split, files in splits.items():
        if not is_pattern and wanted[split] and len(files) != wanted[split]:
            raise InputError(
                f"{printable(address(folder))}: {wanted[split]} TFRecord files of {split!r} were expected, "
                f"as their names say. Received: {len(files)}. Copy the missing ones, or name the files with a pattern."
            )
    return splits


def is_tfrecord_pattern(place: Path) -> bool:
    """Returns whether a path names TFRecord files, not a folder."""
    return ".tfrecord" in place.name and not place.is_dir()
