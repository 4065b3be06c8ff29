"""Members of a zip that somebody else made, read up to a limit whatever size they declare."""

from __future__ import annotations

import struct
import zipfile
import zlib

UNREADABLE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, KeyError, TypeError, AttributeError, ValueError, OverflowError),
    *(NotImplementedError, RuntimeError, EOFError, OSError),
)
"""What reading a zip, and text or JSON in it, may raise when bytes were changed."""


def read_member(archive: zipfile.ZipFile, name: str, *, limit: int) -> bytes:
    """Returns a member of at most `limit` bytes.

    Raises:
        KeyError: there is none.
        zipfile.BadZipFile: it is larger, or neither stored nor deflated. Others of `UNREADABLE`: it is damaged.
    """
    require_plain(archive.getinfo(name), limit=limit)
    with archive.open(name) as member:
        return member.read(limit)


def require_plain(member: zipfile.ZipInfo, *, limit: int) -> None:
    """Refuses a member of more than `limit` bytes, and one that is neither stored nor deflated.

    A member of the other methods unpacks a whole block at once, which may be gigabytes. One that is stored or deflated
    ends at the size that it declares.

    Raises:
        zipfile.BadZipFile: it is one of these.
    """
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise zipfile.BadZipFile(
            f"{member.filename[:80]} is neither stored nor deflated, but packed by method {member.compress_type}"
        )
    if member.file_size > limit:
        raise zipfile.BadZipFile(f"{member.filename[:80]} is larger than {limit} bytes")
