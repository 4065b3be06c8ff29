"""`recipes/edgetpu_*.yaml`: the detectors they describe, with narrow layers, map but for the post-process."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.edgetpu.predict import ACTIVATION_MEMORY, PARAMETER_MEMORY, predict
from keras_retina.recipe.model import Model
from keras_retina.recipe.recipe import Export, load_recipe

RECIPES = sorted((Path(__file__).parents[3] / "recipes").glob("edgetpu_*.yaml"))


def narrow(model: Model) -> Model:
    """Returns the network with fewer channels and no pretrained weights: what maps does not depend on either."""
    backbone = {"alpha": 0.35, "weights": "none", "frozen_stages": 0, "batch_norm": "trained"}
    return Model.model_validate(
        model.model_dump()
        | {"backbone": model.backbone.model_dump() | backbone}
        | {"pyramid": model.pyramid.model_dump() | {"width": 16}}
        | {"head": model.head.model_dump() | {"width": 16}}
    )


@pytest.fixture(scope="module", params=RECIPES, ids=lambda path: path.stem)
def int8_files(request, image_paths, tmp_path_factory) -> dict[str, Path]:
    from edge.export.export import export_files
    from keras_retina.foundation.legacy_keras import keras
    from keras_retina.model.retinanet import detector_network
    from keras_retina.model.spec import detector_spec

    settings = narrow(load_recipe(request.param).model)
    keras.utils.set_random_seed(0)
    model, spec = detector_network(settings, 2), detector_spec(settings, ("disc", "square"))
    export = Export(formats=("int8",), calibration_images=1)
    paths = export_files(
        model,
        spec,
        out_dir=tmp_path_factory.mktemp("export"),
        name="m",
        settings=export,
        calibration_images=image_paths[:1],
    )
    return {path.stem.removeprefix("m_"): path for path in paths}


def test_there_is_an_edge_tpu_recipe_for_each_published_data_set():
    assert [path.stem for path in RECIPES] == ["edgetpu_bccd", "edgetpu_raccoon"]


def test_the_raw_file_maps_in_one_subgraph_without_advice(int8_files):
    raw = predict(int8_files["int8_raw"])
    assert (raw.verdict, raw.subgraphs, raw.advice) == ("maps", 1, ())
    assert raw.largest_activation_bytes <= ACTIVATION_MEMORY


def test_only_the_float_tail_of_the_postprocess_file_stays_on_the_cpu(int8_files):
    raw, whole = predict(int8_files["int8_raw"]), predict(int8_files["int8"])
    mapped = [operator.op for operator in whole.operators if operator.status == "mapped"]
    network = sorted(operator.op for operator in raw.operators if operator.op != "QUANTIZE")  # those of its outputs
    assert (whole.subgraphs, sorted(op for op in mapped if op != "QUANTIZE")) == (1, network)
    left = [operator.op for operator in whole.operators if operator.status == "cpu"]
    assert left[:2] == ["DEQUANTIZE", "DEQUANTIZE"]
    assert "TFLite_Detection_PostProcess" in left


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_weights_of_the_full_width_fit_on_the_chip(path):
    from keras_retina.foundation.legacy_keras import keras
    from keras_retina.model.retinanet import detector_network

    model = load_recipe(path).model
    backbone = model.backbone.model_copy(update={"weights": "none"})
    network = detector_network(model.model_copy(update={"backbone": backbone}), 3)
    norms = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    weights = network.count_params() - sum(layer.count_params() for layer in norms)
    assert 1.3 * weights < PARAMETER_MEMORY  # int8, with what the compiler pads
