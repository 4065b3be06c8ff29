"""The same AP in Keras 2, in Keras 3, and on the file that Keras 3's own converter writes?

    python benchmarks/files/keras3.py RUN/model.keras --data DIR [--split test]

Prints AP and AP50 of each, on the same images and with the same suppression.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

from ai_edge_litert.interpreter import Interpreter

from edge.export.keras3 import keras3_detector
from keras_retina.data.reading.folder import load_dataset
from keras_retina.evaluate.detector import evaluate_detector
from keras_retina.foundation.legacy_keras import tf
from keras_retina.model.saving import load_detector


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("model", type=Path, help="the model.keras of a run")
    made.add_argument("--data", type=Path, required=True)
    made.add_argument("--split", default="test")
    arguments = made.parse_args()
    old, spec = load_detector(arguments.model)
    new, _ = keras3_detector(arguments.model)
    dataset = load_dataset(arguments.data, arguments.split)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.tflite"
        new.export(file, format="litert", verbose=False)
        networks = {"Keras 2": old, "Keras 3": new, "its .tflite": file_network(file)}
        print("| network | AP | AP50 |\n|---|---|---|")
        for name, network in networks.items():
            found = evaluate_detector(network, spec, dataset)
            print(f"| {name} | {found['AP']:.2f} | {found['AP50']:.2f} |", flush=True)


def file_network(file: Path) -> Callable[..., dict[str, tf.Tensor]]:
    """Returns the file as a function of scaled images that has the outputs of the network."""
    interpreter = Interpreter(str(file))
    runner = interpreter.get_signature_runner()
    (name,) = runner.get_input_details()

    def heads(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = [runner(**{name: image[None]}) for image in images]
        classes, boxes = (np.concatenate([row[key] for row in rows]) for key in ("classes", "boxes"))
        return classes, boxes

    def network(images: tf.Tensor, training: bool) -> dict[str, tf.Tensor]:
        classes, boxes = tf.numpy_function(heads, [images], [tf.float32, tf.float32])
        return {
            "classes": tf.ensure_shape(classes, (None, None, None)),
            "boxes": tf.ensure_shape(boxes, (None, None, 4)),
        }

    return network


if __name__ == "__main__":
    main()
