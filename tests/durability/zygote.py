"""Starts workers quickly: a process that has imported everything once and forks a worker for each that is wanted.

It starts no threads and opens no store, so that a fork of it is whole. A worker that ended stays a zombie until it is
reaped by order, so that its number is nobody else's when it is killed. When whoever started the zygote goes away, it
kills its workers, also stopped ones, and ends.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import socket
import subprocess
import sys
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
_LARGEST = 1 << 16
_START_TIMEOUT = 60.0


class Zygote:
    """The handle of who wants workers."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.durability.zygote", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            cwd=_ROOT,
            start_new_session=True,
        )
        theirs.close()
        self._control.settimeout(_START_TIMEOUT)
        self._ask()

    def fork(self, plan: Any) -> tuple[int, Connection]:
        """A new worker: its process id, and the connection to it."""
        ours, theirs = socket.socketpair()
        socket.send_fds(self._control, [pickle.dumps(("fork", plan))], [theirs.fileno()])
        theirs.close()
        return int(self._ask()), Connection(ours.detach())

    def reap(self, pid: int) -> None:
        """Forgets a worker that has ended."""
        self._control.send(pickle.dumps(("reap", pid)))
        self._ask()

    def close(self) -> None:
        """Ends all that it forked, and itself."""
        self._control.close()
        try:
            self._process.wait(10)
        finally:
            self._process.kill()
            self._process.wait()

    def _ask(self) -> bytes:
        answer = self._control.recv(_LARGEST)
        if not answer:
            raise RuntimeError("the process that forks workers has ended")
        return answer


def _serve(control: socket.socket) -> None:
    from tests.durability import worker

    gc.freeze()
    children: set[int] = set()
    control.send(b"ready")
    while True:
        data, descriptors, *_ = socket.recv_fds(control, _LARGEST, 1)
        if not data:
            break
        order, argument = pickle.loads(data)
        if order == "fork":
            pid = os.fork()
            if pid == 0:
                _live(worker.main, control, Connection(descriptors[0]), argument)
            os.close(descriptors[0])
            children.add(pid)
            control.send(str(pid).encode())
        else:
            os.waitpid(argument, 0)
            children.discard(argument)
            control.send(b"reaped")
    for pid in children:
        os.kill(pid, signal.SIGKILL)


def _live(life: Any, control: socket.socket, connection: Connection, plan: Any) -> None:
    control.close()
    try:
        life(connection, plan)
    except Exception:  # noqa: BLE001 - whatever it is, this process must not go on as a second zygote
        traceback.print_exc()
    finally:
        os._exit(0)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
