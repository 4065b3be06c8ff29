"""Pascal VOC labels: one XML file for each image, one list of names for each split.

Source: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/devkit_doc.pdf, section 4. Objects marked `difficult` are
ordinary objects here. VOC's own files (`<database>` starts with "The VOC") count pixels from 1 and include the last
one, so 1 is taken from xmin and ymin; other tools' files are taken as they stand.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

from keras_retina.data.formats.repair import LabelledBox, LabelledImage, build_records, problem, safe_path
from keras_retina.data.images import IMAGE_SUFFIXES
from keras_retina.data.records import Dataset, Layout, Problem, Reader, Reading
from keras_retina.foundation.errors import InputError, closest, printable

_CLASS_LINE = re.compile(r"\S+\s+-?[01]")  # ImageSets/Main/cat_train.txt: "2008_000008 -1"


def voc_splits(data_dir: Path) -> dict[str, Path]:
    """Maps split names to `ImageSets/Main/<split>.txt`, without the lists of one class (`cat_train.txt`)."""
    files = {file.stem: file for file in sorted((data_dir / "ImageSets" / "Main").glob("*.txt"))}
    return {
        stem: file
        for stem, file in files.items()
        if not (stem.rpartition("_")[2] in files and "_" in stem and _CLASS_LINE.fullmatch((_lines(file) or [""])[0]))
    }


def voc_image_dir(data_dir: Path) -> Path:
    """Returns `JPEGImages`, or `images` in the folder or beside it."""
    for folder in (data_dir / "JPEGImages", data_dir / "images", data_dir.resolve().parent / "images"):
        if folder.is_dir():
            return folder
    raise InputError(f"{printable(data_dir)}: a folder JPEGImages/ was expected. Received: none. Put the images there.")


def voc_class_names(data_dir: Path) -> tuple[str, ...]:
    """Returns the class names of all splits, sorted, because VOC folders do not list them."""
    names: set[str] = set()
    for image_name in {name for file in voc_splits(data_dir).values() for name in _lines(file)}:
        try:
            root = read_xml(safe_path(data_dir / "Annotations", f"{image_name}.xml"))
        except InputError:
            continue  # read_voc reports it, in the split that lists it
        names.update(_text(item, "name") for item in root.iter("object"))
    return tuple(sorted(names - {""}))


def read_voc(
    split_file: Path, annotation_dir: Path, *, image_dir: Path, split: str, name: str, class_names: tuple[str, ...]
) -> Dataset:
    """Reads one split; what could not be fixed is in `Dataset.problems`. Category ids are 1, 2, ... in class order."""
    problems: list[Problem] = []
    images: list[LabelledImage] = []
    for index, image_name in enumerate(_lines(split_file), start=1):
        try:
            file = safe_path(annotation_dir, f"{image_name}.xml")
            root = read_xml(file)
        except InputError as error:
            problems.append(problem("unreadable_labels", str(split_file), detail=str(error), fixed=False))
            continue
        file_name = _find_image(image_dir, image_name, root=root)
        labelled_name = _text(root, "filename")
        if labelled_name and labelled_name not in (file_name, Path(file_name).stem):
            detail = f"{file_name!r} is read, by the name of the XML file, not {labelled_name!r}"
            problems.append(problem("file_name_differs", f"{file}: filename", detail=detail, fixed=True))
        size = _size(root)
        if size is None:
            detail = "no size in the labels, taken from the image file"
            problems.append(problem("missing_size", f"{file}: size", detail=detail, fixed=True))
        boxes = []
        first_pixel = 1.0 if _text(root, "source/database").startswith("The VOC") else 0.0
        for item in root.findall("object"):
            box = _read_object(item, file, class_names=class_names, first_pixel=first_pixel)
            if isinstance(box, Problem):
                problems.append(box)
            else:
                boxes.append(box)
        images.append(LabelledImage(str(file), index, file_name, size, tuple(boxes)))
    records, found = build_records(images, image_dir)
    ids = tuple(range(1, len(class_names) + 1))
    return Dataset(name, split, class_names, ids, tuple(records), tuple(problems + found))


def _find(data_dir: Path) -> list[Layout]:
    if not any((data_dir / "Annotations").glob("*.xml")):
        return []
    splits = voc_splits(data_dir)

    def read(split: str, reading: Reading) -> Dataset:
        return read_voc(
            splits[split],
            data_dir / "Annotations",
            image_dir=voc_image_dir(data_dir),
            split=split,
            name=data_dir.resolve().name,
            class_names=voc_class_names(data_dir),
        )

    return [Layout("voc", "Pascal VOC", tuple(splits), read)]


VOC = Reader("voc", "Annotations/*.xml (VOC)", _find)


def read_xml(file: Path) -> ElementTree.Element:
    """Parses a VOC file; each element has its line number in the attribute `line`.

    Raises:
        InputError: the file is missing or damaged, is no annotation, or has a DOCTYPE (entities expand).
    """

    def refuse(*_: object) -> None:
        raise InputError(
            f"{printable(file)}: line {parser.CurrentLineNumber}: XML without DOCTYPE was expected. "
            f"Received: a DOCTYPE. Remove it."
        )

    builder = ElementTree.TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = lambda tag, _: builder.start(tag, {"line": str(parser.CurrentLineNumber)})
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(file.read_bytes(), True)
    except OSError as error:
        raise InputError(
            f"{printable(file)}: a readable XML file was expected. Received: {error.strerror}. Add it to the folder."
        ) from error
    except (expat.ExpatError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{printable(file)}: complete XML was expected. Received: {printable(error)}. Is the file cut off?"
        ) from error
    root = builder.close()
    if root.tag != "annotation":
        raise InputError(
            f"{printable(file)}: a VOC <annotation> was expected. Received: <{printable(root.tag)}>. Check the export."
        )
    return root


def _read_object(
    item: ElementTree.Element, file: Path, *, class_names: tuple[str, ...], first_pixel: float
) -> LabelledBox | Problem:
    where = f"{file}: line {item.get('line')}: object"
    class_name = _text(item, "name")
    if class_name not in class_names:
        detail = f"a known class was expected. Received: name={class_name!r}. {closest(class_name, class_names)}"
        return problem("unknown_category", f"{where}.name", detail=detail, fixed=False)
    texts = {field: _text(item, f"bndbox/{field}") for field in ("ymin", "xmin", "ymax", "xmax")}
    y1, x1, y2, x2 = (_number(text) for text in texts.values())
    if any(math.isnan(value) for value in (y1, x1, y2, x2)):
        detail = f"four numbers were expected. Received: bndbox={texts}. Correct the object."
        return problem("invalid_box", f"{where}.bndbox", detail=detail, fixed=False)
    corners = (y1 - first_pixel, x1 - first_pixel, y2, x2)
    return LabelledBox(f"{where}.bndbox", corners, class_names.index(class_name))


def _find_image(image_dir: Path, image_name: str, *, root: ElementTree.Element) -> str:
    """The labelled file name if it is that of the XML file, else that name with the suffix of an image there."""
    labelled = _text(root, "filename")
    suffixes = [suffix for lower in IMAGE_SUFFIXES for suffix in (lower, lower.upper())]
    candidates = [labelled] if Path(labelled).stem == image_name and Path(labelled).suffix else []
    candidates += [image_name + suffix for suffix in suffixes]
    return next((candidate for candidate in candidates if (image_dir / candidate).is_file()), candidates[0])


def _lines(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(
            f"{printable(file)}: a list of image names was expected. Received: {printable(error)}. Check the file."
        ) from error
    return [line.strip() for line in lines if line.strip()]


def _size(root: ElementTree.Element) -> tuple[int, int] | None:
    height, width = _number(_text(root, "size/height")), _number(_text(root, "size/width"))
    return (int(height), int(width)) if 0 < height < math.inf and 0 < width < math.inf else None


def _text(item: ElementTree.Element, path: str) -> str:
    return (item.findtext(path) or "").strip()


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
