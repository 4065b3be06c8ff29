"""The scripts of a folder in benchmarks/ import each other by their file names, as scripts do."""

from __future__ import annotations

import sys
from pathlib import Path

for room in ("sets", "ablation", "training/coco", "runs", "hostile", "repeat", "survival"):
    sys.path.append(str(Path(__file__).parents[2] / "benchmarks" / room))
