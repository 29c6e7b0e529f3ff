"""What the demo prints: numbered steps with their time, commands as a reader could type them, tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from demo.errors import DemoError

T = TypeVar("T")
console = Console(highlight=False)


class Steps:
    """Counts the steps of the demo."""

    def __init__(self) -> None:
        self._number = 0
        self._began = time.monotonic()

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """One step: a heading, and its seconds when it is done."""
        self._number += 1
        console.print(f"\n[bold cyan]{self._number}. {escape(title)}[/bold cyan]")
        began = time.monotonic()
        yield
        console.print(f"   [dim]{time.monotonic() - began:.1f} s[/dim]")

    @property
    def seconds(self) -> float:
        """Since the first one."""
        return time.monotonic() - self._began


def say(text: str) -> None:
    """One line."""
    console.print(f"   {escape(text)}", soft_wrap=True)


def shell(command: str, output: str = "") -> None:
    """A command and what it printed."""
    console.print(f"   [bold]$ {escape(command)}[/bold]", soft_wrap=True)
    for line in output.rstrip().splitlines():
        console.print(f"   {escape(line)}", soft_wrap=True)


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar on a terminal, a line now and then elsewhere; gives `progress(done, total)`."""
    if not console.is_terminal:
        yield _lines(what)
        return
    columns = (TextColumn("   {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines(what: str) -> Callable[[int, int | None], None]:
    last = time.monotonic()

    def progress(done: int, total: int | None) -> None:
        nonlocal last
        if time.monotonic() - last >= 10:
            last = time.monotonic()
            say(f"{what}: {done:,} of {total or 0:,}")

    return progress


def wait_until(check: Callable[[], T | None], what: str, timeout: float, every: float = 1.0) -> T:
    """The first truthy answer of `check`, which may raise DemoError while it is too early; a clock shows meanwhile."""
    deadline = time.monotonic() + timeout
    columns = (TextColumn("   waiting: {task.description}"), TimeElapsedColumn())
    last = "nothing yet"
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as clock:
        task = clock.add_task(what)
        while time.monotonic() < deadline:
            try:
                answer = check()
            except DemoError as error:
                last = str(error)
            else:
                if answer:
                    return answer
                last = str(answer)
            clock.update(task)
            time.sleep(every)
    raise DemoError(f"not within {timeout:g} s: {what} (last: {last})")


def table(columns: Iterable[tuple[str, str]], rows: Iterable[Iterable[str]]) -> None:
    """A table; `columns` are (name, left or right)."""
    from rich import box
    from rich.padding import Padding
    from rich.table import Table

    shown = Table(box=box.SIMPLE_HEAD)
    for name, side in columns:
        shown.add_column(name, justify="right" if side == "right" else "left")
    for row in rows:
        shown.add_row(*(escape(cell) for cell in row))
    console.print(Padding(shown, (0, 0, 0, 2)))
