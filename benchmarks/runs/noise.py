"""Where two equal trainings begin to differ, from what, and how fast a tiny difference grows.

    python benchmarks/runs/noise.py recipes/raccoon.yaml --data DIR --out OUT [--steps 100] [--variants as_it_is ...]
        [--set section.key=value ...]
    python benchmarks/runs/noise.py recipes/raccoon.yaml --data DIR --out OUT --steps 300 --perturb 1e-7 [--set ...]

The first form trains each variant twice, each training in a process of its own, on the same batches from the same
weights, and prints the first step after which a weight differs, and the largest difference after some steps.

| variant | what is different |
|---|---|
| as_it_is | nothing: a training as `keras-retina train` makes it |
| onednn_off | TensorFlow's own operations instead of oneDNN's |
| one_intra | each operation on one core; operations still run side by side |
| one_inter | one operation at a time, each on all cores |
| one_thread | one operation at a time on one core |
| no_xla | the losses are not compiled |
| deterministic | `training.deterministic` |

The second form trains once as it is and once with each kernel of the heads changed by a factor of 1 + 1e-7 before the
first step, both with `training.deterministic`, so that nothing else differs, and prints how the difference of weights
and of logits grows. A training that is there is not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

ENVIRONMENT: dict[str, dict[str, str]] = {
    "as_it_is": {},
    "onednn_off": {"TF_ENABLE_ONEDNN_OPTS": "0"},
    "one_intra": {"TF_NUM_INTRAOP_THREADS": "1"},
    "one_inter": {"TF_NUM_INTEROP_THREADS": "1"},
    "one_thread": {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"},
    "no_xla": {"TF_XLA_FLAGS": "--tf_xla_auto_jit=-1 --tf_xla_cpu_global_jit=false"},
    "deterministic": {},
}
MARKS = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300, 500, 1000)  # steps after which weights and logits are kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--variants", nargs="+", choices=ENVIRONMENT, default=list(ENVIRONMENT))
    parser.add_argument("--perturb", type=float, metavar="RELATIVE")
    parser.add_argument("--set", action="append", default=[], help="section.key=value, as in keras-retina")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        record(arguments)
    elif arguments.perturb:
        print_growth(arguments)
    else:
        print_variants(arguments)


def print_variants(arguments: argparse.Namespace) -> None:
    """Prints a row for each variant: the first step that differs, and the largest difference of a weight."""
    shown = [mark for mark in MARKS if mark <= arguments.steps]
    print(f"| variant | first step that differs | largest difference after {', '.join(map(str, shown))} steps |")
    print("|---|---|---|", flush=True)
    for variant in arguments.variants:
        pair = [trained(arguments, variant, name=f"{variant}_{number}") for number in (1, 2)]
        weights = ", ".join(f"{difference:.1e}" if difference else "0" for difference in differences(*pair, "weights"))
        print(f"| {variant} | {first_difference(*pair) or f'none in {arguments.steps}'} | {weights} |", flush=True)


def print_growth(arguments: argparse.Namespace) -> None:
    """Prints how the difference of two trainings grows that begin with nearly equal weights."""
    same = trained(arguments, "deterministic", name=f"same_{arguments.steps}")
    other = trained(arguments, "deterministic", name=f"perturbed_{arguments.steps}", perturb=arguments.perturb)
    print("| step | largest difference of a weight | of all weights, relative | largest of a logit, same images |")
    print("|---|---|---|---|")
    rows = (differences(same, other, "weights"), relative(same, other), differences(same, other, "logits"))
    for mark, *values in zip([mark for mark in MARKS if mark <= arguments.steps], *rows, strict=True):
        print(f"| {mark} | {' | '.join(f'{value:.1e}' for value in values)} |")


def trained(arguments: argparse.Namespace, variant: str, *, name: str, perturb: float = 0.0) -> Path:
    """Returns the folder of a training, which is made in a process of its own where it is not there."""
    folder = arguments.out / name
    if not (folder / "hashes.json").is_file():
        command = [sys.executable, __file__, arguments.recipe, "--data", str(arguments.data), "--out", str(folder)]
        command += ["--steps", str(arguments.steps), "--one", variant, "--perturb", str(perturb)]
        for override in arguments.set:
            command += ["--set", override]
        subprocess.run(command, check=True, env=os.environ | ENVIRONMENT[variant])
    return folder


def first_difference(one: Path, other: Path) -> int | None:
    """Returns the first step after which not all bits of the weights are equal."""
    pair = [json.loads((folder / "hashes.json").read_text(encoding="utf-8")) for folder in (one, other)]
    return next((step for step, (a, b) in enumerate(zip(*pair, strict=True), 1) if a != b), None)


def differences(one: Path, other: Path, what: str) -> list[float]:
    """Returns the largest difference at each mark that both have."""
    return [float(np.abs(a - b).max()) for a, b in kept(one, other, what)]


def relative(one: Path, other: Path) -> list[float]:
    """Returns the length of the difference of all weights over the length of the weights, at each mark."""
    return [float(np.linalg.norm(a - b) / np.linalg.norm(a)) for a, b in kept(one, other, "weights")]


def kept(one: Path, other: Path, what: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns what both trainings kept, in the order of the steps."""
    files = sorted(one.glob(f"{what}_*.npy"), key=lambda path: int(path.stem.rpartition("_")[2]))
    return [(np.load(path), np.load(other / path.name)) for path in files]


def record(arguments: argparse.Namespace) -> None:
    """Trains, and keeps a hash of the weights after each step, and at each mark weights and logits of one batch."""
    from keras_retina.foundation.determinism import enable_determinism
    from keras_retina.foundation.files import sha256_of
    from keras_retina.foundation.legacy_keras import tf

    if arguments.one == "no_xla":
        tf.config.optimizer.set_jit(False)
        without_compiled_losses()
    if arguments.one == "deterministic":
        enable_determinism()
    model, batches = compiled_training(arguments)
    for variable in model.trainable_variables:
        if "head" in variable.name and "kernel" in variable.name:
            variable.assign(variable * np.float32(1 + arguments.perturb))
    arguments.out.mkdir(parents=True, exist_ok=True)
    step, source = model.make_train_function(), iter(batches)
    images = next(iter(batches))[0]
    logits = tf.function(lambda: model(images, training=False)["classes"])
    hashes = []
    for number in range(1, arguments.steps + 1):
        step(source)
        weights = np.concatenate([variable.numpy().ravel() for variable in model.trainable_variables])
        hashes.append(sha256_of(weights.tobytes()))
        if number in MARKS:
            np.save(arguments.out / f"weights_{number}.npy", weights)
            np.save(arguments.out / f"logits_{number}.npy", logits().numpy())
    (arguments.out / "hashes.json").write_text(json.dumps(hashes), encoding="utf-8")


def without_compiled_losses() -> None:
    """Makes every `tf.function` that asks for XLA an ordinary one; before the losses are imported."""
    from keras_retina.foundation.legacy_keras import tf

    ordinary = tf.function
    tf.function = lambda *positional, **named: ordinary(*positional, **{**named, "jit_compile": None})


def compiled_training(arguments: argparse.Namespace):  # noqa: ANN201 - a Keras model and a tf.data.Dataset
    """Returns the network as `train` compiles it, and its batches."""
    from keras_retina.data.pipeline import training_batches
    from keras_retina.data.reading.folder import load_dataset
    from keras_retina.foundation.legacy_keras import keras
    from keras_retina.foundation.machine import keep_freed_memory
    from keras_retina.losses import network_for_losses
    from keras_retina.model.batch_norm import set_batch_norm_momentum
    from keras_retina.model.retinanet import detector_network
    from keras_retina.model.spec import detector_spec
    from keras_retina.model.weights.pretrained import find_weights, load_pretrained
    from keras_retina.recipe.recipe import load_recipe
    from keras_retina.train.batch_norm import fold_frozen_batch_norm
    from keras_retina.train.fit import compile_detector

    recipe = load_recipe(arguments.recipe, arguments.set)
    settings = recipe.training
    dataset = load_dataset(arguments.data, recipe.data.train, format=recipe.data.format, classes=recipe.data.classes)
    keep_freed_memory()
    keras.utils.set_random_seed(recipe.seed)
    spec = detector_spec(recipe.model, dataset.class_names)
    detector = detector_network(recipe.model, len(dataset.class_names))
    source = find_weights(recipe.model.backbone, arguments.data)
    load_pretrained(detector, recipe.model.backbone, source=source, class_names=spec.class_names)
    set_batch_norm_momentum(detector)
    network = network_for_losses(fold_frozen_batch_norm(detector), settings.loss, spec)
    steps = max(1, len(dataset.records) // settings.batch_size)
    compile_detector(network, spec, settings=settings, steps_per_epoch=steps, precision="float32")
    batches = training_batches(
        dataset,
        spec,
        augmentation=recipe.augmentation,
        matching=settings.matching,
        batch_size=settings.batch_size,
        seed=recipe.seed,
    )
    return network, batches


if __name__ == "__main__":
    main()
