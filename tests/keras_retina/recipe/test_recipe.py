"""A wrong recipe is refused with the field, the value received and the closest valid choice; a right one survives."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_retina.foundation.errors import InputError
from keras_retina.recipe.backbones import BACKBONE_ALPHAS
from keras_retina.recipe.data import Data
from keras_retina.recipe.model import Backbone, Input, Model, Pyramid
from keras_retina.recipe.recipe import Loss, Recipe, Training, dump_recipe, load_recipe, recipe_from_fields

RECIPES = Path(__file__).parents[3] / "recipes"


@pytest.fixture
def load(tmp_path):
    """`load(text, *overrides)` writes the text to a file and loads it."""

    def load(text: str, *overrides: str) -> Recipe:
        path = tmp_path / "recipe.yaml"
        path.write_text(text, encoding="utf-8")
        return load_recipe(path, list(overrides))

    return load


def refusal(load, text: str, *overrides: str) -> str:
    with pytest.raises(InputError) as error:
        load(text, *overrides)
    message = str(error.value)
    assert "\n" not in message
    assert "recipe.yaml" in message or "--set" in message
    assert len(message) < 6000  # the names of all backbones are in some
    return message


# Wrong keys


@pytest.mark.parametrize(
    ("text", "place", "nearest"),
    [
        ("name: a\nmodle: {}", "modle", "'model'"),
        ("name: a\ntraining: {lerning_rate: 1e-3}", "training.lerning_rate", "'learning_rate'"),
        ("name: a\nmodel: {backbone: {freeze_stages: 1}}", "model.backbone.freeze_stages", "'frozen_stages'"),
        ("name: a\ntraining: {loss: {aplha: 0.5}}", "training.loss.aplha", "'alpha'"),
        ("name: a\ntraining: {early_stop: {patiense: 3}}", "training.early_stop.patiense", "'patience'"),
        ("name: a\nexpected: {machina: x}", "expected.machina", "'machine'"),
    ],
)
def test_an_unknown_key_is_named_with_the_closest_valid_one(load, text: str, place: str, nearest: str):
    message = refusal(load, text)
    assert f"{place}: unknown key. Received: {place}=" in message
    assert f"Did you mean {nearest}?" in message


def test_an_unknown_key_like_no_other_lists_the_valid_ones(load):
    assert "Valid: adamw" not in (message := refusal(load, "name: a\nseed: 1\nqqqq: 2"))
    assert "Valid: augmentation, compress, data, expected, export, model, name" in message


def test_every_wrong_field_is_named_at_once(load):
    message = refusal(load, "name: a\nseed: -1\ntraining: {epochs: 0, oprimizer: sgd}")
    for place in ("seed", "training.epochs", "training.oprimizer"):
        assert f"{place}:" in message


def test_a_key_twice_is_refused_because_the_first_would_be_lost(load):
    assert "'training' twice" in refusal(load, "name: a\ntraining: {epochs: 3}\nseed: 1\ntraining: {batch_size: 4}")


def test_a_name_is_required(load):
    assert "name: expected a value. Received: nothing" in refusal(load, "seed: 3")


# Wrong values


@pytest.mark.parametrize(
    ("fields", "place", "received", "hint"),
    [
        ("model: {backbone: {name: mobilenetv2}}", "model.backbone.name", "'mobilenetv2'", "'mobilenet_v2'"),
        ("model: {backbone: {alpha: 0.4}}", "model.backbone", "alpha=0.4", "Closest: 0.35"),
        ("model: {backbone: {name: resnet50, alpha: 0.5}}", "model.backbone", "alpha=0.5", "Remove"),
        ("model: {backbone: {weights: openimage}}", "model.backbone", "'openimage'", "'openimages'"),
        ("model: {backbone: {weights: voc}}", "model.backbone", "'voc'", "expected imagenet, openimages, none or"),
        ("model: {backbone: {name: resnet50, weights: coco}}", "model.backbone", "'coco'", "imagenet, none or"),
        ("model: {backbone: {name: plain}}", "model.backbone", "'imagenet'", "Use 'none'"),
        ("model: {input: {resize: strech}}", "model.input.resize", "'strech'", "'stretch'"),
        ("model: {head: {width: 65}}", "model.head.width", "65", "Closest: 64"),
        ("model: {head: {prior: 1.0}}", "model.head.prior", "1.0", "less than 1"),
        ("model: {head: {batch_norm: per_leve}}", "model.head.batch_norm", "'per_leve'", "'per_level'"),
        ("model: {head: {batch_norm: per_level, convolutions: 0}}", "model.head", "convolutions=0", "batch_norm: none"),
        ("model: {pyramid: {levels: [3, 9]}}", "model.pyramid", "[3, 9]", "[3, 7]"),
        ("model: {anchors: {size: 0}}", "model.anchors.size", "0", "greater than 0"),
        ("model: {anchors: {scales: []}}", "model.anchors.scales", "[]", "at least 1"),
        ("training: {optimizer: adam}", "training.optimizer", "'adam'", "'adamw'"),
        ("training: {batch_size: 0}", "training.batch_size", "0", "Closest: 1"),
        ("training: {weight_decay: .inf}", "training.weight_decay", "inf", "finite"),
        ("training: {learning_rate: .nan}", "training.learning_rate", "nan", "finite"),
        ("training: {matching: {negative: 0.6}}", "training.matching", "negative=0.6", "0.4 and 0.5"),
        ("training: {loss: {alpha: 1.5}}", "training.loss.alpha", "1.5", "Closest: 1"),
        ("augmentation: {scale: [1.4, 0.7]}", "augmentation", "[1.4, 0.7]", "Swap"),
        ("data: {classes: [cat, dog, cat]}", "data", "'cat' twice", "Remove one"),
        ("export: {formats: [float32, int9]}", "export.formats.1", "'int9'", "'int8'"),
        ("seed: -1", "seed", "-1", "Closest: 0"),
        ("model: null", "model", "None", "dictionary"),
    ],
)
def test_an_impossible_value_is_named_with_the_field_and_what_to_do(load, fields, place, received, hint):
    message = refusal(load, f"name: a\n{fields}")
    assert f"{place}: " in message
    assert received in message.split("Received:")[1]
    assert hint in message


@pytest.mark.parametrize("name", ["../../etc", "a/b", "", "-a", "a" * 65, "a b", "<b>", "a\\n"])
def test_a_name_that_is_no_plain_file_name_is_refused(name: str):
    with pytest.raises(InputError, match="name: "):
        recipe_from_fields({"name": name.replace("\\n", "\n")}, "test")


@pytest.mark.parametrize(
    "fields",
    [
        "training: {epochs: '3'}",
        "training: {epochs: 3.0}",
        "training: {epochs: true}",
        "training: {learning_rate: '0.1'}",
        "augmentation: {horizontal_flip: 1}",
        "augmentation: {horizontal_flip: 'no'}",
        "model: {pyramid: {levels: [3, 7.0]}}",
        "model: {anchors: {scales: [1, '2']}}",
        "data: {classes: [1, 2]}",
        "data: {train: 1}",
    ],
)
def test_nothing_is_converted_silently(load, fields: str):
    assert "Received:" in refusal(load, f"name: a\n{fields}")


@pytest.mark.parametrize(("side", "other"), [("height", "width"), ("width", "height")])
def test_an_input_that_is_no_multiple_of_the_last_stride_is_refused_with_the_nearest(load, side, other):
    message = refusal(load, f"name: a\nmodel: {{input: {{{side}: 500, {other}: 512}}}}")
    assert f"input.{side} must be a multiple of 32" in message
    assert f"Received: {side}=500. Closest: 512" in message
    assert load(f"name: a\nmodel: {{pyramid: {{levels: [3, 5]}}, input: {{{side}: 480, {other}: 512}}}}")


@pytest.mark.parametrize(
    ("height", "width", "last"),
    [(384, 384, 7), (320, 320, 6), (320, 384, 6), (512, 640, 7), (352, 320, 5), (96, 384, 5)],
)
def test_without_levels_the_last_one_is_the_highest_whose_stride_divides_the_input(load, height, width, last):
    size = f"input: {{height: {height}, width: {width}}}"
    assert load(f"name: a\nmodel: {{{size}}}").model.pyramid.levels == (3, last)
    assert load(f"name: a\nmodel: {{{size}, pyramid: {{width: 32}}}}").model.pyramid == Pyramid(
        levels=(3, last), width=32
    )
    sections = Model(input=Input(height=height, width=width), pyramid=Pyramid(width=32))
    assert sections.pyramid == Pyramid(levels=(3, last), width=32)
    if last < 7:
        assert "must be a multiple of 128" in refusal(load, f"name: a\nmodel: {{{size}, pyramid: {{levels: [3, 7]}}}}")


def test_an_input_smaller_than_the_last_stride_is_told_the_stride(load):
    assert "Closest: 128" in refusal(load, "name: a\nmodel: {pyramid: {levels: [3, 7]}, input: {height: 32}}")


def test_random_weights_cannot_be_frozen(load):
    assert "weights='none'" in refusal(load, "name: a\nmodel: {backbone: {weights: none}}")
    for scaled in ("name: mobilenet_v1, weights: a.keras", "weights: imagenet"):
        told = refusal(load, f"name: a\nmodel: {{backbone: {{pixel_scaling: true, {scaled}}}}}")
        assert (
            "pixel_scaling is for mobilenet_v2 and resnet50_model_garden with weights 'none' or a model.keras" in told
        )
    assert load("name: a\nmodel: {backbone: {weights: none, frozen_stages: 0, batch_norm: trained}}")


def test_weights_are_a_name_of_this_backbone_and_width_or_any_path():
    assert Backbone(weights="openimages").weights == "openimages"
    assert Backbone(alpha=0.5, weights="voc").weights == "voc"
    for path in ("own.h5", "folder/own", "/elsewhere/own.weights.h5"):  # looked up where a training begins
        assert Backbone(weights=path).weights == path


@pytest.mark.parametrize("alpha", BACKBONE_ALPHAS["mobilenet_v2"])
def test_every_mobilenet_width_is_accepted(alpha: float):
    assert Backbone(alpha=alpha).alpha == alpha


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ("{schedule: step}", "needs it"),
        ("{decay_at: [0.5]}", "needs it"),
        ("{schedule: step, decay_at: [0.9, 0.5]}", "must rise"),
        ("{schedule: step, decay_at: [0.5, 1.0]}", "less than 1"),
        ("{schedule: step, decay_at: [0.5], final_learning_rate_fraction: 0.0}", "cannot reach zero"),
    ],
)
def test_a_step_schedule_needs_rising_steps_and_cosine_takes_none(load, fields: str, reason: str):
    assert reason in refusal(load, f"name: a\ntraining: {fields}")


def test_a_recipe_cannot_be_changed_after_validation():
    recipe = Recipe(name="a")
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 3


# YAML


@pytest.mark.parametrize("number", ["1e-3", "1E-3", "+1e-3", "1.e-3", "0.001", "1.0e-3"])
def test_a_power_of_ten_is_a_number(load, number: str):
    assert load(f"name: a\ntraining: {{learning_rate: {number}}}").training.learning_rate == 0.001


@pytest.mark.parametrize(
    "text",
    [
        "name: !!python/object/apply:os.system ['touch {marker}']",
        "!!python/object/new:subprocess.Popen [[touch, '{marker}']]",
        "name: !!python/name:os.system",
        "name: !custom x",
    ],
)
def test_yaml_tags_are_refused_and_not_run(load, tmp_path, text: str):
    marker = tmp_path / "marker"
    assert "without tags" in refusal(load, text.replace("{marker}", str(marker)))
    assert not marker.exists()


@pytest.mark.parametrize(
    "text",
    ["", "text", "- a\n- b", "name: [", "name: a\n\tseed: 1", "[" * 5000, "name: \x00", "{[1]: 2}", "? {a: b}\n: c"],
)
def test_what_is_no_recipe_is_refused_in_one_line(load, text: str):
    refusal(load, text)


def test_scalars_that_yaml_cannot_make_are_refused(load):
    refusal(load, "name: a\nexpected: {date: 2026-13-45}")
    refusal(load, f"name: a\nseed: {'9' * 5000}")


def test_a_file_of_another_encoding_is_refused(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_bytes("name: größe".encode("latin-1"))
    with pytest.raises(InputError, match="recipe.yaml: expected text in UTF-8. Received: .* position 8"):
        load_recipe(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path, received in ((tmp_path / "none.yaml", "no such file"), (tmp_path, "a folder")):
        with pytest.raises(InputError, match=f"expected a recipe file. Received: {received}"):
            load_recipe(path)


def test_aliases_that_would_unfold_to_gigabytes_are_refused_at_once(load):
    levels = "".join(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 12))
    refusal(load, f"name: a\na0: &a0 [x, x]\n{levels}")
    refusal(load, f"a0: &a0 [x, x]\n{levels}\nname: *a11\nmodel: {{backbone: {{name: *a11}}}}")


def test_keys_with_control_characters_stay_one_printable_line(load):
    message = refusal(load, 'name: a\n"a\\n\\e[31m": 2')
    assert message.isprintable()


# Overrides


def test_overrides_are_applied_in_order_and_validated(load):
    recipe = load(
        "name: a\ntraining: {epochs: 3}",
        "training.epochs=5",
        "training.epochs=7",
        "training.learning_rate=1e-4",
        "model.pyramid.levels=[3, 6]",
        "data.classes=[cat, dog]",
        "name=b",
    )
    assert (recipe.name, recipe.training.epochs, recipe.training.learning_rate) == ("b", 7, 1e-4)
    assert recipe.model.pyramid.levels == (3, 6)
    assert recipe.data.classes == ("cat", "dog")


def test_an_override_reaches_into_a_section_that_was_switched_off(load):
    switched_on = load("name: a\ntraining: {early_stop: null}", "training.early_stop.patience=2")
    assert switched_on.training.early_stop.patience == 2
    switched_off = load("name: a\ntraining: {early_stop: {patience: 2}}", "training.early_stop=null")
    assert switched_off.training.early_stop is None


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("trainig.epochs=3", "Did you mean 'training'?"),
        ("training.epoch=3", "Did you mean 'epochs'?"),
        ("training.matching.positve=0.6", "Did you mean 'positive'?"),
    ],
)
def test_a_misspelt_override_is_named_with_the_closest_and_as_an_override(load, override: str, hint: str):
    message = refusal(load, "name: a", override)
    assert hint in message
    assert f"--set {override}" in message


@pytest.mark.parametrize(
    "override", ["epochs", "=3", "name.x=3", "name=!!python/name:os.system", "name=[", "seed=", "a..b=3", ".=1"]
)
def test_what_is_no_override_is_refused(load, override: str):
    refusal(load, "name: a", override)


# Round trip


def test_a_resolved_recipe_is_loaded_back_equal(load):
    recipe = load(
        "name: a\nmodel: {backbone: {name: resnet50}, anchors: {scales: [1, 1.2599210498948732]}}\n"
        "training: {early_stop: {patience: 2}, learning_rate: 3e-5, clip_norm: null, weight_average: null}\n"
        "published: {source: 'Lin: table 1e', ap: 35.7, split: test-dev}"
    )
    text = dump_recipe(recipe)
    assert load(text) == recipe
    assert dump_recipe(load(text)) == text


def test_a_resolved_recipe_has_every_field_written_out(load):
    text = dump_recipe(Recipe(name="a"))
    for name in ("final_learning_rate_fraction", "minimum_visible", "maximum_class_drop", "coder_weights", "decay_at"):
        assert f"{name}:" in text


NAMES = st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=12) | st.sampled_from(
    ["1e3", "+1E-4", "yes", "null", "~", "2026-01-01", "0x1F", "1_000", "- a", "a: b", "# a", "!!str", "é", "12:30"]
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    classes=st.lists(NAMES, min_size=1, max_size=4, unique=True),
    rate=st.floats(1e-12, 1e3),
    name=st.sampled_from(["1e5", "0123", "a", "2026-01-01", "1.5", "null"]),
    alpha=st.none() | st.floats(0, 1),
)
def test_any_class_names_and_numbers_survive_the_round_trip(tmp_path_factory, classes, rate, name, alpha):
    recipe = Recipe(
        name=name, data=Data(classes=tuple(classes)), training=Training(learning_rate=rate, loss=Loss(alpha=alpha))
    )
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    path.write_text(dump_recipe(recipe), encoding="utf-8")
    assert load_recipe(path) == recipe


@pytest.mark.parametrize("text", ["off", "quick", "full"])
def test_healing_is_switched_as_the_guide_writes_it(tmp_path, text):
    (tmp_path / "x.yaml").write_text(f"name: x\nexport: {{heal: {text}}}\n")
    recipe = load_recipe(tmp_path / "x.yaml")
    assert recipe.export.heal == text
    assert load_recipe(tmp_path / "x.yaml", [f"export.heal={text}"]) == recipe
    (tmp_path / "again.yaml").write_text(dump_recipe(recipe))
    assert load_recipe(tmp_path / "again.yaml") == recipe


# The files in recipes/


@pytest.mark.parametrize("path", sorted(RECIPES.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_of_the_project_is_valid_and_named_like_its_file(path: Path):
    assert load_recipe(path).name == path.stem


PAPER = {  # depth, scale: AP, AP50 and milliseconds of table 1e
    (50, 400): (30.5, 47.8, 64),
    (50, 500): (32.5, 50.9, 72),
    (50, 600): (34.3, 53.2, 98),
    (50, 700): (35.1, 54.2, 121),
    (50, 800): (35.7, 55.0, 153),
    (101, 400): (31.9, 49.5, 81),
    (101, 500): (34.4, 53.1, 90),
    (101, 600): (36.0, 55.2, 122),
    (101, 700): (37.1, 56.6, 154),
    (101, 800): (37.8, 57.5, 198),
}


@pytest.mark.parametrize(("depth", "scale"), PAPER)
def test_the_papers_recipes_name_its_figures_as_published_not_as_ours(depth: int, scale: int):
    recipe = load_recipe(RECIPES / "coco" / f"coco_resnet{depth}_{scale}.yaml")
    published = recipe.published
    assert (published.ap, published.ap50, published.milliseconds) == PAPER[depth, scale]
    assert (published.device, recipe.expected) == ("Nvidia M40", None)
    assert recipe.training.epochs * recipe.training.steps_per_epoch == 90_000
    assert recipe.model.backbone.name == f"resnet{depth}"
    height, width = recipe.model.input.height, recipe.model.input.width
    assert height == width and abs(0.75 * width - scale) <= 32  # the shorter side of a photograph of 4:3


def test_the_papers_best_recipe_has_jitter_and_is_half_as_long_again():
    recipe = load_recipe(RECIPES / "coco" / "coco_resnet101_800_jitter.yaml")
    assert (recipe.published.ap, recipe.published.ap50) == (39.1, 59.1) and recipe.expected is None
    assert recipe.training.epochs * recipe.training.steps_per_epoch == 135_000
    assert recipe.augmentation.scale == (0.8, 1.0)


def test_float_layers_need_a_quantized_file():
    fields = {"name": "x", "export": {"formats": ["float32"], "float_layers": ["Conv1"]}}
    with pytest.raises(InputError, match=r"belongs to int8, int16 and int4 files. Received: formats=\['float32'\]"):
        recipe_from_fields(fields, "x.yaml")
    export = recipe_from_fields({"name": "x", "export": {"float_layers": ["Conv1"]}}, "x.yaml").export
    assert export.float_layers == ("Conv1",)


def test_float_layers_and_integer_only_exclude_each_other():
    fields = {"name": "x", "export": {"integer_only": True, "float_layers": ["Conv1"]}}
    with pytest.raises(InputError, match=r"integer_only forbids float layers. Received: float_layers=\['Conv1'\]"):
        recipe_from_fields(fields, "x.yaml")


def test_a_gate_of_one_is_refused_where_healing_would_work_towards_it():
    small = {"channels": {}, "minimum_ap_ratio": 1.0}
    for place in ({"verification": {"minimum_ap_ratio": 1.0}}, {"compress": {"small": small}}):
        with pytest.raises(InputError, match=r"minimum_ap_ratio: expected less than 1 .*Received: .*heal='quick'"):
            recipe_from_fields({"name": "x", **place}, "x.yaml")
        recipe_from_fields({"name": "x", **place, "export": {"heal": "off"}}, "x.yaml")


def test_int16_is_a_format_but_not_by_default():
    assert "int16" not in recipe_from_fields({"name": "x"}, "x.yaml").export.formats
    assert recipe_from_fields({"name": "x", "export": {"formats": ["int16"]}}, "x.yaml").export.formats == ("int16",)
    with pytest.raises(InputError, match="export.formats.0: .*Did you mean 'int16'"):
        recipe_from_fields({"name": "x", "export": {"formats": ["int61"]}}, "x.yaml")


def test_files_end_in_three_forms_and_suppress_in_two_ways():
    assert recipe_from_fields({"name": "x"}, "x.yaml").export.heads == ("postprocess", "raw")
    export = recipe_from_fields({"name": "x", "export": {"heads": ["builtin"], "nms": "fast"}}, "x.yaml").export
    assert (export.heads, export.nms) == (("builtin",), "fast")
    with pytest.raises(InputError, match="export.nms: .*Did you mean 'fast'"):
        recipe_from_fields({"name": "x", "export": {"nms": "fats"}}, "x.yaml")
    with pytest.raises(InputError, match="export.heads.0: .*'builtin'"):
        recipe_from_fields({"name": "x", "export": {"heads": ["builtins"]}}, "x.yaml")


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"training": {"minutes": 3.0}}, "minutes=3.0. Set minutes to null, and epochs"),
        ({"compress": {"half": {"channels": {}, "fine_tune": {"minutes": 2.0}}}}, "compress.half.fine_tune.minutes"),
        ({"compress": {"half": {"channels": {"of": "latency"}}}}, "compress.half.channels.of: 'latency'"),
    ],
)
def test_what_a_clock_decides_cannot_be_deterministic(fields, place):
    recipe_from_fields({"name": "x", **fields}, "x.yaml")
    training = {**fields.get("training", {}), "deterministic": True}
    with pytest.raises(InputError) as error:
        recipe_from_fields({"name": "x", **fields, "training": training}, "x.yaml")
    assert place in str(error.value) and "\n" not in str(error.value)
