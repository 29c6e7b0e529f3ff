"""Settings of a fleet's node, from `VECTORFLEET_*` in the environment; read once by `main`.

The defaults are the paths that the operator mounts, so a pod needs none of them set.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from vectorfleet.topology import API_PORT, HTTP_PORT, PEER_PORT

PREFIX = "VECTORFLEET_"
_MOST_FRONTS = 4  # unless the setting says otherwise


class SettingsError(Exception):
    """A setting cannot be used; the message names the variable, its value and what is allowed."""


class NodeSettings(BaseSettings):
    """Everything that a node must be told from outside."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    node: str = Field(default_factory=socket.gethostname, min_length=1)
    topology: Path = Path("/etc/vectorfleet/topology/topology.json")
    peer_secret: Path = Path("/etc/vectorfleet/peer/secret")
    credentials: Path = Path("/etc/vectorfleet/credentials")
    cache: Path = Path("/var/cache/vectorfleet")
    host: str = "0.0.0.0"  # noqa: S104 - a pod serves on its own address; NetworkPolicy says who may come
    api_port: int = Field(default=API_PORT, ge=0, le=65535)
    peer_port: int = Field(default=PEER_PORT, ge=0, le=65535)
    http_port: int = Field(default=HTTP_PORT, ge=0, le=65535)
    drain_seconds: float = Field(default=3.0, ge=0, le=600)  # between "not ready" and the end, for load balancers
    cache_bytes: int | None = Field(default=None, ge=1)  # of segment files in `cache`; None: as its disk
    scrub_seconds: float = Field(default=86_400, ge=0)  # for one look at every byte of them; 0: never
    scrub_bytes_per_second: int = Field(default=16 << 20, ge=1)  # of one shard, at most
    scrub_store_seconds: float | None = Field(default=None, ge=0)  # for the store's copies; None: never in a bucket
    write_bytes: int | None = Field(default=None, ge=1 << 20)  # of writes in progress; None: as the memory allows
    growing_bytes: int | None = Field(default=None, ge=1 << 20)  # of rows not flushed yet; None: as the memory allows
    reserve_bytes: int = Field(default=256 << 20, ge=0)  # of a volume, kept free for what is not a client's write
    build_threads: int | None = Field(default=None, ge=1, le=1024)  # of one index build; None: half of the CPUs
    filter_bytes: int | None = Field(default=None, ge=1 << 20)  # of what filters keep; None: as the memory allows
    fronts: int | None = Field(default=None, ge=0, le=256)  # processes that serve the API's port; None: as the CPUs
    log_level: Literal["debug", "info", "warning", "error"] = "info"


def memory_limit(file: Path = Path("/sys/fs/cgroup/memory.max")) -> int | None:
    """The memory that this process's container may use, in bytes; None without a limit."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # not in a container; "max"
        return None


def cpu_limit(file: Path = Path("/sys/fs/cgroup/cpu.max")) -> float:
    """How many CPUs this process may keep busy: its container's limit, or those that it may run on if fewer."""
    allowed = float(len(os.sched_getaffinity(0)))
    try:
        quota, period = file.read_text().split()
        return min(allowed, int(quota) / int(period))
    except (OSError, ValueError):  # not in a container; "max"
        return allowed


def usual_fronts(cpus: float) -> int:
    """How many front processes pay on so many CPUs: one for each 4, and no more than one node's process can feed on.

    docs/adr/0021 has the measurements.
    """
    return min(_MOST_FRONTS, int(cpus // 4))


def load() -> NodeSettings:
    """The settings in the environment. SettingsError, in one line, when one cannot be used."""
    try:
        return NodeSettings()
    except ValidationError as error:
        problems = [
            f"{PREFIX}{str(problem['loc'][0]).upper()}={problem['input']!r}: {problem['msg']}"
            for problem in error.errors()
        ]
        raise SettingsError("; ".join(problems)) from None
