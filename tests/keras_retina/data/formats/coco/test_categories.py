from __future__ import annotations

from pathlib import Path

import pytest

from keras_retina.data.formats.coco.categories import file_categories, merge_categories
from keras_retina.foundation.errors import InputError


def merged(*files):
    """The classes of files that are given as `([(id, name, supercategory)], [used ids])`."""
    contents = [
        {
            "categories": [{"id": number, "name": name, "supercategory": group} for number, name, group in categories],
            "annotations": [{"category_id": number} for number in used],
        }
        for categories, used in files
    ]
    return merge_categories([file_categories(content, Path(f"{index}.json")) for index, content in enumerate(contents)])


def test_categories_of_all_files_are_merged_ascending_by_id():
    categories = merged(([(3, "x", None), (1, "y", None)], []), ([(2, "z", None), (3, "x", None)], []))
    assert (categories.names, categories.ids) == (("y", "z", "x"), (1, 2, 3))
    assert categories.index == {1: 0, 2: 1, 3: 2} and categories.problems == ()


def test_one_id_with_two_names_and_one_name_with_two_ids_are_refused():
    with pytest.raises(InputError, match=r"1\.json: categories\[0\].*'x' and 'other'"):
        merged(([(3, "x", None)], []), ([(3, "other", None)], []))
    with pytest.raises(InputError, match=r"1\.json: categories\[0\].*name='x', id=3 and 4"):
        merged(([(3, "x", None)], []), ([(4, "x", None)], []))


@pytest.mark.parametrize(
    "listed",
    [
        [(0, "cells", "none"), (1, "red", "cells"), (2, "white", "cells")],
        [(0, "red", "none"), (1, "red", "red"), (2, "white", "red")],  # a project called after its class
        [(0, "background", None), (1, "red", None), (2, "white", None)],
    ],
)
def test_unused_category_0_that_groups_the_others_is_no_class_and_said_once(listed):
    categories = merged((listed, [1]), (listed, [2]))
    assert (categories.names, categories.ids) == (("red", "white"), (1, 2))
    (found,) = categories.problems
    assert (found.kind, found.where, found.fixed) == ("category_left_out", "0.json: categories[0]", True)


def test_category_0_is_a_class_when_a_box_uses_it_or_it_groups_no_other():
    listed = [(0, "cells", "none"), (1, "red", "cells")]
    assert merged((listed, [1]), (listed, [0])).names == ("cells", "red")  # used in the second file alone
    assert merged(([(0, "cat", "cat"), (1, "dog", "dog")], [1])).names == ("cat", "dog")
