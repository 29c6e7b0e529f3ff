"""`vectorfleet status`."""

from __future__ import annotations

from typing import Annotated

import typer

from vectorfleet.cli import options, render


def status(
    collection: Annotated[str, typer.Argument(help="Name of a collection; without it: all.", show_default=False)] = "",
    server: options.Server = options.DEFAULT_SERVER,
    timeout: options.Timeout = 30.0,
    as_json: options.Json = False,
) -> None:
    """Show the collections, or every copy of every shard of one."""
    with options.connected(server, timeout) as client:
        found = [client.describe(collection)] if collection else client.collections()
    if as_json:
        render.print_json([render.as_dict(info) for info in found])
    elif found:
        render.print_collections(found)
        if collection:
            render.print_shards(found[0])
    else:
        print("no collections yet: make one with vectorfleet create, or vectorfleet load --create")
