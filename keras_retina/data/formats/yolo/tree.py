"""The files of a YOLO folder, listed once: its images, and the label file that belongs to each of them.

A link that the user made in the folder is followed, wherever it leads: people link images instead of copying them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from keras_retina.data.formats.listing import Listing, is_image, list_folder

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages")
LABEL_FOLDERS = ("labels", "label", "annotations")


class Tree:
    """Folders of one data set, each listed when it is first asked for. Paths are absolute texts: this is quick."""

    def __init__(self) -> None:
        self._listings: dict[str, Listing] = {}
        self._label_folders: dict[tuple[str, str], tuple[str, ...]] = {}

    def listing(self, folder: str) -> Listing:
        """Returns what `list_folder` does."""
        found = self._listings.get(folder)
        if found is None:
            found = self._listings[folder] = list_folder(folder)
        return found

    def files(self, folder: str) -> Iterator[str]:
        """Yields the files in a folder and, after them, in its sub-folders, sorted by name in each."""
        return self._walk(folder, (os.path.realpath(folder),))

    def images(self, folder: str) -> Iterator[str]:
        """Yields the images among `files`."""
        return (file for file in self.files(folder) if is_image(file))

    def folder(self, path: str) -> str | None:
        """Returns an existing folder, its name compared without case where only one fits, or None."""
        parent, name = os.path.split(path)
        if os.path.isdir(path):
            return path
        own = self.listing(parent).folder(name) if name else None
        return os.path.join(parent, own) if own else None

    def label_folders(self, folder: str, root: str) -> tuple[str, ...]:
        """Returns the folders that may hold the labels of the images in `folder`, the most usual first.

        That is the folder in which the last `images` of the path below `root` is `labels`, the folder of the images
        itself (darknet), and a folder `labels` in it.
        """
        key = (folder, root)
        if key not in self._label_folders:
            self._label_folders[key] = tuple(self._find_label_folders(folder, root))
        return self._label_folders[key]

    def label(self, image: str, root: str) -> tuple[str, bool] | None:
        """Returns the label file of an image, and whether its name is the same in upper and lower case."""
        folder, name = os.path.split(image)
        wanted = f"{os.path.splitext(name)[0]}.txt"
        for place in self.label_folders(folder, root):
            own = self.listing(place).file(wanted)
            if own is not None:
                return os.path.join(place, own), own == wanted
        return None

    def _walk(self, folder: str, above: tuple[str, ...]) -> Iterator[str]:
        names = self.listing(folder)
        for name in names.files:
            yield os.path.join(folder, name)
        for name in names.folders:
            inner = os.path.join(folder, name)
            if not os.path.islink(inner):
                yield from self._walk(inner, above)
                continue
            target = os.path.realpath(inner)
            if not any(f"{place}{os.sep}".startswith(f"{target}{os.sep}") for place in above):  # it leads back up
                yield from self._walk(inner, (*above, target))

    def _find_label_folders(self, folder: str, root: str) -> Iterator[str]:
        below = os.path.relpath(folder, root).split(os.sep)
        for index in reversed(range(len(below))):
            if below[index].lower() in IMAGE_FOLDERS:
                base = os.path.normpath(os.path.join(root, *below[:index]))
                dated = [name for name in self.listing(base).folders if name.lower().startswith("labels_")]
                for name in (*LABEL_FOLDERS, *dated[:1]):  # makesense: labels_my-project-name_2024-01-31-10-00-00
                    place = self.folder(os.path.join(base, name))
                    for part in below[index + 1 :]:
                        place = self.folder(os.path.join(place, part)) if place else None
                    if place:
                        yield place
                break
        yield folder
        inner = self.listing(folder).folder("labels")
        if inner:
            yield os.path.join(folder, inner)
