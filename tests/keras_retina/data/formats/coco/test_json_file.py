from __future__ import annotations

import json
from pathlib import Path

import pytest

from keras_retina.data.formats.coco.json_file import coco_files, identifier, load_json, looks_like_coco, split_name
from keras_retina.foundation.errors import InputError

CONTENT = '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "猫"}]}'


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        (CONTENT, "yes"),
        ('{"info": {}, "licenses": [], "annotations" : [', "yes"),
        ('{"categories": [' + 300_000 * " ", "yes"),  # the other lists may follow
        ('{"categories": [], "info": {}}', "no"),  # of Label Studio, beside YOLO labels
        (json.dumps({"version": "5.0", "shapes": [], "imagePath": "a.jpg"}), "no"),  # labelme
        ('[{"image": "a.jpg", "annotations": 3}]', "no"),
        ('[{"image": "a.jpg", "annotations": []}]', "no"),  # CreateML
        ("", "damaged"),
        ("images", "damaged"),
    ],
)
def test_the_beginning_tells_what_a_file_is(tmp_path, content, answer):
    (tmp_path / "a.json").write_text(content, encoding="utf-8")
    assert looks_like_coco(tmp_path / "a.json") == answer
    (tmp_path / "a.json").write_text(content, encoding="utf-16")
    assert looks_like_coco(tmp_path / "a.json") == answer


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_every_unicode_encoding_is_read(tmp_path, encoding):
    (tmp_path / "a.json").write_text(CONTENT, encoding=encoding)
    assert load_json(tmp_path / "a.json")["categories"][0]["name"] == "猫"


@pytest.mark.parametrize(
    ("name", "encoding", "shown"),
    [("猫咪", "gbk", "GB18030"), ("café crème", "cp1252", "Windows-1252"), ("Größe", "latin-1", "Windows-1252")],
)
def test_other_encodings_are_refused_with_their_name_and_not_called_cut_off(tmp_path, name, encoding, shown):
    content = CONTENT.replace("猫", name).replace(' "categories"', '\n"categories"')
    (tmp_path / "a.json").write_text(content, encoding=encoding)
    message = rf"a\.json: line 2: text in UTF-8.*looks like {shown}.*Save the file as UTF-8"
    with pytest.raises(InputError, match=message):
        load_json(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (CONTENT[:-20], "Is it cut off"),
        (CONTENT.replace(":", "=", 1), "line 1 column 10.*Correct that place"),
        ("", "an empty file"),
        ("[]", "Received: list"),
    ],
)
def test_damage_is_told_apart(tmp_path, content, message):
    (tmp_path / "a.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=rf"a\.json: .*{message}"):
        load_json(tmp_path / "a.json")
    with pytest.raises(InputError, match=r"none\.json: a JSON file that can be read was expected"):
        load_json(tmp_path / "none.json")


def test_files_of_other_tasks_are_no_label_files(tmp_path):
    names = ["instances_val2017", "captions_val2017", "person_keypoints_val2017", "val"]
    for name in names:
        (tmp_path / f"{name}.json").write_text(CONTENT, encoding="utf-8")
    (tmp_path / "empty.json").touch()
    (tmp_path / "._val.json").write_text(CONTENT, encoding="utf-8")
    assert [file.stem for file in coco_files(tmp_path)] == ["instances_val2017", "val"]
    assert [file.stem for file in coco_files(tmp_path, damaged=True)] == ["empty", "instances_val2017", "val"]
    for name in ("instances_val2017", "val"):
        (tmp_path / f"{name}.json").unlink()
    assert [file.stem for file in coco_files(tmp_path)] == ["person_keypoints_val2017"]  # it has boxes, too


def test_one_json_file_for_each_image_is_not_coco(tmp_path):
    for number in range(101):
        (tmp_path / f"{number}.json").write_text(CONTENT, encoding="utf-8")
    assert coco_files(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("instances_train2017", "train2017"),
        ("person_keypoints_default", "default"),
        ("train_annotations", "train"),
        ("_annotations.coco", ""),
        ("night_train", "night_train"),
        ("val-coco", "val"),
    ],
)
def test_split_is_the_file_name_without_what_tools_add(name, split):
    assert split_name(Path(f"{name}.json")) == split


def test_ids_are_numbers_in_any_spelling():
    assert [identifier(value) for value in (7, 7.0, "7", "007", "-", 7.5, True, None, "", [7])] == [
        *(7, 7, 7, "007", "-"),
        *(None, None, None, None, None),
    ]
    assert identifier("9" * 5000) == "9" * 5000
