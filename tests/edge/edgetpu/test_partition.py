"""The partition rule on graphs drawn by hand: A -> B means that B reads what A writes."""

from __future__ import annotations

from edge.edgetpu.predict import supported_partitions
from edge.tflite.graph import Operator, Tensor


def graph(edges: dict[str, str]) -> list[Operator]:
    """`{"a": "", "b": "a", "c": "a b"}`: operators in order, each with what it reads; `-` is the input."""
    names = list(edges)
    tensors = {name: Tensor(index + 1, name, (1,), "int8") for index, name in enumerate(names)}
    image = Tensor(0, "image", (1,), "int8")
    return [
        Operator(i, n, 1, tuple(tensors.get(s, image) for s in edges[n].split()) or (image,), (tensors[n],))
        for i, n in enumerate(names)
    ]


def runs(edges: dict[str, str], cpu: str = "") -> list[str]:
    operators = graph(edges)
    found = supported_partitions(operators, [operator.name not in cpu for operator in operators])
    return ["".join(operators[position].name for position in partition) for partition in found]


def test_a_chain_of_supported_operators_is_one_run():
    assert runs({"a": "", "b": "a", "c": "b"}) == ["abc"]


def test_nothing_supported_gives_no_run():
    assert runs({"a": "", "b": "a"}, cpu="ab") == []
    assert runs({}) == []


def test_an_unsupported_operator_in_the_middle_ends_the_first_run():
    assert runs({"a": "", "b": "a", "c": "b", "d": "c"}, cpu="b") == ["a", "cd"]


def test_unsupported_operators_at_the_head_do_not_end_it():
    assert runs({"a": "", "b": "a", "c": "b", "d": "c"}, cpu="ab") == ["cd"]


def test_parallel_branches_belong_to_the_run_and_what_lies_behind_the_cpu_does_not():
    edges = {"a": "", "b": "a", "c": "b", "d": "a", "e": "c d", "f": "d"}
    assert runs(edges, cpu="b") == ["adf", "ce"]


def test_operators_that_stand_later_but_are_ready_belong_to_the_run():
    assert runs({"a": "", "x": "a", "b": "x", "c": "-"}, cpu="x") == ["ac", "b"]


def test_a_run_that_begins_with_a_supported_operator_does_not_wait_for_an_unsupported_one_of_another_input():
    assert runs({"a": "", "x": "-", "b": "a x"}, cpu="x") == ["a", "b"]


def test_all_unsupported_operators_that_are_ready_come_first_when_the_first_is_one():
    assert runs({"x": "", "a": "-", "y": "a", "b": "x"}, cpu="xy") == ["ab"]


def test_the_order_of_the_file_does_not_hide_an_operator():
    assert runs({"b": "a", "a": ""}) == ["ab"]


def test_operators_that_wait_for_each_other_end_the_search():
    assert runs({"a": "b", "b": "a", "c": ""}) == ["c"]
