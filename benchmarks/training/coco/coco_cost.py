"""What the paper's trainings on COCO cost: parameters, multiply-adds of a step, GPU hours, and the memory of a step.

    python benchmarks/training/coco/coco_cost.py [RECIPE ...]
    python benchmarks/training/coco/coco_cost.py recipes/coco/coco_resnet50_800.yaml --memory 1 2 4

The hours are counted and not measured: the multiply-adds of a training over the rate that others measured on a GPU for
ResNet-50 in TensorFlow, whose layers are the backbone of these detectors. `--memory` runs steps on this
machine for each batch size, in a process of its own, and prints the most memory that the process held.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.graph import calls_of, convolution_work, learning_places
from keras_retina.model.retinanet import detector_network
from keras_retina.recipe.model import Model
from keras_retina.recipe.recipe import load_recipe

CLASSES = 80
RECIPES = Path(__file__).parents[3] / "recipes" / "coco"

RESNET50 = 4.09e9  # multiply-adds of ResNet-50 v1.5 for an image of 224 x 224
RESNET50_STEP = 3 * RESNET50 - 0.118e9  # no gradient with respect to the image


@dataclass(frozen=True)
class Rate:
    """Images a second of ResNet-50 v1.5 on one GPU, and the multiply-adds that each of them took."""

    gpu: str
    precision: str
    images: float
    multiply_adds: float

    @property
    def per_second(self) -> float:
        return self.images * self.multiply_adds


RATES = (
    Rate("T4", "float32", 430, RESNET50),
    Rate("T4", "mixed_float16", 1194, RESNET50),
    Rate("V100", "float32", 412, RESNET50_STEP),
    Rate("V100", "mixed_float16", 1270, RESNET50_STEP),
    Rate("A100", "TF32", 909, RESNET50_STEP),
    Rate("A100", "mixed_float16", 2375, RESNET50_STEP),
)
"""Source: NVIDIA DeepLearningExamples, TensorFlow/Classification/ConvNets/resnet50v1.5/README.md, release 20.06, with
XLA. The rates of V100 and A100 are of training, those of T4 of inference: it gives none of training."""

DETECTRON2 = {"resnet50": 0.200, "resnet101": 0.280}
"""Seconds a step with two images on each of eight V100, float32. Source: detectron2, MODEL_ZOO.md, RetinaNet."""
DETECTRON2_INPUT = (720, 960)  # the mean of its short sides, 640 to 800, with the sides of most photographs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=[str(path) for path in sorted(RECIPES.glob("*.yaml"))])
    parser.add_argument("--memory", nargs="+", type=int, metavar="BATCH")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(f"{peak_gibibytes(arguments.recipes[0], arguments.memory[0]):.2f}")
        return
    if arguments.memory:
        for recipe in arguments.recipes:
            print_memory(recipe, arguments.memory)
        return
    print_costs(arguments.recipes)
    print_check()


def print_costs(recipes: list[str]) -> None:
    """Prints a row for each recipe."""
    gpus = [f"{rate.gpu} {rate.precision}" for rate in RATES]
    print(f"| recipe | input | parameters | multiply-adds, forward | a step | {' | '.join(gpus)} |")
    print("|---" * (5 + len(gpus)) + "|")
    for name in recipes:
        recipe = load_recipe(name)
        training, size = recipe.training, recipe.model.input
        model = detector_network(recipe.model, CLASSES)
        forward, step = image_work(model)
        images = training.epochs * (training.steps_per_epoch or 0) * training.batch_size
        hours = " | ".join(f"{images * step / rate.per_second / 3600:.0f}" for rate in RATES)
        print(
            f"| `{recipe.name}` | {size.height} x {size.width} | {model.count_params() / 1e6:.1f} M | "
            f"{forward / 1e9:.0f} G | {step / 1e9:.0f} G | {hours} |",
            flush=True,
        )


def image_work(model: keras.Model) -> tuple[int, int]:
    """Returns the multiply-adds of an image forward, and those of a training step.

    The gradient of a kernel takes as many as the layer itself, and so does the gradient of what the layer reads. Frozen
    layers have no first, and layers without anything trainable below them have no second.
    """
    work = {one.layer: one.multiply_adds for one in convolution_work(model)}
    learns = learning_places(model)
    step = dict(work)
    for name, _, inputs in calls_of(model):
        if name in work:
            own = bool(model.get_layer(name).trainable_variables)
            step[name] = work[name] * (1 + own + any(learns[place] for place in inputs))
    return sum(work.values()), sum(step.values())


def print_check() -> None:
    """Prints what the counting says of a training whose time was measured."""
    print("\n| backbone | Detectron2, V100, float32 | counted | counted / measured |\n|---|---|---|---|")
    rate = next(one for one in RATES if one.gpu == "V100" and one.precision == "float32")
    for backbone, measured in DETECTRON2.items():
        settings = load_recipe(str(RECIPES / f"coco_{backbone}_800.yaml")).model
        counted = 2 * work_at(settings, *DETECTRON2_INPUT) / rate.per_second
        print(f"| {backbone} | {measured:.3f} s | {counted:.3f} s | {counted / measured:.2f} |")


def work_at(settings: Model, height: int, width: int) -> float:
    """Returns the multiply-adds of a step with an image of a size, which need not be one that a recipe may have."""
    cells = settings.input.height * settings.input.width
    return image_work(detector_network(settings, CLASSES))[1] * height * width / cells


def print_memory(recipe: str, batches: list[int]) -> None:
    """Prints the peak of one step for each batch size."""
    print(f"{Path(recipe).stem}: most memory of the process, GiB")
    for batch in batches:
        call = [sys.executable, __file__, recipe, "--memory", str(batch), "--one"]
        printed = subprocess.run(call, check=True, stdout=subprocess.PIPE, text=True).stdout
        print(f"  {batch} images: {printed.split()[-1]}", flush=True)


def peak_gibibytes(name: str, batch: int) -> float:
    """Returns the most memory that this process held up to the end of a step."""
    sys.path.append(str(Path(__file__).parents[1]))
    from random_step import random_step

    recipe = load_recipe(name, [f"training.batch_size={batch}"])
    random_step(recipe)()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
