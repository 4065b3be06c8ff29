"""The cells of a CSV file, whatever separates them: UTF-8, or UTF-16 as spreadsheets write it."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from keras_retina.data.formats.encoding import read_beginning, read_text
from keras_retina.foundation.errors import InputError, printable

DELIMITERS = (",", ";", "\t", "|")
SUFFIXES = (".csv", ".tsv")

_SAMPLE_BYTES = 1 << 16
_SEPARATOR = re.compile(r'"?sep=', re.IGNORECASE)  # a first line that tells Excel the delimiter

Row = tuple[int, list[str]]
"""The number of a line and its cells without blanks around them."""


@dataclass(frozen=True)
class Sample:
    """The beginning of a file, once for each delimiter that is in its first line; lines of blanks are left out."""

    rows: dict[str, list[Row]]


def read_sample(file: Path) -> Sample:
    """Reads the beginning of a file, damaged or not; the most frequent delimiter of the first line comes first."""
    beginning = read_beginning(file, _SAMPLE_BYTES)
    if beginning is None:
        return Sample({})  # reading all of it says why
    text, is_all = beginning
    lines = text.splitlines(keepends=True)
    if not is_all:
        lines = lines[:-1]  # cut off
    first = next((line for line in lines if line.strip() and not _SEPARATOR.match(line)), "")
    counts = {delimiter: _count_outside_quotes(first, delimiter) for delimiter in DELIMITERS}
    ordered = sorted((name for name in DELIMITERS if counts[name]), key=lambda name: -counts[name]) or [","]
    rows = {}
    for delimiter in ordered:
        reader = csv.reader(lines, delimiter=delimiter)
        try:
            rows[delimiter] = _rows(reader)
        except csv.Error:
            continue
    return Sample(rows)


def read_rows(file: Path, delimiter: str) -> list[Row]:
    """Reads all rows, blank lines left out.

    Raises:
        InputError: the file cannot be read, is not UTF-8, or has a quote that does not end.
    """
    text = read_text(file, "a CSV file")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        return _rows(reader)
    except csv.Error as error:
        raise InputError(
            f"{printable(file)}: line {reader.line_num}: rows of CSV were expected. Received: {printable(error)}. "
            "Is there a quote without its end?"
        ) from error


def _rows(reader) -> list[Row]:
    rows = [(reader.line_num, list(map(str.strip, line))) for line in reader]
    return [(number, line) for number, line in rows if any(line) and not (number == 1 and _SEPARATOR.match(line[0]))]


def _count_outside_quotes(line: str, delimiter: str) -> int:
    # Between an even number of quotes a delimiter separates cells.
    return sum(part.count(delimiter) for part in line.split('"')[::2])
