"""Which operators of an open interpreter a delegate took, XNNPACK on a processor, and in how many parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

DELEGATE_NAMES = ("DELEGATE", "TfLiteXNNPackDelegate")


@dataclass(frozen=True)
class Delegation:
    """`operators` are indices into the file's graph; `partitions` is how many calls of the delegate replace them.

    `left` counts the other operators by name.
    """

    total: int
    operators: frozenset[int]
    partitions: int
    left: dict[str, int]


def delegation(nodes: Sequence[dict[str, Any]]) -> Delegation:
    """Returns what was delegated, from `Interpreter._get_ops_details()` after `allocate_tensors`.

    LiteRT appends one node for each partition and keeps the nodes it replaces. A partition is what leads from the
    inputs of that node to its outputs.
    """
    original = [node for node in nodes if node["op_name"] not in DELEGATE_NAMES]
    calls = [node for node in nodes if node["op_name"] in DELEGATE_NAMES]
    made_by = {int(index): node for node in original for index in node["outputs"]}
    taken: set[int] = set()
    for call in calls:
        given = {int(index) for index in call["inputs"]}
        wanted = [int(index) for index in call["outputs"]]
        while wanted:
            index = wanted.pop()
            node = made_by.get(index)
            if index in given or node is None or node["index"] in taken:
                continue
            taken.add(int(node["index"]))
            wanted += [int(one) for one in node["inputs"]]
    left = Counter(str(node["op_name"]) for node in original if node["index"] not in taken)
    return Delegation(len(original), frozenset(taken), len(calls), dict(sorted(left.items())))
