"""What is drawn is what training gets: its samples, the objects that are in their targets, the positive anchors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_retina.data.builtin.builtin import CLASS_NAMES, write_builtin_set
from keras_retina.data.checks.show_batch import (
    CAPTION,
    MOST_IMAGES,
    TILE,
    Sample,
    check_request,
    contact_sheet,
    first_samples,
    targets_to_boxes,
)
from keras_retina.data.pipeline import training_batches, training_labels
from keras_retina.data.reading.folder import load_dataset
from keras_retina.data.records import Dataset, Record
from keras_retina.foundation.errors import InputError
from keras_retina.geometry.boxes import encode
from keras_retina.geometry.matching import IGNORED, match
from keras_retina.model.spec import detector_spec
from keras_retina.recipe.recipe import recipe_from_fields
from keras_retina.train import train as training

GREEN, RED, BLUE = (46, 204, 113), (255, 60, 60), (72, 140, 255)
FIELDS = {
    "name": "small",
    "seed": 3,
    "model": {
        "backbone": {"alpha": 0.35, "weights": "none", "frozen_stages": 0, "batch_norm": "trained"},
        "input": {"height": 128, "width": 256},
    },
    "training": {"batch_size": 3},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("show_batch") / "data"
    write_builtin_set(path, 4, val_images=2, height=96, width=128)
    return path


@pytest.fixture(scope="module")
def dataset(folder) -> Dataset:
    return load_dataset(folder, "train")


@pytest.fixture(scope="module")
def recipe():
    return recipe_from_fields(FIELDS, "test")


@pytest.fixture(scope="module")
def samples(recipe, dataset) -> list[Sample]:
    """More than one pass over the four images."""
    return first_samples(recipe, dataset, images=6)


def one_image(folder: Path, boxes: list, crowd: bool = False) -> Dataset:
    Image.new("RGB", (256, 128), (90, 90, 90)).save(folder / "a.png")
    array = np.array(boxes, np.float32).reshape(-1, 4)
    flags = np.full(len(array), crowd)
    record = Record(1, folder / "a.png", "a.png", 128, 256, array, np.zeros(len(array), np.int32), flags)
    return Dataset("made", "train", ("cat", "dog"), (1, 2), (record,))


def plain(**sections) -> dict:
    still = {"horizontal_flip": False, "scale": [1.0, 1.0], "aspect": 1.0}
    return {**FIELDS, "augmentation": still, **sections}


def pixels_of(picture: np.ndarray, colour: tuple) -> int:
    return int((np.abs(picture.astype(int) - colour).max(axis=-1) < 5).sum())


# The samples are those of training


def test_samples_are_those_of_the_batches_that_train_asks_for(recipe, dataset, samples, tmp_path, monkeypatch):
    class AskedError(Exception):
        pass

    def stop(*arguments, **options):
        raise AskedError(arguments, options)

    monkeypatch.setattr(training, "training_batches", stop)
    with pytest.raises(AskedError) as asked:
        training.train(recipe, dataset, validation_set=dataset, run_dir=tmp_path)
    arguments, options = asked.value.args
    position = 0
    for images, wanted in training_batches(*arguments, **options).take(2).as_numpy_iterator():
        for image, codes, boxes in zip(images, wanted["classes"], wanted["boxes"], strict=True):
            sample = samples[position]
            np.testing.assert_array_equal(sample.image, np.rint(image * 127.5 + 127.5).astype(np.uint8))
            np.testing.assert_array_equal(sample.anchors, detector_spec(recipe.model, ()).anchors()[boxes[:, 4] == 1])
            assert len(sample.anchors) == (codes >= 0).sum()
            assert sample.ignored == (codes == IGNORED).sum()
            position += 1
    assert position == 6


def test_looking_at_the_labels_leaves_the_batches_as_they_are(recipe, dataset):
    spec = detector_spec(recipe.model, dataset.class_names)

    def batches() -> list:
        stream = training_batches(dataset, spec, augmentation=recipe.augmentation, batch_size=3, seed=recipe.seed)
        return [array for image, wanted in stream.take(2).as_numpy_iterator() for array in (image, *wanted.values())]

    before = batches()
    list(training_labels(dataset, spec, augmentation=recipe.augmentation, seed=recipe.seed).take(5))
    for one, other in zip(before, batches(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_names_are_those_of_the_images_in_their_order(recipe, dataset, samples):
    assert {sample.name for sample in samples[:4]} == {record.file_name for record in dataset.records}
    still = first_samples(recipe_from_fields(plain(), "test"), dataset, images=4)
    for sample in still:  # without zoom and flips a sample looks like its own file and like no other
        error = {}
        for record in dataset.records:
            image = np.asarray(Image.open(record.path).convert("RGB").resize((256, 128)), float)
            image, seen = image - image.mean(), sample.image - sample.image.mean()
            error[record.file_name] = float((image * seen).sum() / np.linalg.norm(image) / np.linalg.norm(seen))
        assert max(error, key=lambda name: error[name]) == sample.name


# Boxes and anchors


def test_boxes_decoded_from_the_targets_are_the_augmented_labels(recipe, dataset, samples):
    spec = detector_spec(recipe.model, dataset.class_names)
    stream = (
        training_labels(dataset, spec, augmentation=recipe.augmentation, seed=recipe.seed).take(6).as_numpy_iterator()
    )
    total = 0
    for sample, (index, boxes, classes, ignored) in zip(samples, stream, strict=True):
        assert sample.name == dataset.records[index].file_name
        drawn = np.column_stack([sample.boxes, sample.classes])
        labels = np.column_stack([boxes, classes])[~ignored]
        assert drawn.shape == labels.shape
        distance = np.abs(drawn[:, None] - labels[None]).max(axis=-1)
        np.testing.assert_allclose(distance.min(axis=0), 0, atol=1e-2)
        np.testing.assert_allclose(distance.min(axis=1), 0, atol=1e-2)
        total += len(drawn)
    assert total > 6


def test_anchors_are_the_positives_of_matching(recipe, dataset, samples):
    spec = detector_spec(recipe.model, dataset.class_names)
    stream = (
        training_labels(dataset, spec, augmentation=recipe.augmentation, seed=recipe.seed).take(6).as_numpy_iterator()
    )
    for sample, (_, boxes, classes, ignored) in zip(samples, stream, strict=True):
        codes, matched = match(
            spec.anchors(), boxes[None], classes=classes[None], ignored=ignored[None], matching=recipe.training.matching
        )
        np.testing.assert_array_equal(sample.anchors, spec.anchors()[matched[0].numpy() >= 0])
        assert sample.ignored == (codes.numpy() == IGNORED).sum()


def test_targets_of_several_anchors_are_one_box_and_classes_stay_apart():
    anchors = np.array([[0, 0, 10, 10], [0, 0, 20, 20], [5, 5, 15, 25], [50, 50, 60, 60]], np.float32)
    boxes = np.array([[1, 2, 11, 14], [1, 2, 11, 14], [1, 2, 11, 14]], np.float32)
    weights = (10.0, 10.0, 5.0, 5.0)
    targets = np.zeros((4, 5), np.float32)
    targets[:3, :4], targets[:3, 4] = encode(boxes, anchors[:3], weights=weights), 1
    found, classes = targets_to_boxes(np.array([0, 0, 1, -1]), targets, anchors=anchors, coder_weights=weights)
    assert classes.tolist() == [0, 1]
    np.testing.assert_allclose(found, boxes[:2], atol=1e-4)


def test_a_box_without_an_anchor_is_counted_and_drawn_red(tmp_path):
    """Without forced matches, no anchor reaches IoU 0.5 with a strip of 120 x 4 pixels."""
    settings = plain(training={"matching": {"force": False}})
    data = one_image(tmp_path, [[40, 100, 90, 150], [20, 20, 24, 140]])
    (sample,) = first_samples(recipe_from_fields(settings, "test"), data, images=1)
    assert sample.matched.tolist() == [True, False]
    np.testing.assert_allclose(sample.boxes, data.records[0].boxes, atol=1e-3)
    picture = contact_sheet([sample], data.class_names)
    assert pixels_of(picture, GREEN) > 300 and pixels_of(picture, RED) > 300


def test_a_crowd_is_only_in_the_ignored_anchors(tmp_path):
    data = one_image(tmp_path, [[20, 20, 100, 140]], crowd=True)
    (sample,) = first_samples(recipe_from_fields(plain(), "test"), data, images=1)
    assert (len(sample.boxes), len(sample.anchors)) == (0, 0)
    assert sample.ignored > 10


def test_a_sample_without_objects_is_drawn_without_boxes(tmp_path):
    data = one_image(tmp_path, [])
    (sample,) = first_samples(recipe_from_fields(plain(), "test"), data, images=1)
    assert (sample.boxes.shape, sample.anchors.shape, sample.ignored) == ((0, 4), (0, 4), 0)
    picture = contact_sheet([sample], data.class_names)[CAPTION + 12 :]  # the caption says "boxes 0" in green
    assert [pixels_of(picture, colour) for colour in (GREEN, RED, BLUE)] == [0, 0, 0]


# The picture


@pytest.mark.parametrize(("images", "rows", "columns"), [(1, 1, 1), (3, 1, 3), (4, 1, 4), (6, 2, 4)])
def test_the_picture_has_one_tile_a_sample(samples, images: int, rows: int, columns: int):
    picture = contact_sheet(samples[:images], CLASS_NAMES)
    tile = TILE // 2 + CAPTION  # the input is twice as wide as high
    assert picture.shape == (rows * (tile + 6) + 6, columns * (TILE + 6) + 6, 3)
    assert picture.dtype == np.uint8


def test_boxes_stand_where_they_are_in_the_image(tmp_path):
    data = one_image(tmp_path, [[40, 80, 90, 130]])
    (sample,) = first_samples(recipe_from_fields(plain(), "test"), data, images=1)
    picture = contact_sheet([sample], data.class_names)[6 + CAPTION :, 6:]
    factor = TILE / 256
    row = picture[round(65 * factor)]
    green = np.flatnonzero(np.abs(row.astype(int) - GREEN).max(axis=-1) < 5)
    assert abs(green.min() - 80 * factor) <= 2 and abs(green.max() - 130 * factor) <= 2


def test_names_of_boxes_at_one_place_do_not_cover_each_other(tmp_path):
    """Four nested boxes with the same top left corner: every name has a plate of its own."""
    boxes = np.array([[30, 60, 60 + 10 * size, 100 + 20 * size] for size in range(4)], np.float32)
    grey = np.full((128, 256, 3), 90, np.uint8)

    def plate_pixels(count: int) -> int:
        none = np.zeros((0, 4), np.float32)
        sample = Sample("a", grey, boxes[:count], np.zeros(count, int), np.ones(count, bool), none, 0)
        named, unnamed = (contact_sheet([sample], [name])[46:] for name in ("mmmmm", ""))
        return int((named != unnamed).any(axis=-1).sum())

    assert plate_pixels(4) > 3.2 * plate_pixels(1)


# Bad input


@pytest.mark.parametrize("images", [0, -3, MOST_IMAGES + 1])
def test_a_number_of_images_out_of_range_names_the_nearest(images: int):
    with pytest.raises(InputError, match=rf"Received: images={images}\. Use (1|{MOST_IMAGES})\."):
        check_request(images, Path("batch.png"))


@pytest.mark.parametrize("name", ["batch.jpg", "batch", "folder.png"])
def test_only_a_png_file_is_written(tmp_path, name: str):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InputError, match=r"a \.png file was expected\. Received: out="):
        check_request(8, tmp_path / name)


# The verb


def test_the_verb_writes_the_picture_and_one_line_an_image(keras_retina, folder, dataset, samples, tmp_path):
    out, override = tmp_path / "new" / "batch.png", "training.matching.force=true"
    (tmp_path / "small.yaml").write_text(str(FIELDS))  # YAML reads Python's braces and quotes
    arguments = (str(tmp_path / "small.yaml"), "--data", str(folder), "--out", str(out), "--set", override)
    result = keras_retina("show-batch", *arguments, "--images", "6")
    assert result.returncode == 0, result.stderr
    np.testing.assert_array_equal(np.asarray(Image.open(out)), contact_sheet(samples, dataset.class_names))
    lines = result.stdout.splitlines()
    for line, sample in zip(lines, samples, strict=False):
        boxes, positive = len(sample.boxes), len(sample.anchors)
        assert line == f"{sample.name}: boxes {boxes}, positive anchors {positive}, ignored {sample.ignored}"
    assert lines[6] == f"labelled boxes without a matched anchor: 0 of {sum(len(s.boxes) for s in samples)} (0.0%)"
    assert lines[8] == f"next: keras-retina run {arguments[0]} --data {folder} --set {override}"
    bad = keras_retina("show-batch", *arguments, "--images", "0")
    assert bad.returncode == 2
    assert len(bad.stderr.splitlines()) == 1 and "Received: images=0." in bad.stderr
