"""Tells the user what is going on: a live line with a clock on a terminal, plain lines elsewhere.

Steps of several threads can overlap. The trap: without a terminal (CI), a step that takes minutes must still show
a sign of life, or the job is taken for dead.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

SIGN_OF_LIFE = 30.0


class Reporter:
    """Prints steps to standard error."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)

    def say(self, text: str) -> None:
        """Prints one line."""
        self.console.print(text, markup=False, soft_wrap=True)

    @contextmanager
    def steps(self) -> Iterator[None]:
        """Shows the steps within it live, if this is a terminal."""
        if not self.console.is_terminal:
            yield
            return
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True) as self._live:
            try:
                yield
            finally:
                del self._live

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """One step: its title while it runs, and a line with its seconds when it is done."""
        began = time.monotonic()
        live: Progress | None = getattr(self, "_live", None)
        task = live.add_task(title) if live else None
        done = threading.Event()
        if live is None:
            threading.Thread(target=self._show_life, args=(title, done), daemon=True).start()
        try:
            yield
            self.say(f"  {title}: {time.monotonic() - began:.1f} s")
        finally:
            done.set()
            if live and task is not None:
                live.remove_task(task)

    def _show_life(self, title: str, done: threading.Event) -> None:
        waited = 0.0
        while not done.wait(SIGN_OF_LIFE):
            waited += SIGN_OF_LIFE
            self.say(f"  {title}: {waited:.0f} s so far")
