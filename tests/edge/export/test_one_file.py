"""`export_detector`: one file, the same that a recipe writes."""

from __future__ import annotations

import numpy as np
import pytest

from edge.export.one_file import export_detector
from edge.quantize.detector import is_quantize_aware, load_keras_file, quantize_aware, save_keras_file
from edge.runtime import Detector, read_description
from edge.tflite.flatbuffer import read_flatbuffer
from keras_retina.data.images import read_image
from keras_retina.foundation.errors import InputError


@pytest.mark.parametrize("stem", ["float32", "float16_raw", "int8", "int8_builtin"])
def test_the_file_is_the_one_that_a_recipe_writes(stem, small_quantized, image_paths, tmp_path):
    from edge.export.export import export_files
    from keras_retina.recipe.export import Export

    kind, _, head = stem.partition("_")
    settings = Export(formats=(kind,), heads=(head or "postprocess",))
    model, spec = small_quantized.model, small_quantized.spec
    (expected,) = export_files(
        model, spec, out_dir=tmp_path / "all", name="x", settings=settings, calibration_images=image_paths
    )
    images = [read_image(path) for path in image_paths]
    path = tmp_path / "new" / f"mine_{kind}.tflite"
    assert export_detector(model, spec, str(path), calibration=images, head=head or "postprocess") == path
    assert path.read_bytes() == expected.read_bytes()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("name", "format", "expected"),
    [
        ("a_dynamic", None, "dynamic"),
        ("a-float16-raw", None, "float16"),
        ("a_int4_FLOAT16", None, "float16"),
        ("a_int8", "float32", "float32"),
    ],
)
def test_the_format_is_the_one_asked_for_or_that_of_the_name(name, format, expected, small_quantized, tmp_path):
    path = tmp_path / f"{name}.tflite"
    export_detector(small_quantized.model, small_quantized.spec, path, format=format, max_detections=7)
    description = read_description(path)
    assert (description.kind, description.max_detections) == (expected, 7)


def test_a_quantization_aware_model_is_saved_and_exported_with_its_ranges(small_quantized, image_paths, tmp_path):
    spec = small_quantized.spec
    aware = quantize_aware(small_quantized.model, spec, calibration=image_paths)
    save_keras_file(aware, spec, path=str(tmp_path / "new" / "aware.keras"))
    again, same = load_keras_file(str(tmp_path / "new" / "aware.keras"))
    assert is_quantize_aware(again) and not is_quantize_aware(small_quantized.model) and same == spec
    int8 = [export_detector(one, spec, tmp_path / f"{i}.tflite", head="raw") for i, one in enumerate((aware, again))]
    assert read_description(int8[0]).kind == "int8_qat"
    heads = []
    for detector in map(Detector, int8):
        detector.invoke(detector.prepare(read_image(image_paths[0]))[0])
        heads.append(detector.heads())
    np.testing.assert_array_equal(heads[0][0], heads[1][0])
    np.testing.assert_array_equal(heads[0][1], heads[1][1])
    float32 = export_detector(aware, spec, tmp_path / "float32.tflite")
    kinds = {int(tensor.type) for tensor in read_flatbuffer(float32.read_bytes()).subgraphs[0].tensors}
    assert 9 not in kinds  # INT8 of the schema


def test_what_cannot_be_exported_is_refused_in_one_line(small_quantized, image_paths, tmp_path):
    import dataclasses

    from edge.compress.weights.detector import finish_sparse, sparse_model

    model, spec = small_quantized.model, small_quantized.spec
    sparse, _ = sparse_model(model, steps=2)
    other = dataclasses.replace(spec, class_names=("a", "b", "c"))
    calls = [
        (lambda: export_detector(model, spec, tmp_path / "a.lite"), "ends in .tflite"),
        (
            lambda: export_detector(model, spec, tmp_path / "a.tflite", format="int2"),
            "format='int2'. Did you mean",
        ),
        *(
            (lambda name=name: export_detector(model, spec, tmp_path / f"a_{name}.tflite"), "float32, float16, dynamic")
            for name in ("int2", "fp16", "FLOAT8", "bf16", "w8a8", "int8_uint8_raw")
        ),
        (lambda: export_detector(model, spec, tmp_path / "a.tflite"), "calibration: expected images"),
        (lambda: export_detector(model, spec, tmp_path / "a_float32.tflite", head="heads"), "Export: heads"),
        (lambda: export_detector(model, other, tmp_path / "a_float32.tflite"), "expected the heads"),
        (lambda: export_detector(sparse, spec, tmp_path / "a_float32.tflite"), "Call edge.finish_sparse"),
        (lambda: save_keras_file(sparse, spec, path=tmp_path / "a.keras"), "Call edge.finish_sparse"),
        (lambda: save_keras_file(model, spec, path=tmp_path / "a.h5"), "ends in .keras"),
        (lambda: sparse_model(sparse, steps=2), "Call edge.finish_sparse"),
        (lambda: finish_sparse(model), "model of edge.sparse_model"),
        (lambda: quantize_aware(sparse, spec, calibration=image_paths), "Call edge.finish_sparse"),
    ]
    for call, message in calls:
        with pytest.raises(InputError, match=message) as refused:
            call()
        assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []
