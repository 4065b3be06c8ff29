"""`obj.data` of darknet: `classes=`, `train=`, `valid=`, `names=`, with lists of images. CVAT writes it, too.

Source: https://docs.cvat.ai/docs/manual/advanced/formats/format-yolo. Its paths start with `data/`, a folder that an
export need not have: they are found by their ends.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from keras_retina.data.formats.encoding import read_text
from keras_retina.data.formats.yolo.description import Description, is_there
from keras_retina.data.formats.yolo.tree import Tree
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.json_values import whole_number

_SPLITS = ("train", "valid", "val", "test")


def darknet_descriptions(folder: str, tree: Tree) -> list[Description]:
    """Returns the ways to read a folder that its `*.data` files describe, in it or in its folder `data`."""
    places = [folder, *filter(None, [tree.folder(os.path.join(folder, "data"))])]
    files = [Path(place, name) for place in places for name in tree.listing(place).files if name.endswith(".data")]
    found = [own for file in files if (own := describe_darknet(file, folder, tree=tree)) is not None]
    found = [own for own in found if any(is_there(own, *own.splits[split]) for split in own.splits)] or found
    if len(found) > 1:
        return [replace(own, kind=f"{own.kind} ({Path(str(own.file)).name})") for own in found]
    return found


def describe_darknet(file: Path, folder: str, *, tree: Tree, anywhere: bool = False) -> Description | None:
    """Returns what a `.data` file says; None for a file of another program.

    Args:
        anywhere: whether its paths may leave the folder: the user has named the file.
    """
    try:
        lines = read_text(file).splitlines()
    except InputError:
        return None
    pairs = [line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith("#")]
    content = {key.strip(): value.strip() for key, _, value in pairs}
    splits = {split: (content[split],) for split in _SPLITS if content.get(split)}
    if not splits or not ("names" in content or "classes" in content):
        return None
    cvat = any(name.lower().startswith("obj_") and name.endswith("_data") for name in tree.listing(folder).folders)
    nc = whole_number(content.get("classes", ""))
    names = content.get("names")
    kind = "CVAT YOLO" if cvat else "darknet"
    return Description(kind, folder, splits, file=file, names=names, nc=nc, anywhere=anywhere)
