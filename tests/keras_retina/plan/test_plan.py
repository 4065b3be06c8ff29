"""A plan of a folder is a recipe that every verb takes, and any data that can be read get one."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.plan.plan import plan_recipe, recipe_name, wishes_in
from keras_retina.plan.wishes import Wishes
from keras_retina.recipe.recipe import load_recipe
from keras_retina.train.duration import Pace


def written(plan, tmp_path: Path):
    path = tmp_path / "recipe.yaml"
    path.write_text(plan.text, encoding="utf-8")
    return load_recipe(path)


@pytest.mark.parametrize("target", [None, "phone", "pi", "coral", "browser", "frigate"])
@pytest.mark.parametrize("objective", [None, "smallest", "fastest", "best"])
def test_the_text_is_the_recipe(tiny_coco, tmp_path, target, objective):
    plan = plan_recipe(tiny_coco, Wishes(target=target, objective=objective, seed=4))
    assert written(plan, tmp_path) == plan.recipe
    assert plan.recipe.seed == 4
    assert plan.recipe.data.test is None
    assert bool(plan.recipe.compress) == (objective != "best")
    assert plan.recipe.export.mediapipe_raw == (target != "coral")
    assert (plan.recipe.export.heal, plan.recipe.export.integer_only) == ("full", target in ("coral", "frigate"))
    assert plan.recipe.export.labelmap == (target == "frigate")


def test_every_choice_of_the_recipe_has_a_reason_above_it(tiny_coco):
    lines = plan_recipe(tiny_coco, Wishes()).text.splitlines()
    for key in ("backbone", "input", "pyramid", "anchors", "horizontal_flip", "scale", "epochs"):
        place = next(number for number, line in enumerate(lines) if line.strip().startswith(f"{key}:"))
        assert lines[place - 1].strip().startswith("# "), key


def test_about_ten_lines_are_shown(tiny_coco):
    lines = plan_recipe(tiny_coco, Wishes()).lines
    assert len(lines) == 11
    assert lines[0] == "data            COCO: train 10, val 4"
    assert all(len(line) <= 160 for line in lines)


def test_the_same_data_and_wishes_give_the_same_plan(tiny_coco):
    assert plan_recipe(tiny_coco, Wishes()).text == plan_recipe(tiny_coco, Wishes()).text


def test_what_a_person_sets_is_in_the_recipe_and_its_splits_are_read(tiny_coco, tmp_path):
    plan = plan_recipe(tiny_coco, Wishes(), overrides=["training.epochs=2", "data.validation=train"])
    assert written(plan, tmp_path).training.epochs == 2
    assert plan.recipe.data.validation == "train"
    assert any(line.startswith("training        training.epochs=2: set by you; the plan had") for line in plan.lines)
    assert "# Set by you; the plan had" in plan.text


def test_the_wishes_are_found_again_in_the_text(tiny_coco):
    wishes = Wishes(target="pi", objective="fastest", seed=3)
    assert wishes_in(plan_recipe(tiny_coco, wishes).text) == str(wishes) == "--target pi --objective fastest --seed 3"
    assert wishes_in(plan_recipe(tiny_coco, Wishes()).text) == "none" == wishes_in("name: x\n")


def without(folder: Path, tmp_path: Path, split: str) -> Path:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "annotations" / f"{split}.json").unlink()
    return copy


def test_a_folder_without_a_validation_split_gets_one(tiny_coco, tmp_path):
    recipe = plan_recipe(without(tiny_coco, tmp_path, "val"), Wishes()).recipe
    assert (recipe.data.train, recipe.data.validation, recipe.data.split) == ("train", "val", "auto")


def test_a_folder_without_a_training_split_is_refused(tiny_coco, tmp_path):
    with pytest.raises(InputError, match=r"a split to train on.*--set data\.train=val$"):
        plan_recipe(without(tiny_coco, tmp_path, "train"), Wishes())


def test_a_folder_without_objects_is_refused(tiny_coco, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny_coco, copy)
    labels = json.loads((copy / "annotations" / "train.json").read_text())
    (copy / "annotations" / "train.json").write_text(json.dumps({**labels, "annotations": []}))
    with pytest.raises(InputError, match="a split with boxes was expected"):
        plan_recipe(copy, Wishes())


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("data/My set (v2)", "My_set_v2"),
        ("data/über", "ber"),
        ("data/---", "planned"),
        ("data/cats.tar.gz", "cats"),
        ("x/" + "a" * 99, "a" * 64),
    ],
)
def test_a_recipe_is_named_after_its_folder(folder, name):
    assert recipe_name(Path(folder)) == name


def test_a_latency_is_met_and_said_for_which_machine(tiny_coco):
    asked = []

    def latency_of(model, classes, kind, head, threads, files):
        asked.append((classes, kind, head, threads))
        return model.input.height * model.input.width * model.pyramid.width / 1e6, 3.0

    plan = plan_recipe(tiny_coco, Wishes(latency=4.0, threads=1, target="pi"), latency_of=latency_of)
    size, width = plan.recipe.model.input, plan.recipe.model.pyramid.width
    assert 0.9 * 4 <= size.height * size.width * width / 1e6 <= 4.0
    assert set(asked) == {(2, "int8", "postprocess", 1)}
    assert plan.recipe.compress == {}
    assert plan.recipe.verification.threads == 1
    line = next(line for line in plan.lines if line.startswith("latency"))
    assert "1 thread of" in line
    assert "so not the pi" in plan.text


def test_a_plan_for_the_coral_says_what_the_edge_tpu_runs(tiny_coco):
    asked = []

    def mapped_of(model, classes, files):
        asked.append((classes, files.mediapipe_raw))
        return 60, 60

    plan = plan_recipe(tiny_coco, Wishes(target="coral"), mapped_of=mapped_of)
    line = next(one for one in plan.lines if one.startswith("Edge TPU"))
    assert asked == [(2, False)]
    assert line.startswith("Edge TPU        60 of 60 operators: the raw int8 file of this network maps completely")
    lines = plan_recipe(tiny_coco, Wishes(target="coral"), mapped_of=lambda *_: (58, 60)).lines
    assert any("58 of 60 operators: the rest of the raw int8 file stays on the CPU" in one for one in lines)
    assert not any("Edge TPU " in one for one in plan_recipe(tiny_coco, Wishes(), mapped_of=mapped_of).lines)


def test_a_latency_that_no_network_meets_is_refused_with_the_least_one(tiny_coco):
    with pytest.raises(InputError, match=r"--latency: expected at least 3\.0 ms, .*Received: latency=0\.01"):
        plan_recipe(tiny_coco, Wishes(latency=0.01), latency_of=lambda *_: (3.0, 3.0))


def test_a_latency_that_nobody_can_time_is_refused(tiny_coco):
    with pytest.raises(InputError, match="--latency"):
        plan_recipe(tiny_coco, Wishes(latency=4.0))


def test_enough_minutes_are_shared_and_few_are_left_to_the_float_model(tiny_coco):
    paces = []

    def pace_of(recipe, train_set, validation_set):
        paces.append((recipe.model.input.height, train_set.split, validation_set.split))
        return Pace(step=0.1, tracing=0.0, evaluation=0.1)

    much = plan_recipe(tiny_coco, Wishes(minutes=10.0), pace_of=pace_of)
    assert (much.recipe.training.minutes, much.recipe.compress["small"].fine_tune.minutes) == (6.0, 4.0)
    assert paces == [(much.recipe.model.input.height, "train", "val")]
    little = plan_recipe(tiny_coco, Wishes(minutes=0.5), pace_of=pace_of)
    assert little.recipe.training.minutes == 0.5
    assert little.recipe.compress == {}
    assert little.recipe.model.input.height < much.recipe.model.input.height


def test_a_short_time_leaves_frigate_its_input(tiny_coco):
    plan = plan_recipe(
        tiny_coco,
        Wishes(minutes=0.5, target="frigate"),
        pace_of=lambda *_: Pace(step=0.1, tracing=0.0, evaluation=0.1),
    )
    assert (plan.recipe.model.input.height, plan.recipe.model.input.width) == (320, 320)


def test_minutes_that_teach_nothing_are_refused_with_the_least_ones(tiny_coco):
    def pace_of(*_):
        return Pace(step=3.0, tracing=20.0, evaluation=2.0)

    # 100 x 3 + 1.25 x 20 + 2 = 327 s of training, and a twentieth on top: 5.74 minutes
    with pytest.raises(InputError, match=r"--minutes: expected at least 5\.8 here, .* Received: minutes=1\. Raise it"):
        plan_recipe(tiny_coco, Wishes(minutes=1.0), pace_of=pace_of)
    assert plan_recipe(tiny_coco, Wishes(minutes=5.8), pace_of=pace_of).recipe.training.minutes == 5.8


def test_an_input_that_cannot_shrink_keeps_the_reason_of_the_objects(tiny_coco):
    free, timed = (
        plan_recipe(tiny_coco, Wishes(latency=4.0, minutes=minutes), latency_of=lambda *_: (4.0, 4.0), pace_of=pace)
        for minutes, pace in ((None, None), (0.5, lambda *_: Pace(step=0.1, tracing=0.0, evaluation=0.1)))
    )
    assert timed.recipe.model == free.recipe.model
    assert "smaller than the objects ask for" not in timed.text


def test_a_plan_is_json(tiny_coco):
    plan = plan_recipe(tiny_coco, Wishes())
    text = json.dumps(plan.to_json(), allow_nan=False)
    assert json.loads(text)["facts"]["images"] == 10
    assert not re.search("NaN|Infinity", text)


def test_a_plan_for_classes_of_few_objects_is_json(tiny_coco):
    plan = plan_recipe(tiny_coco, Wishes())
    rare = dataclasses.replace(plan, facts=dataclasses.replace(plan.facts, class_spread=float("inf")))
    assert json.loads(json.dumps(rare.to_json(), allow_nan=False))["facts"]["class_spread"] is None


def test_a_validation_split_of_training_images_is_refused_unless_a_person_wants_it(tiny_coco, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny_coco, copy)
    shutil.copy(copy / "annotations" / "train.json", copy / "annotations" / "val.json")
    with pytest.raises(InputError, match=r"all 10 of them are in 'train', too.*--set data\.validation=held_out"):
        plan_recipe(copy, Wishes())
    wanted = ["data.validation=held_out", "data.split=auto"]  # as the message says
    assert "held_out" in plan_recipe(copy, Wishes(), overrides=wanted).lines[0]
    plan_recipe(copy, Wishes(), overrides=["data.validation=val"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"minutes": 0.0}, "--minutes: expected a number above 0"),
        ({"latency": float("nan")}, "--latency: expected a number above 0"),
        ({"threads": -1}, "--threads"),
        ({"seed": -1}, "--seed"),
        ({"target": "pie"}, "Did you mean 'pi'"),
        ({"objective": "bset"}, "Did you mean 'best'"),
    ],
)
def test_impossible_wishes_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(Wishes(), **changes)
