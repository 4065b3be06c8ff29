from __future__ import annotations

import json
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image, ImageDraw

from edge.report.report import write_report
from edge.report.run import read_run
from edge.report.sections.tables import expected_section
from edge.verify.expected import MeasuredRun, expected_block
from edge.verify.result import read_result
from keras_retina.data.records import Dataset, Record
from keras_retina.evaluate.class_balance import ClassBalance, count_errors
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.run_paths import RunPaths

EVIL = '<script>alert("pwned")</script>'
CLASSES = ("disc", EVIL)
ERRORS = tuple(count_errors(np.array([-3.0, 0.0, 2.0])).tolist())
BALANCE = ClassBalance("val", 8, dict.fromkeys(CLASSES, 18), {CLASSES[0]: 3, CLASSES[1]: 0}, 5, ERRORS, ERRORS)
VOID = {"meta", "link", "img", "br", "wbr"}


class Page(HTMLParser):
    """Collects what a browser would see, and insists that every tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attributes]

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data

    def values(self, tag, name):
        return [value for found, key, value in self.attributes if (found, key) == (tag, name)]


def make_dataset(folder: Path, images: int = 8) -> Dataset:
    """Draws discs and squares; image k has k objects, of class k % 2 first."""
    records = []
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(images):
        picture = Image.new("RGB", (96, 72), (60, 70 + 10 * index, 90))
        draw, boxes = ImageDraw.Draw(picture), []
        for item in range(index):
            left, top = 4 + 22 * (item % 4), 4 + 34 * (item // 4)
            shape = draw.ellipse if (index + item) % 2 == 0 else draw.rectangle
            shape([left, top, left + 15, top + 23], fill=(230, 200, 40))
            boxes.append([top, left, top + 24, left + 16])
        name = f"{EVIL.replace('/', '')}{index}.png" if index == 3 else f"image {index}.png"
        picture.save(folder / name)
        classes = np.array([(index + item) % 2 for item in range(index)], np.int32)
        box_array = np.array(boxes, np.float32).reshape(-1, 4)
        records.append(Record(index + 1, folder / name, name, 72, 96, box_array, classes, np.zeros(index, bool)))
    return Dataset("drawn", "val", CLASSES, (1, 2), tuple(records))


def coco(dataset: Dataset) -> dict:
    annotations = []
    for record in dataset.records:
        for (y1, x1, y2, x2), index in zip(record.boxes.tolist(), record.classes.tolist(), strict=True):
            bbox = [x1, y1, x2 - x1, y2 - y1]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": record.image_id,
                    "category_id": dataset.category_ids[index],
                    "bbox": bbox,
                    "area": bbox[2] * bbox[3],
                    "iscrowd": 0,
                }
            )
    return {
        "images": [{"id": r.image_id, "file_name": r.file_name, "height": 72, "width": 96} for r in dataset.records],
        "annotations": annotations,
        "categories": [{"id": i, "name": n} for i, n in zip(dataset.category_ids, dataset.class_names, strict=True)],
    }


def row(file, kind, ap, **extra):
    fields = dict.fromkeys(("AP50", "AP75", "AP_small", "AP_medium"), ap) | {"AP": ap, "AP_large": None}
    fields |= {"per_class": {CLASSES[0]: ap, CLASSES[1]: ap}}
    fields |= {"file": file, "kind": kind, "sha256": "ab" * 32, "size_bytes": 2_000_000, "gzip_bytes": 1_500_000}
    latency = {"median": 12.345, "p95": 15.0, "threads": 2, "machine": "test machine"}
    return fields | {"latency_ms": latency, "status": "verified", "reason": None} | extra


def rows():
    nothing = {"size_bytes": 900_000, "latency_ms": None, "status": "not run", "reason": "no device <b>here</b>"}
    return [
        row("model.keras", "keras", 60.0, latency_ms=None, size_bytes=9_000_000),
        row("x_float32.tflite", "float32", 60.0, size_bytes=8_000_000),
        row("x_int8.tflite", "int8", 59.1),
        row("x_int8_raw.tflite", "int8", 59.1),
        row("x_edgetpu.tflite", "edgetpu", None, per_class=None, **nothing),
    ]


def as_results(truth: dict) -> list[dict]:
    keys = ("image_id", "category_id", "bbox")
    return [{key: item[key] for key in keys} | {"score": 0.9} for item in truth["annotations"]]


def save(path: Path, value) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


def write_verify(run: Path, table, passed=True) -> None:
    dataset = {"name": "drawn", "split": "val", "images": 8, "sha256": "cd" * 32}
    gate = {"rule": "AP >= 0.99 x float", "passed": passed}
    save(run / "verify.json", {"dataset": dataset, "gate": gate, "rows": table})


@pytest.fixture
def dataset(tmp_path):
    return make_dataset(tmp_path / "data" / "images")


@pytest.fixture
def run(tmp_path, dataset):
    """A complete run folder; the float model misses nothing, int8 loses the last object of each image."""
    folder = tmp_path / "run"
    truth = coco(dataset)
    exact = as_results(truth)
    last = {item["image_id"]: index for index, item in enumerate(exact)}
    write_verify(folder, rows())
    save(folder / "verify/ground_truth.json", truth)
    save(folder / "verify/keras.json", exact)
    save(folder / "verify/x_int8.json", [item for index, item in enumerate(exact) if index not in last.values()])
    save(folder / "metrics.json", {"split": "val", "AP": 60.0, "AP50": 80.0, "per_class": {CLASSES[0]: 60.0}})
    expected = {"ap": {"int8": 58.0, "float16": 1.0}, "tolerance_ap": 0.5, "machine": "a laptop", "date": "2025-01-31"}
    save(folder / "recipe.yaml", yaml.safe_dump({"name": "small-run", "seed": 5, "expected": expected}))
    save(folder / "export/x_int8.json", {"file": "x_int8.tflite", "note": EVIL, "anchors": {"size": 3}})
    lines = ["epoch,loss,classes_loss,boxes_loss,learning_rate,seconds,AP,AP50"]
    lines += [f"{e},{2 / e},{1 / e},{1 / e},0.001,30,{10 * e if e % 2 == 0 else ''},{''}" for e in range(1, 7)]
    save(folder / "train/history.csv", "\n".join(lines) + "\n")
    save(folder / "train/class_balance.json", asdict(BALANCE))
    return folder


def page(run, *arguments, **options) -> Page:
    path = write_report(run, *arguments, **options)
    assert path == run / "report.html"
    assert sorted(p.name for p in run.iterdir() if "report" in p.name) == ["report.html"]
    return Page(path.read_text(encoding="utf-8"))


def test_the_page_is_self_contained_and_runs_nothing(run, dataset):
    shown = page(run, dataset)
    assert not {"script", "iframe", "object", "embed", "form", "base"} & set(shown.tags)
    loading = ("src", "href", "srcset", "xlink:href", "action", "poster", "data")
    links = [value for _, name, value in shown.attributes if name in loading]
    assert len(links) == 19 and all(value.startswith("data:") for value in links)  # icon, 6 images x 3
    assert not [name for _, name, _ in shown.attributes if name.startswith("on")]
    text = (run / "report.html").read_text(encoding="utf-8")
    assert "url(" not in text and "@import" not in text and "default-src 'none'" in text
    assert len(text) < 1_000_000


def test_hostile_names_are_shown_as_text(run, dataset):
    shown = page(run, dataset, command=f"keras-retina run {EVIL}")
    assert "script" not in shown.tags and shown.text.count(EVIL) >= 5
    assert "no device <b>here</b>" in shown.text
    assert any(EVIL in value for value in shown.values("img", "alt"))


def test_a_complete_run_has_no_gap(run, dataset):
    shown = page(run, dataset, command="keras-retina run small.yaml")
    assert "missing" not in [value for _, name, value in shown.attributes if name == "class"]
    for text in (
        "small-run",
        "4 of 5 files passed, 1 not run",
        "98.5 %",  # 59.1 / 60
        "4.0 × smaller than float32",
        "drawn · val",
        "test machine",
        "keras-retina run small.yaml",
        "best validation AP 60.0 after epoch 6",
        "AP50 Keras 100.0, int8 ",
        "most objects",
        "Keras and int8 differ most",
        "x_int8.json",
    ):
        assert text in shown.text, text
    titles = {"AP over file size", "AP over latency", "Loss", "Validation AP", "Learning rate", *CLASSES}
    titles |= {"Objects", "Background"}
    assert shown.tags.count("svg") == len(titles) and all(title in shown.text for title in titles)


def test_pictures_say_what_was_found(run, dataset):
    alts = page(run, dataset).values("img", "alt")
    assert len(alts) == 18 and alts[0] == f"Ground truth: 3 disc, 4 {EVIL}. 7 labelled objects."
    assert alts[1].endswith("7 of 7 found, 0 false.") and alts[2].endswith("6 of 7 found, 0 false; 6 of 7 as Keras.")


def test_a_promise_of_the_recipe_is_compared_with_the_measurement(run):
    shown = page(run)
    assert "What the recipe promises" in shown.text and "+1.1" in shown.text and "not measured" in shown.text


def test_promises_name_raw_files_and_smaller_models_as_print_expected_does(tmp_path):
    table = [
        row("model.keras", "keras", 60.0),
        row("x_int8.tflite", "int8", 59.0),
        row("x_int8_raw.tflite", "int8", 58.0),
        row("compress/half/model.keras", "keras", 57.0, model="half"),
        row("x_int8_half.tflite", "int8", 56.0, model="half"),
        row("x_int8_half_raw.tflite", "int8", 55.0, model="half"),
        row("x_int8_qat_raw.tflite", "int8_qat", 54.0, model="qat"),
    ]
    write_verify(tmp_path, table)
    result = read_result(tmp_path / "verify.json")
    block = yaml.safe_load(expected_block([MeasuredRun(result, 0, "AVX2", "a laptop", 1.0)], "keras-retina run"))
    names = ["keras", "int8", "int8_raw", "half_keras", "half_int8", "half_int8_raw", "qat_int8_qat_raw"]
    assert list(block["expected"]["ap"]) == names
    block["expected"]["ap"] = {name: value + 0.5 for name, value in block["expected"]["ap"].items()}
    save(tmp_path / "recipe.yaml", yaml.safe_dump(block, sort_keys=False))
    section = expected_section(read_run(RunPaths(tmp_path)))
    assert [(line["name"], line["measured"], line["inside"]) for line in section["lines"]] == [
        (name, 60.0 - number, True) for number, name in enumerate(names)
    ]
    assert "not measured" not in page(tmp_path).text.partition("What the recipe promises")[2]


def test_the_same_folder_gives_the_same_pictures_and_charts(run, dataset):
    first, second = (page(run, dataset) for _ in range(2))
    assert first.values("img", "src") == second.values("img", "src")
    assert first.values("polyline", "points") == second.values("polyline", "points")


@pytest.mark.parametrize(
    ("changes", "passed", "title"),
    [
        ({}, True, "Gate passed: all 2 files"),
        ({}, False, "Gate failed"),
        ({}, None, "Gate failed"),
        ({}, "yes", "Gate failed"),
        ({"status": "failed", "reason": "AP fell"}, True, "Gate failed: 1 of 2 files"),
        ({"status": "not run", "reason": "no disk"}, True, "1 of 2 files passed, 1 not run"),
    ],
)
def test_only_a_gate_that_says_so_without_failed_rows_has_passed(tmp_path, changes, passed, title):
    write_verify(tmp_path, [row("model.keras", "keras", 60.0), row("a.tflite", "int8", 60.0, **changes)], passed)
    assert title in page(tmp_path).text


def test_rows_that_were_all_not_run_are_not_a_pass(tmp_path):
    write_verify(tmp_path, [row("a.tflite", "int8", None, status="not run", reason="no interpreter")], passed=True)
    shown = page(tmp_path)
    assert "Nothing was measured" in shown.text and "Gate passed" not in shown.text and "no interpreter" in shown.text


def test_the_page_names_the_file_to_ship_beside_a_failed_gate(tmp_path):
    table = [row("model.keras", "keras", 60.0), row("a.tflite", "int8", 60.0), row("b.tflite", "float16", 1.0)]
    table[2] |= {"status": "failed", "reason": "AP fell"}
    write_verify(tmp_path, table, passed=False)
    assert "Ship: export/a.tflite: AP 60.00" in page(tmp_path).text
    write_verify(tmp_path, table[1:], passed=False)
    assert "Ship:" not in page(tmp_path).text


def test_a_drop_of_a_class_beyond_the_limit_is_marked(tmp_path):
    table = [row("model.keras", "keras", 60.0), row("a.tflite", "int8", 60.0, per_class={"disc": 57.9, "new": 1.0})]
    write_verify(tmp_path, table)
    shown = page(tmp_path)
    assert shown.values("span", "class").count("diff drop") == 2 and "−2.1" in shown.text  # one is the legend's
    save(tmp_path / "recipe.yaml", "verification: {maximum_class_drop: 3}")
    assert page(tmp_path).values("span", "class").count("diff drop") == 1


@pytest.mark.parametrize(
    ("absent", "sentence"),
    [
        ("verify.json", "There is no verify.json: no file was measured."),
        ("train/history.csv", "train/history.csv is missing or empty"),
        ("train/class_balance.json", "train/class_balance.json is missing"),
        ("verify/ground_truth.json", "There is no verify/ground_truth.json, so no images can be shown."),
        ("verify/ground_truth.json", "There is no verify/ground_truth.json, so there are no curves."),
        ("verify/x_int8.json", "No detections of int8 are saved in verify/."),
        ("verify/keras.json", "Only one of float and int8 has saved detections"),
        ("recipe.yaml", "There is no recipe.yaml in the run folder"),
        ("export/x_int8.json", "There are no .json files in export/"),
        ("metrics.json", "small-run"),
    ],
)
def test_a_part_that_does_not_exist_leaves_a_sentence(run, dataset, absent, sentence):
    (run / absent).unlink()
    assert sentence in page(run, dataset).text


def test_a_run_that_only_trained_shows_its_validation_metrics(tmp_path):
    metrics = {"split": "val", "AP": 41.26, "AP50": 70.0, "AP_small": None, "per_class": {"a": 41.26}}
    save(tmp_path / "metrics.json", metrics)
    shown = page(tmp_path)
    assert "Not verified yet" in shown.text and "41.3" in shown.text and "Keras model, val split" in shown.text


def test_without_the_data_the_page_says_how_to_get_pictures(run, tmp_path):
    assert "Run keras-retina report with --data." in page(run).text
    other = Dataset("other", "val", ("a",), (1,), ())
    assert "has none of the images that were verified" in page(run, other).text


def test_an_image_that_cannot_be_read_leaves_its_reason(run, dataset):
    dataset.records[7].path.write_bytes(b"")
    shown = page(run, dataset)
    assert "the file has zero bytes" in shown.text and shown.tags.count("img") == 15


def test_a_diverged_training_is_called_so(tmp_path):
    save(tmp_path / "train/history.csv", "epoch,loss,learning_rate,AP\n1,2.0,0.1,\n2,nan,0.1,\n3,inf,0.1,\n")
    text = page(tmp_path).text
    assert "not a finite number in epoch 2" in text and "No epoch was evaluated" in text


def test_detections_of_a_broken_model_do_not_break_the_page(run, dataset):
    broken = '{"image_id": 8, "category_id": %d, "bbox": [NaN, -Infinity, 1e308, -5], "score": NaN}'
    save(run / "verify/x_int8.json", "[" + ",".join(broken % category for category in (1, 2, 77)) + "]")
    assert page(run, dataset).tags.count("img") == 18
    save(run / "verify/x_int8.json", [])
    assert "AP50 Keras 100.0, int8 0.0" in page(run, dataset).text


def test_many_classes_fold_their_curves_and_name_boxes(tmp_path, dataset):
    truth = coco(dataset)
    truth["categories"] = [{"id": index, "name": f"class {index}"} for index in range(1, 31)]
    for index, item in enumerate(truth["annotations"]):
        item["category_id"] = 1 + index % 30
    write_verify(tmp_path, [row("model.keras", "keras", 60.0)])
    save(tmp_path / "verify/ground_truth.json", truth)
    save(tmp_path / "verify/keras.json", as_results(truth))
    shown = page(tmp_path, dataset)
    assert "16 more classes" in shown.text  # 28 objects, 12 charts in view


def test_a_lone_surrogate_in_a_name_is_written(run):
    write_verify(run, [row("a\ud800.tflite", "int8", 60.0, per_class={"b\udfff": 60.0})])
    assert "a&#55296;<wbr>.tflite" in write_report(run).read_text(encoding="utf-8")


def test_marks_that_turn_the_direction_of_writing_are_shown(run):
    write_verify(run, [row("a.tflite", "int8", 60.0, per_class={"\u202egnp.exe\x1b": 60.0})])
    text = write_report(run).read_text(encoding="utf-8")
    assert "\\u202egnp.exe\\x1b" in text.replace("<wbr>", "")
    assert not {"\u202e", "\x1b"} & set(text)


def test_an_endless_yaml_alias_is_refused(tmp_path):
    lines = ["a0: &a0 [lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    lines += ["name: *a11", "seed: *a11", "expected: {ap: {x: 1}, machine: *a11}"]
    save(tmp_path / "recipe.yaml", "\n".join(lines))
    with pytest.raises(InputError, match=r"recipe\.yaml: expected plain YAML .* aliases that stand for \d+ values"):
        page(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("verify.json", '{"rows": [', "verify.json: expected complete JSON"),
        ("verify.json", "[]", "verify.json: expected a JSON object"),
        ("verify.json", '{"rows": {}}', "field `rows`"),
        ("verify.json", {"rows": [row("a", "int8", EVIL)]}, r"rows\[0\].AP: expected a number"),
        ("verify.json", {"rows": [row("a", "int8", 101)]}, "at most 100"),
        ("verify.json", {"rows": [row("a", "int8", 1.0, status="passed")]}, "one of verified, failed, not run"),
        ("verify.json", {"rows": [row("a" * 300, "int8", 1.0)]}, "at most 200 bytes"),
        ("verify.json", {"rows": [row("a", "int8", 1.0, size_bytes=10**400)]}, "size_bytes: expected a number"),
        ("verify.json", "[" * 100_000, "expected complete JSON"),
        ("verify/ground_truth.json", {"images": []}, "ground_truth.json annotations"),
        ("verify/ground_truth.json", {"images": [{"id": []}]}, "ground_truth.json images"),
        ("verify/x_int8.json", [{"image_id": 1}], "a list of detections"),
        ("verify/x_int8.json", {"a": 1}, "a list of detections"),
        ("metrics.json", "AP: 5", "metrics.json: expected complete JSON"),
        ("train/history.csv", "epoch,loss\n1,much\n", "history.csv line 2"),
        ("train/history.csv", "step,loss\n1,2\n", "column `epoch`"),
        ("train/history.csv", "epoch,loss\n1,2,3,4\n", "history.csv line 2"),
        ("train/history.csv", "epoch,loss\n1,2\n ,3\n", "history.csv line 3: .*`epoch` is blank"),
        ("train/class_balance.json", {"split": "val"}, "class_balance.json: expected the counts"),
        ("recipe.yaml", "name: !!python/object/apply:os.system [ls]", "recipe.yaml: expected plain YAML"),
        ("recipe.yaml", "a: 2001-99-99", "recipe.yaml: expected plain YAML"),
        ("export/x_int8.json", "[1]", "expected a JSON object"),
    ],
)
def test_a_damaged_file_is_named_in_one_line_and_the_old_report_stays(run, dataset, name, content, message):
    before = write_report(run).read_bytes()
    save(run / name, content)
    with pytest.raises(InputError, match=message) as caught:
        write_report(run, dataset)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 800
    assert (run / "report.html").read_bytes() == before


def test_a_folder_that_is_no_run_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected a run folder"):
        write_report(tmp_path)


def test_a_full_disk_keeps_the_old_report_and_leaves_no_half_page(run, monkeypatch):
    before = write_report(run).read_bytes()
    write = Path.write_bytes

    def write_half(path, data):
        write(path, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_half)
    files = sorted(run.iterdir())
    with pytest.raises(InputError, match="No space left"):
        write_report(run)
    assert (run / "report.html").read_bytes() == before and sorted(run.iterdir()) == files
