"""The export stage of a run: what it writes again, what it says about calibration, and what the debugger needs."""

from __future__ import annotations

import hashlib
import json

import pytest

from edge.export.export import SETTINGS
from edge.stages import debug_stage, export_stage
from keras_retina.foundation.errors import InputError
from keras_retina.run.folder import RunFolder

ORIGIN = {"recipe_sha256": b"the recipe", "model_sha256": b"the model"}


@pytest.fixture
def export_run(tmp_path, tiny_recipe, tiny_coco, monkeypatch, logged):
    """Returns export(changes of the section) -> (formats that were exported, images they got, lines)."""
    monkeypatch.setattr("keras_retina.model.saving.load_detector", lambda path: (None, None))
    (tmp_path / "recipe.yaml").write_bytes(b"the recipe")
    (tmp_path / "model.keras").write_bytes(b"the model")

    def export(**changes):
        settings = tiny_recipe.export.model_copy(update=changes)
        run = RunFolder(tmp_path, tiny_recipe.model_copy(update={"export": settings}), tiny_coco)
        exported: list = [(), None]

        def write_files(model, spec, *, out_dir, name, settings, calibration_images, origin):
            exported[:] = settings.formats, len(calibration_images)
            assert origin == {name: hashlib.sha256(text).hexdigest() for name, text in ORIGIN.items()}
            out_dir.mkdir(exist_ok=True)
            for kind in settings.formats:
                for stem in (f"{name}_{kind}", f"{name}_{kind}_raw"):
                    facts = {"kind": kind, **{name: getattr(settings, name) for name in (*SETTINGS, "float_layers")}}
                    (out_dir / f"{stem}.tflite").write_bytes(b"")
                    (out_dir / f"{stem}.json").write_text(json.dumps(facts))

        monkeypatch.setattr("edge.stages.export_files", write_files)
        with logged() as lines:
            files = export_stage(run)
        assert all(file.exists() for file in files)
        return *exported, lines

    return export


def test_fewer_calibration_images_than_asked_for_is_said(export_run):
    _, images, lines = export_run(formats=("int8",))
    assert images == 10
    assert "calibration: 10 images of the training split, all there are (300 asked for)" in lines


def test_as_many_calibration_images_as_asked_for_is_said_without_more(export_run):
    _, images, lines = export_run(formats=("int16",), calibration_images=4)
    assert images == 4
    assert "calibration: 4 images of the training split" in lines


def test_only_what_is_missing_or_has_other_settings_is_written(export_run):
    assert export_run(formats=("float32", "int8"))[0] == ("float32", "int8")
    assert export_run(formats=("float32", "int8")) == ((), None, ["export: done before, skipped"])
    assert export_run(formats=("float32", "int8", "int16"))[0] == ("int16",)
    assert export_run(formats=("float32", "int8"), float_layers=("Conv1",))[0] == ("int8",)
    assert export_run(formats=("float32", "int8"), float_layers=("Conv1",), max_detections=5)[0] == ("float32", "int8")
    assert export_run(formats=("float32",), max_detections=5, nms="fast")[0] == ("float32",)


@pytest.mark.parametrize("changes", [{"formats": ("float32",)}, {"heads": ("postprocess",)}])
def test_the_debugger_says_which_file_it_needs(tmp_path, tiny_recipe, tiny_coco, changes):
    settings = tiny_recipe.export.model_copy(update=changes)
    run = RunFolder(tmp_path, tiny_recipe.model_copy(update={"export": settings}), tiny_coco)
    with pytest.raises(InputError, match="--debug: expected int8 in export.formats and raw in export.heads") as caught:
        debug_stage(run)
    assert "\n" not in str(caught.value)
