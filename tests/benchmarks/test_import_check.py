"""Imported detectors are the originals, with the originals' own libraries where they are installed."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "imports"


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "resnet50"])
def test_model_garden_finds_the_same(backbone, tmp_path, monkeypatch):
    if importlib.util.find_spec("official") is None:
        pytest.skip("tf-models-official, the original, is not installed")
    command = [sys.executable, str(FOLDER / "model_garden_original.py"), backbone, str(tmp_path)]
    subprocess.run(command, check=True)
    monkeypatch.syspath_prepend(str(FOLDER))
    check = importlib.import_module("check")
    compared = check.compare(tmp_path / "checkpoint.index", tmp_path / "expected.npz", run=tmp_path / "run")
    assert compared.passed, compared


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_torchvision_finds_the_same(version, tmp_path, monkeypatch):
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision, the original, is not installed")
    # In a process of its own: imported behind TensorFlow, torchvision 0.29.1 ends the process.
    command = [sys.executable, str(FOLDER / "torchvision_original.py"), version, str(tmp_path)]
    subprocess.run(command, check=True)
    monkeypatch.syspath_prepend(str(FOLDER))
    check = importlib.import_module("check")
    compared = check.compare(tmp_path / "checkpoint.pth", tmp_path / "expected.npz", run=tmp_path / "run")
    assert compared.passed, compared
