"""Features of frozen layers, computed once for a fixed number of views of each image and kept on disk.

For few-shot runs: with the whole backbone frozen, a training step is only pyramid and heads.
"""

from __future__ import annotations

import hashlib
import json
import logging
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_retina.data.pipeline import images_of_batch, training_views, with_targets
from keras_retina.data.reading.order import sample_order
from keras_retina.data.records import Dataset
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files.writing import replacing, write_json
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.model.calls import Place, rebuild
from keras_retina.model.graph import calls_of, learning_places, output_places
from keras_retina.model.spec import DetectorSpec
from keras_retina.recipe.data import Augmentation
from keras_retina.recipe.recipe import Matching, Recipe

logger = logging.getLogger(__name__)

KEY_MEMBER = "key.json"
LABELS_MEMBER = "labels.npz"
ADVICE = "Free disk space, lower training.feature_views, or name another training.feature_cache."
BATCH = 8
REPORTED_EVERY = 50  # batches


def feature_key(recipe: Recipe, dataset: Dataset, *, frozen: keras.Model, views: int) -> dict[str, object]:
    """Returns everything that the kept features depend on: settings as they are, data and weights as SHA-256."""
    data, weights = hashlib.sha256(), hashlib.sha256()
    for record in dataset.records:
        data.update(record.path.read_bytes())
        for values in (record.boxes, record.classes, record.crowd):
            data.update(np.ascontiguousarray(values).tobytes())
    for variable in frozen.variables:
        weights.update(variable.numpy().tobytes())
    settings = recipe.model_dump(mode="json", include={"seed", "augmentation"})
    return {
        "data": f"{dataset.name}/{dataset.split} {data.hexdigest()}",
        "weights": weights.hexdigest(),
        "features": {name: list(shape[1:]) for name, shape in sorted(frozen.output_shape.items())},
        "input": recipe.model.input.model_dump(mode="json"),
        "views": views,
        "precision": frozen.layers[-1].compute_dtype,
        **settings,
    }


def build_feature_cache(
    folder: Path,
    recipe: Recipe,
    *,
    dataset: Dataset,
    spec: DetectorSpec,
    frozen: keras.Model,
    views: int,
) -> None:
    """Computes and writes the features of `views` random views of every image, unless the folder holds them already.

    One float16 file of `[views * images, height, width, channels]` for each output of `frozen`, and the labels of the
    views before matching. The folder gets its name when it is whole: an interrupted one is made anew.

    Raises:
        InputError: the folder holds the features of other data, another recipe or other weights; a full disk.
    """
    key = feature_key(recipe, dataset, frozen=frozen, views=views)
    if folder.exists():
        _refuse_other(folder, key)
        _refuse_damaged(folder, sorted(frozen.output_shape))
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    count = views * len(dataset.records)
    with replacing(folder, advice=ADVICE) as unfinished:
        unfinished.mkdir()
        files = {
            name: np.lib.format.open_memmap(unfinished / f"{name}.npy", "w+", np.float16, (count, *shape[1:]))
            for name, shape in frozen.output_shape.items()
        }
        labels: list[tuple[np.ndarray, ...]] = []
        stream = training_views(
            dataset,
            spec,
            augmentation=recipe.augmentation,
            seed=recipe.seed,
            first_sample=0,
            cache_mebibytes=recipe.data.cache_mebibytes,
        )
        compute = tf.function(lambda images: frozen(images, training=False))
        for number, (images, *batch) in enumerate(stream.take(count).padded_batch(BATCH)):
            for name, values in compute(images).items():
                files[name][len(labels) : len(labels) + len(images)] = values.numpy()
            labels += zip(*(part.numpy() for part in batch), strict=True)
            if (number + 1) % REPORTED_EVERY == 0:
                logger.info(f"features of frozen stages: {len(labels)} of {count} views")
        for file in files.values():
            file.flush()
        boxes, classes, ignored = (np.concatenate(part) for part in zip(*labels, strict=True))
        ends = np.cumsum([len(sample[1]) for sample in labels])
        np.savez(unfinished / LABELS_MEMBER, boxes=boxes, classes=classes, ignored=ignored, ends=ends)
        write_json(unfinished / KEY_MEMBER, key)
    size = sum(path.stat().st_size for path in folder.iterdir())
    logger.info(f"features of frozen stages: {count} views in {folder}, {size / 2**20:.0f} MiB")


def feature_batches(
    folder: Path, spec: DetectorSpec, *, matching: Matching, batch_size: int, seed: int, first_sample: int = 0
) -> tf.data.Dataset:
    """Endless batches of ({name: float32 features}, {"classes", "boxes"}), a new permutation of all views each pass.

    Targets are those of `keras_retina.data.pipeline.training_batches`. `first_sample` continues an interrupted run.
    """
    files = {path.stem: np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))}
    with np.load(folder / LABELS_MEMBER) as stored:
        boxes, classes, ignored, ends = (stored[name] for name in ("boxes", "classes", "ignored", "ends"))

    def read(index: np.ndarray) -> tuple[np.ndarray, ...]:
        rows = slice(int(ends[index - 1]) if index else 0, int(ends[index]))
        return *(file[index].astype(np.float32) for file in files.values()), boxes[rows], classes[rows], ignored[rows]

    def sample(_: tf.Tensor, index: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor, tf.Tensor]:
        types = [tf.float32] * (len(files) + 1) + [tf.int32, tf.bool]
        *features, found, codes, crowd = tf.numpy_function(read, [index], types, stateful=False)
        for tensor, file in zip(features, files.values(), strict=True):
            tensor.set_shape(file.shape[1:])
        found.set_shape([None, 4])
        codes.set_shape([None])
        crowd.set_shape([None])
        return dict(zip(files, features, strict=True)), found, codes, crowd

    order = sample_order(len(ends), seed, first_sample=first_sample)
    views = order.map(sample, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return with_targets(views, spec, matching=matching, batch_size=batch_size)


def images_of_views(
    dataset: Dataset, *, views: int, augmentation: Augmentation, batch_size: int, seed: int, first_sample: int
) -> list[str]:
    """Returns the files of the images whose views are the first batch of `feature_batches` of the same arguments."""
    names: list[str] = []
    order = sample_order(views * len(dataset.records), seed, first_sample=first_sample)
    for _, view in order.take(batch_size).as_numpy_iterator():
        names += images_of_batch(dataset, augmentation=augmentation, batch_size=1, seed=seed, first_sample=int(view))
    return names


def _refuse_other(folder: Path, key: dict[str, object]) -> None:
    path = folder / KEY_MEMBER
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder}: expected a feature cache with {KEY_MEMBER} inside. Received: {error}. "
            "Remove the folder or name another training.feature_cache."
        ) from error
    differing = [name for name in key if not isinstance(found, dict) or found.get(name) != key[name]]
    if differing:
        raise InputError(
            f"{folder}: the features kept there belong to this training only if data, weights and recipe are the same. "
            f"Received: other {', '.join(differing)}. Remove the folder or name another training.feature_cache."
        )


def _refuse_damaged(folder: Path, names: Sequence[str]) -> None:
    for member in (*(f"{name}.npy" for name in names), LABELS_MEMBER):
        try:
            np.load(folder / member, mmap_mode="r")
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{folder / member}: expected features of a training. Received: {error}. Remove the folder {folder}; "
                "the features are computed anew."
            ) from error


def split_at_frozen(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Returns the frozen part, image -> {name: features}, and the learning part, {name: features} -> outputs.

    Both share the layers and variables of `model`; one after the other they are the same function. The features are
    every output of an untrainable layer that a layer which learns, or has learned input, reads: C3 alone with three
    frozen stages of a backbone, C3, C4 and C5 when all of it is frozen.

    Raises:
        ValueError: nothing is frozen, or nothing learns.
    """
    calls = calls_of(model)
    learns = learning_places(model)
    cut = {place for call in calls if learns[call.layer, call.number] for place in call.inputs if not learns[place]}
    images = {(name, 0) for name in model.input_names}
    if not cut or cut & images:
        raise ValueError("expected a model with a frozen part and a part that learns after it.")
    shapes = {place: model.get_layer(place[0]).get_output_at(place[1]).shape[1:] for place in cut}
    names = {place: f"features_{place[0]}" for place in sorted(cut)}
    image = {name: keras.Input(model.get_layer(name).output_shape[0][1:], name=name) for name in model.input_names}

    before: dict[Place, object] = {(name, 0): tensor for name, tensor in image.items()}
    rebuild([call for call in calls if not learns[call.layer, call.number]], before, layer_of=model.get_layer)
    frozen = keras.Model(list(image.values()), {names[place]: before[place] for place in names}, name="frozen")

    features = {names[place]: keras.Input(shapes[place], name=names[place]) for place in names}
    after: dict[Place, object] = {place: features[names[place]] for place in names}
    rebuild([call for call in calls if learns[call.layer, call.number]], after, layer_of=model.get_layer)
    outputs = {name: after[place] for name, place in output_places(model).items()}
    return frozen, keras.Model(features, outputs, name=model.name)
