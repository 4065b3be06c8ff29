from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_retina.data.checks.dataset import check_dataset, count_by_class_and_size
from keras_retina.data.checks.report import format_report, report_to_dict
from keras_retina.data.records import Dataset, Record
from keras_retina.foundation.errors import InputError
from keras_retina.recipe.data import Data
from keras_retina.recipe.model import Anchors, Input, Model

SHARED = Path(__file__).resolve().parents[5] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data (BCCD and raccoon photographs)")

MODEL = Model(input=Input(height=128, width=128), anchors=Anchors(size=4.0, scales=(1.0, 1.26, 1.59)))


def noise(seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    return Image.fromarray(coarse).resize((200, 100), Image.Resampling.BICUBIC)


def write_csv(tmp_path, **splits):
    """Writes `<split>.csv` and, for every name in it that starts with a digit, an image made from that digit."""
    for split, rows in splits.items():
        (tmp_path / f"{split}.csv").write_text("\n".join(rows) + "\n")
        for name in {row.partition(",")[0] for row in rows}:
            if name[0].isdecimal() and not (tmp_path / name).exists():
                noise(int(name[0])).save(tmp_path / name)


def test_clean_folder_passes(tmp_path):
    write_csv(tmp_path, train=["1.png,20,10,50,40,cat", "2.png,,,,,"], val=["3.png,20,10,50,40,cat"])
    report = check_dataset(tmp_path)
    assert report.errors == () and report.warnings == () and report.duplicates == ()
    train, val = report.splits
    assert (train.split, train.images, train.images_without_objects, train.usable_boxes) == ("train", 2, 1, 1)
    assert train.boxes == {"cat": {"small": 1, "medium": 0, "large": 0}}  # 30 x 30 px
    assert train.modes == {"RGB": 2} and train.exif_rotated == 0 and train.coverage is None
    assert report.other_splits == () and report.unusable == ()
    assert format_report(report).endswith("\npassed")


def test_every_problem_is_in_the_report_and_fails_it(tmp_path):
    write_csv(
        tmp_path,
        train=[
            "1.png,20,10,50,40,cat",
            "1.png,20,10,50,40,cat",
            "2.png,20,10,20,40,dog",
            "3.png,20,10,nan,40,dog",
            "none.png,1,2,3,4,dog",
            "../out.png,1,2,3,4,dog",
            "grey.png,,,,,",
            "turned.png,,,,,",
            "damaged.png,,,,,",
        ],
    )
    noise(7).convert("L").save(tmp_path / "grey.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    noise(8).save(tmp_path / "turned.png", exif=exif)
    noise(9).save(tmp_path / "damaged.png")
    content = bytearray((tmp_path / "damaged.png").read_bytes())
    content[len(content) // 2] ^= 255  # complete, but a checksum is wrong: only decoding shows it
    (tmp_path / "damaged.png").write_bytes(content)
    report = check_dataset(tmp_path)
    counts = report_to_dict(report)["splits"]["train"]["problem_counts"]
    assert counts == {
        "duplicate_box": 1,
        "degenerate_box": 1,
        "invalid_box": 1,
        "missing_image": 1,
        "unsafe_path": 1,
        "unreadable_image": 1,
        "non_rgb_image": 1,
        "exif_rotated_image": 1,
    }
    assert report.splits[0].modes == {"L": 1, "RGB": 4} and report.splits[0].exif_rotated == 1
    assert report.errors == ("train: 4 problems that cannot be fixed",)
    assert report.warnings == ("train: class 'dog' has no boxes",)
    text = format_report(report)
    assert f"{tmp_path / 'train.csv'}: line 4: " in text and text.endswith("\nfailed")
    assert json.loads(json.dumps(report_to_dict(report)))["passed"] is False


def test_the_same_image_in_two_splits_is_an_error_and_a_near_copy_a_warning(tmp_path):
    box = "20,10,50,40,cat"
    write_csv(tmp_path, train=[f"1.png,{box}", f"2.png,{box}"], val=[f"1b.png,{box}", f"2b.jpg,{box}"])
    report = check_dataset(tmp_path)
    assert report.errors == ("the same image in two splits: train/1.png and val/1b.png",)
    assert report.warnings == ("nearly the same image in two splits: train/2.png and val/2b.jpg",)


def test_copies_within_a_split_are_a_warning(tmp_path):
    write_csv(tmp_path, train=["1.png,20,10,50,40,cat", "1b.png,,,,,"])
    report = check_dataset(tmp_path)
    assert report.errors == ()
    assert report.warnings == ("1 pairs of identical or nearly identical images within a split",)


def test_a_damaged_file_of_one_split_is_refused_by_its_name(tmp_path):
    write_csv(tmp_path, train=["1.png,20,10,50,40,cat"], val=["1.png,20,10,50,40,cat"])
    (tmp_path / "val.csv").write_bytes(b"1.png,20,10,50,40,caf\xe9\n")
    with pytest.raises(InputError, match=r"val\.csv: line 1: text in UTF-8 was expected"):
        check_dataset(tmp_path)


def test_folder_that_is_no_data_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="one of the known layouts"):
        check_dataset(tmp_path)


def test_splits_that_are_not_looked_at_are_named(tmp_path):
    row = "1.png,20,10,50,40,cat"
    write_csv(tmp_path, train=[row], trainval=[row], valid=[row])
    report = check_dataset(tmp_path)
    assert [split.split for split in report.splits] == ["train", "valid"]
    assert report.other_splits == ("trainval",)
    assert format_report(report).splitlines()[1] == "also there, not looked at: the splits trainval"
    assert report_to_dict(report)["other_splits"] == ["trainval"]
    report = check_dataset(tmp_path, ["trainval"])
    assert [split.split for split in report.splits] == ["trainval"] and report.other_splits == ("train", "valid")
    report = check_dataset(tmp_path, ["train", "val"])
    assert [split.split for split in report.splits] == ["train", "val"] and report.other_splits == ("trainval",)


def test_folder_without_splits_is_looked_at_as_a_whole(tmp_path):
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "1.xml").write_text("<annotation/>")
    report = check_dataset(tmp_path)
    assert [split.split for split in report.splits] == ["all"]
    assert "all: 1 problems that cannot be fixed" in report.errors  # there is no image


def test_splits_that_cannot_be_made_are_refused(tmp_path):
    write_csv(tmp_path, train=[f"{number}.png,20,10,50,40,cat" for number in (1, 2, 3)])
    with pytest.raises(InputError, match=r"enough images with boxes"):
        check_dataset(tmp_path, settings=Data(split="auto"))


def test_split_without_a_box_cannot_be_used(tmp_path):
    write_csv(tmp_path, train=["1.png,20,10,50,40,cat"], val=["2.png,,,,,", "3.png,,,,,"])
    report = check_dataset(tmp_path)
    assert report.unusable == report.errors
    assert "boxes in the split 'val' were expected. Received: 2 images without any" in report.errors[0]
    assert format_report(report).endswith("\nfailed")


def test_split_whose_labels_are_all_bad_cannot_be_used_and_says_why(tmp_path):
    write_csv(tmp_path, train=["1.png,20,10,nan,40,cat", "2.png,50,10,20,40,cat"])
    report = check_dataset(tmp_path)
    assert report.errors[0] == "train: 2 problems that cannot be fixed"
    assert "Received: 2 images without any" in report.errors[1]
    assert "train.csv: line 1" in report.unusable[0] and "nan" in report.unusable[0]  # the cause, not what it led to
    assert report.unusable[0].endswith("1 more such problems; check-data lists them all.")
    assert {item.kind for item in report.splits[0].problems} == {"invalid_box", "reversed_box"}


def test_crowds_alone_are_nothing_to_learn_from(tmp_path):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "images").mkdir()
    noise(1).save(tmp_path / "images" / "1.png")
    labels = {
        "images": [{"id": 1, "file_name": "1.png"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 20, 20], "iscrowd": 1}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "annotations" / "train.json").write_text(json.dumps(labels))
    report = check_dataset(tmp_path)
    assert report.splits[0].boxes["cat"]["small"] == 1 and report.splits[0].usable_boxes == 0
    assert len(report.unusable) == 1


def test_data_of_which_no_split_can_be_read_is_refused_by_file(tmp_path):
    for split in ("train", "val"):
        (tmp_path / f"{split}.csv").write_text('"')
    with pytest.raises(InputError, match=r"train\.csv: line 1: "):
        check_dataset(tmp_path)


def test_control_characters_of_labels_do_not_reach_the_terminal(tmp_path):
    write_csv(tmp_path, train=["1.png,20,10,50,40,cat\x1b[2J", "1\x1b[31m.png,1,1,1,2,cat\x1b[2J"])
    report = check_dataset(tmp_path, model=MODEL)
    assert "\x1b" not in format_report(report)
    assert "\\x1b[2J" in format_report(report)


def test_anchor_coverage_warns_of_boxes_that_no_anchor_meets(tmp_path):
    write_csv(tmp_path, train=["1.png,20,10,24,14,cat", "1.png,50,0,150,100,dog"])
    report = check_dataset(tmp_path, model=MODEL)
    coverage = report_to_dict(report)["splits"]["train"]["anchor_coverage"]
    assert coverage["classes"]["cat"] == {"boxes": 1, "poor": 1, "share": 1.0}
    assert coverage["classes"]["dog"]["poor"] == 0
    assert coverage["worst"][0]["class"] == "cat" and coverage["worst"][0]["iou"] < 0.1
    assert report.warnings == ("train: 100% of the boxes of class 'cat' have no anchor of IoU 0.5",)
    json.dumps(report_to_dict(report))


def test_sizes_are_those_of_coco():
    sides = [(31, 33), (32, 32), (96, 95), (96, 96)]  # areas 1023, 1024, 9120, 9216
    boxes = np.array([[0, 0, height, width] for height, width in sides], np.float32)
    record = Record(1, Path("a"), "a", 200, 200, boxes, np.zeros(4, np.int32), np.zeros(4, bool))
    dataset = Dataset("made", "train", ("cat", "dog"), (1, 2), (record,))
    assert count_by_class_and_size(dataset) == {
        "cat": {"small": 1, "medium": 2, "large": 1},
        "dog": {"small": 0, "medium": 0, "large": 0},
    }


@needs_shared
def test_known_duplicates_and_grey_images_of_raccoon_are_found():
    report = check_dataset(SHARED / "raccoon", ["train"])
    listed = json.loads((SHARED / "raccoon" / "problems.json").read_text())
    identical = {
        frozenset(f"train/{item[key].split()[0]}" for key in ("image", "detail"))
        for item in listed
        if item["kind"] == "identical_image"
    }
    assert {frozenset((pair.first, pair.second)) for pair in report.duplicates if pair.exact} == identical
    assert report.splits[0].modes == {"L": 3, "RGB": 157}
    assert report.errors == ()


def test_classes_whose_names_are_nearly_the_same_are_told_with_the_setting_that_joins_them(tmp_path):
    write_csv(tmp_path, train=["1.png,20,10,50,40,Red Cell", "2.png,20,10,50,40,red_cell", "3.png,20,10,50,40,cell"])
    (warning,) = check_dataset(tmp_path).warnings
    assert warning == "'Red Cell' and 'red_cell' may be one class: --set data.rename='{red_cell: Red Cell}'"
    joined = check_dataset(tmp_path, settings=Data(rename={"red_cell": "Red Cell"}))
    assert joined.warnings == () and list(joined.splits[0].boxes) == ["Red Cell", "cell"]
