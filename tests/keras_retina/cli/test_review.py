"""`review` on a tiny run that is only trained."""

from __future__ import annotations

import json
import re

import pytest

from keras_retina.cli.review import review
from keras_retina.foundation.errors import InputError
from keras_retina.model.saving import save_detector
from keras_retina.run.folder import start_run


@pytest.fixture(scope="module")
def run(tiny_recipe, tiny_detector, tiny_coco, tmp_path_factory):
    path = tmp_path_factory.mktemp("review") / "run"
    opened = start_run(path, tiny_recipe, data_dir=tiny_coco, command="test", overwrite=False)
    save_detector(*tiny_detector, opened.model)
    return opened


def test_it_reviews_every_split_and_says_what_it_wrote_and_what_comes_next(run, tmp_path, capsys):
    review(run.path, pictures=3, json_=tmp_path / "review.json")
    told = capsys.readouterr().out
    page, table = run.review / "review.html", run.review / "review.csv"
    assert f"wrote {page} and {table}" in told
    assert re.search(r"^  disc +\d+ +\d+ +[\d.]+ %", told, re.MULTILINE)
    assert told.splitlines()[-1].startswith("next: keras-retina run ")
    written = json.loads((tmp_path / "review.json").read_text())
    assert written["splits"] == ["train", "val"]
    labels = [json.loads(path.read_text()) for path in (run.data_dir / "annotations").glob("*.json")]
    assert written["labels"] == sum(len(one["annotations"]) for one in labels)
    assert len(table.read_text().splitlines()) == written["lines"] + 1


def test_one_split_and_another_folder(run, tmp_path, capsys):
    review(run.path, split=["val", "val"], out=tmp_path / "here", pictures=0, json_=tmp_path / "review.json")
    assert json.loads((tmp_path / "review.json").read_text())["splits"] == ["val"]
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == ["review.csv", "review.html"]


def test_a_run_that_is_not_trained_is_refused(tiny_recipe, tiny_coco, tmp_path):
    start_run(tmp_path / "begun", tiny_recipe, data_dir=tiny_coco, command="test", overwrite=False)
    with pytest.raises(InputError, match=r"model\.keras: expected a \.keras model"):
        review(tmp_path / "begun")


def test_data_of_other_classes_is_refused(run, tiny_coco, tmp_path):
    (tmp_path / "images").symlink_to(tiny_coco / "images")
    (tmp_path / "annotations").mkdir()
    for path in (tiny_coco / "annotations").glob("*.json"):
        labels = path.read_text().replace('"disc"', '"cube"')
        (tmp_path / "annotations" / path.name).write_text(labels)
    with pytest.raises(InputError, match="expected the classes of the data"):
        review(run.path, data=tmp_path)
