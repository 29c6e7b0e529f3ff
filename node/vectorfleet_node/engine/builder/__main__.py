"""`python -m vectorfleet_node.engine.builder`: builds one index for the node that started it, and ends.

The request comes as one line on stdin, events go to stdout (`messages`). The trap is a node that is killed: nobody
would want the index any more, so the end of stdin, which the node never closes before, ends this process at once.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Final

from vectorfleet_node.engine.builder.messages import BuildRequest, Event
from vectorfleet_node.engine.builder.worker import be_modest, build

_STDIN: Final = 0
_PIECE: Final = 4096


def main() -> int:
    """Builds what stdin asks for; 0 when it is done."""
    line = _first_line()
    threading.Thread(target=_end_with_node, daemon=True).start()
    be_modest()
    try:
        build(BuildRequest.model_validate_json(line), _tell)
    except Exception as error:  # noqa: BLE001 - whatever it is, the node tells it to whoever waits
        _tell(Event(event="failed", problem=f"{type(error).__name__}: {error}"))
        return 1
    _tell(Event(event="done"))
    return 0


def _tell(event: Event) -> None:
    sys.stdout.write(f"{event.model_dump_json()}\n")
    sys.stdout.flush()


def _first_line() -> bytes:
    line = b""
    while not line.endswith(b"\n") and (piece := os.read(_STDIN, _PIECE)):
        line += piece
    return line


def _end_with_node() -> None:
    # Not sys.stdin: a thread that waits in there would hold its lock while the interpreter ends.
    while os.read(_STDIN, _PIECE):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
