"""`vectorfleet log` and `fsck`: they read a collection's objects, not a node. They need the `node` extra."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from vectorfleet.cli import Failure, options, render

if TYPE_CHECKING:
    from vectorfleet_node.maintenance.findings import Report
    from vectorfleet_node.maintenance.repair import Repair
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

        store = open_location(locate(url, endpoint, region))
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
    repair: Annotated[
        bool, typer.Option("--repair", help="Rebuild what can be rebuilt without loss; no node may be running.")
    ] = False,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="With --repair: save what can be read, and say what was lost.")
    ] = False,
    endpoint: Endpoint = "",
    region: Region = "",
    as_json: options.Json = False,
) -> None:
    """Check every object of a collection: checksums, chain, rows, what is missing and what is left over.

    Reads only, unless --repair is given. Exit code 0: clean; 1: damage; 2: it could not be checked.

    [bold]vectorfleet fsck s3://bucket/articles[/bold]
    """
    if accept_loss and not repair:
        raise typer.BadParameter("it says what --repair may do; give both", param_hint="--accept-loss")
    with _told("fsck"):
        from vectorfleet_node.maintenance.location import locate, open_location
        from vectorfleet_node.maintenance.render_report import print_repairs, print_report, report_json

        store = open_location(locate(url, endpoint, region))
        report = _check(store, url, shard)
        if not as_json:
            print_report(report)
        repairs = None
        if repair and not report.clean:
            repairs, report = _repair(store, url, report, accept_loss)
            if not as_json:
                print_repairs(repairs)
                print_report(report)
    if as_json:
        told = [] if repairs is None else [each.as_json() for each in repairs]
        render.print_json({**report_json(report), "repairs": told})
    if not report.clean:
        raise typer.Exit(1)
    if not report.complete:
        raise typer.Exit(CANNOT_TELL)


def _check(store: Store, url: str, shard: int | None) -> Report:
    from vectorfleet_node.maintenance.check import check_collection
    from vectorfleet_node.maintenance.render_report import told_progress

    with told_progress() as progress:
        return asyncio.run(check_collection(store, url, only=shard, progress=progress))


def _repair(store: Store, url: str, report: Report, accept_loss: bool) -> tuple[list[Repair], Report]:
    import secrets

    from vectorfleet.descriptor import CLAIM_EXPIRY_SECONDS
    from vectorfleet_node.api.assembly import SystemClock
    from vectorfleet_node.engine.cpu import CpuEngine
    from vectorfleet_node.maintenance.render_report import told_progress
    from vectorfleet_node.maintenance.repair import Tools, repair_collection

    def watching(holder: object) -> None:
        seconds = int(CLAIM_EXPIRY_SECONDS)
        typer.echo(f"the data is claimed by {holder}: looking for {seconds} s whether it is in use", err=True)

    def new_id() -> str:
        return secrets.token_hex(16)

    with told_progress() as progress:
        tools = Tools(SystemClock(), asyncio.sleep, new_id, CpuEngine(), watching, progress)
        return asyncio.run(repair_collection(store, url, report, tools, accept_loss=accept_loss))
