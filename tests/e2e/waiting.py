"""Waiting for a condition with a deadline; the only place in the end-to-end tests that sleeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(check: Callable[[], T], *, timeout: float, what: str, every: float = 0.25) -> T:
    """The first truthy result of `check`; AssertionError naming `what` and the last result when none comes in time."""
    deadline = time.monotonic() + timeout
    while True:
        last = check()
        if last:
            return last
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what}; last seen: {last!r}")
        time.sleep(every)
