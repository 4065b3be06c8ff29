"""Delegates: the Edge TPU's where there is none, a file compiled for it, and a delegate made here that does nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge import runtime
from edge.runtime import DelegateError, Detector
from keras_retina.data.images import read_image

DELEGATE_SOURCE = """
#include <stdint.h>
#include <stdlib.h>
typedef struct {
  void *data; int (*prepare)(void *, void *); void *from, *to, *release; int64_t flags; void *builder;
} Delegate;
static int prepare(void *context, void *delegate) { return 0; }
void *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) {
#ifdef NO_DEVICE
  report("no device\\nfound");
  return NULL;
#endif
  Delegate *made = calloc(1, sizeof(Delegate));
  made->prepare = prepare;
  return made;
}
void tflite_plugin_destroy_delegate(void *delegate) { free(delegate); }
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Compiles a delegate that takes no operator; `library("-DNO_DEVICE")` one that finds no device."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler to make a delegate with")

    def build(*options: str) -> Path:
        folder = tmp_path_factory.mktemp("delegate")
        (folder / "delegate.c").write_text(DELEGATE_SOURCE)
        target = folder / "delegate.so"
        subprocess.run([compiler, "-shared", "-fPIC", *options, "-o", target, folder / "delegate.c"], check=True)
        return target

    return build


@pytest.fixture(scope="module")
def edgetpu_file(exported, tiny_spec, export_settings, tmp_path_factory) -> Path:
    """A file of ours whose custom operator has the name that the compiler gives its own."""
    from edge.export.export import described
    from edge.tflite.flatbuffer import read_flatbuffer, write_flatbuffer

    model = read_flatbuffer(exported["float32"].read_bytes())
    for code in model.operatorCodes:
        if code.customCode == b"TFLite_Detection_PostProcess":
            code.customCode = b"edgetpu-custom-op"
    path = tmp_path_factory.mktemp("edgetpu") / "tiny_edgetpu.tflite"
    path.write_bytes(
        described(write_flatbuffer(model), tiny_spec, kind="int8", head="postprocess", settings=export_settings)
    )
    return path


def one_line(error: BaseException) -> str:
    assert "\n" not in str(error)
    return str(error)


def test_a_file_compiled_for_the_edge_tpu_says_what_it_needs(edgetpu_file):
    with pytest.raises(DelegateError, match=r"tiny_edgetpu\.tflite: expected the Edge TPU delegate") as caught:
        Detector(edgetpu_file)
    assert "detect --delegate edgetpu" in one_line(caught.value)


def test_the_edge_tpu_library_that_is_not_there_is_named(exported, monkeypatch):
    monkeypatch.setitem(runtime.EDGETPU_LIBRARIES, runtime.platform.system(), "libedgetpu_not_here.so.1")
    with pytest.raises(DelegateError, match=r"libedgetpu_not_here\.so\.1.*libedgetpu1-std") as caught:
        Detector(exported["int8"], delegate="edgetpu")
    one_line(caught.value)


def test_a_library_that_is_no_delegate_is_refused(exported, tmp_path):
    (tmp_path / "text.so").write_text("not a library")
    with pytest.raises(DelegateError, match=r"text\.so") as caught:
        Detector(exported["int8"], delegate=tmp_path / "text.so")
    one_line(caught.value)
    mathematics = Path(np.linalg._umath_linalg.__file__)  # a library, but of something else
    with pytest.raises(DelegateError, match="another library"):
        Detector(exported["int8"], delegate=mathematics)


def test_a_delegate_without_its_device_says_so(exported, library):
    with pytest.raises(DelegateError, match="to find its device.*no device found") as caught:
        Detector(exported["int8"], delegate=library("-DNO_DEVICE"))
    one_line(caught.value)


def test_a_delegate_is_used_and_one_of_another_device_does_not_open_an_edge_tpu_file(
    exported, edgetpu_file, image_paths, library
):
    delegate, image = library(), read_image(image_paths[0])
    found = Detector(exported["float32"], delegate=delegate).detect(image, 0.05)
    np.testing.assert_allclose(found.boxes, Detector(exported["float32"]).detect(image, 0.05).boxes, atol=1e-3)
    with pytest.raises(DelegateError, match="expected the Edge TPU delegate"):
        Detector(edgetpu_file, delegate=delegate)


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_are_at_least_one(exported, threads):
    with pytest.raises(ValueError, match=f"Received: threads={threads}"):
        Detector(exported["int8"], threads)


def test_the_file_as_a_program_ends_with_one_line_and_status_2(exported, edgetpu_file, image_paths, tmp_path):
    (tmp_path / "text.tflite").write_text("hello")
    (tmp_path / "text.png").write_text("hello")
    photo = str(image_paths[0])
    for arguments, said in (
        ([str(tmp_path / "text.tflite"), photo], "no TFL3 mark"),
        ([str(exported["int8"]), str(tmp_path / "text.png")], "cannot identify image file"),
        ([str(exported["int8"]), photo, "--threads", "0"], "threads=0"),
        ([str(edgetpu_file), photo], "Edge TPU delegate"),
        ([str(exported["int8"]), photo, "--delegate", "/nowhere/lib.so"], "/nowhere/lib.so"),
    ):
        result = subprocess.run([sys.executable, runtime.__file__, *arguments], capture_output=True, text=True)
        lines = [line for line in result.stderr.splitlines() if line.startswith("runtime.py: ")]
        assert (result.returncode, len(lines), result.stdout) == (2, 1, ""), result.stderr
        assert said in lines[0]
        assert "Traceback" not in result.stderr and "Exception ignored" not in result.stderr


def test_a_classifier_is_refused_as_no_detector(tmp_path):
    from edge.tflite.flatbuffer import append_members
    from keras_retina.foundation.legacy_keras import keras, tf

    classifier = keras.Sequential([keras.Input((8, 8, 3), 1), keras.layers.Flatten(), keras.layers.Dense(4)])
    data = tf.lite.TFLiteConverter.from_keras_model(classifier).convert()
    path = tmp_path / "classifier.tflite"
    path.write_bytes(data)
    with pytest.raises(runtime.ModelFileError, match="nothing is appended to the network"):
        Detector(path)
    path.write_bytes(append_members(data, {"labels.txt": b"cat\ndog\n"}))
    with pytest.raises(runtime.ModelFileError, match=r"no item named 'detector\.json'"):
        Detector(path)
    path.write_bytes(append_members(data, {"detector.json": b"{}", "export.json": json.dumps({}).encode()}))
    with pytest.raises(runtime.ModelFileError, match="no usable description"):
        Detector(path)
