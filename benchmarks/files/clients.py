"""Do other clients find in our files what our runtime finds? MediaPipe Tasks and pycoral's rules, on photographs.

    python benchmarks/files/clients.py FILE.tflite ... --images FOLDER [--count 20] [--score 0.3]

Ours is `Detector.detect` on the image file. Clients:

- `mediapipe`: MediaPipe Tasks on the image file; it resizes by itself, with another filter than Pillow's.
- `mediapipe, our pixels`: the same on the image that our runtime has resized, so that only the file is compared.
- `pycoral`: its adapter's rules for the outputs, with and without a signature, on our pixels; LiteRT runs the file.

A raw file is held against NumPy with MediaPipe's suppression (any class, IoU 0.3), and boxes that touch the left or
upper edge are left out there: MediaPipe moves their corner and keeps their size. `matched` is the share of our
detections from `--score` on that the client has too (same class, IoU from 0.9 on, score within 0.05), `extra` the
number that only the client has; worst IoU and score difference are those of the best counterpart of the same class.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import mediapipe
import numpy as np

from edge.runtime import Detections, Detector, read_image
from keras_retina.geometry.boxes import iou

vision = mediapipe.tasks.vision
LEAST_IOU, LARGEST_DIFFERENCE = 0.9, 0.05
LEAST_SCORE = 0.2  # all clients are asked from here on, so that one near the score that counts has its counterpart
MEDIAPIPE_IOU_THRESHOLD = 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--score", type=float, default=0.3)
    arguments = parser.parse_args()
    images = sorted(path for path in arguments.images.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    images = images[:: max(1, len(images) // arguments.count)][: arguments.count]
    print(f"{len(images)} images of {arguments.images}")
    print(f"{'file':<28} {'client':<22} {'ours':>5} {'matched':>8} {'extra':>6} {'worst IoU':>10} {'worst score':>12}")
    for path in arguments.files:
        detector = Detector(path)
        if detector.description.head == "raw":
            detector.description = dataclasses.replace(detector.description, nms="fast")
        results: dict[str, list[Comparison]] = {}
        options = vision.ObjectDetectorOptions(
            base_options=mediapipe.tasks.BaseOptions(model_asset_path=str(path)), score_threshold=LEAST_SCORE
        )
        with vision.ObjectDetector.create_from_options(options) as task:
            for image in map(read_image, images):
                for client, theirs, ours in found_by_clients(detector, task, image=image):
                    results.setdefault(client, []).append(compare(theirs, ours, score=arguments.score))
        for client, compared in results.items():
            print(f"{path.name:<28} {client:<22} {summary(compared)}")


def found_by_clients(
    detector: Detector, task: vision.ObjectDetector, *, image: np.ndarray
) -> Iterator[tuple[str, Detections, Detections]]:
    """Returns (client, what it finds, what our runtime finds)."""
    raw = detector.description.head == "raw"
    threshold = MEDIAPIPE_IOU_THRESHOLD if raw else None
    small = detector.prepare(image)[0][0]
    for client, pixels in (("mediapipe", image), ("mediapipe, our pixels", small)):
        ours = detector.detect(pixels, LEAST_SCORE, iou_threshold=threshold)
        yield (
            client,
            *(without_edge(one) if raw else one for one in (by_mediapipe(task, detector, pixels=pixels), ours)),
        )
    if not raw:
        ours = detector.detect(small, LEAST_SCORE)
        for client, read in (("pycoral", by_signature), ("pycoral, no signature", by_position)):
            detector.invoke(small[None])
            yield client, read(detector), ours


def by_mediapipe(task: vision.ObjectDetector, detector: Detector, *, pixels: np.ndarray) -> Detections:
    picture = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(pixels))
    rows = []
    for detection in task.detect(picture).detections:
        box = detection.bounding_box
        corners = [box.origin_y, box.origin_x, box.origin_y + box.height, box.origin_x + box.width]
        rows += [(corners, one.score, detector.class_names.index(one.category_name)) for one in detection.categories]
    height, width = pixels.shape[:2]
    boxes = np.array([row[0] for row in rows], np.float32).reshape(-1, 4)
    boxes = np.minimum(boxes, np.array([height, width, height, width], np.float32))
    return Detections(boxes, np.array([row[1] for row in rows]), np.array([row[2] for row in rows], np.int32))


def by_signature(detector: Detector) -> Detections:
    """As pycoral/adapters/detect.py reads a file with a signature: output_0..3 are count, scores, classes, boxes."""
    (signature,) = detector.interpreter.get_signature_list()
    runner = detector.interpreter.get_signature_runner(signature)
    details = runner.get_output_details()
    count, scores, classes, boxes = (
        detector.interpreter.get_tensor(details[f"output_{place}"]["index"]) for place in range(4)
    )
    return _detections(detector, boxes, classes=classes, scores=scores, count=count)


def by_position(detector: Detector) -> Detections:
    """And without one: boxes, classes, scores, count if the last output has one value."""
    outputs = [detector.interpreter.get_tensor(one["index"]) for one in detector.interpreter.get_output_details()]
    order = (0, 1, 2, 3) if outputs[3].size == 1 else (1, 3, 0, 2)
    boxes, classes, scores, count = (outputs[place] for place in order)
    return _detections(detector, boxes, classes=classes, scores=scores, count=count)


def _detections(detector: Detector, boxes, *, classes, scores, count) -> Detections:
    kept = np.flatnonzero(scores[0, : int(count[0])] >= LEAST_SCORE)
    height, width = detector.description.height, detector.description.width
    pixels = boxes[0, kept] * np.array([height, width, height, width], np.float32)
    return Detections(pixels, scores[0, kept], classes[0, kept].astype(np.int32))


def without_edge(found: Detections) -> Detections:
    inside = (found.boxes[:, :2] >= 1.5).all(axis=1)
    return Detections(found.boxes[inside], found.scores[inside], found.classes[inside])


@dataclasses.dataclass(frozen=True)
class Comparison:
    """`ious` and `differences` are those of our detections that have a counterpart of their class at all."""

    ours: int
    matched: int
    extra: int
    ious: np.ndarray
    differences: np.ndarray


def compare(theirs: Detections, ours: Detections, *, score: float) -> Comparison:
    """Compares detections from `score` on with all of the other side."""
    overlaps = np.where(ours.classes[:, None] == theirs.classes, iou(ours.boxes, theirs.boxes), 0)
    differences = np.abs(ours.scores[:, None] - theirs.scores)
    same = (overlaps >= LEAST_IOU) & (differences <= LARGEST_DIFFERENCE)
    strong, their_strong = ours.scores >= score, theirs.scores >= score
    if not theirs.scores.size or not ours.scores.size:
        return Comparison(int(strong.sum()), 0, int(their_strong.sum()), np.zeros(0), np.zeros(0))
    best = overlaps.argmax(axis=1)
    rows = np.flatnonzero(strong & (overlaps.max(axis=1) > 0.5))
    return Comparison(
        ours=int(strong.sum()),
        matched=int(same.any(axis=1)[strong].sum()),
        extra=int((~same.any(axis=0) & their_strong).sum()),
        ious=overlaps[rows, best[rows]],
        differences=differences[rows, best[rows]],
    )


def summary(compared: list[Comparison]) -> str:
    ours, matched, extra = (sum(getattr(one, name) for one in compared) for name in ("ours", "matched", "extra"))
    ious, differences = (np.concatenate([getattr(one, name) for one in compared]) for name in ("ious", "differences"))
    if not ious.size:
        return f"{ours:>5} {'-':>8} {extra:>6}"
    share = f"{100 * matched / ours:.1f} %"
    return f"{ours:>5} {share:>8} {extra:>6} {ious.min():>10.3f} {differences.max():>12.4f}"


if __name__ == "__main__":
    main()
