"""Each surface of the long fuzz of binary files, for seconds: what is not read is refused in one line.

The long one is `benchmarks/hostile/fuzz.py`; here the readers are called without the command line.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import fuzz_files
import fuzz_networks
import fuzz_sound
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.runtime import ImageFileError, ModelFileError
from keras_retina.foundation.errors import InputError

REFUSED = (InputError, ModelFileError, ImageFileError)
SEEDS = st.integers(0, 2**32 - 1)
CHECKS = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


def a_few(examples: int) -> settings:
    return settings(derandomize=True, deadline=None, max_examples=examples, suppress_health_check=CHECKS, database=None)


def file_of(surface, seed: int) -> tuple[Path, list[str]]:
    """Writes one input and returns its folder and the words that it was meant for."""
    folder = Path(tempfile.mkdtemp())
    return folder, surface(np.random.default_rng(seed), folder)


def in_one_line(error: Exception, names: tuple[str, ...]) -> None:
    text = str(error)
    assert "\n" not in text and len(text) < 2_500
    assert any(name in text for name in names), text


@pytest.mark.parametrize("surface", ["tflite_of_ours", "tflite_of_others", "tflite_behind", "description"])
@a_few(40)
@given(seed=SEEDS)
def test_networks_are_inspected_or_refused(surface, seed):
    """Nothing of this runs a network; `test_check_network` does that in a process of its own."""
    from edge.detectors.reading import is_ours
    from edge.runtime import read_description
    from edge.tflite.inspection import inspect_file
    from edge.tflite.read_metadata import read_metadata

    folder, _ = file_of(fuzz_files.surfaces()[surface], seed)
    (file,) = folder.glob("*.tflite")
    for read in (inspect_file, is_ours, read_description, read_metadata if surface == "tflite_behind" else is_ours):
        try:
            read(file)
        except REFUSED as error:
            in_one_line(error, (file.name,))


@pytest.mark.parametrize("surface", ["keras_layers", "keras_weights", "keras_zip"])
@a_few(40)
@given(seed=SEEDS)
def test_models_are_found_sound_or_refused_before_keras_is_asked(surface, seed):
    from keras_retina.foundation.files.zip_members import UNREADABLE
    from keras_retina.model.saved.archive import read_archive, weights_bytes, weights_file
    from keras_retina.model.saved.network import require_buildable

    folder, _ = file_of(fuzz_files.surfaces()[surface], seed)
    file = folder / "model.keras"
    try:
        spec, config = read_archive(file)
        try:
            require_buildable(config, spec, weights_bytes=weights_bytes(file), path=file)
            with weights_file(file) as weights:
                assert weights.stat().st_size < 64 << 20
        except UNREADABLE as error:  # `load_detector` makes a line of these
            if isinstance(error, InputError):
                raise
    except InputError as error:
        in_one_line(error, (file.name,))


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, on tags that make no sense
@a_few(100)
@given(seed=SEEDS)
def test_photos_are_read_or_refused_alike_by_both_readers(seed):
    from edge import runtime
    from keras_retina.data import images

    suffix, data = fuzz_files.changed_photo(np.random.default_rng(seed))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"photo{suffix}"
        path.write_bytes(data)
        for read in (images.read_image, runtime.read_image):
            try:
                pixels = read(path)
                assert pixels.dtype == np.uint8 and pixels.ndim == 3
            except REFUSED as error:
                in_one_line(error, (path.name,))


@a_few(20)
@given(seed=SEEDS)
def test_archives_are_unpacked_inside_their_folder_or_refused(seed, monkeypatch):
    from keras_retina.data.reading import archive

    folder, words = file_of(fuzz_files.archive, seed)
    monkeypatch.setenv(archive.CACHE_VARIABLE, str(folder / "cache"))
    before = {path for path in folder.rglob("*") if "cache" not in path.parts}
    try:
        archive.unpacked(Path(words[2]))
    except InputError as error:
        in_one_line(error, (Path(words[2]).name,))
    assert {path for path in folder.rglob("*") if "cache" not in path.parts} == before


@a_few(30)
@given(seed=SEEDS)
def test_checkpoints_of_other_libraries_are_refused(seed):
    from keras_retina.model.imports.sources import read_original

    folder, words = file_of(fuzz_files.checkpoint, seed)
    with pytest.raises(InputError) as error:
        read_original(Path(words[1]))
    in_one_line(error.value, (Path(words[1]).stem, str(folder)))


def test_the_sound_files_are_sound():
    from edge.runtime import check_network, read_description

    for name in ("int8", "raw"):
        path = fuzz_sound.sound_files()[name]
        assert read_description(path).height == 64
        assert check_network(fuzz_networks.network_of(path)) == 1
