"""Finds and removes mounts below a folder. Called by `down` and `node stop`."""

from __future__ import annotations

import re
from pathlib import Path

from devcluster.commands import run


def below(folder: Path, mountinfo: str) -> list[str]:
    """The mount points at or below the folder in the text of /proc/self/mountinfo, latest mount first."""
    points = [_unescape(line.split()[4]) for line in mountinfo.splitlines()]
    return [point for point in reversed(points) if point == str(folder) or point.startswith(f"{folder}/")]


def _unescape(point: str) -> str:
    return re.sub(r"\\(\d{3})", lambda found: chr(int(found.group(1), 8)), point)


def unmount_below(folder: Path) -> None:
    """Unmounts everything at or below the folder; lazily, because a dying container may still hold it for a moment."""
    points = below(folder, Path("/proc/self/mountinfo").read_text())
    if points:
        run("umount", "--lazy", *points)
