"""Length-checked reading and writing of little-endian binary, for `record`."""

from __future__ import annotations

import struct
from typing import Any


class Truncated(Exception):
    """The bytes end before the value does, or go on after the last value."""


def pack_text(text: str) -> bytes:
    """UTF-8 behind its length as u16. ValueError when it is too long."""
    data = text.encode()
    if len(data) > 0xFFFF:
        raise ValueError(f"{text[:40]!r}... has {len(data)} bytes; at most {0xFFFF} are allowed")
    return struct.pack("<H", len(data)) + data


def pack_length(data: bytes) -> bytes:
    """The length of the data as u32, which stands in front of it. ValueError when there are too many bytes."""
    if len(data) > 0xFFFFFFFF:
        raise ValueError(f"{len(data)} bytes; at most {0xFFFFFFFF} are allowed")
    return struct.pack("<I", len(data))


def pack_bytes(data: bytes) -> bytes:
    """Bytes behind their length as u32. ValueError as `pack_length`."""
    return pack_length(data) + data


class Reader:
    """Reads values one after the other. Truncated instead of ever reading past the end."""

    def __init__(self, data: bytes, offset: int) -> None:
        self._data = data
        self._offset = offset

    def _take(self, size: int) -> bytes:
        end = self._offset + size
        if end > len(self._data):
            raise Truncated(f"{size} bytes expected at {self._offset}, {len(self._data) - self._offset} left")
        taken = self._data[self._offset : end]
        self._offset = end
        return taken

    def unpack(self, layout: str) -> tuple[Any, ...]:
        """Values laid out as `struct` says."""
        return struct.unpack(layout, self._take(struct.calcsize(layout)))

    def unpack_many(self, count: int, code: str, size: int) -> tuple[Any, ...]:
        """`count` values of one struct code. The size is checked before anything of that length is made."""
        return struct.unpack(f"<{count}{code}", self._take(count * size))

    def bytes(self) -> bytes:
        """What `pack_bytes` wrote."""
        (size,) = self.unpack("<I")
        return self._take(size)

    def text(self) -> str:
        """What `pack_text` wrote."""
        (size,) = self.unpack("<H")
        return self._take(size).decode()

    def end(self) -> None:
        """Truncated unless everything has been read."""
        if self._offset != len(self._data):
            raise Truncated(f"{len(self._data) - self._offset} bytes behind the last value")
