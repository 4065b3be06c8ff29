"""The command line as a person meets it: status codes, one-line errors, and no TensorFlow for help."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from keras_retina.cli.app import file_error, main
from keras_retina.cli.options import find_recipe
from keras_retina.foundation.errors import PortTakenError, WorkerLostError

VERBS = (
    *("demo", "check-data", "run", "plan", "review", "detect"),
    *("train", "launch", "compress", "export", "verify", "report"),
    *("benchmark", "evaluate", "inspect", "edgetpu", "serve-web"),
    *("show-batch", "fit-anchors", "tune", "pack", "weights", "import"),
)


def process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "keras_retina", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **environment},
    )


def test_help_lists_every_verb_and_no_other():
    result = process("--help", COLUMNS="200", TERM="dumb")
    assert result.returncode == 0
    rows = [line.split()[1] for line in result.stdout.splitlines() if line.startswith("│ ")]
    assert tuple(row for row in rows if not row.startswith("-")) == VERBS


def test_neither_help_nor_the_packages_import_tensorflow():
    code = (
        "import sys, keras_retina, edge, keras_retina.cli.app, keras_retina.recipe.recipe, edge.runtime\n"
        "print([name for name in ('tensorflow', 'tf_keras', 'keras') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.fixture
def recipe_file(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("name: r\n")
    return path


def one_line_of(result) -> str:
    assert result.returncode == 2, result.stdout + result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("keras-retina: ")]
    assert len(lines) == 1
    assert "Traceback" not in result.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("check-data", "DIR"), "The data folder comes behind --data. See: keras-retina check-data --help"),
        (("run", "DIR"), "The data folder comes behind --data; the recipe"),
        (("run", "DIR", "--data", "DIR"), "a folder. If it is your data, say --data DIR"),
        (("plan", "DIR", "--data", "DIR"), "expected one data folder"),
        (("plan",), "expected one data folder"),
        (("weights", "--data", "DIR/none"), "DIR/none, nothing there"),
        (("plan", "--data", "DIR", "--out", "mine"), "expected a file that ends in .yaml"),
        (("trian",), "Did you mean 'train'? See:"),
        (("review", "DIR/sub"), "The run folder is DIR."),
        (("detect", "DIR/NAME_int8.tflite", "DIR"), "no such file. In DIR: mine_int8.tflite."),
        (("detect", "DIR", "DIR"), "Received: a folder. In DIR: mine_int8.tflite."),
    ],
)
def test_a_slip_of_a_newcomer_is_answered_with_what_was_meant(keras_retina, arguments, told, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "recipe.yaml").write_text("name: r\n")
    (tmp_path / "mine_int8.tflite").touch()
    typed = [word.replace("DIR", str(tmp_path)) for word in arguments]
    assert told.replace("DIR", str(tmp_path)) in one_line_of(keras_retina(*typed))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("run", "--data", "x"), "keras-retina: interrupted. The same command goes on where it stopped.\n"),
        (("run", "--data", "x", "--overwrite"), "keras-retina: interrupted. The same command without --overwrite goes"),
        (("pack", "x"), "keras-retina: interrupted. The same command goes on where it stopped.\n"),
        (("inspect", "x"), ""),
    ],
)
def test_a_run_that_is_interrupted_says_how_it_goes_on(arguments, told, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["keras-retina", *arguments])
    monkeypatch.setattr("keras_retina.cli.app.app", lambda **_: 130)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 130
    error = capsys.readouterr().err
    assert error.startswith(told) and bool(error) == bool(told)


def test_a_run_that_is_ended_by_sigterm_says_how_it_goes_on_and_has_a_status_of_its_own(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["keras-retina", "run", "--data", "x"])
    before = signal.getsignal(signal.SIGTERM)

    def terminated(**_):
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("it went on")

    monkeypatch.setattr("keras_retina.cli.app.app", terminated)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 75
    assert capsys.readouterr().err == "keras-retina: ended by SIGTERM. The same command goes on where it stopped.\n"
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_packed_data_set_is_checked_like_its_folder(keras_retina, tiny_coco, recipe_file, tmp_path):
    packed = keras_retina("pack", str(recipe_file), "--data", str(tiny_coco), "--out", str(tmp_path / "pack"))
    assert packed.returncode == 0, packed.stderr
    assert packed.stdout.splitlines()[-1].endswith(f"--data {tmp_path / 'pack'}")
    reports = []
    for data in (tiny_coco, tmp_path / "pack"):
        result = keras_retina("check-data", "--data", str(data), "--json", str(tmp_path / "check.json"))
        reports.append((result.returncode, json.loads((tmp_path / "check.json").read_text())["splits"]))
    assert reports[0] == reports[1]
    again = keras_retina("pack", str(recipe_file), "--data", str(tiny_coco), "--out", str(tmp_path / "pack"))
    assert "--out: a new or empty folder was expected" in one_line_of(again)


def test_a_misspelt_recipe_key_names_the_closest(keras_retina, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("name: bad\ntrainig: {epochs: 3}\n")
    line = one_line_of(keras_retina("train", str(path), "--data", str(tmp_path)))
    assert "bad.yaml" in line
    assert "trainig" in line
    assert "training" in line


def test_bad_input_of_a_process_of_its_own_is_one_line_and_status_2(tmp_path):
    assert "no such file" in one_line_of(process("train", str(tmp_path / "x.yaml"), "--data", str(tmp_path)))


def test_an_unknown_installed_recipe_names_the_closest(keras_retina, tmp_path):
    assert "'bccd'" in one_line_of(keras_retina("train", "bcd", "--data", str(tmp_path)))


def test_an_input_size_between_strides_names_the_nearest(keras_retina, recipe_file, tmp_path):
    line = one_line_of(
        keras_retina("train", str(recipe_file), "--data", str(tmp_path), "--set", "model.input.height=300")
    )
    assert "height=300" in line
    assert "Closest: 288" in line


def test_a_data_folder_that_does_not_exist_is_one_line(keras_retina, recipe_file, tmp_path):
    data, out = str(tmp_path / "nowhere"), str(tmp_path / "out")
    assert "nowhere" in one_line_of(keras_retina("train", str(recipe_file), "--data", data, "--out", out))


def test_a_split_that_does_not_exist_names_the_valid_ones(keras_retina, recipe_file, tiny_coco, tmp_path):
    arguments = ("--data", str(tiny_coco), "--out", str(tmp_path / "out"), "--set", "data.train=trian")
    assert "'train'" in one_line_of(keras_retina("train", str(recipe_file), *arguments))


def test_a_folder_with_other_files_is_never_used_for_a_run(keras_retina, recipe_file, tiny_coco, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("precious")
    line = one_line_of(keras_retina("train", str(recipe_file), "--data", str(tiny_coco), "--out", str(out)))
    assert "other files" in line
    assert (out / "thesis.txt").read_text() == "precious"


def test_a_folder_that_is_no_run_cannot_be_exported(keras_retina, tmp_path):
    assert "recipe.yaml" in one_line_of(keras_retina("export", str(tmp_path)))


def test_a_text_file_is_not_a_tflite(keras_retina, tmp_path, tiny_coco):
    path = tmp_path / "fake.tflite"
    path.write_text("not a model")
    assert "fake.tflite" in one_line_of(keras_retina("evaluate", str(path), "--data", str(tiny_coco)))
    assert "fake.tflite" in one_line_of(keras_retina("detect", str(path), str(tiny_coco), "--out", str(tmp_path / "o")))


@pytest.fixture
def refusal(tmp_path, monkeypatch, capsys):
    """A function that runs a command in a folder of odd files and returns its only line of error."""
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    (tmp_path / "nan.yaml").write_text("name: n\ntraining: {learning_rate: .nan}\n")
    (tmp_path / "r.yaml").write_text("name: r\n")
    (tmp_path / "zero.tflite").write_bytes(b"")
    monkeypatch.chdir(tmp_path)

    def refused(command: str) -> str:
        monkeypatch.setattr(sys, "argv", ["keras-retina", *command.split()])
        with pytest.raises(SystemExit) as caught:
            main()
        lines = capsys.readouterr().err.splitlines()
        assert (caught.value.code, len(lines)) == (2, 1), lines
        return lines[0]

    return refused


def test_help_and_no_arguments_are_no_errors(monkeypatch, capsys):
    for arguments, status in ((["edgetpu", "--help"], 0), ([], 2)):
        monkeypatch.setattr(sys, "argv", ["keras-retina", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        output = capsys.readouterr()
        assert caught.value.code == status
        assert "Usage:" in output.out + output.err and "Traceback" not in output.err


@pytest.mark.parametrize(("error", "status"), [(WorkerLostError("gone"), 75), (PortTakenError("gone"), 69)])
def test_what_another_try_may_mend_is_one_line_and_has_its_own_status(monkeypatch, capsys, error, status: int):
    def end(**_):
        raise error

    monkeypatch.setattr("keras_retina.cli.app.app", end)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == status
    assert capsys.readouterr().err == "keras-retina: gone\n"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("train folder.yaml --data .", "folder.yaml: expected a recipe file. Received: a folder."),
        ("train latin.yaml --data .", "latin.yaml: expected text in UTF-8. Received: 'utf-8' codec can't decode"),
        ("train nan.yaml --data .", "nan.yaml: training.learning_rate: Input should be a finite number."),
        ("train r.yaml --data . --set training.epochs=abc", "training.epochs: Input should be a valid integer"),
        ("train r.yaml --data . --out latin.yaml", "--out: expected a folder. Received: latin.yaml, a file."),
        ("edgetpu zero.tflite", "zero.tflite: expected a whole .tflite file. Received: 0 bytes"),
        ("edgetpu zero.tflite --json r.yaml/x.json", "r.yaml: expected a folder, or a place for a new one. Received: "),
        ("edgetpu zero.tflite --json gs://no/x.json", "--json: expected a file to write. Received: gs://no/x.json"),
        ("inspect zero.tflite --json .", "--json: expected a file to write. Received: ., a folder."),
        ("check-data --data . --picture .", "--picture: expected a file to write."),
        ("benchmark zero.tflite --chart .", "--chart: expected a file to write."),
        ("benchmark zero.tflite --threads 1,x", "--threads: expected whole numbers with commas"),
        ("benchmark zero.tflite --rounds -1", "Invalid value for '--rounds': "),
        ("detect zero.tflite zero.tflite --score nan", "Invalid value for '--score': "),
        ("detect zero.tflite zero.tflite --threads 0", ". See: keras-retina detect --help"),
        ("train r.yaml", "Missing option '--data'"),
        ("train r.yaml --dta .", "No such option: --dta"),
        ("trian r.yaml", "No such command 'trian'"),
        ("report .", "expected a run folder, with recipe.yaml inside. Received: a folder without it"),
    ],
)
def test_a_wrong_command_is_one_line_that_names_what_was_received(refusal, command, said):
    assert said in refusal(command)


def test_an_error_of_the_system_says_which_file_and_what_was_expected():
    error = PermissionError(13, "Permission denied", "/closed/a.json")
    assert file_error(error) == (
        "/closed/a.json: expected a place that can be read or written. Received: Permission denied. Correct it."
    )
    assert file_error(OSError("no number")) == "no number"


def test_check_data_reports_passes_and_writes_json(keras_retina, tiny_coco, tmp_path):
    report, picture = tmp_path / "new" / "report.json", tmp_path / "other" / "new" / "worst.png"
    result = keras_retina("check-data", "--data", str(tiny_coco), "--json", str(report), "--picture", str(picture))
    assert result.returncode == 0, result.stderr
    assert json.loads(report.read_text())["passed"] is True
    assert picture.stat().st_size > 0
    assert result.stdout.splitlines()[-1] == f"next: keras-retina plan {tiny_coco}"


def test_check_data_advises_other_anchors_where_many_boxes_have_none(keras_retina, tiny_coco, recipe_file):
    anchors = ("--set", "model.anchors.scales=[0.1]")
    result = keras_retina("check-data", "--data", str(tiny_coco), "--recipe", str(recipe_file), *anchors)
    assert result.stdout.splitlines()[-1] == f"next: keras-retina fit-anchors {recipe_file} --data {tiny_coco}"


def test_check_data_applies_set_without_a_recipe(keras_retina, tiny_coco):
    anchors = ("--set", "model.anchors.scales=[0.1]")
    result = keras_retina("check-data", "--data", str(tiny_coco), *anchors)
    assert result.stdout.splitlines()[-1] == f"next: keras-retina plan {tiny_coco}"
    line = one_line_of(keras_retina("check-data", "--data", str(tiny_coco), "--set", "data.nonsense=1"))
    assert line.startswith("keras-retina: --set data.nonsense=1: data.nonsense: ")
    assert "nonsense" in line


def test_check_data_looks_at_the_splits_that_set_names(keras_retina, tiny_coco, tmp_path):
    import shutil

    renamed, report = tmp_path / "renamed", tmp_path / "report.json"
    shutil.copytree(tiny_coco, renamed)
    (renamed / "annotations/val.json").rename(renamed / "annotations/holdout.json")
    plain = keras_retina("check-data", "--data", str(renamed), "--json", str(report))
    assert plain.returncode == 0 and "also there, not looked at: the splits holdout" in plain.stdout
    assert list(json.loads(report.read_text())["splits"]) == ["train"]
    named = ("--set", "data.validation=holdout")
    assert keras_retina("check-data", "--data", str(renamed), "--json", str(report), *named).returncode == 0
    assert list(json.loads(report.read_text())["splits"]) == ["train", "holdout"]
    missing = keras_retina("check-data", "--data", str(renamed), "--set", "data.validation=hodlout")
    assert missing.returncode == 1 and "Did you mean 'holdout'?" in missing.stdout


def test_the_way_to_read_a_folder_is_chosen_with_format_and_kept_in_the_next_command(keras_retina, tiny_coco, tmp_path):
    import shutil

    both, recipe = tmp_path / "both", tmp_path / "recipe.yaml"
    shutil.copytree(tiny_coco, both)
    (both / "test.csv").write_text("filename,class,xmin,ymin,xmax,ymax\n")
    line = one_line_of(keras_retina("check-data", "--data", str(both)))
    assert "COCO and CSV" in line and "--set data.format='coco', or 'csv'" in line and "--format" in line
    chosen = keras_retina("check-data", "--data", str(both), "--format", "coco")
    assert chosen.returncode == 0
    next_command = f"keras-retina plan {both} --set data.format=coco"
    assert chosen.stdout.splitlines()[-1] == f"next: {next_command}"
    planned = keras_retina(*next_command.split()[1:], "--out", str(recipe))
    assert planned.returncode == 0 and "format: coco" in recipe.read_text()
    assert keras_retina("plan", str(both), "--format", "coco", "--out", str(tmp_path / "other.yaml")).returncode == 0
    texts = [file.read_text().partition("# Wishes")[2] for file in (recipe, tmp_path / "other.yaml")]
    assert texts[0] == texts[1] and "format: coco" in texts[0]


def test_check_data_refuses_a_split_without_a_box_after_the_report(keras_retina, tiny_coco, tmp_path):
    import shutil

    empty, report = tmp_path / "empty", tmp_path / "report.json"
    shutil.copytree(tiny_coco, empty)
    labels = json.loads((empty / "annotations/val.json").read_text())
    (empty / "annotations/val.json").write_text(json.dumps({**labels, "annotations": []}))
    result = keras_retina("check-data", "--data", str(empty), "--json", str(report))
    assert "boxes in the split 'val' were expected. Received: 4 images without any." in one_line_of(result)
    assert "train: 10 images" in result.stdout and "failed" in result.stdout
    assert json.loads(report.read_text())["passed"] is False
    for file in (empty / "annotations").iterdir():
        file.unlink()
    assert "Received: " in one_line_of(keras_retina("check-data", "--data", str(empty)))


def test_check_data_fails_on_a_leak_between_splits(keras_retina, tiny_coco, tmp_path):
    import shutil

    leaking = tmp_path / "leaking"
    shutil.copytree(tiny_coco, leaking)
    train, val = (json.loads((leaking / f"annotations/{split}.json").read_text()) for split in ("train", "val"))
    names = (train["images"][0]["file_name"], val["images"][0]["file_name"])
    shutil.copy(leaking / "images" / names[0], leaking / "images" / names[1])
    result = keras_retina("check-data", "--data", str(leaking))
    assert result.returncode == 1, result.stdout + result.stderr
    assert "the same image in two splits" in result.stdout


def test_a_name_means_the_recipe_of_the_folder_itself_before_one_in_a_folder_below():
    recipes = Path(__file__).parents[3] / "recipes"
    assert (recipes / "ablation" / "bccd.yaml").is_file()
    assert find_recipe("bccd") == recipes / "bccd.yaml"
    assert find_recipe("medical_wbc") == recipes / "domains" / "medical_wbc.yaml"
