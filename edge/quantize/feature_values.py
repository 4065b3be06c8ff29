"""Runs a network so that every feature map can be read afterwards, not only the outputs."""

from __future__ import annotations

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType


def keeping_interpreter(network: bytes) -> Interpreter:
    """Returns an interpreter that keeps every feature map; delegates would not."""
    interpreter = Interpreter(
        model_content=network,
        num_threads=2,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    return interpreter


def run_on(interpreter: Interpreter, image: np.ndarray) -> None:
    """Runs the network on its only input."""
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
