"""What a front process and the node's process say to each other, as frames on a stream of bytes. No input or output.

A frame is a header (length of the payload, number of the call, kind) and a payload. Many calls share one stream; a call
begins with CALL and ends with REPLY, STATUS or CANCEL. Both ends are this version of this program, started together:
the format may change at will. `link` carries the frames, `gate` and `dispatch` are the two ends.

The trap is `FrameReader`: a payload that it gives out is a view of its buffer, valid until the next one is asked for.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

HEADER: Final = struct.Struct("<IIB")
CALLS: Final = 1 << 32  # numbers of calls are below it
MOST_PAYLOAD: Final = 1 << 30  # bytes: twice what gRPC lets through
WINDOW: Final = 8  # messages of a stream that may be under way before the receiver has asked for more
_BUFFER: Final = 256 * 1024
_CALL = struct.Struct("<dHI")
_STATUS = struct.Struct("<BI")
_COUNT = struct.Struct("<H")
_PAIR = struct.Struct("<HI")
_BINARY = "-bin"  # gRPC's mark of a metadata key with bytes for a value
Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]


class Kind(enum.IntEnum):
    """What a frame means; F and M tell who sends it, the front process or the main one."""

    HELLO = 1  # M: JSON, what to serve and where; the first frame
    LISTENS = 2  # F: the answer to it; why it does not listen, empty when it does
    CALL = 3  # F: see `Opening`
    CANCEL = 4  # F: the caller went away or ran out of time
    MESSAGE = 5  # F, M: one of a stream
    END = 6  # F: the caller's stream has no more messages
    MORE = 7  # F, M: a message of the stream was taken, another may be sent
    REPLY = 8  # M: the one answer of a call that went well
    STATUS = 9  # M: see `Status`; the end of any other call
    STOP = 10  # M: stop listening, finish the calls, end; a double, the seconds for that


_KINDS: Final = tuple(None if number == 0 else Kind(number) for number in range(max(Kind) + 1))
Frame: TypeAlias = tuple[Kind, int, memoryview]


class BrokenFrames(Exception):
    """The bytes are no frames: the other end is broken, and so is this connection."""


def header(kind: Kind, call: int, size: int) -> bytes:
    """The bytes in front of a payload of `size` bytes."""
    return HEADER.pack(size, call, kind)


class FrameReader:
    """Finds frames in bytes that arrive in any portions. Read into `space()`, then tell how much: `received(count)`."""

    def __init__(self) -> None:
        self._view = memoryview(bytearray(_BUFFER))
        self._end = 0

    def space(self) -> memoryview:
        """Where the next bytes go; never empty."""
        return self._view[self._end :]

    def received(self, count: int) -> Iterator[Frame]:
        """The frames that are whole now that `count` more bytes are there. Must be used up before the next `space()`.

        Raises:
            BrokenFrames: nothing of what follows can be trusted.
        """
        self._end += count
        start, wanted = 0, HEADER.size
        while self._end - start >= HEADER.size:
            size, call, number = HEADER.unpack_from(self._view, start)
            kind = _KINDS[number] if number < len(_KINDS) else None
            if kind is None or size > MOST_PAYLOAD:
                raise BrokenFrames(f"a frame of kind {number} with {size} bytes")
            wanted = HEADER.size + size
            if self._end - start < wanted:
                break
            yield kind, call, self._view[start + HEADER.size : start + wanted]
            start, wanted = start + wanted, HEADER.size
        self._keep(start, wanted)

    def _keep(self, start: int, wanted: int) -> None:
        """Moves what is left to the front of a buffer in which a frame of `wanted` bytes has room."""
        left = self._end - start
        room = max(wanted, _BUFFER)
        if room != len(self._view):
            view = memoryview(bytearray(room))
            view[:left] = self._view[start : self._end]
            self._view = view
        elif start:
            self._view[:left] = self._view[start : self._end]
        self._end = left


def pack_metadata(metadata: Metadata) -> bytes:
    """Keys and values one after the other; what is text goes as UTF-8."""
    parts = [_COUNT.pack(len(metadata))]
    for key, value in metadata:
        name, body = key.encode(), value.encode() if isinstance(value, str) else bytes(value)
        parts += (_PAIR.pack(len(name), len(body)), name, body)
    return b"".join(parts)


def unpack_metadata(packed: memoryview) -> tuple[tuple[str, str | bytes], ...]:
    """The opposite of `pack_metadata`."""
    (count,) = _COUNT.unpack_from(packed)
    at = _COUNT.size
    found: list[tuple[str, str | bytes]] = []
    for _ in range(count):
        name, body = _PAIR.unpack_from(packed, at)
        at += _PAIR.size
        key, value = str(packed[at : at + name], "utf-8"), bytes(packed[at + name : at + name + body])
        found.append((key, value if key.endswith(_BINARY) else value.decode()))
        at += name + body
    return tuple(found)


@dataclass(frozen=True)
class Opening:
    """How a call begins. method: its place in the table of HELLO; seconds: left to it, infinite without a deadline.

    request: the message; empty for a call whose caller sends a stream.
    """

    method: int
    seconds: float
    metadata: tuple[tuple[str, str | bytes], ...]
    request: bytes

    @classmethod
    def unpack(cls, payload: memoryview) -> Opening:
        """Copies all of it out of the reader's buffer."""
        seconds, method, size = _CALL.unpack_from(payload)
        body = _CALL.size + size
        return cls(method, seconds, unpack_metadata(payload[_CALL.size : body]), bytes(payload[body:]))


def pack_opening(method: int, seconds: float, metadata: Metadata) -> bytes:
    """What stands before the request in the payload of CALL."""
    packed = pack_metadata(metadata)
    return _CALL.pack(seconds, method, len(packed)) + packed


@dataclass(frozen=True)
class Status:
    """How a call ends: a gRPC code (its number), a sentence, and trailing metadata such as the details for programs."""

    code: int
    details: str
    metadata: Metadata = ()

    def pack(self) -> bytes:
        """The payload of STATUS."""
        details = self.details.encode()
        return _STATUS.pack(self.code, len(details)) + details + pack_metadata(self.metadata)

    @classmethod
    def unpack(cls, payload: memoryview) -> Status:
        """Copies all of it out of the reader's buffer."""
        code, size = _STATUS.unpack_from(payload)
        body = _STATUS.size + size
        return cls(code, str(payload[_STATUS.size : body], "utf-8"), unpack_metadata(payload[body:]))
