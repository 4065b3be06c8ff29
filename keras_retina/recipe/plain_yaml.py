"""YAML from strangers: plain values of a bounded size, whatever the aliases, tags and brackets in it ask for."""

from __future__ import annotations

import re
from typing import Any

import yaml

from keras_retina.foundation.errors import shown
from keras_retina.foundation.json_values import MOST_BRACKETS, most_brackets, refuse_depth

MOST_CHARACTERS = 1 << 20  # PyYAML reads about 100,000 of them a second
MOST_REPEATED = 100_000  # values that aliases may stand for
_LARGEST = 1 << 63
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def parse_plain_yaml(text: str, loader: type[Any] = yaml.SafeLoader) -> Any:
    """Returns the value of a YAML text.

    Args:
        loader: a safe one of PyYAML, or a class made from one.

    Raises:
        ValueError: in one line why it is no plain YAML. Aliases may make nine lines stand for a billion values, and an
            integer may have more digits than anything can hold.
    """
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"{len(text)} characters, where at most {MOST_CHARACTERS} were expected")
    if most_brackets(text) > MOST_BRACKETS:  # as in JSON; PyYAML itself gives up later
        raise ValueError(f"more than {MOST_BRACKETS} brackets in each other")
    opened = None
    try:
        opened = loader(text)
        node = opened.get_single_node()
        if node is None:
            return None
        _refuse_repetition(node)
        value = opened.construct_document(node)
    except RecursionError as error:
        raise ValueError("too many brackets or levels in each other") from error
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    # What PyYAML raises for a tag whose text does not fit, such as `!!timestamp x` and `!!bool x`.
    except (AttributeError, LookupError, TypeError, OverflowError) as error:
        raise ValueError(f"a value that does not fit its tag: {error}") from error
    finally:
        if opened is not None:
            opened.dispose()
    refuse_depth(value)
    _refuse_strange(value)
    return value


def _refuse_repetition(root: yaml.Node) -> None:
    """Counts the values as if each alias were written out."""
    counts: dict[int, int] = {}
    open_nodes: set[int] = set()

    def count(node: yaml.Node) -> int:
        key = id(node)
        if key in open_nodes:
            raise ValueError("an alias of a value that it is part of")
        if key not in counts:
            open_nodes.add(key)
            inside = node.value if isinstance(node, yaml.CollectionNode) else ()
            parts = [part for item in inside for part in (item if isinstance(item, tuple) else (item,))]
            counts[key] = 1 + sum(map(count, parts))
            open_nodes.discard(key)
        return counts[key]

    repeated = count(root) - len(counts)
    if repeated > MOST_REPEATED:
        raise ValueError(f"aliases that stand for {repeated} values, where at most {MOST_REPEATED} were expected")


def _refuse_strange(value: Any) -> None:
    """Refuses integers of more than 64 bits, as nothing counts so far, and half characters, which no file holds."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set):
            waiting += one
        elif isinstance(one, str) and _LONE_SURROGATE.search(one):
            raise ValueError(f"half of a character (a lone surrogate) in {shown(one)}")
        elif isinstance(one, int) and abs(one) >= _LARGEST:
            raise ValueError(f"an integer of {one.bit_length()} bits, where at most 63 were expected")
