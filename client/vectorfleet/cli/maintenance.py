"""`vectorfleet log` and `fsck`: they read a collection's objects, not a node. They need the `node` extra."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from vectorfleet.cli import Failure, options, render

if TYPE_CHECKING:
    from vectorfleet_node.storage.store import Store

CANNOT_TELL = 2  # exit code: the store is away, the credentials are wrong, there is no collection

Url = Annotated[
    str,
    typer.Argument(
        help="s3://bucket/prefix, gs://bucket/prefix, az://container/prefix, file:///folder or a folder.",
        show_default=False,
    ),
]
Endpoint = Annotated[
    str, typer.Option("--endpoint", envvar="AWS_ENDPOINT_URL", help="URL of an S3 server that is not AWS.")
]
Region = Annotated[str, typer.Option("--region", envvar="AWS_REGION", help="Region of the bucket.")]
Shard = Annotated[int | None, typer.Option("--shard", min=0, help="Only this shard.")]


@contextmanager
def _told(command: str) -> Iterator[None]:
    """What keeps the command from looking at all becomes one line and its own exit code."""
    try:
        from vectorfleet_node.storage.store import StorageError
    except ModuleNotFoundError as error:
        raise Failure(f"{command} needs {error.name}: pip install 'vectorfleet[node]'", code=CANNOT_TELL) from error
    try:
        yield
    except (StorageError, ValueError) as error:
        raise Failure(str(error), code=CANNOT_TELL) from error


def log(
    url: Url,
    shard: Shard = None,
    start: Annotated[int, typer.Option("--from", min=0, help="First slot to show; 0: the newest ones.")] = 0,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Records of each shard; 0: all.")] = 100,
    endpoint: Endpoint = "",
    region: Region = "",
    as_json: options.Json = False,
) -> None:
    """Show a collection's log: who led, what was written, what was collected, what is damaged.

    Reads the objects only, so it may be used while nodes run. Credentials: AWS_ACCESS_KEY_ID and the like.

    [bold]vectorfleet log s3://bucket/articles --shard 0 --from 1[/bold]
    """
    with _told("log"):
        from vectorfleet_node.maintenance.location import locate, open_location

        store = open_location(locate(url, endpoint, region), read_only=True)
        if asyncio.run(_show(store, url, shard, start, limit, as_json)):
            raise typer.Exit(1)


async def _show(store: Store, url: str, only: int | None, start: int, limit: int, as_json: bool) -> bool:
    """Whether something is damaged."""
    from vectorfleet_node.maintenance.logview import chosen_shards, log_lines, open_collection
    from vectorfleet_node.maintenance.render_log import LogPrinter

    collection = await open_collection(store, url)
    shards = chosen_shards(collection, only)
    printer, found, damaged = LogPrinter(), [], False
    for shard in shards:
        if not as_json and len(shards) > 1:
            printer.shard(shard)
        async for line in log_lines(store, collection.uid, shard, start=start, limit=limit):
            damaged = damaged or line.damaged
            if as_json:
                found.append(line.as_json())
            else:
                printer.line(line)
    if as_json:
        render.print_json(found)
    return damaged


def fsck(
    url: Url,
    shard: Shard = None,
    endpoint: Endpoint = "",
    region: Region = "",
    as_json: options.Json = False,
) -> None:
    """Check every object of a collection: checksums, chain, rows, what is missing and what is left over.

    Reads only. Exit code 0: clean; 1: damage; 2: it could not be checked.

    [bold]vectorfleet fsck s3://bucket/articles[/bold]
    """
    with _told("fsck"):
        from vectorfleet_node.maintenance.check import check_collection
        from vectorfleet_node.maintenance.location import locate, open_location
        from vectorfleet_node.maintenance.render_report import print_report, report_json, told_progress

        store = open_location(locate(url, endpoint, region), read_only=True)
        with told_progress() as progress:
            report = asyncio.run(check_collection(store, url, only=shard, progress=progress))
    if as_json:
        render.print_json(report_json(report))
    else:
        print_report(report)
    if not report.clean:
        raise typer.Exit(1)
