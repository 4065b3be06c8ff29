"""Checkpoints of `tf.train.Checkpoint`, which TensorFlow reads without the code that saved them: arrays by their names.

A key in such a file is the way to a variable through the attributes of objects. The file also holds the graph of these
objects, with the name that each variable had in its layer, and which variables of an optimiser belong to which weight.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_retina.foundation.errors import InputError, printable
from keras_retina.foundation.legacy_keras import tf

GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
VALUE, SLOT = "/.ATTRIBUTES/VARIABLE_VALUE", "/.OPTIMIZER_SLOT/"
INDEX = ".index"
SHARD = re.compile(r"\.data-\d{5}-of-\d{5}$")
_UNREADABLE = (tf.errors.OpError, ValueError, RuntimeError, KeyError, TypeError)


@dataclass(frozen=True)
class TfCheckpoint:
    """The weights in a checkpoint.

    Attributes:
        path: without the endings of its files.
        tensors: `{key: array}`, keys without the ending that all of them have; those of an optimiser left out.
        averages: moving averages that an optimiser keeps of these weights, by the keys of the weights.
        layer_names: `{key: "layer/weight"}`, the name that the variable had when it was saved.
    """

    path: Path
    tensors: Mapping[str, np.ndarray]
    averages: Mapping[str, np.ndarray]
    layer_names: Mapping[str, str]


def prefix_of(path: Path) -> Path | None:
    """Returns the path of a checkpoint without the endings of its files, None where it is no such checkpoint.

    Args:
        path: that, one of its files, or a folder with the file `checkpoint`, which names the latest one.

    Raises:
        InputError: a folder whose `checkpoint` names one that is not there, or a checkpoint without its index.
    """
    if path.is_dir():
        if not (path / "checkpoint").is_file():
            return None
        latest = _latest(path)
        if latest is None or not Path(f"{latest}{INDEX}").is_file():
            raise InputError(
                f"{path / 'checkpoint'}: expected the name of a checkpoint in this folder. Received: "
                f"{printable(latest.name) if latest else 'none'}, which is not there. Give the path of a .index file."
            )
        return latest
    name = SHARD.sub("", str(path)).removesuffix(INDEX)
    if Path(f"{name}{INDEX}").is_file():
        return Path(name)
    if name != str(path):
        raise InputError(f"{name}{INDEX}: expected the index of the checkpoint. Received: no such file. Copy it too.")
    return None


def _latest(folder: Path) -> Path | None:
    """Returns the latest checkpoint that a folder names; it may have been moved since, so only the name counts."""
    try:
        state = tf.train.get_checkpoint_state(str(folder))
    except _UNREADABLE:
        return None
    return folder / Path(state.model_checkpoint_path).name if state and state.model_checkpoint_path else None


def read_tf_checkpoint(prefix: Path) -> TfCheckpoint:
    """Reads all weights, as float32, and what an optimiser averaged of them.

    Raises:
        InputError: a file is missing or damaged, or was not made by `tf.train.Checkpoint` of TensorFlow 2.
    """
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        keys = [key for key in reader.get_variable_to_shape_map() if key != GRAPH]
        graph = _object_graph(reader) if reader.has_tensor(GRAPH) else None
        wanted = [key for key in keys if key.endswith(VALUE) and (SLOT not in key or _is_average(key))]
        found = {key.removesuffix(VALUE): _plain(reader.get_tensor(key)) for key in wanted}
    except _UNREADABLE as error:
        reason = printable(" ".join(str(error).split()))[:300]
        raise InputError(
            f"{prefix}: expected a whole checkpoint of TensorFlow, {INDEX} and .data. "
            f"Received: {reason}. Copy both files again."
        ) from error
    if graph is None:
        raise InputError(
            f"{prefix}: expected a checkpoint of tf.train.Checkpoint. Received: one of TensorFlow 1, with "
            f"{printable(', '.join(keys[:3]))}. Save it with TensorFlow 2."
        )
    return TfCheckpoint(
        path=prefix,
        tensors={key: array for key, array in found.items() if SLOT not in key},
        averages={key.partition(SLOT)[0]: array for key, array in found.items() if SLOT in key},
        layer_names={
            attribute.checkpoint_key.removesuffix(VALUE): attribute.full_name
            for node in graph.nodes
            for attribute in node.attributes
        },
    )


def _object_graph(reader: Any) -> Any:
    from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

    graph = TrackableObjectGraph()
    try:
        graph.ParseFromString(reader.get_tensor(GRAPH))
    except Exception as error:  # DecodeError is no ValueError in every release of protobuf
        raise ValueError("a damaged graph of objects") from error
    return graph


def _is_average(key: str) -> bool:
    return key.removesuffix(VALUE).endswith("/average")  # the slot of Model Garden's ExponentialMovingAverage


def _plain(array: Any) -> np.ndarray:
    array = np.asarray(array)
    is_number = array.dtype.kind in "fV" or array.dtype.name == "bfloat16"
    return array.astype(np.float32) if is_number else array
