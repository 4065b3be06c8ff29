"""Objects in a camera or a video with OpenCV; runtime.py and the model lie beside this file.

python opencv_camera.py NAME_int8.tflite 0           # the first camera
python opencv_camera.py NAME_int8.tflite film.mp4 --show
"""

import sys

import cv2
from runtime import Detector


def main(model: str, source: str, show: bool) -> None:
    detector = Detector(model, threads=4)
    capture = cv2.VideoCapture(int(source) if source.isdigit() else source)
    if not capture.isOpened():
        sys.exit(f"{source}: OpenCV cannot open it")
    while True:
        there, frame = capture.read()
        if not there:
            break
        found = detector.detect(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))  # OpenCV has blue first
        for number, (y1, x1, y2, x2) in enumerate(found.boxes.round().astype(int).tolist()):
            text = f"{detector.class_names[found.classes[number]]} {found.scores[number]:.2f}"
            print(text, y1, x1, y2, x2)
            cv2.rectangle(frame, (x1, y1), (x2, y2), (0, 160, 255), 2)
            cv2.putText(frame, text, (x1, max(12, y1 - 4)), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 160, 255), 1)
        if show:
            cv2.imshow("detector", frame)
            if cv2.waitKey(1) == 27:  # Esc
                break
    capture.release()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], "--show" in sys.argv)
