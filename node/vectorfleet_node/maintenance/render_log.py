"""The log as text. Used by the command `log`."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from vectorfleet_node.maintenance.logview import LogLine

_COLOURS = {"fence": "cyan", "publish": "green", "collected": "dim", "damaged": "bold red", "missing": "bold red"}


def size_text(size: int) -> str:
    """`512 B`, `1.5 KiB`, `3.2 MiB`."""
    if size < 1024:
        return f"{size} B"
    value, unit = size / 1024, "KiB"
    for larger in ("MiB", "GiB", "TiB"):
        if value >= 1024:
            value, unit = value / 1024, larger
    return f"{value:.1f} {unit}"


def line_text(line: LogLine) -> str:
    """One line: position, time, epoch, kind, size, and what it says."""
    span = str(line.position) if line.position == line.until else f"{line.position}-{line.until}"
    epoch = f"epoch {line.epoch}" if line.epoch else ""
    size = size_text(line.size) if line.size else ""
    return f"{span:>12}  {line.time:<23}  {epoch:<9}  {line.kind:<9}  {size:>10}  {line.text}"


class LogPrinter:
    """Prints lines on standard output as they come; coloured when it is a terminal."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)

    def shard(self, shard: int) -> None:
        """A heading."""
        self._console.print(Text(f"shard {shard}", style="bold"))

    def line(self, line: LogLine) -> None:
        """One line."""
        self._console.print(Text(line_text(line), style=_COLOURS.get(line.kind, "")))
