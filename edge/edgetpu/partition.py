"""Which operators the compiler takes together: TFLite's delegate partitions, of which only the first is compiled."""

from __future__ import annotations

from collections.abc import Sequence

from edge.tflite.graph import Operator


def supported_partitions(operators: Sequence[Operator], supported: Sequence[bool]) -> list[list[int]]:
    """Returns the positions of every run of supported operators, in the order TFLite finds them.

    A run takes every operator whose inputs are ready, so parallel branches belong to it and an operator behind an
    unsupported one does not. Runs of either kind take turns; the kind of the first operator begins.

    Source: tensorflow/lite/graph_info.cc, `PartitionGraphIntoIndependentNodeSubsets`.
    """
    made = {tensor.index for operator in operators for tensor in operator.outputs}
    waiting = list(range(len(operators)))
    partitions: list[list[int]] = []
    while waiting:
        taken = _take(operators, supported, waiting, made)
        if not taken:  # operators that wait for each other
            break
        if supported[taken[0]]:
            partitions.append(taken)
        chosen = set(taken)
        waiting = [position for position in waiting if position not in chosen]
    return partitions


def _take(operators: Sequence[Operator], supported: Sequence[bool], waiting: list[int], made: set[int]) -> list[int]:
    """Takes one run out of `waiting`; its outputs leave `made`, the tensors that are still to come."""
    taken: list[int] = []
    left = list(waiting)
    grown = True
    while grown:
        grown, behind = False, []
        for position in left:
            operator = operators[position]
            ready = not any(tensor.index in made for tensor in operator.computed)
            if ready and (not taken or supported[position] == supported[taken[0]]):
                taken.append(position)
                made.difference_update(tensor.index for tensor in operator.outputs)
                grown = True
            else:
                behind.append(position)
        left = behind
    return taken
