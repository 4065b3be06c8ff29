"""Writes a `.tflite` that ends at other tensors of its graph: a public file cut before it joins the maps of its levels.

    python benchmarks/files/heads/cut.py FILE               # the last tensors, by number
    python benchmarks/files/heads/cut.py FILE OUT NUMBER ...

What the operators behind them compute is not asked for. The cut file and the whole one should have the same AP.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge.tflite.flatbuffer import operator_name, read_flatbuffer, write_flatbuffer

SHOWN = 90  # operators


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("tensors", type=int, nargs="*")
    arguments = parser.parse_args()
    model = read_flatbuffer(arguments.file.read_bytes())
    graph = model.subgraphs[0]
    if arguments.out is None:
        for operator in graph.operators[-SHOWN:]:
            made = [f"{number} {_shape(graph.tensors[number])}" for number in operator.outputs]
            print(operator_name(model, operator), *made)
        return
    graph.outputs = np.array(arguments.tensors, np.int32)
    model.signatureDefs = None  # they name the outputs that were
    arguments.out.write_bytes(write_flatbuffer(model))


def _shape(tensor: schema.TensorT) -> list[int]:
    return [] if tensor.shape is None else [int(side) for side in tensor.shape]


if __name__ == "__main__":
    main()
