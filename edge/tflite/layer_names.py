"""Which Keras layers an operator of a converted detector computes, read from the names that the converter leaves."""

from __future__ import annotations

from ai_edge_litert import schema_py_generated as schema

from edge.tflite.flatbuffer import operator_name

BETWEEN_TYPES = {"QUANTIZE", "DEQUANTIZE", "CAST"}  # no operator of a layer: they only change how numbers are stored
COMPUTING = ("Conv2D", "depthwise")  # last part of the name of the convolution among layers folded into one operator
FLOAT_SUFFIX = "/float"  # behind the name of a feature map that a layer which was left in float makes


def layer_operators(model: schema.ModelT) -> dict[str, list[schema.OperatorT]]:
    """Returns the operators of every Keras layer, in order of execution.

    A shared layer has one for each level. A BatchNorm or activation that was folded into a convolution names the
    operator of that convolution.
    """
    found: dict[str, list[schema.OperatorT]] = {}
    for name, operator in feature_maps(model).items():
        for layer in layers_in(name):
            found.setdefault(layer, []).append(operator)
    return found


def feature_maps(model: schema.ModelT) -> dict[str, schema.OperatorT]:
    """Returns the operator that makes each feature map, by a name that is the same in the float and int8 networks."""
    graph = model.subgraphs[0]
    heads = head_maps(model)
    maps = {}
    for operator in graph.operators:
        if operator_name(model, operator) not in BETWEEN_TYPES:
            index = int(operator.outputs[0])
            own = graph.tensors[index].name.decode(errors="replace").removesuffix(FLOAT_SUFFIX)
            if index in heads or "/" in own:  # others, as the scaling of the pixels, belong to no layer
                maps[heads.get(index, own)] = operator
    return maps


def head_maps(model: schema.ModelT) -> dict[int, str]:
    """Returns the tensors that hold the heads `boxes` and `classes` before they leave the network's number format."""
    source = {
        int(operator.outputs[0]): int(operator.inputs[0])
        for operator in model.subgraphs[0].operators
        if operator_name(model, operator) in BETWEEN_TYPES
    }
    outputs = {int(entry.tensorIndex): entry.name.decode() for entry in model.signatureDefs[0].outputs}
    return {source.get(index, index): name for index, name in outputs.items()}


def layers_in(map_name: str) -> list[str]:
    """Returns the Keras layers behind the name of a feature map, the one that it is named after first.

    The converter joins the names of what it folded: `net/act/Relu6;net/norm/FusedBatchNormV3;net/conv/Conv2D`. The two
    heads are layers of their own name.
    """
    if "/" not in map_name:
        return [map_name]
    paths = [path for path in (part.split("/") for part in map_name.split(";")) if len(path) > 2]
    first = [path[1] for path in paths if path[-1].startswith(COMPUTING)]
    return list(dict.fromkeys([*first, *(path[1] for path in paths)]))
