from __future__ import annotations

import pytest

from keras_retina.data.formats.voc.xml_file import looks_like_voc, read_labels, read_xml
from keras_retina.foundation.errors import InputError

CONTENT = """<annotation verified="yes">
<object><bndbox><ymax>4.5</ymax><xmax>3</xmax><ymin>2</ymin><xmin>1</xmin></bndbox><name>猫</name></object>
<filename>猫.png</filename></annotation>"""


def test_the_order_of_elements_does_not_count_and_size_may_be_missing(tmp_path):
    (tmp_path / "a.xml").write_text(CONTENT, encoding="utf-8")
    labels = read_labels(tmp_path / "a.xml")
    assert (labels.file_name, labels.size, labels.database) == ("猫.png", None, "")
    (item,) = labels.objects
    assert (item.line, item.name, item.corners) == (2, "猫", ("2", "1", "4.5", "3"))


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [
        ("GBK", "gbk"),
        ("gb2312", "gbk"),
        ("GB18030", "gb18030"),
        ("Big5", "big5"),
        ("Shift_JIS", "shift_jis"),
        ("utf-8", "utf-8"),
        ("UTF-8", "utf-8-sig"),
        ("utf-16", "utf-16"),
        (None, "utf-16"),
        (None, "utf-8"),
    ],
)
def test_a_file_is_read_in_the_encoding_that_it_names(tmp_path, declared, encoding):
    declaration = f"<?xml version='1.0' encoding='{declared}'?>\n" if declared else ""
    (tmp_path / "a.xml").write_text(declaration + CONTENT.replace("猫", "中"), encoding=encoding)
    assert looks_like_voc(tmp_path / "a.xml") == "yes"
    assert read_labels(tmp_path / "a.xml").objects[0].name == "中"


@pytest.mark.parametrize(
    ("declaration", "encoding", "message"),
    [
        ("", "gbk", r"line 2: text in UTF-8.*looks like GB18030"),
        ("<?xml version='1.0' encoding='utf-8'?>", "gbk", "looks like GB18030"),
        ("<?xml version='1.0' encoding='us-ascii'?>", "gbk", "text in 'us-ascii' was expected, as the file says"),
        ("<?xml version='1.0' encoding='klingon'?>", "gbk", "text in 'klingon' was expected.*unknown encoding"),
        ("<?xml version='1.0' encoding='hex'?>", "gbk", "text in 'hex' was expected"),
    ],
)
def test_a_wrong_encoding_is_called_so_and_not_a_file_that_is_cut_off(tmp_path, declaration, encoding, message):
    (tmp_path / "a.xml").write_text(declaration + CONTENT.replace("猫", "猫咪们"), encoding=encoding)
    with pytest.raises(InputError, match=rf"a\.xml: .*{message}") as caught:
        read_labels(tmp_path / "a.xml")
    assert "cut off" not in str(caught.value) and "\n" not in str(caught.value)


def test_entities_are_refused_and_not_expanded(tmp_path):
    bomb = '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;">]>\n<annotation><filename>&y;</filename></annotation>'
    outside = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>\n<annotation>&x;</annotation>'
    for content in (bomb, outside):
        (tmp_path / "a.xml").write_text(content)
        with pytest.raises(InputError, match=r"a\.xml: line 1: XML without DOCTYPE"):
            read_xml(tmp_path / "a.xml")


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        ("<annotation><folder/></annotation>", "yes"),
        ('<?xml version="1.0"?>\n<annotation verified="yes">', "yes"),
        ("<annotations><image/></annotations>", "no"),  # CVAT's own format
        ("<html></html>", "no"),
        ("", "damaged"),
        ("{}", "damaged"),
    ],
)
def test_the_beginning_tells_what_a_file_is(tmp_path, content, answer):
    (tmp_path / "a.xml").write_text(content)
    assert looks_like_voc(tmp_path / "a.xml") == answer
