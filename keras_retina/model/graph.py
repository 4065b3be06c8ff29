"""Functional models as lists of layer calls, so that another graph of the same layers can be built and counted."""

from __future__ import annotations

from dataclasses import dataclass

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.model.calls import Call, Place, calls_in


def calls_of(model: keras.Model) -> list[Call]:
    """Returns the calls of a functional model whose layers take tensors and nothing else, each after what it reads."""
    return calls_in(model.get_config()["layers"])


def output_places(model: keras.Model) -> dict[str, Place]:
    """Returns where the outputs of a model with a dictionary of outputs come from."""
    return {name: (layer, number) for name, (layer, number, _) in model.get_config()["output_layers"].items()}


def learning_places(model: keras.Model) -> dict[Place, bool]:
    """Tells of each output whether a trainable weight is in what computes it, so that gradients must reach it."""
    learns: dict[Place, bool] = {}
    for name, number, inputs in calls_of(model):
        own = bool(model.get_layer(name).trainable_variables)
        learns[name, number] = own or any(learns[place] for place in inputs)
    return learns


def shapes_of(model: keras.Model) -> dict[Place, tuple[int | None, ...]]:
    """Returns the shape of every output, batch first: `(None, height, width, channels)`."""
    shapes: dict[Place, tuple[int | None, ...]] = {}
    for name, number, inputs in calls_of(model):
        layer = model.get_layer(name)
        read = [shapes[place] for place in inputs]
        shape = layer.compute_output_shape(read[0] if len(read) == 1 else read) if read else layer.output_shape[0]
        shapes[name, number] = tuple(tf.TensorShape(shape).as_list())
    return shapes


@dataclass(frozen=True)
class ConvolutionWork:
    """What one convolution does for an image, all its calls together.

    `kernel_shape` is (height, width, inputs, outputs), of a DepthwiseConv2D (height, width, channels, 1). `input_cells`
    and `output_cells` are height x width of the maps that are read and written, summed over the calls.
    """

    layer: str
    is_depthwise: bool
    kernel_shape: tuple[int, int, int, int]
    input_cells: int
    output_cells: int

    @property
    def taps(self) -> int:
        """Multiply-adds of one input channel for one output channel."""
        height, width, _, _ = self.kernel_shape
        return height * width * self.output_cells

    @property
    def multiply_adds(self) -> int:
        _, _, inputs, outputs = self.kernel_shape
        return self.taps * inputs * outputs


def multiply_adds(model: keras.Model) -> int:
    """Returns the multiply-adds of all convolutions for one image; a layer that several levels share counts for each.

    As the literature counts: biases, BatchNorm (folded when exported), additions and resizing are left out.

    Raises:
        InputError: the input size is not fixed.
    """
    return sum(layer_multiply_adds(model).values())


def layer_multiply_adds(model: keras.Model) -> dict[str, int]:
    """Returns `{layer: multiply-adds for one image}` of the convolutions, in graph order; the sum is the model's."""
    return {work.layer: work.multiply_adds for work in convolution_work(model)}


def convolution_work(model: keras.Model) -> list[ConvolutionWork]:
    """Returns the work of each Conv2D and DepthwiseConv2D of a flat functional model, in graph order."""
    shapes = shapes_of(model)
    cells: dict[str, tuple[int, int]] = {}
    for name, number, inputs in calls_of(model):
        if not isinstance(model.get_layer(name), (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)):
            continue
        before, after = cells.get(name, (0, 0))
        cells[name] = before + _cells(shapes[inputs[0]], model), after + _cells(shapes[name, number], model)
    return [_work(model.get_layer(name), *both) for name, both in cells.items()]


def _cells(shape: tuple[int | None, ...], model: keras.Model) -> int:
    _, height, width, _ = shape
    if height is None or width is None:
        raise InputError(
            f"{model.name}: expected an input of fixed height and width. Received: input_shape={model.input_shape}. "
            "Build the model for the size that it runs at."
        )
    return height * width


def _work(layer: keras.layers.Layer, input_cells: int, output_cells: int) -> ConvolutionWork:
    is_depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    kernel = layer.depthwise_kernel if is_depthwise else layer.kernel
    return ConvolutionWork(layer.name, is_depthwise, tuple(kernel.shape), input_cells, output_cells)
