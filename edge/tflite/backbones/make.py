"""Weights of a backbone out of a `.tflite` of any origin, and how near the network then is to the file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.tflite.backbones.chain import kind_and_shape, longest_chain
from edge.tflite.backbones.convolutions import PlacedConvolution, placed_convolutions
from edge.tflite.backbones.run import CutFile, InputRange, range_inside, whole_pixels
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files.reading import read_bytes
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.backbones import kind_of
from keras_retina.model.weights.make import Pair, convolution_pairs, kernel_shape, set_folded
from keras_retina.recipe.backbones import BACKBONE_ALPHAS, BackboneName
from keras_retina.recipe.model import Backbone

NAMES: tuple[BackboneName, ...] = ("mobilenet_v2", "mobilenet_v1", "efficientnet_lite0")
"""Those whose convolutions follow one another, each with a BatchNorm."""

SIZE = 224
COMPARED_PHOTOS = 8
EXACT = 1e-3  # of the largest value, for a file that computes in float
CORRELATED = 0.5  # at the last convolution, for one that rounds: far below what rounding does, far above chance

Photos = Callable[[int, int], Iterator[np.ndarray]]
"""Height and width -> batches of photos, float32 `[batch, height, width, 3]`, RGB in [-1, 1]."""


@dataclass(frozen=True)
class Comparison:
    """The network and the file on photos, for each convolution with what its activation makes of it.

    `convolutions` counts those that were compared, from the image on. `difference` is the largest one of all of them,
    in shares of the largest value of that convolution; `correlation` is that of the last one.
    """

    photos: int
    convolutions: int
    difference: float
    correlation: float


@dataclass(frozen=True)
class FoundBackbone:
    """Which backbone a file holds: its settings, its network, and its convolutions in the file, in order."""

    settings: Backbone
    network: keras.Model
    places: tuple[PlacedConvolution, ...]
    in_file: int


@dataclass(frozen=True)
class MadeBackbone:
    """A backbone with the weights of a file, what the file's stem has for black and white, and how near both are."""

    found: FoundBackbone
    inside: InputRange
    compared: Comparison
    is_rounded: bool

    @property
    def told(self) -> str:
        """A line for a person."""
        sides = self.inside.black, self.inside.white
        black, white = (", ".join(f"{value:.4g}" for value in dict.fromkeys(side)) for side in sides)
        count, all_ = self.compared.convolutions, len(self.found.places)
        part = (
            "all of them" if count == all_ else f"the first {count}, behind which the file has other strides or sizes,"
        )
        near = (
            f"correlate with the 8-bit file by {self.compared.correlation:.4f} at the last one"
            if self.is_rounded
            else f"differ from the file by at most {self.compared.difference:.1e} of the largest value"
        )
        return (
            f"{_title(self.found.settings)}: {all_} of the {self.found.in_file} convolutions of the file; "
            f"black {black}, white {white} ({self.inside.told}); on {self.compared.photos} photos {part} {near}"
        )


def make_from_file(path: Path, photos: Photos, *, input_range: InputRange | None) -> MadeBackbone:
    """Returns the backbone with the weights of the file and its BatchNorms rebuilt on photos.

    Raises:
        InputError: the file holds no such backbone, cannot be run, or computes something else than the backbone would.
    """
    data = read_bytes(path)
    found = find_backbone(placed_convolutions(data, str(path)), path)
    tensors = [found.places[0].reads, *(place.writes for place in found.places)]
    file = CutFile(data, path, tensors=tensors, size=SIZE)
    outside = input_range or file.input_range()
    inside = range_inside(file, outside)
    folded = [place.folded for place in found.places]
    batches = (inside.of(batch) for batch in photos(SIZE, SIZE))
    set_folded(found.network, folded, layers=len(folded), batches=batches)
    compared = compare(found, file, photos(file.height, file.width), outside=outside, inside=inside)
    is_rounded = file.is_rounded or any(place.is_rounded for place in found.places)
    if not (compared.correlation >= CORRELATED if is_rounded else compared.difference < EXACT):
        raise InputError(
            f"{path}: expected a file that computes what {_title(found.settings)} does. Received: the same shapes, but "
            f"on {compared.photos} photos a correlation of {compared.correlation:.3f} at convolution "
            f"{compared.convolutions} and differences up to {compared.difference:.2g} of the largest value. It has "
            "other activations or connections: its weights are no start for this backbone."
        )
    rescale_stem(found.network, inside)
    return MadeBackbone(found, inside, compared, is_rounded)


def file_name(settings: Backbone, path: Path) -> str:
    """Returns the name of our file of a backbone out of this one."""
    width = "" if len(BACKBONE_ALPHAS[settings.name]) == 1 else f"_{settings.alpha}"
    return f"{settings.name}{width}_of_{path.stem}_notop.weights.h5"


def find_backbone(convolutions: Sequence[PlacedConvolution], path: Path) -> FoundBackbone:
    """Returns the backbone whose convolutions, up to the last one that detectors use, are all in the file.

    Raises:
        InputError: there is none; the line says which is nearest, what fits of it and what not.
    """
    nearest: tuple[float, str] = (-1.0, "")
    for settings in _candidates():
        network = _network(settings, SIZE, SIZE)
        pairs = convolution_pairs(network)
        needed = _needed(network, pairs, settings)
        chain = longest_chain([_wanted(layer) for layer, _ in pairs], convolutions)
        if len(chain) >= needed:
            return FoundBackbone(settings, network, tuple(convolutions[number] for number in chain), len(convolutions))
        share = len(chain) / needed
        if share > nearest[0]:
            nearest = share, _misfit(settings, pairs, needed=needed, chain=chain, convolutions=convolutions)
    raise InputError(
        f"{path}: expected the convolutions of {', '.join(NAMES)}. Received: {len(convolutions)} convolutions, "
        f"{nearest[1]}. Give a file with such a backbone."
    )


def compare(
    found: FoundBackbone, file: CutFile, batches: Iterable[np.ndarray], *, outside: InputRange, inside: InputRange
) -> Comparison:
    """Runs network and file on photos of the file's size, up to where the file has another stride or size.

    DeepLab's last blocks have dilations instead of strides. 8-bit files of a training with rounding also cut values off
    at the ends of their ranges, so their largest difference may be large.
    """
    network = _network(found.settings, file.height, file.width)
    network.set_weights(found.network.get_weights())
    pairs = convolution_pairs(network)[: len(found.places)]
    outputs, limits = zip(*(_activated(network, norm) for _, norm in pairs), strict=True)
    runs = keras.Model(network.input, list(outputs))
    same_stride = [layer.strides[0] == place.stride for (layer, _), place in zip(pairs, found.places, strict=True)]
    count = [*same_stride, False].index(False)
    differences, values, sums, photos = np.zeros(len(pairs)), np.zeros(len(pairs)), np.zeros(6), 0
    for image in map(whole_pixels, _first(batches, COMPARED_PHOTOS)):
        theirs = file.run(image, outside)[1:]
        ours = [np.asarray(one)[0] for one in runs(inside.of(image)[None], training=False)]
        same_size = [one.shape == other.shape for one, other in zip(ours, theirs, strict=True)]
        count = min(count, [*same_size, False].index(False))
        theirs = [other if top is None else np.clip(other, 0, top) for other, top in zip(theirs, limits, strict=True)]
        for number in range(count):
            differences[number] = max(differences[number], np.abs(ours[number] - theirs[number]).max())
            values[number] = max(values[number], np.abs(theirs[number]).max())
        sums += _moments(ours[count - 1], theirs[count - 1]) if count else 0
        photos += 1
    shares = differences[:count] / np.maximum(values[:count], np.finfo(np.float32).tiny)
    return Comparison(photos, count, float(shares.max(initial=0)), _correlation(sums) if count else 0.0)


def rescale_stem(network: keras.Model, inside: InputRange) -> None:
    """Makes the network take RGB in [-1, 1] instead of `inside`: the same function but for the zero padding."""
    layer, norm = convolution_pairs(network)[0]
    (kernel,) = layer.get_weights()
    black, white = (np.broadcast_to(np.array(side, np.float64), 3) for side in (inside.black, inside.white))
    gamma, beta, mean, variance = norm.get_weights()
    constant = np.einsum("hwcf,c->f", kernel, (white + black) / 2)
    layer.set_weights([kernel * ((white - black) / 2)[:, None]])
    norm.set_weights([gamma, beta, mean - constant, variance])


def _candidates() -> Iterator[Backbone]:
    for name in NAMES:
        for alpha in BACKBONE_ALPHAS[name]:
            yield Backbone(name=name, alpha=alpha, weights="file.weights.h5")


def _network(settings: Backbone, height: int, width: int) -> keras.Model:
    build = kind_of(settings).build
    return build(settings, include_top=False, weights=None, input_shape=(height, width, 3))


def _wanted(layer: keras.layers.Layer) -> tuple[bool, tuple[int, ...]]:
    return isinstance(layer, keras.layers.DepthwiseConv2D), kernel_shape(layer)


def _needed(network: keras.Model, pairs: Sequence[Pair], settings: Backbone) -> int:
    """Returns how many convolutions a detector has of the network."""
    names = [layer.name for layer in network.layers]
    last = names.index(kind_of(settings).features[-1])
    return sum(names.index(layer.name) <= last for layer, _ in pairs)


def _misfit(
    settings: Backbone,
    pairs: Sequence[Pair],
    *,
    needed: int,
    chain: Sequence[int],
    convolutions: Sequence[PlacedConvolution],
) -> str:
    layer = pairs[len(chain)][0]
    after = [one for one in convolutions if chain and chain[-1] in one.before]
    shapes = [f"{list(shape)}{' depthwise' if depth else ''}" for depth, shape in map(kind_and_shape, after[:3])]
    return (
        f"the nearest is {_title(settings)} with the first {len(chain)} of {needed}; then {list(kernel_shape(layer))} "
        f"was expected for {layer.name} and {', '.join(shapes) or 'nothing'} follows"
    )


def _title(settings: Backbone) -> str:
    return settings.name if len(BACKBONE_ALPHAS[settings.name]) == 1 else f"{settings.name} alpha {settings.alpha}"


def _activated(network: keras.Model, norm: keras.layers.Layer) -> tuple[object, float | None]:
    """Returns the tensor behind the activation of a BatchNorm and the limit of its ReLU, None for no activation."""
    following = network.layers[network.layers.index(norm) + 1 :][:1]
    for layer in following:
        if layer.input is norm.output and isinstance(layer, (keras.layers.ReLU, keras.layers.Activation)):
            return layer.output, 6.0
    return norm.output, None


def _first(batches: Iterable[np.ndarray], count: int) -> Iterator[np.ndarray]:
    images = (image for batch in batches for image in batch)
    for _, image in zip(range(count), images, strict=False):
        yield image


def _moments(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    one, other = first.ravel().astype(np.float64), second.ravel().astype(np.float64)
    return np.array([one.size, one.sum(), other.sum(), one @ one, other @ other, one @ other])


def _correlation(sums: np.ndarray) -> float:
    count, one, other, one_squared, other_squared, product = sums
    spread = (count * one_squared - one**2) * (count * other_squared - other**2)
    return float((count * product - one * other) / np.sqrt(spread)) if spread > 0 else 0.0
