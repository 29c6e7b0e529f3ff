"""What a run did, as a hash that two runs of one seed must share, and in words for whoever looks for the cause."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b


class Trace:
    """Takes lines. now: virtual seconds. show: gets each line as text; without it only the hash is kept."""

    def __init__(self, now: Callable[[], float], show: Callable[[str], None] | None = None) -> None:
        self._now = now
        self._show = show
        self._hash = blake2b(digest_size=16)

    @property
    def digest(self) -> str:
        """Of all lines and their times."""
        return self._hash.hexdigest()

    def __call__(self, who: str, what: str) -> None:
        line = f"{self._now():.6f} {who} {what}"
        self._hash.update(line.encode())
        if self._show:
            self._show(line)
