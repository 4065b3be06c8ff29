"""Objects in a photo with MediaPipe Tasks: python mediapipe_tasks.py NAME_int8.tflite photo.jpg

`pip install mediapipe`. It stretches the photo to the network's input: train with `model.input.resize: stretch`, the
default. Names and thresholds are in the file.
"""

import sys

import mediapipe as mp


def main(model: str, photo: str) -> None:
    options = mp.tasks.vision.ObjectDetectorOptions(
        base_options=mp.tasks.BaseOptions(model_asset_path=model), score_threshold=0.3
    )
    with mp.tasks.vision.ObjectDetector.create_from_options(options) as detector:
        for detection in detector.detect(mp.Image.create_from_file(photo)).detections:
            box, best = detection.bounding_box, detection.categories[0]
            y1, x1 = box.origin_y, box.origin_x
            print(f"{best.category_name} {best.score:.2f}", y1, x1, y1 + box.height, x1 + box.width)


if __name__ == "__main__":
    main(*sys.argv[1:])
