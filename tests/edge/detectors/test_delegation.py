"""Which operators a delegate took: hand-made node lists, and a file that LiteRT really opened."""

from __future__ import annotations

from edge.detectors.open_file import delegation, load


def node(index, name, inputs, outputs):
    return {"index": index, "op_name": name, "inputs": inputs, "outputs": outputs}


def test_a_partition_is_what_lies_between_the_inputs_and_outputs_of_its_call():
    nodes = [
        node(0, "CAST", [0], [1]),
        node(1, "CONV_2D", [1, 10, 11], [2]),
        node(2, "RELU", [2], [3]),
        node(3, "Custom", [3], [4]),
        node(4, "ADD", [4, 2], [5]),
        node(5, "DELEGATE", [1, 10, 11], [2, 3]),
        node(6, "DELEGATE", [4, 2], [5]),
    ]
    found = delegation(nodes)
    assert (found.total, found.operators, found.partitions) == (5, frozenset({1, 2, 4}), 2)
    assert found.left == {"CAST": 1, "Custom": 1}


def test_nothing_is_delegated_where_there_is_no_delegate():
    found = delegation([node(0, "ADD", [0, -1], [1])])
    assert (found.total, found.operators, found.partitions, found.left) == (1, frozenset(), 0, {"ADD": 1})
    assert delegation([]).total == 0


def test_a_real_file_leaves_its_post_processing_to_litert(exported):
    found = delegation(load(exported["float32"], 1)._get_ops_details())
    assert found.left["TFLite_Detection_PostProcess"] == 1
    assert found.partitions >= 1
    assert found.total - len(found.operators) == sum(found.left.values())
    assert len(found.operators) > 100
