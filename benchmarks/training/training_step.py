"""Images a second of the training step, of the input pipeline and of both together, interleaved in one run.

    python benchmarks/training/training_step.py recipes/bccd.yaml --data DIR [--rounds 7]

The bar: the pipeline alone delivers at least five times what the step consumes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from keras_retina.data.pipeline import training_batches
from keras_retina.data.reading.folder import load_dataset
from keras_retina.foundation.legacy_keras import tf
from keras_retina.foundation.machine import keep_freed_memory
from keras_retina.losses import detector_losses, network_for_losses
from keras_retina.model.retinanet import detector_network
from keras_retina.model.spec import detector_spec
from keras_retina.recipe.recipe import load_recipe
from keras_retina.train.batch_norm import fold_frozen_batch_norm
from keras_retina.train.optimizer import build_optimizer

WARM_UP, BATCHES = 4, 10  # of each timing; an iterator takes a while to start, and in a training it starts once


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--data", required=True)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--default-allocator", action="store_true", help="leave glibc's memory settings as they are")
    arguments = parser.parse_args()
    if not arguments.default_allocator:
        keep_freed_memory()
    recipe = load_recipe(arguments.recipe)
    size = recipe.training.batch_size
    data = recipe.data
    dataset = load_dataset(Path(arguments.data), data.train, format=data.format, classes=data.classes)
    spec = detector_spec(recipe.model, dataset.class_names)
    batches = training_batches(
        dataset,
        spec,
        augmentation=recipe.augmentation,
        matching=recipe.training.matching,
        batch_size=size,
        seed=recipe.seed,
    )
    model = fold_frozen_batch_norm(detector_network(recipe.model, len(dataset.class_names)))
    model = network_for_losses(model, recipe.training.loss, spec)
    losses = detector_losses(recipe.training.loss, spec)
    model.compile(optimizer=build_optimizer(recipe.training, 100), loss=losses)
    step = model.make_train_function()

    batch = next(iter(batches))
    for _ in batches.take(len(dataset.records) // size + 2):  # every image is decoded once and cached
        pass
    same = tf.data.Dataset.from_tensors(batch).repeat()
    step(iter(same))

    # Each part makes its own iterator and drops it, so that no prefetching goes on while another part is timed.
    parts: dict[str, tuple[tf.data.Dataset, Callable[[Iterator], object]]] = {
        "pipeline": (batches, next),
        "step": (same, step),
        "step fed by the pipeline": (batches, step),
    }
    rates: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(arguments.rounds):
        for name, (source, use) in parts.items():
            rates[name].append(size / _seconds_a_batch(iter(source), use))
    for name, values in rates.items():
        print(f"{name:<26} {statistics.median(values):7.1f} images/s  ({min(values):.1f} .. {max(values):.1f})")
    ratio = statistics.median(rates["pipeline"]) / statistics.median(rates["step"])
    print(f"pipeline / step            {ratio:7.1f}")


def _seconds_a_batch(iterator: Iterator, use: Callable[[Iterator], object]) -> float:
    for _ in range(WARM_UP):
        use(iterator)
    start = time.perf_counter()
    for _ in range(BATCHES):
        use(iterator)
    return (time.perf_counter() - start) / BATCHES


if __name__ == "__main__":
    main()
