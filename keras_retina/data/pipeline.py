"""From records to training batches with tf.data; every sample is a function of (seed, epoch, position in the epoch)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from keras_retina.data.augment.pictures import mosaic, rand_augment
from keras_retina.data.augment.view import random_view
from keras_retina.data.reading.order import WHOLE_BATCH, BatchShare, sample_order
from keras_retina.data.reading.record_image import read_record_image
from keras_retina.data.records import Dataset, Record
from keras_retina.data.resize import reduced
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import tf
from keras_retina.geometry.matching import targets
from keras_retina.model.spec import DetectorSpec
from keras_retina.recipe.data import Augmentation
from keras_retina.recipe.recipe import Matching

AUGMENTATION, MATCHING = Augmentation(), Matching()

# Neither branches nor loops on tensors: translating the functions first would take two seconds of every start.
without_autograph = tf.autograph.experimental.do_not_convert

Sample = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def training_batches(
    dataset: Dataset,
    spec: DetectorSpec,
    *,
    augmentation: Augmentation = AUGMENTATION,
    matching: Matching = MATCHING,
    batch_size: int = 8,
    seed: int = 0,
    first_sample: int = 0,
    cache_mebibytes: int = 2048,
    share: BatchShare = WHOLE_BATCH,
) -> tf.data.Dataset:
    """Endless batches of a labelled folder for `model.fit`, which needs `steps_per_epoch` with them.

    A batch is (images, {"classes", "boxes"}). Images are float32 `[batch, height, width, 3]` in [-1, 1]; "classes" is
    int32 `[batch, anchors]`: the class, -1 for background, -2 for an anchor that is ignored; "boxes" is float32
    `[batch, anchors, 5]`, four deltas and a flag that is 1 for anchors with a class. The order is a new permutation of
    all images in each pass.

    Args:
        dataset: one split, of `load_dataset`.
        spec: of the model that will be trained.
        augmentation: the section of a recipe; by default its defaults.
        matching: which anchors learn a box: the section `training.matching` of a recipe.
        batch_size: images in a batch, of all processes together.
        seed: the same seed gives the same batches.
        first_sample: continues where an interrupted run stopped: the batches are those of a run that was never
            interrupted.
        cache_mebibytes: memory for decoded images.
        share: what this process reads of each batch; must divide `batch_size`.

    Raises:
        InputError: the batch cannot be divided; while the batches are read: an image cannot be decoded.
    """
    views = training_views(
        dataset,
        spec,
        augmentation=augmentation,
        seed=seed,
        first_sample=first_sample,
        cache_mebibytes=cache_mebibytes,
        batch_size=batch_size,
        share=share,
    )
    return with_targets(views, spec, matching=matching, batch_size=batch_size // share.replicas)


def training_views(
    dataset: Dataset,
    spec: DetectorSpec,
    *,
    augmentation: Augmentation,
    seed: int,
    first_sample: int = 0,
    cache_mebibytes: int = 2048,
    batch_size: int = 1,
    share: BatchShare = WHOLE_BATCH,
) -> tf.data.Dataset:
    """Endless (image, boxes, classes, ignored), one sample of `training_batches` each: the image as it is there, the
    labels as in `training_labels`. Of each `batch_size` samples only the `share` is read.
    """
    view = _view_of(dataset.records, spec, augmentation=augmentation, seed=seed, cache_mebibytes=cache_mebibytes)
    order = sample_order(len(dataset.records), seed, first_sample=first_sample, batch_size=batch_size, share=share)
    return order.map(view, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def with_targets(views: tf.data.Dataset, spec: DetectorSpec, *, matching: Matching, batch_size: int) -> tf.data.Dataset:
    """Batches (inputs, boxes, classes, ignored) as (inputs, {"classes", "boxes"}); inputs may be a dictionary."""
    grid = spec.grid

    @without_autograph
    def labelled(
        inputs: tf.Tensor, boxes: tf.Tensor, classes: tf.Tensor, ignored: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        wanted = targets(
            grid, boxes, classes=classes, ignored=ignored, matching=matching, coder_weights=spec.coder_weights
        )
        return inputs, wanted

    # Labels are padded with boxes without area, which are never matched.
    batches = views.padded_batch(batch_size, drop_remainder=True)
    batches = batches.map(labelled, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(2)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    # The thread that tunes sleeps for up to a minute, and whoever deletes the iterator may have to wait for it:
    # TensorFlow wakes it before the flag is set that tells it to end. Without it, as many calls as cores run at a time.
    options.autotune.enabled = False
    return batches.with_options(options)


def training_labels(
    dataset: Dataset,
    spec: DetectorSpec,
    *,
    augmentation: Augmentation,
    seed: int,
    first_sample: int = 0,
    cache_mebibytes: int = 2048,
) -> tf.data.Dataset:
    """Endless (index, boxes, classes, ignored): the labels of each sample of `training_batches`, before matching.

    `index` is the int64 index into `dataset.records`; the rest is one row for each of the record's boxes (of a mosaic,
    of the boxes of its four records): float32 `[n, 4]`, pixels of the network input; int32 `[n]`; and bool `[n]`, a
    crowd or mostly cut away, so never matched.
    """
    view = _view_of(dataset.records, spec, augmentation=augmentation, seed=seed, cache_mebibytes=cache_mebibytes)

    @without_autograph
    def labels(position: tf.Tensor, index: tf.Tensor) -> tuple[tf.Tensor, ...]:
        _, *labels = view(position, index)
        return index, *labels

    return sample_order(len(dataset.records), seed, first_sample=first_sample).map(labels)


def _view_of(
    records: tuple[Record, ...], spec: DetectorSpec, *, augmentation: Augmentation, seed: int, cache_mebibytes: int
) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]]:
    """Returns view(position, index) -> (normalised float32 image, boxes, classes, ignored) of one training sample."""
    sample = sample_function(records, spec, augmentation=augmentation, seed=seed, cache_mebibytes=cache_mebibytes)

    @without_autograph
    def view(position: tf.Tensor, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        types = [tf.uint8, tf.float32, tf.int32, tf.bool]
        image, boxes, classes, crowd = tf.numpy_function(sample, [position, index], types, stateful=False)
        image.set_shape([None, None, 3])
        boxes.set_shape([None, 4])
        classes.set_shape([None])
        crowd.set_shape([None])
        view_seed = tf.stack([tf.constant(seed, tf.int64), position])
        image, boxes, visible = random_view(
            image,
            boxes,
            height=spec.height,
            width=spec.width,
            resize=spec.resize,
            settings=augmentation,
            seed=view_seed,
            pixel_mean=spec.pixel_mean,
            pixel_scale=spec.pixel_scale,
        )
        # What is mostly cut away is neither object nor background.
        return image, boxes, classes, tf.logical_or(crowd, tf.logical_not(visible))

    return view


def sample_function(
    records: tuple[Record, ...], spec: DetectorSpec, *, augmentation: Augmentation, seed: int, cache_mebibytes: int
) -> Callable[[int, int], Sample]:
    """Returns sample(position, index) -> (uint8 image, boxes in its pixels, classes, ignored) before the random view.

    It is the image `index` itself, or, for a share `augmentation.mosaic` of the positions, a mosaic of it and three
    others; `augmentation.rand_augment` operations change its colours. It is a function of (seed, position, index).
    """
    load = image_loader(records, spec, cache_mebibytes=cache_mebibytes)

    def labelled(index: int) -> tuple[np.ndarray, np.ndarray]:
        image, scale = load(index)
        return image, records[index].boxes * np.tile(scale, 2)

    def sample(position: int, index: int) -> Sample:
        if not augmentation.mosaic and not augmentation.rand_augment:
            return *labelled(index), records[index].classes, records[index].crowd
        members, rng = _members(position, index, count=len(records), mosaic=augmentation.mosaic, seed=seed)
        if len(members) > 1:
            centre = (rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.7))
            parts, places = [labelled(member) for member in members], rng.random(4)
            image, boxes, visible = mosaic(
                parts,
                centre,
                places=places,
                height=spec.height,
                width=spec.width,
                minimum_visible=augmentation.minimum_visible,
            )
            classes = np.concatenate([records[member].classes for member in members])
            ignored = np.concatenate([records[member].crowd for member in members]) | ~visible
        else:
            (image, boxes), classes, ignored = labelled(index), records[index].classes, records[index].crowd
        image = rand_augment(image, augmentation.rand_augment, strength=augmentation.rand_augment_strength, rng=rng)
        return image, boxes, classes, ignored

    return sample


def _members(
    position: int, index: int, *, count: int, mosaic: float, seed: int
) -> tuple[list[int], np.random.Generator]:
    """Returns the records that a sample shows, four for a mosaic, and the numbers that follow for its other choices."""
    rng = np.random.default_rng([seed, int(position)])
    if rng.random() < mosaic:
        return [int(index), *rng.integers(count, size=3)], rng
    return [int(index)], rng


def images_of_batch(
    dataset: Dataset, *, augmentation: Augmentation, batch_size: int, seed: int, first_sample: int
) -> list[str]:
    """Returns the files of the images, also in mosaics, of the first batch of `training_batches`."""
    count, names = len(dataset.records), []
    for position, index in sample_order(count, seed, first_sample=first_sample).take(batch_size).as_numpy_iterator():
        members, _ = _members(position, index, count=count, mosaic=augmentation.mosaic, seed=seed)
        names += [str(dataset.records[member].path) for member in members]
    return names


def image_loader(
    records: tuple[Record, ...], spec: DetectorSpec, *, cache_mebibytes: int
) -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
    """Returns load(index) -> (uint8 image, float32 [scale_y, scale_x] from label pixels to its pixels).

    Images much larger than the network input are reduced once; the first `cache_mebibytes` of images stay in memory.
    """
    cache: dict[int, np.ndarray] = {}
    room = [cache_mebibytes * 2**20]

    def load(index: int) -> tuple[np.ndarray, np.ndarray]:
        record = records[index]
        image = cache.get(int(index))
        if image is None:
            image = reduced(read_record_image(record), spec.height, width=spec.width)
            if image.nbytes <= room[0]:
                room[0] -= image.nbytes
                cache[int(index)] = image
        scale = np.array([image.shape[0] / record.height, image.shape[1] / record.width], np.float32)
        return image, scale

    return load


SAMPLES = 64


def check_augmentation(dataset: Dataset, spec: DetectorSpec, *, augmentation: Augmentation, seed: int) -> None:
    """Looks at the labels of the first samples of a training.

    Raises:
        InputError: they have objects in them before augmentation and none after it.
    """
    labelled = kept = 0
    stream = training_labels(dataset, spec, augmentation=augmentation, seed=seed).take(
        min(SAMPLES, len(dataset.records))
    )
    for index, _, _, ignored in stream.as_numpy_iterator():
        record = dataset.records[index]
        labelled += int((~record.crowd).sum())
        kept += int((~ignored).sum())
    if labelled and not kept:
        raise InputError(
            f"augmentation: a view must keep some objects. Received: {labelled} objects in the first "
            f"{min(SAMPLES, len(dataset.records))} images, none of them visible afterwards with "
            f"scale={list(augmentation.scale)}, cutout={augmentation.cutout}, "
            f"cutout_size={augmentation.cutout_size}, minimum_visible={augmentation.minimum_visible}. Soften these."
        )
