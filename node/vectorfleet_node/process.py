"""The process in a fleet's pod, run by main.py once that listens to SIGTERM.

Without arguments it serves; `purge` deletes the collections' data.

Settings come from the environment (`settings.NodeSettings`). What cannot be started ends with one line on stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import time
from collections.abc import Coroutine
from functools import partial
from typing import Any

import uvloop

from vectorfleet.topology import Topology
from vectorfleet_node import logs
from vectorfleet_node.api.assembly import Assembly, Upkeep
from vectorfleet_node.api.auth import PeerSecret
from vectorfleet_node.api.backpressure import Limits
from vectorfleet_node.api.server import NodeServer, Ports, PortTaken
from vectorfleet_node.api.supervision import Identity
from vectorfleet_node.api.tasks import stop_task, watch_task
from vectorfleet_node.query.filters.masks import keep_at_most
from vectorfleet_node.serving import finish, stop_signal
from vectorfleet_node.settings import NodeSettings, SettingsError, cpu_limit, load, memory_limit, usual_fronts
from vectorfleet_node.storage.credentials import RenewingStore, read_folder
from vectorfleet_node.storage.purge import purge
from vectorfleet_node.storage.store import StorageError


class StartError(Exception):
    """The process cannot do what it was started for; the message is one line for a human."""


async def serve(settings: NodeSettings) -> None:
    """Serves a fleet's node until SIGTERM or SIGINT."""
    told = stop_signal()
    secret = PeerSecret(settings.peer_secret)
    identity = Identity(settings.node, secrets.token_hex(16))
    upkeep = Upkeep(
        settings.cache_bytes, settings.scrub_seconds, settings.scrub_bytes_per_second, settings.scrub_store_seconds
    )
    usual = Limits.for_memory(memory_limit())
    limits = Limits(
        settings.write_bytes or usual.writes, settings.growing_bytes or usual.growing, settings.reserve_bytes
    )
    keep_at_most(settings.filter_bytes, memory_limit())
    credentials = partial(read_folder, settings.credentials)
    assembly = Assembly(
        identity,
        settings.cache,
        secret,
        credentials,
        upkeep=upkeep,
        limits=limits,
        build_threads=settings.build_threads,
    )
    node, metrics = assembly.build()
    fronts = usual_fronts(cpu_limit()) if settings.fronts is None else settings.fronts
    server = NodeServer(node, metrics, secret, fronts=fronts)
    await server.start(Ports(settings.host, settings.api_port, settings.peer_port, settings.http_port))
    node.start()
    following = asyncio.create_task(node.topology.follow(settings.topology))
    watch_task(following, "topology file")
    logs.logger().info("serving", owner=identity.owner, fronts=fronts)
    await told.wait()
    await stop_task(following)
    await finish(node, server, settings.drain_seconds)


async def purge_all(settings: NodeSettings) -> None:
    """Deletes the data of every collection in the topology. StartError when there is no topology to tell which."""
    try:
        topology = Topology.model_validate_json(settings.topology.read_bytes())
    except (OSError, ValueError) as error:
        raise StartError(f"the topology {settings.topology} cannot be read: {str(error).splitlines()[0]}") from None
    for collection in topology.collections:
        store = RenewingStore(collection.storage, lambda: read_folder(settings.credentials))
        logs.logger().info("purging", collection=collection.name, url=collection.storage.url)
        await purge(store, collection.claim, monotonic=time.monotonic, sleep=asyncio.sleep)
        logs.logger().info("purged", collection=collection.name, url=collection.storage.url)


def run() -> None:
    """Parses the command line and does what it says."""
    parser = argparse.ArgumentParser(prog="vectorfleet-node", description="One node of a vectorfleet collection.")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("purge", help="delete the data of the topology's collections, for deletionPolicy: Delete")
    arguments = parser.parse_args()
    try:
        settings = load()
        logs.configure(settings.log_level, settings.node)
        work: Coroutine[Any, Any, None] = purge_all(settings) if arguments.command == "purge" else serve(settings)
        uvloop.run(work)
    except (SettingsError, StartError, PortTaken, StorageError, ValueError) as error:
        sys.exit(f"vectorfleet-node: {error}")
