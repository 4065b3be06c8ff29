"""A whole small training: its files, its repeatability, its resume, its errors, and one replica against two."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_retina.data.reading.folder import load_dataset
from keras_retina.data.records import Dataset
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.model.batch_norm import MOMENTUM
from keras_retina.model.saving import load_detector
from keras_retina.model.spec import detector_spec
from keras_retina.recipe.recipe import Recipe, dump_recipe
from keras_retina.run.training import write_metrics
from keras_retina.train.callbacks.evaluation import save_weights
from keras_retina.train.duration import Pace
from keras_retina.train.fit import compile_detector
from keras_retina.train.train import train
from keras_retina.train.workers.devices import Device


@pytest.fixture(scope="module")
def plain_recipe(tiny_recipe) -> Recipe:
    """The plain backbone: a fifth of the layers to trace. A checkpoint after every step."""
    fields = tiny_recipe.model_dump()
    fields["training"]["checkpoint_steps"] = 1
    fields["model"]["backbone"] |= {"name": "plain", "alpha": 1.0}
    return Recipe.model_validate(fields)


@pytest.fixture(scope="module")
def splits(tiny_coco) -> tuple:
    return load_dataset(tiny_coco, "train"), load_dataset(tiny_coco, "val")


@pytest.fixture(scope="module")
def trained(plain_recipe, splits, tmp_path_factory, logged) -> Path:
    """The run folder of three uninterrupted epochs of two steps; AP after epochs 2 and 3.

    Beside it is `broken_off`, the folder as a power cut in epoch 2 would have left it: the row of the epoch and its
    best weights are written, and the last checkpoint is that of before its evaluation.
    """
    run_dir = tmp_path_factory.mktemp("trained") / "run"

    def break_off(line: str) -> None:
        if line.startswith("epoch 2/3"):
            shutil.copytree(run_dir, run_dir.parent / "broken_off")

    with logged(break_off) as lines:
        train(plain_recipe, splits[0], validation_set=splits[1], run_dir=run_dir)
    (run_dir / "lines.txt").write_text("\n".join(lines), encoding="utf-8")
    return run_dir


@pytest.fixture
def eagerly():
    """Without tracing: the few steps of a test that is about something else take a quarter of the time."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def history_of(run_dir: Path) -> list[dict[str, str]]:
    with (run_dir / "train" / "history.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def with_training(recipe: Recipe, **changes) -> Recipe:
    training = recipe.training.model_dump() | changes
    return Recipe.model_validate(recipe.model_dump() | {"training": training})


# What a training leaves behind


def test_the_run_folder_has_history_checkpoint_best_weights_tensorboard_and_model(trained):
    assert {path.name for path in (trained / "train").iterdir()} == {
        "best.json", "best.weights.h5", "checkpoints", "history.csv", "tensorboard",
    }  # fmt: skip
    kept = sorted(path.name for path in (trained / "train" / "checkpoints").iterdir())
    assert kept == ["step-000000006", "step-000000006-evaluated"]
    rows = history_of(trained)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [bool(row["AP"]) for row in rows] == [False, True, True]
    assert [bool(row["evaluation_seconds"]) for row in rows] == [False, True, True]
    assert all(np.isfinite(float(row["loss"])) for row in rows)


def test_progress_is_reported_and_says_where_the_final_weights_come_from(trained):
    told = (trained / "lines.txt").read_text(encoding="utf-8").splitlines()
    # On a busy machine there are warnings of time lost, and lines inside an epoch that takes long.
    lines = [line for line in told if not line.startswith(("warning: ", "  epoch"))]
    assert lines[0].startswith("backbone weights: random; ")
    assert [line.split("  ")[0] for line in lines[1:4]] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    state = json.loads((trained / "train" / "best.json").read_text(encoding="utf-8"))
    assert lines[4] == f"final weights: best validation AP {state['best_AP']:.1f}, epoch {state['best_epoch']}"


def test_tensorboard_has_scalars_and_pictures_with_boxes(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(trained / "train" / "tensorboard"), size_guidance={"images": 0, "tensors": 0})
    events.Reload()
    tags = events.Tags()["tensors"]
    assert {"loss", "classes_loss", "boxes_loss", "learning_rate", "AP", "AP50", "validation"} <= set(tags)
    assert {"seconds", "input_wait", "evaluation_seconds"} <= set(tags)
    assert [event.step for event in events.Tensors("AP")] == [2, 3]
    assert {"anchors/positive_per_image", "scores/positive_anchors", "scores/background_anchors"} <= set(tags)
    assert {tag for tag in tags if tag.startswith("levels/")} >= {"levels/classes_P3", "levels/boxes_P3"}
    assert [event.step for event in events.Tensors("levels/classes_P3")] == [2, 3]
    width, height, *pictures = tf.make_ndarray(events.Tensors("validation")[0].tensor_proto)
    assert (int(width), int(height), len(pictures)) == (128, 128, 4)
    assert tf.io.decode_png(pictures[0]).shape == (128, 128, 3)


def test_the_model_is_loaded_with_the_classes_of_the_data(trained):
    model, spec = load_detector(trained / "model.keras")
    assert spec.class_names == ("disc", "square")
    assert model.optimizer is None


def test_trained_batch_norm_has_the_statistics_of_the_final_weights(trained, plain_recipe, splits):
    """Six steps after the start, moving averages would still be half way to mean 0 and variance 1."""
    model, _ = load_detector(trained / "model.keras")
    check_statistics(model, ("plain_0_norm", "plain_3_norm", "plain_6_norm"), plain_recipe, splits[0])


@pytest.mark.parametrize(("views", "precision"), [(None, "float32"), (8, "float32"), (8, "bfloat16")])
def test_norms_of_the_heads_train_also_with_a_frozen_backbone_and_with_kept_features(
    plain_recipe, splits, tmp_path, monkeypatch, views, precision
):
    """Random weights that are frozen: a recipe cannot ask for them, but they stand in for those of ImageNet."""
    monkeypatch.setattr("keras_retina.train.train.choose_precision", lambda *_, **__: precision)
    recipe = with_training(plain_recipe, epochs=1, evaluate_every=1)
    backbone = recipe.model.backbone.model_copy(update={"batch_norm": "frozen", "frozen_stages": 5})
    head = recipe.model.head.model_copy(update={"batch_norm": "per_level"})
    network = recipe.model.model_copy(update={"backbone": backbone, "head": head})
    training = recipe.training.model_copy(update={"feature_views": views})
    recipe = recipe.model_copy(update={"model": network, "training": training})
    train(recipe, splits[0], validation_set=splits[1], run_dir=tmp_path)
    model, _ = load_detector(tmp_path / "model.keras")
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    learned = [norm for norm in norms if norm.trainable]
    assert {norm.name for norm in learned} == {f"{head}_0_norm_{n}" for head in ("classes", "boxes") for n in range(5)}
    assert {norm.momentum for norm in learned} == {MOMENTUM}
    assert not any(norm.moving_mean.numpy().any() for norm in norms if not norm.trainable)
    checked = ("classes_0_norm_0", "boxes_0_norm_0", "boxes_0_norm_2")
    assert all(np.ptp(model.get_layer(name).gamma) > 0 for name in checked)
    check_statistics(model, checked, recipe, splits[0])


def check_statistics(model: keras.Model, names: tuple[str, ...], recipe: Recipe, dataset: Dataset) -> None:
    """Asserts that the statistics of norms are, roughly, those of ten random views of the training images."""
    from keras_retina.data.pipeline import training_batches

    spec = detector_spec(recipe.model, dataset.class_names)
    images, _ = next(iter(training_batches(dataset, spec, augmentation=recipe.augmentation, batch_size=10, seed=99)))
    for name in names:
        norm = model.get_layer(name)
        values = keras.Model(model.input, norm.input)(images).numpy().reshape(-1, norm.moving_mean.shape[0])
        typical = np.sqrt(values.var(axis=0).mean())
        assert np.abs(values.mean(axis=0) - norm.moving_mean.numpy()).mean() < 0.35 * typical, name
        assert np.median(norm.moving_variance.numpy() / values.var(axis=0)) == pytest.approx(1, abs=0.5), name


# Tracing


def test_the_graph_of_a_step_is_traced_once_by_two_fits(plain_recipe, splits):
    """TensorFlow traces a step that made variables again, and the whole of a large network takes minutes."""
    spec = detector_spec(plain_recipe.model, splits[0].class_names)
    image = keras.Input((8, 8, 3))
    anchors = len(spec.anchors())
    heads = {name: keras.layers.Dense(anchors * size) for name, size in (("classes", 2), ("boxes", 4))}
    flat = keras.layers.GlobalAveragePooling2D()(image)
    outputs = {name: keras.layers.Reshape((anchors, -1), name=name)(dense(flat)) for name, dense in heads.items()}
    model, traced = keras.Model(image, outputs), []
    compile_detector(model, spec, settings=plain_recipe.training, steps_per_epoch=2, precision="float32")
    step = model.train_step
    model.train_step = lambda data: traced.append(data) or step(data)
    wanted = {"classes": np.zeros((2, anchors), np.int32), "boxes": np.zeros((2, anchors, 5), np.float32)}
    batches = tf.data.Dataset.from_tensors((np.zeros((2, 8, 8, 3), np.float32), wanted)).repeat()
    for _ in range(2):
        model.fit(batches, steps_per_epoch=2, verbose=0)
    assert len(traced) == 1


# Resume


@pytest.fixture(scope="module")
def resumed(trained, plain_recipe, splits, logged) -> Path:
    """The run that was broken off in epoch 2, finished."""
    run_dir = trained.parent / "broken_off"
    assert not (run_dir / "model.keras").exists()
    assert [row["epoch"] for row in history_of(run_dir)] == ["1", "2"]
    with logged() as lines:
        train(plain_recipe, splits[0], validation_set=splits[1], run_dir=run_dir)
    assert lines[1] == "resuming after step 2 of epoch 2"
    assert lines[2].startswith("epoch 2/3")
    return run_dir


def test_a_resumed_training_ends_with_the_weights_of_the_uninterrupted_one(trained, resumed):
    """On one machine they are equal bit by bit; across machines and thread counts, sums may be rounded otherwise."""
    model, _ = load_detector(trained / "model.keras")
    other, _ = load_detector(resumed / "model.keras")
    for one, same in zip(model.weights, other.weights, strict=True):
        np.testing.assert_allclose(one, same, rtol=1e-4, atol=1e-5, err_msg=one.name)


def test_a_resumed_history_is_that_of_the_uninterrupted_training(trained, resumed):
    for one, same in zip(history_of(trained), history_of(resumed), strict=True):
        for column in ("epoch", "loss", "classes_loss", "boxes_loss", "learning_rate"):
            assert float(one[column]) == pytest.approx(float(same[column]), rel=1e-4), column


def test_a_finished_training_is_not_trained_again(trained, plain_recipe, splits, tmp_path, logged):
    run_dir = tmp_path / "again"
    shutil.copytree(trained, run_dir)
    (run_dir / "model.keras").unlink()
    with logged() as lines:
        train(plain_recipe, splits[0], validation_set=splits[1], run_dir=run_dir)
    assert [line.split()[0] for line in lines] == ["backbone", "resuming", "final"]
    model, other = load_detector(trained / "model.keras")[0], load_detector(run_dir / "model.keras")[0]
    for one, same in zip(model.weights, other.weights, strict=True):
        np.testing.assert_allclose(one, same, rtol=1e-5, atol=1e-6, err_msg=one.name)


# Wall time


def test_a_training_of_given_minutes_is_that_of_the_epochs_that_fit_and_is_resumed_with_them(
    plain_recipe, splits, tmp_path, monkeypatch, eagerly, logged
):
    """Epochs of 20,000 s and evaluations of 3,000 s: two in 1000 minutes."""
    monkeypatch.setattr("keras_retina.train.batch_norm.STEPS", 1)
    monkeypatch.setattr("keras_retina.train.train.measure_pace", lambda *_, **__: Pace(1e4, 100.0, 3e3))
    monkeypatch.setattr("keras_retina.train.train.time_keeper", lambda *_, **__: None)  # these epochs take no hours
    timed = with_training(plain_recipe, epochs=9, minutes=1000.0, batch_size=2)

    def break_off(line: str) -> None:
        if line.startswith("epoch 2/2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), logged(break_off):
        train(timed, splits[0], validation_set=splits[1], run_dir=tmp_path / "timed")
    monkeypatch.setattr("keras_retina.train.train.measure_pace", lambda *_, **__: pytest.fail("measured again"))
    model, _ = train(timed, splits[0], validation_set=splits[1], run_dir=tmp_path / "timed")
    two_epochs = with_training(plain_recipe, epochs=2, batch_size=2)
    counted, _ = train(two_epochs, splits[0], validation_set=splits[1], run_dir=tmp_path / "counted")
    rates = [[row["learning_rate"] for row in history_of(tmp_path / name)] for name in ("timed", "counted")]
    assert rates[0] == rates[1]
    for one, same in zip(model.weights, counted.weights, strict=True):
        np.testing.assert_allclose(one, same, rtol=1e-4, atol=1e-5, err_msg=one.name)


def test_a_machine_that_is_faster_than_measured_trains_more_epochs_to_the_end_of_the_schedule(
    plain_recipe, splits, tmp_path, monkeypatch, eagerly
):
    """Two epochs were decided; 1000 minutes are enough for the four that the recipe allows."""
    monkeypatch.setattr("keras_retina.train.batch_norm.STEPS", 1)
    monkeypatch.setattr("keras_retina.train.train.measure_pace", lambda *_, **__: Pace(1e4, 100.0, 3e3))
    timed = with_training(plain_recipe, epochs=4, minutes=1000.0, batch_size=2, evaluate_every=9, warmup_steps=0)
    train(timed, splits[0], validation_set=splits[1], run_dir=tmp_path)
    rows = history_of(tmp_path)
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert [bool(row["AP"]) for row in rows] == [False, False, False, True]
    rates = [float(row["learning_rate"]) for row in rows]
    assert rates[2] > rates[3]  # the schedule of two epochs would be at its end in both
    assert json.loads((tmp_path / "train" / "duration.json").read_text())["epochs"] == 4


# Errors and endings


def test_a_loss_that_is_no_number_ends_with_one_line_and_keeps_what_was_saved(
    trained, plain_recipe, splits, tmp_path, eagerly
):
    run_dir = tmp_path / "exploding"
    shutil.copytree(trained, run_dir)
    files = [path for path in run_dir.rglob("*") if path.is_file() and path.parent.name != "tensorboard"]
    before = {path: path.read_bytes() for path in files}
    exploding = with_training(
        plain_recipe, epochs=4, learning_rate=1e30, clip_norm=None, warmup_steps=0, checkpoint_steps=1000
    )
    with pytest.raises(InputError, match=r"the loss must stay finite.*earlier checkpoints are kept") as error:
        train(exploding, splits[0], validation_set=splits[1], run_dir=run_dir)
    assert "\n" not in str(error.value)
    for path, content in before.items():
        assert path.read_bytes() == content, path.name


def test_fewer_batches_than_one_update_takes_are_refused_with_the_most(plain_recipe, splits, tmp_path):
    with pytest.raises(InputError, match=r"training\.accumulate_steps: .* Received: 7, .* Closest: 6\."):
        train(with_training(plain_recipe, accumulate_steps=7), splits[0], validation_set=splits[1], run_dir=tmp_path)


def test_a_training_with_accumulation_resumed_in_the_middle_of_an_update_ends_alike(
    plain_recipe, splits, tmp_path, monkeypatch, eagerly, logged
):
    """Three epochs of two batches, three batches an update: the second epoch ends between two updates."""
    monkeypatch.setattr("keras_retina.train.batch_norm.STEPS", 1)
    recipe = with_training(plain_recipe, accumulate_steps=3, batch_size=2, evaluate_every=3)

    def break_off(line: str) -> None:
        if line.startswith("epoch 2/3"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), logged(break_off):
        train(recipe, splits[0], validation_set=splits[1], run_dir=tmp_path / "resumed")
    with logged() as lines:
        resumed, _ = train(recipe, splits[0], validation_set=splits[1], run_dir=tmp_path / "resumed")
    assert lines[1] == "resuming after step 2 of epoch 2"
    straight, _ = train(recipe, splits[0], validation_set=splits[1], run_dir=tmp_path / "straight")
    assert int(straight.optimizer.iterations) == int(resumed.optimizer.iterations) == 2
    for one, same in zip(straight.weights, resumed.weights, strict=True):
        np.testing.assert_allclose(one, same, rtol=1e-4, atol=1e-5, err_msg=one.name)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_training_in_low_precision_leaves_a_float32_model_and_no_policy(
    plain_recipe, splits, tmp_path, monkeypatch, eagerly, precision
):
    """As if this device had it: TensorFlow imitates both on any processor."""
    monkeypatch.setattr("keras_retina.train.train.choose_precision", lambda *_, **__: precision)
    monkeypatch.setattr("keras_retina.train.batch_norm.STEPS", 1)
    recipe = with_training(
        plain_recipe, epochs=2, steps_per_epoch=1, batch_size=2, evaluate_every=2, accumulate_steps=2
    )
    model, _ = train(recipe, splits[0], validation_set=splits[1], run_dir=tmp_path)
    assert keras.mixed_precision.global_policy().name == "float32"
    loaded, _ = load_detector(tmp_path / "model.keras")
    for one in (model, loaded):
        assert {layer.compute_dtype for layer in one.layers} == {"float32"}
    for one, same in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(one, same)
    assert all(np.isfinite(float(row["loss"])) for row in history_of(tmp_path))


def test_a_precision_that_this_device_has_not_is_refused(plain_recipe, splits, tmp_path, monkeypatch):
    monkeypatch.setattr("keras_retina.train.train.training_devices", lambda: [Device("a processor of 2013")])
    with pytest.raises(InputError, match=r"training\.precision: .*on a processor of 2013.*'float32'"):
        train(with_training(plain_recipe, precision="bfloat16"), splits[0], validation_set=splits[1], run_dir=tmp_path)
    assert not list(tmp_path.iterdir())


def test_training_stops_early_and_a_repeat_of_the_command_does_not_go_on(
    plain_recipe, splits, tmp_path, monkeypatch, eagerly, logged
):
    scores = iter([7.0, 5.0])
    monkeypatch.setattr(
        "keras_retina.train.callbacks.evaluation.coco_metrics",
        lambda *_, **__: {"AP": next(scores), "AP50": 10.0, "per_class": {}},
    )
    monkeypatch.setattr("keras_retina.train.batch_norm.STEPS", 1)
    recipe = with_training(
        plain_recipe, epochs=9, steps_per_epoch=1, batch_size=1, evaluate_every=1, early_stop={"patience": 1}
    )
    with logged() as lines:
        train(recipe, splits[0], validation_set=splits[1], run_dir=tmp_path)
    assert len(history_of(tmp_path)) == 2
    assert lines[-2].startswith("stopped early after epoch 2")
    assert lines[-1] == "final weights: best validation AP 7.0, epoch 1"
    train(recipe, splits[0], validation_set=splits[1], run_dir=tmp_path)
    assert len(history_of(tmp_path)) == 2


def test_the_last_weights_are_the_average_and_the_best_are_those_of_the_best_epoch(
    trained, plain_recipe, splits, tmp_path, monkeypatch
):
    """Both from the checkpoint of the same training, to which a best epoch is given that is not the last."""
    monkeypatch.setattr("keras_retina.train.batch_norm.STEPS", 0)
    monkeypatch.setattr("keras_retina.train.checkpoints.folder._put_back", lambda *_: None)  # the best one is ours
    models = {}
    for checkpoint in ("best", "last"):
        run_dir = tmp_path / checkpoint
        shutil.copytree(trained, run_dir)
        if checkpoint == "best":
            model, _ = load_detector(trained / "model.keras")
            model.get_layer("boxes_prediction_pointwise").bias.assign(np.full(36, 3.0))
            save_weights(model, run_dir / "train" / "best.weights.h5")
        models[checkpoint], _ = train(
            with_training(plain_recipe, checkpoint=checkpoint), splits[0], validation_set=splits[1], run_dir=run_dir
        )
    bias = {name: model.get_layer("boxes_prediction_pointwise").bias.numpy() for name, model in models.items()}
    assert (bias["best"] == 3).all()
    assert (np.abs(bias["last"]) < 1).all()
    optimizer = models["last"].optimizer
    averages = {variable.name for variable in optimizer.variables if "average" in variable.name}
    assert len(averages) == len(models["last"].trainable_variables)


def test_metrics_are_written_as_json(tmp_path):
    write_metrics(tmp_path / "metrics.json", "val", metrics={"AP": 12.5, "AP_small": None, "per_class": {"größe": 1.0}})
    written = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert written == {"split": "val", "AP": 12.5, "AP_small": None, "per_class": {"größe": 1.0}}
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


# Replicas

REPLICAS = """
import sys
from pathlib import Path
from keras_retina.foundation.legacy_keras import keras, tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from keras_retina.data.reading.folder import load_dataset
from keras_retina.recipe.recipe import load_recipe
from keras_retina.train.batch_norm import estimate_batch_norm
from keras_retina.train.train import train
recipe, data, out = sys.argv[1:]
sets = load_dataset(data, "train"), load_dataset(data, "val")
for strategy in ("one_device", "mirrored"):
    settings = load_recipe(recipe, [f"training.strategy={strategy}"])
    # BatchNorm frozen, as with ImageNet weights: trained, each replica would see the statistics of its own half.
    backbone = settings.model.backbone.model_copy(update={"batch_norm": "frozen"})
    settings = settings.model_copy(update={"model": settings.model.model_copy(update={"backbone": backbone})})
    model, _ = train(settings, sets[0], validation_set=sets[1], run_dir=Path(out) / strategy)
    print(strategy, type(model.trainable_variables[0]).__name__)

strategy = tf.distribute.MirroredStrategy(["/CPU:0", "/CPU:1"])
with strategy.scope():
    image = keras.Input((2,))
    norm = keras.layers.BatchNormalization(momentum=0.5)
    model = keras.Model(image, norm(image))
batch = tf.constant([[1.0, 2.0], [3.0, 6.0]]), tf.constant(0)
estimate_batch_norm(model, tf.data.Dataset.from_tensors(batch).repeat(40))
print("statistics", *norm.moving_mean.numpy().tolist(), *norm.moving_variance.numpy().tolist())
"""


def test_one_replica_and_two_cpu_devices_train_the_detector_alike(plain_recipe, tiny_coco, tmp_path):
    """With plain SGD the weights after two steps tell the size of the gradients, which Adam would hide."""
    recipe = with_training(
        plain_recipe, epochs=1, warmup_steps=0, optimizer="sgd", learning_rate=0.01, clip_norm=None, weight_average=None
    )
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe), encoding="utf-8")

    command = [sys.executable, "-c", REPLICAS, str(tmp_path / "recipe.yaml"), str(tiny_coco), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "mirrored MirroredVariable" in done.stdout.replace("Auto", "")
    assert "statistics 2.0 4.0 1.0 4.0" in done.stdout

    one, two = history_of(tmp_path / "one_device"), history_of(tmp_path / "mirrored")
    for column in ("loss", "classes_loss", "boxes_loss"):
        assert float(one[0][column]) == pytest.approx(float(two[0][column]), rel=1e-4), column
    model, _ = load_detector(tmp_path / "one_device" / "model.keras")
    other, _ = load_detector(tmp_path / "mirrored" / "model.keras")
    for weight, same in zip(model.weights, other.weights, strict=True):
        np.testing.assert_allclose(weight, same, rtol=1e-3, atol=2e-5, err_msg=weight.name)
    bias = model.get_layer("boxes_prediction_pointwise").bias.numpy()  # 0 before the first step
    assert np.abs(bias).max() > 1e-4  # it learned; how far a step goes depends on the box weight
