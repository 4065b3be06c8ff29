"""A quantization-aware model rounds where its file does, before and after training, and keeps what it must keep."""

from __future__ import annotations

import numpy as np
import pytest

from edge.compress.weights.sparsity import prunable_layers, sparsity_of
from edge.export.convert import convert_heads
from edge.quantize.aware.model import float_model, quantizable, quantize_aware_model, ranges_of
from edge.quantize.aware.places import measured_ranges, quantized_places
from edge.quantize.aware.quantizers import QuantizedWeights
from edge.quantize.aware.saving import load_quantize_aware, save_quantize_aware
from edge.quantize.ranges import LOWEST_LOGIT, ROOM_ABOVE
from edge.runtime import Detector
from edge.tflite.flatbuffer import operator_histogram, read_flatbuffer, tensor_quantization
from edge.tflite.kernels import clusters_of_file, file_kernels, sparsity_of_file
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras
from keras_retina.losses import BoxLoss, FocalLoss
from keras_retina.model.saving import plain_model


@pytest.fixture(scope="module")
def calibration(small_quantized) -> list[np.ndarray]:
    return [image for (image,) in small_quantized.samples()]


@pytest.fixture(scope="module")
def rounding(small_quantized, calibration) -> keras.Model:
    return quantize_aware_model(small_quantized.model, calibration)


@pytest.fixture(scope="module")
def file(rounding, small_quantized) -> bytes:
    return convert_heads(rounding, small_quantized.spec, kind="int8_qat")


def bytes_of(images: list[np.ndarray]) -> list[np.ndarray]:
    return [np.round(image * 127.5 + 127.5).astype(np.uint8) for image in images]


def head_steps(data: bytes) -> dict[str, float]:
    model = read_flatbuffer(data)
    graph = model.subgraphs[0]
    heads = {int(entry.tensorIndex): entry.name.decode() for entry in model.signatureDefs[0].outputs}
    steps = {}
    for operator in graph.operators:
        if int(operator.outputs[0]) in heads:
            scale, _ = tensor_quantization(graph.tensors[operator.inputs[0]])
            steps[heads[int(operator.outputs[0])]] = scale
    return steps


def heads_of_file(data: bytes, pixels: np.ndarray) -> dict[str, np.ndarray]:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_content=data)
    runner.allocate_tensors()
    return runner.get_signature_runner()(image=pixels)


def differences(model: keras.Model, data: bytes, images: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Returns how many steps the heads of the file are away from those of Keras."""
    found: dict[str, list[np.ndarray]] = {"classes": [], "boxes": []}
    for image, pixels in zip(images, bytes_of(images), strict=True):
        file, expected = heads_of_file(data, pixels), model(image, training=False)
        for name, step in head_steps(data).items():
            found[name].append(np.round((file[name] - expected[name].numpy()) / step))
    return {name: np.concatenate(values) for name, values in found.items()}


def random_targets(model: keras.Model, batch: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    anchors = model.output["boxes"].shape[1]
    positive = random.uniform(size=(batch, anchors, 1)) < 0.05
    classes = np.where(positive[..., 0], random.integers(0, 2, (batch, anchors)), -1)
    boxes = np.concatenate([random.normal(size=(batch, anchors, 4)), positive], axis=-1)
    return {"classes": classes.astype(np.int32), "boxes": boxes.astype(np.float32)}


def trained(model: keras.Model, images: list[np.ndarray], steps: int = 6) -> keras.Model:
    """Fits for a few steps with the losses of `keras_retina.train.train`."""
    inputs = np.concatenate(images)
    model.compile(keras.optimizers.Adam(0.003), loss={"classes": FocalLoss(), "boxes": BoxLoss()})
    model.fit(inputs, random_targets(model, len(inputs)), batch_size=len(inputs), epochs=steps, verbose=0)
    return model


def assert_agreement(model: keras.Model, data: bytes, images: list[np.ndarray]) -> None:
    """Images are equal bit by bit, but for those where float32 rounds one sum the other way, which then spreads."""
    steps = differences(model, data, images)
    equal = [all((values[index] == 0).all() for values in steps.values()) for index in range(len(images))]
    assert sum(equal) >= 2, equal
    for name, values in steps.items():
        assert np.sqrt(np.mean(values**2)) < 1.0, name


def test_keras_and_file_agree(rounding, file, calibration):
    assert_agreement(rounding, file, calibration)


def test_the_file_has_the_operators_of_post_training_quantization(file, small_quantized):
    assert operator_histogram(read_flatbuffer(file)) == operator_histogram(read_flatbuffer(small_quantized.int8))


def test_both_forms_of_the_file_can_be_written(file, small_quantized, tmp_path):
    from edge.export.export import write_detector
    from keras_retina.recipe.recipe import Export

    for head in ("postprocess", "raw"):
        path = tmp_path / f"small_{head}.tflite"
        write_detector(path, file, spec=small_quantized.spec, kind="int8_qat", head=head, settings=Export())
        assert Detector(path).class_names == small_quantized.spec.class_names


def test_the_ranges_are_those_of_the_float_maps(small_quantized, calibration, rounding):
    from edge.quantize.batch_norm import without_batch_norm

    folded = without_batch_norm(small_quantized.model)
    ranges = measured_ranges(folded, calibration)
    assert set(ranges) == set(ranges_of(rounding)) == set(quantized_places(folded)) - {("image", 0)}
    logits = np.concatenate([small_quantized.model(image, training=False)["classes"] for image in calibration])
    low, high = ranges["classes_prediction_pointwise", 0]
    assert low == pytest.approx(max(LOWEST_LOGIT, logits.min()), abs=(high - low) / 255)
    assert high == pytest.approx(max(0.0, logits.max()) + ROOM_ABOVE, abs=(high - low) / 255)


def test_what_shares_a_scale_in_the_file_shares_a_range(rounding):
    ranges = ranges_of(rounding)
    assert len({ranges["boxes_prediction_pointwise", call] for call in range(3)}) == 1
    assert ranges["pyramid_upsample_4", 0] == ranges["pyramid_lateral_5", 0]
    hidden = {ranges["boxes_0_pointwise", call] for call in range(3)}
    assert len(hidden) == 3  # the levels of a shared head are different tensors in the file


def test_the_scales_of_weights_follow_each_update_and_each_channel(rounding):
    wrapped = [layer for layer in rounding.layers if isinstance(layer, QuantizedWeights)]
    assert {len(layer.steps().shape) for layer in wrapped} == {1}
    layer = next(layer for layer in wrapped if "depthwise" in layer.name)
    before = layer.steps().numpy()
    assert len(set(before)) > 1
    kernel = layer.master_kernel.numpy()
    layer.master_kernel.assign(2 * kernel)
    np.testing.assert_allclose(layer.steps(), 2 * before)
    layer.master_kernel.assign(kernel)


def test_training_lowers_the_loss_and_file_and_keras_still_agree(small_quantized, calibration):
    model = trained(quantize_aware_model(small_quantized.model, calibration), calibration, 12)
    losses = model.history.history["loss"]
    assert losses[-1] < 0.9 * losses[0]
    data = convert_heads(model, small_quantized.spec, kind="int8_qat")
    assert_agreement(model, data, calibration)


def test_frozen_layers_do_not_learn(small_quantized, calibration):
    source = quantizable(small_quantized.model, calibration)
    source.get_layer("plain_0_conv").trainable = False
    model = quantize_aware_model(source, calibration)
    before = float_model(model)
    after = float_model(trained(model, calibration, 2))
    names = ("plain_0_conv", "plain_1_conv", "boxes_0_pointwise")
    same = [np.array_equal(before.get_layer(n).get_weights()[0], after.get_layer(n).get_weights()[0]) for n in names]
    assert same == [True, False, False]
    assert len(model.trainable_variables) == len(source.trainable_variables)


@pytest.fixture(scope="module")
def per_level(small_per_level, calibration) -> keras.Model:
    return quantize_aware_model(small_per_level.model, calibration)


def test_each_norm_of_a_level_leaves_a_convolution_and_the_prediction_stays_shared(per_level, file, small_per_level):
    plain = float_model(per_level)
    heads = [layer.name for layer in plain.layers if layer.weights and layer.name.startswith("classes")]
    shared = ["classes_0_depthwise", "classes_prediction_depthwise", "classes_prediction_pointwise"]
    assert sorted(heads) == sorted([*shared, *(f"classes_0_pointwise_{level}" for level in range(3))])
    data = convert_heads(per_level, small_per_level.spec, kind="int8_qat")
    assert operator_histogram(read_flatbuffer(data)) == operator_histogram(read_flatbuffer(file))


def test_keras_and_file_agree_with_a_norm_for_each_level_before_and_after_training(small_per_level, calibration):
    model = quantize_aware_model(small_per_level.model, calibration)
    assert_agreement(model, convert_heads(model, small_per_level.spec, kind="int8_qat"), calibration)
    trained(model, calibration)
    assert_agreement(model, convert_heads(model, small_per_level.spec, kind="int8_qat"), calibration)


def test_a_model_with_a_convolution_for_each_level_is_saved_and_loaded(
    per_level, small_per_level, calibration, tmp_path
):
    save_quantize_aware(per_level, small_per_level.spec, path=tmp_path / "small.keras")
    loaded, _ = load_quantize_aware(tmp_path / "small.keras")
    assert ranges_of(loaded) == ranges_of(per_level)
    for name, expected in per_level(calibration[0], training=False).items():
        np.testing.assert_array_equal(loaded(calibration[0], training=False)[name], expected)


def test_zeros_of_a_kernel_with_a_norm_for_each_level_survive_in_the_kernel_of_each(small_per_level, calibration):
    source = keras.models.clone_model(small_per_level.model)
    source.set_weights(small_per_level.model.get_weights())
    for name in prunable_layers(source):
        kernel, *bias = source.get_layer(name).get_weights()
        kernel[np.abs(kernel) < np.quantile(np.abs(kernel), 0.6)] = 0.0
        source.get_layer(name).set_weights([kernel, *bias])
    model = trained(quantize_aware_model(source, calibration, preserve="sparsity"), calibration, 2)
    plain = float_model(model)
    zeros = source.get_layer("boxes_0_pointwise").get_weights()[0] == 0
    for level in range(3):
        kernel = plain.get_layer(f"boxes_0_pointwise_{level}").get_weights()[0]
        np.testing.assert_array_equal(kernel == 0, zeros)
    assert sparsity_of(plain) == sparsity_of(source)
    in_file = sparsity_of_file(convert_heads(model, small_per_level.spec, kind="int8_qat"))
    assert in_file.share >= sparsity_of(source).share > 0.59
    assert in_file.prunable == sparsity_of(source).prunable


@pytest.fixture(scope="module")
def sparse_source(small_quantized, calibration) -> keras.Model:
    """Balanced and without BatchNorm, the smaller 60 % of each prunable kernel zero."""
    source = quantizable(small_quantized.model, calibration)
    for name in prunable_layers(source):
        kernel, *bias = source.get_layer(name).get_weights()
        kernel[np.abs(kernel) < np.quantile(np.abs(kernel), 0.6)] = 0.0
        source.get_layer(name).set_weights([kernel, *bias])
    return source


def test_sparsity_survives_training_in_the_int8_file(small_quantized, sparse_source, calibration):
    model = trained(quantize_aware_model(sparse_source, calibration, preserve="sparsity"), calibration)
    counted = sparsity_of(float_model(model))
    assert counted == sparsity_of(sparse_source)
    in_file = sparsity_of_file(convert_heads(model, small_quantized.spec, kind="int8_qat"))
    assert in_file.share >= counted.share > 0.59
    assert (in_file.prunable, in_file.weights) == (counted.prunable, counted.weights)
    forgetful = trained(quantize_aware_model(sparse_source, calibration), calibration)
    assert sparsity_of(float_model(forgetful)).share < 0.1


def test_clusters_and_zeros_survive_training_in_the_int8_file(small_quantized, sparse_source, calibration):
    source = keras.models.clone_model(sparse_source)
    source.set_weights(sparse_source.get_weights())
    for name in prunable_layers(source):
        kernel, *bias = source.get_layer(name).get_weights()
        levels = np.linspace(-np.abs(kernel).max(), np.abs(kernel).max(), 9)
        rounded = levels[np.abs(kernel[..., None] - levels).argmin(axis=-1)]
        source.get_layer(name).set_weights([np.where(kernel == 0, 0.0, rounded).astype(np.float32), *bias])
    counted = sparsity_of(source)
    model = trained(quantize_aware_model(source, calibration, preserve="clusters"), calibration)
    plain = float_model(model)
    moved = [
        not np.array_equal(plain.get_layer(name).get_weights()[0], source.get_layer(name).get_weights()[0])
        for name in prunable_layers(source)
    ]
    assert all(moved)
    assert sparsity_of(plain).share >= counted.share
    data = convert_heads(model, small_quantized.spec, kind="int8_qat")
    assert max(clusters_of_file(data).values()) <= 9
    assert sparsity_of_file(data).share >= counted.share
    assert_agreement(model, data, calibration)


def test_the_kernels_of_the_file_are_those_of_the_model(rounding, file):
    kernels = file_kernels(file)
    assert len(kernels) == len([layer for layer in rounding.layers if isinstance(layer, QuantizedWeights)])
    assert {
        int(np.abs(kernel.astype(int)).reshape(len(kernel), -1).max(axis=1).min()) for kernel, _ in kernels.values()
    } == {127}


def test_a_saved_model_comes_back_bit_by_bit(rounding, small_quantized, calibration, tmp_path):
    path = tmp_path / "small.keras"
    save_quantize_aware(rounding, small_quantized.spec, path=path)
    loaded, spec = load_quantize_aware(path)
    assert spec == small_quantized.spec
    assert ranges_of(loaded) == ranges_of(rounding)
    for name, expected in rounding(calibration[0], training=False).items():
        np.testing.assert_array_equal(loaded(calibration[0], training=False)[name], expected)
    assert [one.shape for one in loaded.trainable_variables] == [one.shape for one in rounding.trainable_variables]


def test_weights_that_the_training_saved_come_back(small_quantized, calibration, tmp_path):
    """The best epoch is kept as `.weights.h5` of a model without optimiser, see `keras_retina.train.callbacks`."""
    model = quantize_aware_model(small_quantized.model, calibration)
    plain_model(model).save_weights(tmp_path / "best.weights.h5")
    before = {name: values.numpy() for name, values in model(calibration[0], training=False).items()}
    trained(model, calibration, 1)
    assert np.abs(model(calibration[0], training=False)["classes"] - before["classes"]).max() > 0
    plain_model(model).load_weights(tmp_path / "best.weights.h5")
    for name, values in model(calibration[0], training=False).items():
        np.testing.assert_array_equal(values, before[name])


@pytest.mark.parametrize(
    "text",
    ["{}", "[]", '{"preserve": "nothing", "ranges": {"plain_0_relu6:0": [0, 6]}}', '{"preserve": 1, "ranges": 2}'],
)
def test_numbers_that_do_not_fit_the_network_are_refused(text, small_quantized, tmp_path):
    import zipfile

    from edge.quantize.batch_norm import without_batch_norm
    from keras_retina.model.saving import save_detector

    path = tmp_path / "broken.keras"
    save_detector(without_batch_norm(small_quantized.model), small_quantized.spec, path)
    with pytest.raises(InputError, match="quantization.json"):
        load_quantize_aware(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("quantization.json", text)
    with pytest.raises(InputError, match="quantization.json"):
        load_quantize_aware(path)


def test_what_cannot_be_quantized_is_named(rounding, small_quantized, calibration):
    image = keras.Input((8, 8, 3), name="image")
    cases = {
        "separable": keras.layers.SeparableConv2D(2, 1, name="separable")(image),
        "swish": keras.layers.Conv2D(2, 1, activation="swish", name="swish")(image),
        "half": keras.layers.Conv2D(2, 1, dtype="mixed_bfloat16", name="half")(image),
    }
    for name, tensor in cases.items():
        with pytest.raises(InputError, match=name):
            quantize_aware_model(keras.Model(image, {"heads": tensor}), calibration)
    with pytest.raises(InputError, match="quantized already"):
        quantize_aware_model(rounding, calibration)
    with pytest.raises(InputError, match="quantizable"):
        quantize_aware_model(small_quantized.model, calibration, preserve="clusters")
    with pytest.raises(InputError, match="Received: none"):
        quantize_aware_model(small_quantized.model, [])
    with pytest.raises(InputError, match="quantize_aware"):
        convert_heads(small_quantized.model, small_quantized.spec, kind="int8_qat")


def test_the_constructions_of_a_resnet_agree_as_well(calibration, small_quantized):
    """Padding, pooling, repeated pixels, ReLU behind a sum, and a map that is read with and without ReLU."""
    keras.utils.set_random_seed(7)
    layers = keras.layers
    image = keras.Input((64, 64, 3), name="image")
    tensor = layers.ZeroPadding2D(3, name="conv1_pad")(image)
    tensor = layers.Conv2D(8, 7, 2, name="conv1_conv")(tensor)
    tensor = layers.Activation("relu", name="conv1_relu")(layers.BatchNormalization(name="conv1_bn")(tensor))
    tensor = layers.MaxPooling2D(3, 2, name="pool1_pool")(layers.ZeroPadding2D(1, name="pool1_pad")(tensor))
    branch = layers.BatchNormalization(name="branch_bn")(layers.Conv2D(8, 3, padding="same", name="branch")(tensor))
    tensor = layers.Activation("relu", name="out")(layers.Add(name="add")([tensor, branch]))
    level = layers.Conv2D(8, 3, 2, padding="same", name="level_6")(tensor)
    above = layers.Conv2D(8, 3, 2, padding="same", name="level_7")(layers.Activation("relu", name="relu_6")(level))
    level = layers.Add(name="merged")([level, layers.UpSampling2D(2, name="nearest")(above)])
    heads = {}
    for name, values in (("classes", 2), ("boxes", 4)):
        shared = layers.Conv2D(9 * values, 3, padding="same", name=f"{name}_prediction")
        rows = [layers.Reshape((-1, values), name=f"{name}_{i}")(shared(one)) for i, one in enumerate((level, above))]
        heads[name] = layers.Concatenate(axis=1, name=name)(rows)
    model = keras.Model(image, heads)
    rounding = quantize_aware_model(model, calibration)
    assert ("add", 0) not in ranges_of(rounding) and ("out", 0) in ranges_of(rounding)
    assert {("level_6", 0), ("relu_6", 0)} <= set(ranges_of(rounding))
    data = convert_heads(rounding, small_quantized.spec, kind="int8_qat")
    assert_agreement(rounding, data, calibration)
