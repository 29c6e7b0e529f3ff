"""Runs one child that builds an index, from a thread of the node, until it is done, fails, or is not wanted any more.

The child is killed, never asked: it holds nothing that a kill could spoil, and what it had done is in its checkpoint.
The trap is its stdin: it has to stay open for as long as the child lives, because its end tells the child that the
node is gone.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Final

from pydantic import ValidationError

from vectorfleet_node.engine.builder.kept import TEMPORARY
from vectorfleet_node.engine.builder.messages import BuildRequest, Event
from vectorfleet_node.engine.port import BuildCancelled, BuildFailed

_LOOK_SECONDS: Final = 0.1  # between two looks whether the build is still wanted
_PIECE: Final = 1 << 16
_LAST_WORDS: Final = 500  # characters of stderr that are told


def run(request: BuildRequest, cancelled: Callable[[], bool], tell: Callable[[Event], None]) -> None:
    """Returns when the artefact is complete; `tell` gets the events before that. Slow: call it in a thread.

    BuildCancelled soon after `cancelled` is true, BuildFailed with what the child said or what killed it.
    """
    with tempfile.TemporaryFile() as stderr, _started(request, stderr) as process:
        assert process.stdout is not None
        failed = Event(event="failed")
        for line in _lines(process.stdout.fileno(), cancelled):
            event = _parsed(line)
            if event.event == "done":
                return
            if event.event == "failed":
                failed = event
            else:
                tell(event)
        status = process.wait()
        stderr.seek(0)
        words = stderr.read().decode(errors="replace").strip()[-_LAST_WORDS:]
        raise BuildFailed(failed.problem or f"its process ended with status {status}{words and ': '}{words}")


@contextmanager
def _started(request: BuildRequest, stderr: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """The child, with its request; killed at the end, and what it was writing is deleted."""
    with subprocess.Popen(
        [sys.executable, "-m", "vectorfleet_node.engine.builder"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=_environment(os.environ, request.threads),
    ) as process:
        try:
            assert process.stdin is not None
            process.stdin.write(f"{request.model_dump_json()}\n".encode())
            process.stdin.flush()
            yield process
        except BrokenPipeError:
            raise BuildFailed(f"its process ended with status {process.wait()} before it was asked") from None
        finally:
            process.kill()
            process.wait()
            (request.folder / f"{process.pid}{TEMPORARY}").unlink(missing_ok=True)


def _environment(own: Mapping[str, str], threads: int) -> dict[str, str]:
    """The node's environment, but for the threads of OpenMP and BLAS: these are the build's budget."""
    return {**own, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}


def _lines(stdout: int, cancelled: Callable[[], bool]) -> Iterator[bytes]:
    """What the child writes, line by line, until it ends. BuildCancelled."""
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        while True:
            if cancelled():
                raise BuildCancelled("nobody waits for the index any more")
            if not selector.select(_LOOK_SECONDS):
                continue
            piece = os.read(stdout, _PIECE)
            if not piece:
                return
            *lines, rest = (rest + piece).split(b"\n")
            yield from lines


def _parsed(line: bytes) -> Event:
    try:
        return Event.model_validate_json(line)
    except ValidationError:
        raise BuildFailed(f"its process said {line[:_LAST_WORDS]!r}") from None
