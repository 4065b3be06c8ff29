"""Objects in a photo on a Coral with pycoral: python coral_pycoral.py NAME_int8_edgetpu.tflite labels.txt photo.jpg

NAME_int8_edgetpu.tflite is NAME_int8.tflite after `edgetpu_compiler`. Without pycoral: `python runtime.py
NAME_int8_edgetpu.tflite photo.jpg --delegate edgetpu`.
"""

import sys

from PIL import Image
from pycoral.adapters import common, detect
from pycoral.utils.dataset import read_label_file
from pycoral.utils.edgetpu import make_interpreter


def main(model: str, labels: str, photo: str) -> None:
    interpreter, names = make_interpreter(model), read_label_file(labels)
    interpreter.allocate_tensors()
    image = Image.open(photo).convert("RGB")
    # Stretched, the default of `model.input.resize`. After training with letterbox use common.set_resized_input.
    width, height = common.input_size(interpreter)
    common.set_input(interpreter, image.resize((width, height), Image.BILINEAR))
    interpreter.invoke()
    scale = (width / image.width, height / image.height)
    for one in detect.get_objects(interpreter, score_threshold=0.3, image_scale=scale):
        box = one.bbox
        print(f"{names[one.id]} {one.score:.2f}", box.ymin, box.xmin, box.ymax, box.xmax)


if __name__ == "__main__":
    main(*sys.argv[1:])
