"""What native code prints: hidden, shown where the block fails, and never the end of a program without stderr."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from keras_retina.foundation.native_notes import native_notes_hidden


def test_notes_of_native_code_are_hidden_and_later_ones_are_shown(capfd):
    with native_notes_hidden():
        os.write(2, b"a note\n")
    os.write(2, b"an error\n")
    assert capfd.readouterr().err == "an error\n"


def test_notes_are_shown_when_the_block_fails(capfd):
    with pytest.raises(ValueError, match="bad"), native_notes_hidden():
        os.write(2, b"why it is bad\n")
        raise ValueError("bad")
    assert capfd.readouterr().err == "why it is bad\n"


def test_what_python_printed_before_comes_first(capfd):
    print("before", file=sys.stderr, end="")
    with native_notes_hidden():
        os.write(2, b"a note\n")
    assert capfd.readouterr().err == "before"


def test_a_program_without_standard_error_goes_on():
    program = (
        "import os; os.close(2)\nfrom keras_retina.foundation.native_notes import native_notes_hidden\n"
        "with native_notes_hidden():\n    print('done')\n"
    )
    assert subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True).stdout == b"done\n"
