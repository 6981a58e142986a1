"""Is an image file all there? Told by its structure, which is a hundred times faster than decoding it."""

import re
import struct
import zlib
from collections.abc import Callable

# In JPEG's coded data FF is followed by 00, a restart marker, or FF as filler; all else is a marker.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_JPEG_END, _JPEG_SCAN = 0xD9, 0xDA


def missing_part(format_: str, data: bytes) -> str | None:
    """Say what is missing from the file, or None where its structure is whole.

    TIFF and BMP always count as whole: their sizes lie in the pixels' layout, so decoding has to tell.
    """
    check = _CHECKS.get(format_)
    return check(data) if check else None


def _jpeg(data: bytes) -> str | None:
    position = 2  # past the start-of-image marker
    while position + 4 <= len(data) or data[position : position + 2] == b"\xff\xd9":
        if data[position] != 0xFF:
            return f"no marker at byte {position}"
        marker = data[position + 1]
        if marker == _JPEG_END:
            return None
        if marker == 0xFF:  # filler
            position += 1
            continue
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == _JPEG_SCAN:
            found = _JPEG_MARKER.search(data, position)
            if found is None:
                return "the picture's data end early"
            position = found.start()
    return "the picture's data end early"


def _png(data: bytes) -> str | None:
    position = 8  # past the signature
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            return f"{end - len(data)} bytes of its {kind!r} part are not there"
        body = memoryview(data)[position + 4 : end - 4]
        if zlib.crc32(body) != int.from_bytes(data[end - 4 : end], "big"):
            return f"the checksum of its {kind!r} part is wrong"
        if kind == b"IEND":
            return None
        position = end
    return "its end is not there"


def _webp(data: bytes) -> str | None:
    stated = 8 + int.from_bytes(data[4:8], "little")
    return f"{stated - len(data)} of {stated} bytes are not there" if stated > len(data) else None


_CHECKS: dict[str, Callable[[bytes], str | None]] = {"JPEG": _jpeg, "MPO": _jpeg, "PNG": _png, "WEBP": _webp}
