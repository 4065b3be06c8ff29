"""A recipe's training step against the convolutions of the same network alone, forward and backward.

    python benchmarks/training/convolution_bound.py recipes/bccd.yaml [--rounds 9] [--json FILE]

The bound is one graph that holds every convolution of the network with the gradients that training asks for, on random
tensors of the same shapes, and nothing else: no activation, BatchNorm, sum, loss, optimiser or average. Its operations
wait for nothing, so that all cores are busy. Step and bound alternate. The bar: the step takes at most 1 / 0.6 of it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from random_step import CLASSES, random_step

from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.model.graph import calls_of, learning_places
from keras_retina.model.retinanet import detector_network
from keras_retina.recipe.recipe import load_recipe

BAR = 1 / 0.6


class Convolution(NamedTuple):
    """One convolution of one step: shapes, and which gradients the step needs."""

    inputs: tuple[int, ...]
    kernel: tuple[int, ...]
    outputs: tuple[int, ...]
    strides: list[int]
    padding: str
    is_depthwise: bool
    needs_kernel_gradient: bool
    needs_input_gradient: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    recipe = load_recipe(arguments.recipe)
    step = random_step(recipe)
    found = convolutions(detector_network(recipe.model, CLASSES), recipe.training.batch_size)
    alone = all_alone(found)
    times: dict[str, list[float]] = {"convolutions": [], "step": []}
    for _ in range(arguments.rounds):
        for name, run in (("convolutions", alone), ("step", step)):
            start = time.perf_counter()
            run()
            times[name].append(1000 * (time.perf_counter() - start))
    work = sum(multiply_adds(convolution) for convolution in found)
    middle = {name: statistics.median(values) for name, values in times.items()}
    ratios = [step / bound for step, bound in zip(times["step"], times["convolutions"], strict=True)]
    print(f"{len(found)} convolutions, {work / 1e9:.1f} GMAC a step with gradients")
    for name, values in times.items():
        print(f"{name:<13} {middle[name]:8.1f} ms ({min(values):.1f} .. {max(values):.1f})")
    ratio = statistics.median(ratios)
    print(f"step / convolutions {ratio:.2f} ({min(ratios):.2f} .. {max(ratios):.2f}); the bar is {BAR:.2f}")
    if arguments.json:
        result = {"recipe": recipe.name, "milliseconds": times, "gigamultiply_adds": work / 1e9, "ratio": ratio}
        arguments.json.write_text(json.dumps(result, indent=2), encoding="utf-8")


def convolutions(model: keras.Model, batch_size: int) -> list[Convolution]:
    """Lists every call of every convolution of a detector."""
    found = []
    shapes: dict[tuple[str, int], Any] = {}
    learns = learning_places(model)
    for name, number, inputs in calls_of(model):
        layer = model.get_layer(name)
        if not inputs:
            shapes[name, number] = (batch_size, *layer.output_shape[0][1:])
            continue
        before = [shapes[place] for place in inputs]
        shape = layer.compute_output_shape(before[0] if len(before) == 1 else before)
        shapes[name, number] = tuple(shape)
        is_depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        if is_depthwise or isinstance(layer, keras.layers.Conv2D):
            kernel = layer.depthwise_kernel if is_depthwise else layer.kernel
            found.append(
                Convolution(
                    before[0],
                    tuple(kernel.shape),
                    tuple(shape),
                    [1, *layer.strides, 1],
                    layer.padding.upper(),
                    is_depthwise,
                    layer.trainable,
                    any(learns[place] for place in inputs),
                )  # fmt: skip
            )
    return found


def multiply_adds(convolution: Convolution) -> int:
    """Returns those of the forward pass and of each gradient, which takes as many."""
    height, width, inputs, outputs = convolution.kernel
    filters = 1 if convolution.is_depthwise else outputs
    places = convolution.outputs[0] * convolution.outputs[1] * convolution.outputs[2]
    passes = 1 + convolution.needs_kernel_gradient + convolution.needs_input_gradient
    return places * height * width * inputs * filters * passes


def all_alone(found: list[Convolution]) -> Callable[[], object]:
    """Returns a function that runs all of them once; it has been traced and run already."""
    random = tf.random.Generator.from_seed(0)
    tensors = [(random.normal(one.inputs), random.normal(one.kernel), random.normal(one.outputs)) for one in found]

    @tf.function
    def graph(operands: list[tuple[tf.Tensor, tf.Tensor, tf.Tensor]]) -> tf.Tensor:
        results = []
        for one, (inputs, kernel, outputs) in zip(found, operands, strict=True):
            results += _passes(one, inputs, kernel=kernel, outputs=outputs)
        # One number of each result, because TensorFlow leaves out an operation whose result nobody reads.
        return tf.stack([tf.reshape(result, [-1])[0] for result in results])

    for _ in range(3):
        graph(tensors)
    return lambda: graph(tensors).numpy()


def _passes(one: Convolution, inputs: tf.Tensor, *, kernel: tf.Tensor, outputs: tf.Tensor) -> list[tf.Tensor]:
    operations = tf.raw_ops
    common = {"strides": one.strides, "padding": one.padding}
    if one.is_depthwise:
        results = [operations.DepthwiseConv2dNative(input=inputs, filter=kernel, **common)]
        by_kernel = operations.DepthwiseConv2dNativeBackpropFilter
        by_input = operations.DepthwiseConv2dNativeBackpropInput
    else:
        results = [operations.Conv2D(input=inputs, filter=kernel, **common)]
        by_kernel, by_input = operations.Conv2DBackpropFilter, operations.Conv2DBackpropInput
    if one.needs_kernel_gradient:
        results.append(by_kernel(input=inputs, filter_sizes=one.kernel, out_backprop=outputs, **common))
    if one.needs_input_gradient:
        results.append(by_input(input_sizes=one.inputs, filter=kernel, out_backprop=outputs, **common))
    return results


if __name__ == "__main__":
    main()
