"""Losses that get the boxes beside the logits."""

from __future__ import annotations

import numpy as np
import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.geometry.boxes import encode
from keras_retina.geometry.matching import BACKGROUND
from keras_retina.losses import BoxLoss, FocalLoss, QualityFocalLoss, VarifocalLoss, with_box_quality
from keras_retina.losses.quality import box_qualities, quality_targets

CODER = (10.0, 10.0, 5.0, 5.0)


def test_the_quality_of_a_box_is_its_iou_by_hand():
    anchors = np.float32([[0, 0, 10, 20], [0, 0, 10, 20], [0, 0, 10, 20]])
    labelled = np.float32([[0, 0, 10, 10], [0, 0, 10, 20], [0, 0, 10, 20]])
    predicted = np.float32([[0, 5, 10, 15], [0, 0, 10, 20], [50, 50, 60, 70]])  # 50 of 150, all, none
    flags = np.float32([[1], [1], [1]])
    targets = np.concatenate([encode(labelled, anchors, weights=CODER), flags], axis=-1)[None]
    deltas = tf.constant(encode(predicted, anchors, weights=CODER)[None])
    np.testing.assert_allclose(box_qualities(targets, deltas, coder_weights=CODER), [[1 / 3, 1.0, 0.0]], atol=1e-5)
    targets[..., 4] = [1, 0, 0]
    np.testing.assert_allclose(box_qualities(targets, deltas, coder_weights=CODER), [[1 / 3, 0.0, 0.0]], atol=1e-5)


def test_no_anchor_matched_gives_no_quality():
    assert box_qualities(np.zeros((2, 3, 5), np.float32), tf.zeros((2, 3, 4)), coder_weights=CODER).numpy().sum() == 0


def detector() -> keras.Model:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((5,))
    classes = keras.layers.Reshape((6, 3), name="classes")(keras.layers.Dense(18)(inputs))
    boxes = keras.layers.Reshape((6, 4), name="boxes")(keras.layers.Dense(24)(inputs))
    return keras.Model(inputs, {"classes": classes, "boxes": boxes})


def batch() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    generator = np.random.default_rng(0)
    codes = np.full((4, 6), BACKGROUND, np.int32)
    codes[0], codes[1, 2] = [0, 1, 2, 2, 0, -2], 1
    flags = (codes >= 0).astype(np.float32)[..., None]
    boxes = np.concatenate([generator.normal(size=(4, 6, 4)) * flags, flags], axis=-1).astype(np.float32)
    return generator.normal(size=(4, 5)).astype(np.float32), {"classes": codes, "boxes": boxes}


@pytest.mark.parametrize("loss", [QualityFocalLoss(CODER), VarifocalLoss(CODER)], ids=lambda loss: loss.name)
def test_fit_trains_with_the_boxes_and_they_learn_from_their_own_loss_alone(loss):
    model, (images, wanted) = with_box_quality(detector()), batch()
    model.compile("sgd", loss={"classes": loss, "boxes": BoxLoss()})
    logs = model.train_on_batch(images, wanted, return_dict=True)
    plain = detector()
    outputs = plain(images)
    expected = loss(quality_targets(wanted, outputs["boxes"], coder_weights=CODER), outputs["classes"])
    assert logs["classes_loss"] == pytest.approx(float(expected), rel=1e-5)
    assert logs["boxes_loss"] == pytest.approx(float(BoxLoss()(wanted["boxes"], outputs["boxes"])), rel=1e-5)
    with tf.GradientTape() as tape:
        outputs = plain(images)
        value = loss(quality_targets(wanted, outputs["boxes"], coder_weights=CODER), outputs["classes"])
    gradients = tape.gradient(value, plain.trainable_variables, unconnected_gradients="zero")
    moved = {v.shape[-1]: bool(np.any(g.numpy())) for v, g in zip(plain.trainable_variables, gradients, strict=True)}
    assert moved == {18: True, 24: False}


def test_inputs_outputs_and_layers_stay():
    plain = detector()
    model = with_box_quality(plain)
    assert model.layers == plain.layers
    assert {name: value.shape for name, value in model.output.items()} == {
        name: value.shape for name, value in plain.output.items()
    }
    model.compile("adam", loss={"classes": QualityFocalLoss(CODER), "boxes": BoxLoss()})
    images, wanted = batch()
    losses = model.fit(images, wanted, epochs=30, verbose=0, validation_data=(images, wanted)).history
    assert losses["loss"][-1] < losses["loss"][0] and losses["val_loss"][-1] < losses["val_loss"][0]


def test_a_model_without_both_outputs_is_refused():
    inputs = keras.Input((5,))
    with pytest.raises(
        InputError, match=r"needs a model with the outputs 'classes' and 'boxes'\. Received: 'one' with"
    ):
        with_box_quality(keras.Model(inputs, {"classes": keras.layers.Dense(3)(inputs)}, name="one"))


def test_a_plain_model_and_other_losses_are_refused_with_the_way_out():
    images, wanted = batch()
    plain = detector()
    plain.compile("sgd", loss={"classes": QualityFocalLoss(), "boxes": BoxLoss()}, run_eagerly=True)
    with pytest.raises(InputError, match=r"needs targets \[batch, anchors, 2\].*Received: shape=\(4, 6\)"):
        plain.train_on_batch(images, wanted)
    model = with_box_quality(detector())
    model.compile("sgd", loss={"classes": FocalLoss(), "boxes": BoxLoss()}, run_eagerly=True)
    with pytest.raises(InputError, match="needs compile.*For other losses compile the model without it"):
        model.train_on_batch(images, wanted)


def test_a_clone_and_a_saved_model_train_on(tmp_path):
    images, wanted = batch()
    model = with_box_quality(detector())
    model.compile("sgd", loss={"classes": VarifocalLoss(CODER), "boxes": BoxLoss()})
    clone = keras.models.clone_model(model)
    clone.compile("sgd", loss={"classes": VarifocalLoss(CODER), "boxes": BoxLoss()})
    assert clone.train_on_batch(images, wanted)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    expected = model.evaluate(images, wanted, verbose=0)
    assert loaded.evaluate(images, wanted, verbose=0) == pytest.approx(expected, rel=1e-5)


def test_16_bit_outputs_keep_the_codes_of_many_classes():
    inputs = keras.Input((5,))
    classes = keras.layers.Reshape((2, 600), name="classes", dtype="bfloat16")(keras.layers.Dense(1200)(inputs))
    boxes = keras.layers.Reshape((2, 4), name="boxes", dtype="bfloat16")(keras.layers.Dense(8)(inputs))
    model = with_box_quality(keras.Model(inputs, {"classes": classes, "boxes": boxes}))
    seen = []

    class Noting(QualityFocalLoss):
        def of_anchors(self, y_true, y_pred):
            seen.append(self.split(y_true)[0].numpy().tolist())
            return super().of_anchors(y_true, y_pred)

    model.compile("sgd", loss={"classes": Noting(CODER), "boxes": BoxLoss()}, run_eagerly=True)
    model.train_on_batch(np.ones((1, 5)), {"classes": np.array([[257, 599]]), "boxes": np.ones((1, 2, 5), np.float32)})
    assert seen == [[[257, 599]]]
