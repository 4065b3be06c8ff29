"""Every sample is a function of (seed, position): passes are permutations, and a resumed stream is the same stream."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_retina.data.augment.view import random_view
from keras_retina.data.pipeline import (
    check_augmentation,
    image_loader,
    images_of_batch,
    sample_function,
    training_batches,
    training_labels,
)
from keras_retina.data.reading.order import WHOLE_BATCH, BatchShare, sample_order
from keras_retina.data.records import Dataset, Record
from keras_retina.data.resize import STORED_AREA
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import tf
from keras_retina.geometry.boxes import decode, encode, iou
from keras_retina.geometry.matching import BACKGROUND, IGNORED
from keras_retina.model.spec import DetectorSpec
from keras_retina.recipe.data import Augmentation
from keras_retina.recipe.recipe import Matching
from keras_retina.train.callbacks.history import InputWait

SPEC = DetectorSpec(
    class_names=("a", "b"),
    height=64,
    width=64,
    resize="stretch",
    levels=(3, 4),
    anchor_size=3.0,
    anchor_scales=(1.0,),
    anchor_ratios=(1.0,),
    coder_weights=(10.0, 10.0, 5.0, 5.0),
)
PLAIN = Augmentation(horizontal_flip=False, scale=(1.0, 1.0), aspect=1.0, brightness=0.0, contrast=0.0, saturation=0.0)
LIVELY = Augmentation(vertical_flip=True)


def make_record(folder: Path, index: int, boxes: list, crowd: list[bool] | None = None, size: int = 64) -> Record:
    """An image of one grey level, 20 x index, so that a batch tells which images are in it."""
    path = folder / f"{index}.png"
    Image.new("RGB", (size, size), (20 * index,) * 3).save(path)
    array = np.array(boxes, np.float32).reshape(-1, 4)
    flags = np.array(crowd or [False] * len(array), bool)
    return Record(index, path, path.name, size, size, array, np.array([index % 2] * len(array), np.int32), flags)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    """Seven images, each with one object, the first with none."""
    folder = tmp_path_factory.mktemp("pipeline")
    records = [make_record(folder, index, [[4 * index, 8, 4 * index + 24, 40]] if index else []) for index in range(7)]
    return Dataset("test", "train", ("a", "b"), (1, 2), tuple(records))


@pytest.fixture(scope="module")
def whole(dataset) -> list:
    """The first eleven batches of two."""
    return batches_of(dataset, 11, LIVELY)


def batches_of(
    dataset: Dataset, count: int, augmentation=PLAIN, batch_size=2, seed=3, first_sample=0, matching=None, **options
) -> list:
    matching = matching or Matching()
    return taken(
        training_batches(
            dataset,
            SPEC,
            augmentation=augmentation,
            matching=matching,
            batch_size=batch_size,
            seed=seed,
            first_sample=first_sample,
            **options,
        ),
        count,
    )


def taken(stream: tf.data.Dataset, count: int) -> list:
    return [
        (images.numpy(), {name: value.numpy() for name, value in wanted.items()})
        for images, wanted in stream.take(count)
    ]


def assert_equal(one: list, other: list) -> None:
    assert len(one) == len(other)
    for (images, wanted), (other_images, other_wanted) in zip(one, other, strict=True):
        np.testing.assert_array_equal(images, other_images)
        for name in wanted:
            np.testing.assert_array_equal(wanted[name], other_wanted[name])


def grey_levels(batches: list) -> list[int]:
    """Which images, in order."""
    return [round((float(image.mean()) * 127.5 + 127.5) / 20) for images, _ in batches for image in images]


# Shapes and values


def test_batches_have_the_shapes_types_and_ranges_that_the_model_and_the_losses_take(dataset):
    images, wanted = batches_of(dataset, 1, LIVELY, batch_size=3)[0]
    anchors = len(SPEC.anchors())
    assert (images.shape, images.dtype) == ((3, 64, 64, 3), np.float32)
    assert -1 <= images.min() <= images.max() <= 1
    assert (wanted["classes"].shape, wanted["classes"].dtype) == ((3, anchors), np.int32)
    assert (wanted["boxes"].shape, wanted["boxes"].dtype) == ((3, anchors, 5), np.float32)


def test_shapes_are_known_before_the_first_batch(dataset):
    images, wanted = training_batches(dataset, SPEC, augmentation=LIVELY, batch_size=2).element_spec
    assert images.shape.as_list() == [2, 64, 64, 3]
    assert wanted["classes"].shape.as_list() == [2, len(SPEC.anchors())]
    assert wanted["boxes"].shape.as_list() == [2, len(SPEC.anchors()), 5]


def test_no_thread_tunes_the_batches_so_nobody_waits_for_it_when_they_are_deleted(dataset):
    batches = training_batches(dataset, SPEC)
    assert batches.options().autotune.enabled is False
    assert InputWait().watch(batches).take(1).options().autotune.enabled is False


def test_pixels_go_from_minus_one_to_one(tmp_path):
    white = make_record(tmp_path, 0, [])
    Image.new("RGB", (64, 64), (255, 0, 255)).save(white.path)
    images, _ = batches_of(Dataset("t", "train", ("a", "b"), (1, 2), (white,)), 1, batch_size=1)[0]
    np.testing.assert_allclose(images[0, 30, 30], [1, -1, 1], atol=1e-5)


def test_targets_encode_the_object_on_the_anchors_that_overlap_it(dataset):
    anchors = SPEC.anchors()
    for images, wanted in batches_of(dataset, 7, batch_size=1):
        record = dataset.records[grey_levels([(images, wanted)])[0]]
        codes, boxes = wanted["classes"][0], wanted["boxes"][0]
        positive = codes >= 0
        np.testing.assert_array_equal(boxes[:, 4], positive.astype(np.float32))
        assert (boxes[~positive] == 0).all()
        if not len(record.boxes):
            assert not positive.any()
            continue
        overlap = iou(record.boxes, anchors)[0]
        assert positive[np.argmax(overlap)]
        assert (codes[positive] == record.classes[0]).all()
        np.testing.assert_array_equal(codes[~positive] == IGNORED, overlap[~positive] >= 0.4)
        expected = encode(record.boxes.repeat(positive.sum(), axis=0), anchors[positive], weights=SPEC.coder_weights)
        np.testing.assert_allclose(boxes[positive, :4], expected, atol=1e-4)


def test_objects_come_back_from_the_targets_of_a_scaled_image(tmp_path):
    """Labels are in pixels of the file, 320 x 320; the network sees 64 x 64."""
    record = make_record(tmp_path, 1, [[80, 40, 240, 200]], size=320)
    _, wanted = batches_of(Dataset("t", "train", ("a", "b"), (1, 2), (record,)), 1, batch_size=1)[0]
    positive = wanted["classes"][0] >= 0
    boxes = decode(wanted["boxes"][0, positive, :4], SPEC.anchors()[positive], weights=SPEC.coder_weights)
    np.testing.assert_allclose(boxes, np.tile([16, 8, 48, 40], (positive.sum(), 1)), atol=1e-2)


def test_images_without_objects_train_every_anchor_as_background(dataset):
    empty = dataclasses.replace(dataset, records=dataset.records[:1])
    for _, wanted in batches_of(empty, 3, LIVELY, batch_size=2):
        assert (wanted["classes"] == BACKGROUND).all()
        assert (wanted["boxes"] == 0).all()


def test_crowds_are_ignored_and_give_no_positive(tmp_path):
    record = make_record(tmp_path, 1, [[0, 0, 64, 64]], [True])
    _, wanted = batches_of(Dataset("t", "train", ("a", "b"), (1, 2), (record,)), 1, batch_size=1)[0]
    assert not (wanted["classes"] >= 0).any()
    assert (wanted["classes"] == IGNORED).mean() > 0.3


def test_what_is_mostly_cut_away_is_ignored_not_background(tmp_path):
    """At zoom 2, with all of it required to be visible, a large object is neither learnt nor called background."""
    record = make_record(tmp_path, 1, [[0, 0, 60, 60]])
    cut = PLAIN.model_copy(update={"scale": (2.0, 2.0), "minimum_visible": 1.0})
    data = Dataset("t", "train", ("a", "b"), (1, 2), (record,))
    for _, wanted in batches_of(data, 4, cut, batch_size=1):
        assert not (wanted["classes"] >= 0).any()
        assert (wanted["classes"] == IGNORED).any()


def test_thresholds_of_the_recipe_are_used(dataset):
    strict = Matching(positive=0.99, negative=0.98, force=False)
    for _, wanted in batches_of(dataset, 7, batch_size=1, matching=strict):
        assert not (wanted["classes"] >= 0).any()


# Order


def test_each_pass_is_a_permutation_and_passes_differ(dataset):
    levels = grey_levels(batches_of(dataset, 28, batch_size=1))
    passes = [tuple(levels[start : start + 7]) for start in range(0, 28, 7)]
    assert all(sorted(one) == list(range(7)) for one in passes)
    assert len(set(passes)) > 1


def test_another_seed_gives_another_order_and_other_views(dataset):
    one, other = batches_of(dataset, 4, seed=3), batches_of(dataset, 4, seed=4)
    assert grey_levels(one) != grey_levels(other)
    single = dataclasses.replace(dataset, records=dataset.records[3:4])
    views = [batches_of(single, 1, LIVELY, seed=seed)[0][0] for seed in (3, 4)]
    assert not np.array_equal(*views)


def test_the_same_image_is_seen_differently_in_each_pass(dataset):
    one = dataclasses.replace(dataset, records=dataset.records[3:4])
    batches = batches_of(one, 4, LIVELY, batch_size=1)
    assert len({images.tobytes() for images, _ in batches}) == 4


@pytest.mark.parametrize("done", [0, 3, 7, 9])
def test_a_resumed_stream_gives_the_batches_of_the_uninterrupted_one(dataset, whole, done: int):
    """7 images in batches of 2: it begins anew, inside a pass, at the end of the second, and in the third."""
    assert_equal(whole[done:], batches_of(dataset, 11 - done, LIVELY, first_sample=2 * done))


def test_a_stream_far_into_training_starts_at_once(dataset):
    far = batches_of(dataset, 2, LIVELY, first_sample=7 * 10**9 + 3)
    assert far[0][0].shape == (2, 64, 64, 3)


def test_more_images_in_a_batch_than_in_the_set_are_taken_from_several_passes(dataset):
    images, _ = batches_of(dataset, 1, batch_size=16)[0]
    counts = np.bincount(grey_levels([(images, None)]), minlength=7)
    assert sorted(counts) == [2, 2, 2, 2, 2, 3, 3]  # 16 = 2 * 7 + 2


@pytest.mark.parametrize("threads", [1, 4])
def test_batches_do_not_depend_on_the_number_of_threads(dataset, whole, threads: int):
    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    options.autotune.enabled = threads > 1
    stream = training_batches(dataset, SPEC, augmentation=LIVELY, batch_size=2, seed=3).with_options(options)
    assert_equal(taken(stream, 8), whole[:8])


# Loading


def test_images_are_the_same_with_and_without_the_cache(dataset, whole):
    assert_equal(whole[:9], batches_of(dataset, 9, LIVELY, cache_mebibytes=0))


def test_large_images_are_reduced_once_and_boxes_with_them(tmp_path):
    record = make_record(tmp_path, 1, [[10, 20, 30, 40]], size=640)
    image, scale = image_loader((record,), SPEC, cache_mebibytes=10)(0)
    assert image.shape[0] * image.shape[1] <= 1.05 * STORED_AREA * 64 * 64
    np.testing.assert_allclose(scale, image.shape[0] / 640)


def test_small_images_stay_as_they_are(dataset):
    image, scale = image_loader(dataset.records, SPEC, cache_mebibytes=10)(3)
    assert image.shape == (64, 64, 3)
    assert scale.tolist() == [1, 1]


def test_images_over_the_room_are_read_again_and_the_others_only_once(dataset, tmp_path, monkeypatch):
    reads = []

    def read(record):
        reads.append(record.path.name)
        return np.zeros((64, 64, 3) if record.path.name != "1.png" else (300, 300, 3), np.uint8)

    monkeypatch.setattr("keras_retina.data.pipeline.read_record_image", read)
    spec = dataclasses.replace(SPEC, height=512, width=512)  # nothing is reduced
    load = image_loader(dataset.records, spec, cache_mebibytes=1)
    for index in (0, 2, 0, 2):
        load(index)
    assert reads == ["0.png", "2.png"]
    tiny = image_loader(dataset.records, spec, cache_mebibytes=0)
    tiny(0), tiny(0)
    assert reads[2:] == ["0.png", "0.png"]


# Mosaic and RandAugment


def test_a_mosaic_holds_the_image_of_its_place_and_three_others_with_their_boxes(dataset):
    always = PLAIN.model_copy(update={"mosaic": 1.0})
    sample = sample_function(dataset.records, SPEC, augmentation=always, seed=3, cache_mebibytes=10)
    for position in range(20):
        image, boxes, classes, ignored = sample(position, 5)
        assert image.shape == (64, 64, 3)
        assert image[0, 0].tolist() == [100] * 3  # 20 x 5, top left
        levels = {int(value) // 20 for value in np.unique(image[..., 0])}
        assert 1 <= len(levels) <= 4
        assert len(boxes) == len(classes) == len(ignored) <= 4
        for box, label in zip(boxes, classes, strict=True):
            y, x = ((box[:2] + box[2:]) / 2).astype(int).clip(0, 63)
            if (box[2:] > box[:2]).all():
                assert image[y, x, 0] // 20 % 2 == label  # the class is the parity of the image


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_images_of_a_batch_are_those_that_are_read_for_it(dataset, monkeypatch, share):
    reads = []
    monkeypatch.setattr(
        "keras_retina.data.pipeline.read_record_image",
        lambda record: reads.append(str(record.path)) or np.zeros((64, 64, 3), np.uint8),
    )
    settings = PLAIN.model_copy(update={"mosaic": share})
    sample = sample_function(dataset.records, SPEC, augmentation=settings, seed=3, cache_mebibytes=0)
    for position, index in sample_order(len(dataset.records), 3, first_sample=7).take(6).as_numpy_iterator():
        sample(position, index)
    assert reads == images_of_batch(dataset, augmentation=settings, batch_size=6, seed=3, first_sample=7)
    assert 6 + 18 * share - 9 <= len(reads) <= 6 + 18 * share + 9


def test_a_share_of_the_samples_are_mosaics_and_the_rest_are_as_before(dataset):
    half, never = (
        sample_function(
            dataset.records, SPEC, augmentation=PLAIN.model_copy(update={"mosaic": share}), seed=3, cache_mebibytes=10
        )
        for share in (0.5, 0)
    )
    whole_images = [np.array_equal(half(position, 6)[0], never(position, 6)[0]) for position in range(40)]
    assert 10 <= sum(whole_images) <= 30


def test_samples_with_mosaic_and_colour_are_functions_of_seed_and_position(dataset):
    lively = PLAIN.model_copy(update={"mosaic": 0.7, "rand_augment": 3})
    first, again, other = (
        sample_function(dataset.records, SPEC, augmentation=lively, seed=seed, cache_mebibytes=10) for seed in (3, 3, 4)
    )
    for part, same in zip(first(11, 2), again(11, 2), strict=True):
        np.testing.assert_array_equal(part, same)
    assert any(not np.array_equal(first(position, 2)[0], other(position, 2)[0]) for position in range(5))
    assert_equal(batches_of(dataset, 6, lively)[2:], batches_of(dataset, 4, lively, first_sample=4))


@pytest.mark.parametrize(
    "change", [{"mosaic": 1.0}, {"rand_augment": 3}, {"cutout": 1.0}, {"mosaic": 0.5, "scale": (0.5, 2.0)}]
)
def test_samples_are_the_same_eager_and_inside_tf_data(dataset, change: dict):
    augmentation = LIVELY.model_copy(update=change)
    labels = training_labels(dataset, SPEC, augmentation=augmentation, seed=3).take(6).as_numpy_iterator()
    images = np.concatenate([images for images, _ in batches_of(dataset, 3, augmentation)])
    sample = sample_function(dataset.records, SPEC, augmentation=augmentation, seed=3, cache_mebibytes=10)
    for position, (image, (index, boxes, classes, ignored)) in enumerate(zip(images, labels, strict=True)):
        pixels, given, given_classes, crowd = sample(position, index)
        eager, moved, visible = random_view(
            tf.constant(pixels),
            tf.constant(given, tf.float32),
            height=SPEC.height,
            width=SPEC.width,
            resize=SPEC.resize,
            settings=augmentation,
            seed=tf.constant([3, position], tf.int64),
        )
        np.testing.assert_allclose(image * 127.5 + 127.5, eager, atol=1e-3)
        np.testing.assert_allclose(boxes, moved, atol=1e-4)
        np.testing.assert_array_equal(classes, given_classes)
        np.testing.assert_array_equal(ignored, crowd | ~visible.numpy())


def test_colour_operations_leave_boxes_and_size_alone(dataset):
    coloured = PLAIN.model_copy(update={"rand_augment": 8, "rand_augment_strength": 1.0})
    plain = sample_function(dataset.records, SPEC, augmentation=PLAIN, seed=3, cache_mebibytes=10)(0, 4)
    image, *labels = sample_function(dataset.records, SPEC, augmentation=coloured, seed=3, cache_mebibytes=10)(0, 4)
    assert image.shape == plain[0].shape
    assert not np.array_equal(image, plain[0])
    for one, other in zip(labels, plain[1:], strict=True):
        np.testing.assert_array_equal(one, other)


# An augmentation that hides everything


def test_an_augmentation_that_hides_every_object_is_refused(dataset):
    hiding = PLAIN.model_copy(update={"scale": (9.0, 9.0), "minimum_visible": 1.0})
    with pytest.raises(InputError, match=r"6 objects in the first 7 images, none of them visible .* scale=\[9\.0, "):
        check_augmentation(dataset, SPEC, augmentation=hiding, seed=3)
    check_augmentation(dataset, SPEC, augmentation=LIVELY, seed=3)
    empty = dataclasses.replace(dataset, records=dataset.records[:1])
    check_augmentation(empty, SPEC, augmentation=hiding, seed=3)  # there was nothing to hide


# Several processes


@pytest.mark.parametrize(("workers", "replicas"), [(2, 2), (3, 3), (3, 6)])
@pytest.mark.parametrize("first_sample", [0, 12, 48])
def test_the_shares_of_all_workers_are_the_batches_of_one_process(workers: int, replicas: int, first_sample: int):
    """Of 31 images, in passes that do not end with a batch, also when a run is resumed."""
    batches = 7

    def samples(share: BatchShare) -> list[tuple[int, int]]:
        order = sample_order(31, 4, first_sample=first_sample, batch_size=12, share=share)
        taken = order.take(batches * 12 // share.workers).as_numpy_iterator()
        return [(int(position), int(index)) for position, index in taken]

    whole = samples(WHOLE_BATCH)
    parts = [samples(BatchShare(worker, workers, replicas)) for worker in range(workers)]
    each = 12 // workers
    starts = range(0, batches * each, each)
    joined = [sample for start in starts for part in parts for sample in part[start : start + each]]
    assert joined == whole
    assert [position for position, _ in whole] == list(range(first_sample, first_sample + batches * 12))
