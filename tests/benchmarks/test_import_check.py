"""Imported detectors are the originals, with the originals' own libraries where they are installed."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "imports"


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_torchvision_finds_the_same(version, tmp_path, monkeypatch):
    pytest.importorskip("torchvision", reason="torchvision, the original, is not installed")
    monkeypatch.syspath_prepend(str(FOLDER))
    check = importlib.import_module("check")
    importlib.import_module("torchvision_original").write_original(version, tmp_path)
    compared = check.compare(tmp_path / "checkpoint.pth", tmp_path / "expected.npz", run=tmp_path / "run")
    assert compared.passed, compared
    sys.modules.pop("check")
