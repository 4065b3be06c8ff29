from __future__ import annotations

import pytest

from keras_retina.data.formats.encoding import read_beginning, read_text
from keras_retina.foundation.errors import InputError


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_every_unicode_encoding_is_read(tmp_path, encoding):
    file = tmp_path / "a.txt"
    file.write_bytes("1 0.5\nélan 猫\n".encode(encoding))
    assert read_text(file) == "1 0.5\nélan 猫\n"
    assert read_beginning(file, 1000) == ("1 0.5\nélan 猫\n", True)


def test_another_encoding_and_a_missing_file_are_named(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"1 0.5\n\xe9lan\n")
    with pytest.raises(InputError, match=r"a\.txt: line 2: text in UTF-8 was expected.*Windows-1252.*Save the file"):
        read_text(tmp_path / "a.txt")
    with pytest.raises(InputError, match=r"b\.txt: a CSV file that can be read was expected\. Received: No such file"):
        read_text(tmp_path / "b.txt", "a CSV file")


def test_a_beginning_is_read_whatever_is_damaged_in_it(tmp_path):
    file = tmp_path / "a.txt"
    file.write_bytes(b"caf\xe9 au lait")
    assert read_beginning(file, 4) == ("caf\ufffd", False)
    assert read_beginning(file, 12) == ("caf\ufffd au lait", True)
    file.write_bytes(b"")
    assert read_beginning(file, 4) == ("", True)
    assert read_beginning(tmp_path / "b.txt", 4) is None
    assert read_beginning(tmp_path, 4) is None
