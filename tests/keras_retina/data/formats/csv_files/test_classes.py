from __future__ import annotations

import pytest

from keras_retina.data.formats.csv_files.classes import find_classes
from keras_retina.foundation.errors import InputError


def found(tmp_path, cells, *texts, wanted=None):
    files = []
    for number, text in enumerate(texts):
        files.append(tmp_path / f"classes{number}.csv")
        files[-1].write_text(text)
    classes = find_classes(cells, files, wanted=wanted)
    return classes.names, classes.index


def test_names_are_sorted_without_a_class_file(tmp_path):
    assert found(tmp_path, ["zebra", "ant", ""]) == (("ant", "zebra"), {"ant": 0, "zebra": 1})
    assert found(tmp_path, []) == ((), {})


@pytest.mark.parametrize(
    "text", ["zebra,0\nant,1\n", "name,id\nzebra,0\nant,1\n", "0,zebra\n1,ant\n", "id;class\n1;ant\n0;zebra\n"]
)
def test_a_class_file_gives_the_order(tmp_path, text):
    assert found(tmp_path, ["ant"], text) == (("zebra", "ant"), {"zebra": 0, "ant": 1})


def test_a_class_file_names_numbers(tmp_path):
    assert found(tmp_path, ["1", "3", "4"], "zebra,1\nant,3\n") == (("zebra", "ant"), {"1": 0, "3": 1})


def test_codes_of_openimages_become_the_names_in_use(tmp_path):
    names, index = found(tmp_path, ["/m/2", "/m/1", "/m/9"], "/m/1,Dog\n/m/2,Cat\n/m/3,Cow\n")
    assert (names, index) == (("/m/9", "Cat", "Dog"), {"/m/1": 2, "/m/2": 1, "/m/9": 0})


def test_numbers_are_ordered_as_numbers(tmp_path):
    assert found(tmp_path, ["10", "9", "2.0"]) == (("2", "9", "10"), {"2.0": 0, "9": 1, "10": 2})


@pytest.mark.parametrize(
    ("cells", "index"),
    [
        (["0", "1"], {"0": 0, "1": 1}),
        (["1", "2"], {"1": 0, "2": 1}),  # from 1 on, there is no third name
        (["1"], {"1": 1}),
        (["0", "2"], {"0": 0}),  # the other is an unknown class
    ],
)
def test_wanted_names_are_given_to_numbers(tmp_path, cells, index):
    assert found(tmp_path, cells, wanted=("cat", "dog")) == (("cat", "dog"), index)


def test_wanted_numbers_choose_and_names_of_names_do_nothing(tmp_path):
    assert found(tmp_path, ["3", "7"], wanted=("7",))[0] == ("3", "7")
    assert found(tmp_path, ["cat", "7"], wanted=("dog",))[0] == ("7", "cat")


@pytest.mark.parametrize("text", ["zebra,0\nant,0\n", "zebra,0\nzebra,1\n", "zebra\n", "zebra,x\n", ",0\n"])
def test_bad_class_file_is_refused_by_line(tmp_path, text):
    with pytest.raises(InputError, match=r"classes0\.csv: line [12]: name,id"):
        found(tmp_path, ["zebra"], text)


def test_class_files_that_disagree_are_refused(tmp_path):
    assert found(tmp_path, ["cat"], "cat,0\n", "cat,0\ndog,1\n")[0] == ("cat", "dog")
    with pytest.raises(InputError, match=r"classes1\.csv: line 1: the name 'cat' was expected for 0.*'dog'"):
        found(tmp_path, ["cat"], "cat,0\n", "dog,0\n")
