"""`detect`: pictures, COCO results, and nothing lost when some images cannot be read."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from edge.detect.images import detect_paths, picture_paths
from edge.runtime import Detector
from keras_retina.data.images import read_image
from keras_retina.foundation.errors import InputError


@pytest.fixture
def photos(tmp_path, image_paths):
    folder = tmp_path / "photos"
    folder.mkdir()
    for path in image_paths[:2]:
        shutil.copy(path, folder)
    (folder / "notes.txt").write_text("not an image")
    return folder


def test_a_folder_gives_coco_results_and_a_picture_for_each_image(exported, photos, tmp_path):
    out = tmp_path / "out"
    lines = []
    found = detect_paths(Detector(exported["int8"]), photos, out_dir=out, score_threshold=0.3, progress=lines.append)
    assert found.results == out / "results.json"
    results = json.loads(found.results.read_text())
    assert (found.images, found.objects) == (2, len(results))
    listing = json.loads((out / "images.json").read_text())
    assert [entry["file_name"] for entry in listing["images"]] == ["image_0.png", "image_1.png"]
    assert [entry["name"] for entry in listing["categories"]] == ["circle", "square", "<b>../cross</b>"]
    assert listing["unreadable"] == []
    assert len(lines) == 2
    rows = [json.loads(line) for line in (out / "detections.jsonl").read_text().splitlines()]
    assert [row["file"] for row in rows] == ["image_0.png", "image_1.png"]
    assert [len(row["detections"]) for row in rows] == [
        sum(item["image_id"] == entry["id"] for item in results) for entry in listing["images"]
    ]
    detector = Detector(exported["int8"])
    for entry in listing["images"]:
        image = read_image(photos / entry["file_name"])
        found = detector.detect(image, 0.3)
        own = [item for item in results if item["image_id"] == entry["id"]]
        assert len(own) == len(found.scores) > 0
        x, y, width, height = own[0]["bbox"]
        np.testing.assert_allclose([y, x, y + height, x + width], found.boxes[0], atol=0.02)
        assert own[0]["category_id"] == found.classes[0] + 1
        picture = np.array(Image.open(out / entry["picture"]))
        assert picture.shape == image.shape
        assert np.abs(picture.astype(int) - image).max() > 60  # something is drawn
    truth = COCO()
    truth.dataset = {"images": listing["images"], "categories": listing["categories"], "annotations": []}
    truth.createIndex()
    assert len(truth.loadRes(results).anns) == len(results)


def test_one_image_is_enough(exported, image_paths, tmp_path):
    results = json.loads(
        detect_paths(Detector(exported["float32_raw"]), image_paths[0], out_dir=tmp_path / "out").results.read_text()
    )
    assert {item["image_id"] for item in results} == {1}
    assert min(item["score"] for item in results) >= 0.3


def test_unreadable_images_are_named_after_the_others_are_done(exported, photos, tmp_path):
    data = (photos / "image_1.png").read_bytes()
    (photos / "image_1.png").write_bytes(data[: len(data) // 2])
    (photos / "aa_empty.jpg").write_bytes(b"")
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"2 of 3 images .*aa_empty.jpg.*zero bytes.*image_1.png") as caught:
        detect_paths(Detector(exported["float32"]), photos, out_dir=out, score_threshold=0.01)
    assert "\n" not in str(caught.value)
    listing = json.loads((out / "images.json").read_text())
    assert [entry["file_name"] for entry in listing["images"]] == ["image_0.png"]
    assert [entry["file_name"] for entry in listing["unreadable"]] == ["aa_empty.jpg", "image_1.png"]
    assert {item["image_id"] for item in json.loads((out / "results.json").read_text())} == {listing["images"][0]["id"]}
    assert (out / "image_0.jpg").is_file()
    rows = [json.loads(line) for line in (out / "detections.jsonl").read_text().splitlines()]
    assert [row["file"] for row in rows if "error" in row] == ["aa_empty.jpg", "image_1.png"]
    assert [row["file"] for row in rows if "detections" in row] == ["image_0.png"]


def test_images_of_the_same_stem_keep_their_own_pictures(tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "A.jpg", tmp_path / "b.png"]
    names = [path.name for path in picture_paths(paths, tmp_path / "out")]
    assert names == ["a.png.jpg", "A.jpg.jpg", "b.jpg"]


def test_an_original_is_never_replaced(exported, image_paths, tmp_path):
    photo = tmp_path / "photo.jpg"
    Image.open(image_paths[0]).save(photo)
    before = photo.read_bytes()
    with pytest.raises(InputError, match="would replace an original"):
        detect_paths(Detector(exported["float32"]), tmp_path, out_dir=tmp_path)
    assert photo.read_bytes() == before


def test_hostile_names_stay_inside_the_folder_and_on_one_line(exported, image_paths, tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    names = ["..\\..\\up.png", "<img src=x>.png", "line\nbreak.png", "🙂.png"]
    for name in names:
        shutil.copy(image_paths[0], photos / name)
    lines = []
    detect_paths(Detector(exported["float32"]), photos, out_dir=out, progress=lines.append)
    assert {path.parent for path in tmp_path.rglob("*.jpg")} == {out}
    assert not any("\n" in line for line in lines)
    listing = json.loads((out / "images.json").read_text())
    assert sorted(entry["file_name"] for entry in listing["images"]) == sorted(names)


def test_tiny_long_and_16_bit_images_are_images(exported, tmp_path):
    photos, generator = tmp_path / "photos", np.random.default_rng(0)
    photos.mkdir()
    for shape in ((1, 1), (10_000, 10), (10, 10_000)):
        Image.fromarray(generator.integers(0, 256, (*shape, 3), np.uint8)).save(photos / f"{shape[0]}.png")
    Image.fromarray(generator.integers(0, 65_536, (40, 50), np.uint16)).save(photos / "deep.png")
    detect_paths(Detector(exported["int8_raw"]), photos, out_dir=tmp_path / "out", score_threshold=0.05)
    listing = json.loads((tmp_path / "out" / "images.json").read_text())
    assert sorted((entry["height"], entry["width"]) for entry in listing["images"]) == [
        (1, 1), (10, 10_000), (40, 50), (10_000, 10),
    ]  # fmt: skip
    assert listing["unreadable"] == []


def test_bad_input_is_refused_before_anything_is_written(exported, photos, tmp_path):
    (tmp_path / "empty").mkdir()
    out = tmp_path / "out"
    with pytest.raises(InputError, match="nothing there"):
        detect_paths(Detector(exported["float32"]), tmp_path / "missing.jpg", out_dir=out)
    with pytest.raises(InputError, match="expected images"):
        detect_paths(Detector(exported["float32"]), tmp_path / "empty", out_dir=out)
    with pytest.raises(InputError, match="a file"):
        detect_paths(Detector(exported["float32"]), photos, out_dir=photos / "notes.txt")
    assert not out.exists()


def test_what_a_folder_has_beside_its_images_is_counted_and_named_in_one_line(exported, photos, tmp_path):
    told = []
    (photos / "more" / "deeper").mkdir(parents=True)
    (photos / ".thumbnails").mkdir()
    shutil.copy(photos / "image_0.png", photos / "more" / "image_0.png")
    shutil.copy(photos / "image_0.png", photos / "more" / "deeper" / "b.png")
    shutil.copy(photos / "image_0.png", photos / ".thumbnails" / "c.png")
    detector, out = Detector(exported["int8"]), photos / "found"
    assert detect_paths(detector, photos, out_dir=out, tell=told.append).images == 2
    assert told == [
        f"{photos}: skipped 1 file and 1 subfolder (more/, notes.txt). --recursive takes the images in subfolders."
    ]
    told.clear()
    found = detect_paths(detector, photos, out_dir=out, recursive=True, tell=told.append)
    assert found.images == 4
    assert told == [f"{photos}: skipped 1 file (notes.txt)."]
    names = ["image_0.png", "image_1.png", "more/deeper/b.png", "more/image_0.png"]
    images = json.loads((out / "images.json").read_text())["images"]
    assert [entry["file_name"] for entry in images] == names
    assert [entry["picture"] for entry in images] == [name.replace(".png", ".jpg") for name in names]
    assert all((out / entry["picture"]).is_file() for entry in images)
    assert [json.loads(line)["file"] for line in (out / "detections.jsonl").read_text().splitlines()] == names


def test_a_folder_with_images_in_subfolders_alone_says_what_to_do(exported, photos, tmp_path):
    with pytest.raises(InputError, match=r"skipped 1 subfolder \(photos/\)\. --recursive takes the images"):
        detect_paths(Detector(exported["int8"]), tmp_path, out_dir=tmp_path / "out")


def test_heic_is_an_image_and_without_its_reader_each_is_named(exported, photos, tmp_path, monkeypatch):
    heif = pytest.importorskip("pillow_heif", reason="needs pillow-heif: pip install pillow-heif")
    heif.from_pillow(Image.open(photos / "image_0.png")).save(photos / "phone.HEIC")
    detector, out = Detector(exported["int8"]), tmp_path / "out"
    assert detect_paths(detector, photos, out_dir=out).images == 3
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(InputError, match=r"1 of 3 images could not be read; .*phone\.HEIC.*keras_retina\[heic\]"):
        detect_paths(detector, photos, out_dir=out)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # pytest shows what the package hides
def test_a_photo_of_108_megapixels_is_one_line_and_the_others_are_finished(exported, photos, tmp_path):
    Image.new("L", (12000, 9000)).save(photos / "huge.png", compress_level=1)
    with pytest.raises(InputError, match=r"1 of 3 images could not be read.*at most 100000000 pixels") as caught:
        detect_paths(Detector(exported["int8"]), photos, out_dir=tmp_path / "out")
    assert "width=12000, height=9000" in str(caught.value)
    assert "\n" not in str(caught.value)
