"""Objects in a photo with OpenCV alone: its dnn module runs NAME_float32_raw.tflite and NAME_float16_raw.tflite.

python opencv_dnn.py NAME_float32_raw.tflite photo.jpg

runtime.py lies beside this file; of it only the decoding is used, which needs NumPy and no LiteRT. OpenCV 5.1 does not
run the post-process form, nor int8 files to the same values.
"""

import sys

import cv2
import numpy as np
import runtime


def main(model: str, photo: str) -> None:
    description = runtime.read_description(model)
    picture = cv2.imread(photo)
    if picture is None:
        sys.exit(f"{photo}: OpenCV cannot read it")
    height, width = description.height, description.width
    # Stretched, as the default `model.input.resize: stretch` trains it; pixels from 0 to 255, red first.
    smooth = cv2.INTER_AREA if picture.shape[0] > height else cv2.INTER_LINEAR
    pixels = cv2.resize(picture, (width, height), interpolation=smooth)
    blob = cv2.dnn.blobFromImage(pixels.astype(np.float32), swapRB=True)
    network = cv2.dnn.readNetFromTFLite(model)
    network.setInput(blob)
    deltas, logits = (output[0] for output in network.forward(["boxes", "classes"]))
    scores = 1 / (1 + np.exp(-logits))
    rows, classes = np.nonzero(scores >= 0.3)
    boxes = runtime.decode(deltas[rows], runtime.anchor_boxes(description)[rows], weights=description.coder_weights)
    kept = runtime.non_maximum_suppression(
        boxes,
        scores[rows, classes],
        classes=classes,
        iou_threshold=description.iou_threshold,
        limit=description.max_detections,
    )
    boxes = np.clip(boxes, 0, [height, width, height, width])
    scale = np.array([picture.shape[0] / height, picture.shape[1] / width] * 2)
    for index in kept:
        name, score = description.class_names[classes[index]], scores[rows[index], classes[index]]
        print(f"{name} {score:.2f}", *(boxes[index] * scale).round().astype(int).tolist())


if __name__ == "__main__":
    main(*sys.argv[1:])
