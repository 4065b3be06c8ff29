"""What 10, 30 and 100 labelled images give on several sets: losses, starts and freeze schedules, with three seeds.

    python benchmarks/few_shot/run.py --data ../shared/data/bccd ../shared/data/tomato ../shared/data/guns \
        --out runs/few_shot

Every training has as many steps, by benchmarks/sets/compare.py, each a run folder OUT/<set>/<setting>-<seed>. A seed
draws the images too, the same ones for all settings. The same command goes on after an interruption; `--share 1/2` and
`2/2` are two calls with half of the trainings each. AP is of the test split where there is one: nothing is chosen here.
`page.py` makes the table and the plot.

All start from published weights: Keras downloads ImageNet's, `keras-retina weights` says how to get those of Open
Images, and KERAS_RETINA_WEIGHTS names a folder with both.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from keras_retina.recipe.yaml_file import read_yaml

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
STEPS = 600


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("names", nargs="*", help="settings, all by default")
    made.add_argument("--data", type=Path, nargs="+", required=True, help="labelled folders")
    made.add_argument("--out", type=Path, required=True)
    made.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    made.add_argument("--steps", type=int, default=STEPS)
    made.add_argument("--share", default="1/1", help="1/2 and 2/2: two calls, each with half of the trainings")
    arguments = made.parse_args()
    names = arguments.names or [name for name in read_yaml(HERE / "settings.yaml") if name != "recipe"]
    for seed in arguments.seeds:
        for split in ("val", "test"):  # the second call only measures
            command = [sys.executable, ROOT / "benchmarks" / "sets" / "compare.py", *names, "--base", names[0]]
            command += ["--settings", HERE / "settings.yaml", "--recipe", ROOT / "recipes" / "few_shot.yaml"]
            command += ["--data", *arguments.data, "--steps", arguments.steps, "--seeds", seed]
            command += ["--set", f"data.split_seed={seed}", "--split", split]
            command += ["--out", arguments.out, "--share", arguments.share]
            status = subprocess.run([str(word) for word in command], check=False).returncode
            if status:
                raise SystemExit(status)


if __name__ == "__main__":
    main()
