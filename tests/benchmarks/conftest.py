"""The scripts of benchmarks/sets import each other by their file names, as scripts do."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "benchmarks" / "sets"))
