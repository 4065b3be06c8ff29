"""The classes of COCO, and where the heads of detectors have them that count in the 90 numbers of its categories."""

from __future__ import annotations

BACKGROUND, NOT_USED = "__background__", "N/A"

CLASSES = (
    "person",
    "bicycle",
    "car",
    "motorcycle",
    "airplane",
    "bus",
    "train",
    "truck",
    "boat",
    "traffic light",
    "fire hydrant",
    "stop sign",
    "parking meter",
    "bench",
    "bird",
    "cat",
    "dog",
    "horse",
    "sheep",
    "cow",
    "elephant",
    "bear",
    "zebra",
    "giraffe",
    "backpack",
    "umbrella",
    "handbag",
    "tie",
    "suitcase",
    "frisbee",
    "skis",
    "snowboard",
    "sports ball",
    "kite",
    "baseball bat",
    "baseball glove",
    "skateboard",
    "surfboard",
    "tennis racket",
    "bottle",
    "wine glass",
    "cup",
    "fork",
    "knife",
    "spoon",
    "bowl",
    "banana",
    "apple",
    "sandwich",
    "orange",
    "broccoli",
    "carrot",
    "hot dog",
    "pizza",
    "donut",
    "cake",
    "chair",
    "couch",
    "potted plant",
    "bed",
    "dining table",
    "toilet",
    "tv",
    "laptop",
    "mouse",
    "remote",
    "keyboard",
    "cell phone",
    "microwave",
    "oven",
    "toaster",
    "sink",
    "refrigerator",
    "book",
    "clock",
    "vase",
    "scissors",
    "teddy bear",
    "hair drier",
    "toothbrush",
)
"""The 80 classes in the order of their numbers."""

_UNUSED_NUMBERS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)


def _outputs() -> tuple[str, ...]:
    names = iter(CLASSES)
    return tuple(NOT_USED if number in _UNUSED_NUMBERS else next(names) for number in range(1, 91))


OUTPUTS = (BACKGROUND, *_outputs())
"""91 outputs: the background, then the numbers 1 to 90, ten of which COCO does not use."""
