"""Files of the second quantizer have the same inputs, outputs and forms, and find what the float network finds."""

from __future__ import annotations

import builtins

import numpy as np
import pytest

from edge.export.ai_edge import ai_edge_heads
from edge.export.export import export_files, is_exported
from edge.export.one_file import export_detector
from edge.runtime import Detector
from edge.tflite.flatbuffer import operator_name, read_flatbuffer, tensor_type
from keras_retina.data.images import read_image
from keras_retina.foundation.errors import InputError
from keras_retina.recipe.export import Export

quantizer = pytest.importorskip("ai_edge_quantizer", reason="needs pip install 'keras-retina[ai_edge]'")


@pytest.fixture(scope="module")
def heads(small_quantized, image_paths, tmp_path_factory):
    """A function from format and quantizer to the outputs of the raw file on the first image."""
    folder = tmp_path_factory.mktemp("ai_edge")

    def outputs(kind, chosen):
        path = folder / f"{chosen}_{kind}.tflite"
        export_detector(
            small_quantized.model,
            small_quantized.spec,
            path,
            calibration=image_paths,
            format=kind,
            head="raw",
            quantizer=chosen,
        )
        detector = Detector(path)
        detector.invoke(detector.prepare(read_image(image_paths[0]))[0])
        return dict(zip(("boxes", "classes"), detector.heads(), strict=True))

    return outputs


def test_the_heads_are_those_of_the_float_file_but_for_rounding(heads):
    expected = heads("float32", "tensorflow")
    errors = {}
    for kind in ("dynamic", "int16", "int8"):
        found = heads(kind, "ai_edge")
        for name, values in expected.items():
            assert np.corrcoef(found[name].ravel(), values.ravel())[0, 1] > 0.99
        errors[kind] = np.abs(found["classes"] - expected["classes"]).mean()
    assert 0 < errors["int16"] < errors["int8"] and 0 < errors["dynamic"] < errors["int8"]


def test_an_int8_network_takes_camera_bytes_and_is_int8_up_to_the_heads(small_quantized):
    network = read_flatbuffer(
        ai_edge_heads(small_quantized.model, small_quantized.spec, kind="int8", samples=small_quantized.samples)
    )
    graph = network.subgraphs[0]
    assert tensor_type(graph.tensors[graph.inputs[0]]) == "uint8"
    assert [operator_name(network, one) for one in graph.operators].count("DEQUANTIZE") == 2
    assert {entry.name for entry in network.signatureDefs[0].outputs} == {b"boxes", b"classes"}


def test_a_file_of_the_other_quantizer_is_written_again(small_quantized, image_paths, tmp_path):
    settings = Export(formats=("int8",), heads=("raw",), quantizer="ai_edge")
    (path,) = export_files(
        small_quantized.model,
        small_quantized.spec,
        out_dir=tmp_path,
        name="x",
        settings=settings,
        calibration_images=image_paths,
    )
    assert is_exported(path, settings)
    assert not is_exported(path, settings.model_copy(update={"quantizer": "tensorflow"}))


def test_without_the_package_the_error_says_what_to_install(small_quantized, monkeypatch):
    load = builtins.__import__

    def without(name, *arguments, **keywords):
        if name.startswith("ai_edge_quantizer"):
            raise ImportError("No module named 'ai_edge_quantizer'")
        return load(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"pip install 'keras-retina\[ai_edge\]'"):
        ai_edge_heads(small_quantized.model, small_quantized.spec, kind="dynamic")


def test_layers_in_float_belong_to_the_first_quantizer():
    with pytest.raises(InputError, match="float_layers needs quantizer: tensorflow"):
        Export(formats=("int8",), float_layers=("Conv1",), quantizer="ai_edge")
