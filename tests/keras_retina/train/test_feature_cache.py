"""Kept features: those of the frozen layers, with the labels of the views, for this training and no other."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from keras_retina.data.pipeline import training_views, with_targets
from keras_retina.data.reading.folder import load_dataset
from keras_retina.data.reading.order import sample_order
from keras_retina.data.records import Dataset
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.retinanet import detector_network
from keras_retina.model.spec import DetectorSpec, detector_spec
from keras_retina.recipe.recipe import Recipe, recipe_from_fields
from keras_retina.train import feature_cache
from keras_retina.train.feature_cache import (
    build_feature_cache,
    feature_batches,
    images_of_views,
    split_at_frozen,
)

VIEWS = 2
FEATURE = "features_block_5_add"
FIELDS = {
    "name": "tiny",
    "model": {
        "backbone": {"frozen_stages": 3},
        "input": {"height": 64, "width": 64},
        "pyramid": {"levels": [3, 5], "width": 16},
        "head": {"width": 16, "convolutions": 1},
    },
    "training": {"feature_views": VIEWS},
}


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return recipe_from_fields(FIELDS, "test")


@pytest.fixture(scope="module")
def dataset(tiny_coco) -> Dataset:
    return load_dataset(tiny_coco, "train", format="coco")


@pytest.fixture(scope="module")
def spec(recipe, dataset) -> DetectorSpec:
    return detector_spec(recipe.model, dataset.class_names)


@pytest.fixture(scope="module")
def frozen(recipe) -> keras.Model:
    keras.utils.set_random_seed(0)
    return split_at_frozen(detector_network(recipe.model, 2))[0]


@pytest.fixture(scope="module")
def built(recipe, dataset, spec, frozen, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cache") / "features"
    build_feature_cache(folder, recipe, dataset=dataset, spec=spec, frozen=frozen, views=VIEWS)
    return folder


def passes(folder: Path, spec: DetectorSpec, recipe: Recipe, first_sample: int = 0) -> list:
    """Returns the batches of five views of one pass over the 20 views."""
    return list(
        feature_batches(
            folder, spec, matching=recipe.training.matching, batch_size=5, seed=3, first_sample=first_sample
        ).take(4)
    )


def test_one_pass_has_the_features_and_targets_of_every_view_once(built, recipe, dataset, spec, frozen):
    views = training_views(dataset, spec, augmentation=recipe.augmentation, seed=recipe.seed).take(20)
    images, wanted = next(iter(with_targets(views, spec, matching=recipe.training.matching, batch_size=20)))
    expected = frozen(images)[FEATURE].numpy()
    kept = [batch for batch, _ in passes(built, spec, recipe)]
    received = np.concatenate([features[FEATURE] for features in kept])
    assert received.shape == (20, 8, 8, 32)
    distance = np.abs(expected[:, None] - received[None]).max(axis=(2, 3, 4))  # [view, place in the pass]
    place = distance.argmin(axis=1)
    assert sorted(place) == list(range(20))
    np.testing.assert_allclose(received[place], expected, rtol=1e-3, atol=1e-3)  # float16
    for name in ("classes", "boxes"):
        targets = np.concatenate([batch[name] for _, batch in passes(built, spec, recipe)])
        np.testing.assert_allclose(targets[place], wanted[name], rtol=1e-5, atol=1e-5)


def test_a_continued_run_sees_the_batches_of_the_uninterrupted_one(built, recipe, spec):
    whole, continued = passes(built, spec, recipe), passes(built, spec, recipe, first_sample=10)
    for expected, received in zip(whole[2:], continued[:2], strict=True):
        np.testing.assert_array_equal(received[0][FEATURE], expected[0][FEATURE])


def test_what_is_there_already_is_not_computed_again(built, recipe, dataset, spec, frozen, monkeypatch):
    monkeypatch.setattr(feature_cache, "training_views", None)
    build_feature_cache(built, recipe, dataset=dataset, spec=spec, frozen=frozen, views=VIEWS)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda recipe, data, views: (recipe.model_copy(update={"seed": 1}), data, views), "seed"),
        (
            lambda recipe, data, views: (
                recipe_from_fields({**FIELDS, "augmentation": {"cutout": 0.5}}, "test"), data, views
            ),
            "augmentation",
        ),
        (lambda recipe, data, views: (recipe, replace(data, records=data.records[1:]), views), "data"),
        (lambda recipe, data, views: (recipe, data, views + 1), "views"),
    ],
)  # fmt: skip
def test_features_of_other_data_or_another_recipe_are_refused(built, recipe, dataset, spec, frozen, change, named):
    other_recipe, other_data, views = change(recipe, dataset, VIEWS)
    with pytest.raises(InputError, match=rf"features: .*Received: other {named}\. Remove the folder"):
        build_feature_cache(built, other_recipe, dataset=other_data, spec=spec, frozen=frozen, views=views)


def test_features_of_other_weights_are_refused(built, recipe, dataset, spec):
    other = split_at_frozen(detector_network(recipe.model, 2))[0]
    for layer in other.layers:
        layer.set_weights([weight + 1 for weight in layer.get_weights()])
    with pytest.raises(InputError, match="Received: other weights"):
        build_feature_cache(built, recipe, dataset=dataset, spec=spec, frozen=other, views=VIEWS)


def test_a_folder_without_a_key_is_refused(recipe, dataset, spec, frozen, tmp_path):
    with pytest.raises(InputError, match=r"expected a feature cache with key\.json inside"):
        build_feature_cache(tmp_path, recipe, dataset=dataset, spec=spec, frozen=frozen, views=VIEWS)


@pytest.mark.parametrize("name", ["labels.npz", "npy"])
def test_a_file_that_was_cut_is_refused_by_name(built, recipe, dataset, spec, frozen, tmp_path, name):
    shutil.copytree(built, tmp_path / "features")
    path = next(path for path in (tmp_path / "features").iterdir() if path.name.endswith(name))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=rf"{path.name}: expected features of a training\..*are computed anew"):
        build_feature_cache(tmp_path / "features", recipe, dataset=dataset, spec=spec, frozen=frozen, views=VIEWS)


def test_the_images_of_a_batch_of_views_are_those_that_the_views_were_made_of(recipe, dataset, spec, built):
    """Each view is of one image; its labels say which, where images have boxes of their own."""
    names = images_of_views(
        dataset, views=VIEWS, augmentation=recipe.augmentation, batch_size=5, seed=3, first_sample=10
    )
    order = [int(view) for _, view in sample_order(VIEWS * len(dataset.records), 3, first_sample=10).take(5)]
    made_of = [int(index) for _, index in sample_order(len(dataset.records), 3, first_sample=0).take(20)]
    assert names == [str(dataset.records[made_of[view]].path) for view in order]


def test_a_full_disk_leaves_nothing_behind(recipe, dataset, spec, frozen, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr(feature_cache.np, "savez", full)
    with pytest.raises(InputError, match="No space left on device. Free disk space"):
        build_feature_cache(tmp_path / "features", recipe, dataset=dataset, spec=spec, frozen=frozen, views=VIEWS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": {"backbone": {"frozen_stages": 0}}}, "training.feature_views needs a frozen part of the backbone"),
        ({"model": {"backbone": {"batch_norm": "trained"}}}, "training.feature_views needs a frozen part"),
        ({"training": {"feature_cache": "folder"}}, "feature_cache belongs to feature_views"),
    ],
)
def test_recipes_without_frozen_layers_or_views_are_refused(fields: dict, message: str):
    with pytest.raises(InputError, match=message):
        recipe_from_fields({"name": "a", "training": {"feature_views": 2}, **fields}, "test")
