"""The rows of the paper's table 1 at small scale: on the drawn data set and on BCCD, with three seeds.

    python benchmarks/ablation/run.py --bccd ../shared/data/bccd --out runs/ablation
    python benchmarks/ablation/run.py --bccd ../shared/data/bccd --out runs/ablation --tables a b

The base is recipes/ablation/<set>.yaml; settings.yaml has the changes of every row. All are trained for as many steps
by benchmarks/sets/compare.py, each a run folder OUT/<set>/<row>-<seed>. The same command goes on after an interruption.
On two cores two calls with a core each, `--share 1/2` and `--share 2/2`, need less than four hours.
`page.py` makes the tables and the plots.

BCCD and table e start from ImageNet weights: Keras downloads them, or KERAS_RETINA_WEIGHTS names their folder.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from keras_retina.data.builtin.builtin import write_builtin_set
from keras_retina.recipe.yaml_file import read_yaml

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
STEPS = 800
HEIGHT, WIDTH = 192, 256
TABLES = ("a", "b", "c", "d", "e")


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--bccd", type=Path, help="the BCCD folder; without it only the drawn set is trained")
    made.add_argument("--out", type=Path, required=True)
    made.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES, help="parts of table 1; all by default")
    made.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    made.add_argument("--steps", type=int, default=STEPS)
    made.add_argument("--share", default="1/1", help="1/2 and 2/2: two calls, each with half of the trainings")
    arguments = made.parse_args()
    drawn = arguments.out / "data" / "builtin"
    write_builtin_set(drawn, height=HEIGHT, width=WIDTH)
    names = [name for name in read_yaml(HERE / "settings.yaml") if name[:2] in {f"{one}_" for one in arguments.tables}]
    data = [drawn, *([arguments.bccd] if arguments.bccd else [])]
    command = [sys.executable, ROOT / "benchmarks" / "sets" / "compare.py", *names]
    command += ["--settings", HERE / "settings.yaml", "--recipe-of", ROOT / "recipes" / "ablation"]
    command += ["--data", *data, "--steps", arguments.steps, "--seeds", *arguments.seeds]
    command += ["--out", arguments.out, "--share", arguments.share]
    raise SystemExit(subprocess.run([str(word) for word in command], check=False).returncode)


if __name__ == "__main__":
    main()
