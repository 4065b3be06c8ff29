"""AP of one int8 file with each set of LiteRT's kernels, beside that of the quantization-aware Keras model.

    python benchmarks/files/integer_kernels.py RUN MODEL [--split test] [--sets xnnpack builtin reference]

RUN is a run folder, MODEL the name of a quantization-aware model in it whose raw int8 file was exported. All sets add
the same integers; they round the sums to 8 bits in slightly different ways, so that no Keras model agrees with all of
them. The shares are those of the class logits that differ by half a step or more, on the first image. `reference` takes
seconds an image.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edge.export.artifact import Artifact
from edge.quantize.aware.saving import load_quantize_aware
from edge.runtime import Detector
from keras_retina.data.images import read_image
from keras_retina.data.records import Dataset
from keras_retina.evaluate.coco import EVALUATION_SCORE_THRESHOLD, coco_metrics
from keras_retina.evaluate.predict import detect_function, predict_dataset, results_of_image
from keras_retina.recipe.formats import FORMATS
from keras_retina.run.folder import load_split, open_run

SETS = {
    "xnnpack": OpResolverType.AUTO,
    "builtin": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    "reference": OpResolverType.BUILTIN_REF,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("model")
    parser.add_argument("--split", help="of the data set; what the recipe reports if left away")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    arguments = parser.parse_args()
    run = open_run(arguments.run)
    split = arguments.split or run.recipe.data.test or run.recipe.data.validation
    dataset = load_split(run, split)
    model, spec = load_quantize_aware(run.compressed(arguments.model).model)
    file = Artifact(run.recipe.name, FORMATS["int8_qat"], arguments.model, "raw").path(run.export)
    detectors = {name: detector_with(SETS[name], file) for name in arguments.sets}
    first = next(iter(detectors.values()))
    pixels, _ = first.prepare(read_image(dataset.records[0].path))
    logits = {"keras": model(spec.scale(pixels), training=False)["classes"].numpy()[0]}
    for name, detector in detectors.items():
        detector.invoke(pixels)
        logits[name], _ = detector.heads()
    step = first.interpreter.get_output_details()[1]["quantization"][0]
    print(f"{'':<10} {'AP':>6} {'AP50':>6}   logits that differ from those of {', '.join(logits)}")
    found = {"keras": predict_dataset(detect_function(model, spec), spec, dataset=dataset)}
    found |= {name: results(detector, dataset) for name, detector in detectors.items()}
    for name, values in logits.items():
        metrics = coco_metrics(dataset, found[name])
        shares = [float((np.abs(values - others) > step / 2).mean()) for others in logits.values()]
        print(
            f"{name:<10} {metrics['AP']:6.2f} {metrics['AP50']:6.2f}   {' '.join(f'{share:.3f}' for share in shares)}"
        )


def detector_with(kernels: OpResolverType, file: Path) -> Detector:
    """Returns the runtime with another set of kernels in its interpreter."""
    detector = Detector(file)
    detector.interpreter = Interpreter(str(file), num_threads=2, experimental_op_resolver_type=kernels)
    detector.interpreter.allocate_tensors()
    return detector


def results(detector: Detector, dataset: Dataset) -> list[dict[str, Any]]:
    """Returns the COCO results of a file on a split."""
    found: list[dict[str, Any]] = []
    for record in dataset.records:
        one = detector.detect(read_image(record.path), EVALUATION_SCORE_THRESHOLD)
        found += results_of_image(record, dataset.category_ids, boxes=one.boxes, scores=one.scores, classes=one.classes)
    return found


if __name__ == "__main__":
    main()
