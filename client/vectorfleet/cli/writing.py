"""`vectorfleet create` and `delete`."""

from __future__ import annotations

from typing import Annotated

import typer

from vectorfleet.cli import keys as typing_keys
from vectorfleet.cli import options, render


def create(
    collection: options.Collection,
    dimensions: Annotated[int, typer.Option("--dimensions", "-d", help="Length of the vectors.", show_default=False)],
    metric: options.Metric = options.MetricName.COSINE,
    index: Annotated[str, typer.Option("--index", help="Auto, Exact, PQ or HNSW.")] = "Auto",
    quantization: Annotated[str, typer.Option("--quantization", help="Of a graph: Auto, Float16 or Int8.")] = "Auto",
    key: Annotated[str, typer.Option("--key", help="Type of the keys: String or Int64.")] = "String",
    field: Annotated[
        list[str], typer.Option("--field", help="name:Type, e.g. tags:StringArray; docs/filters.md has the types.")
    ] = [],  # noqa: B006 - typer copies it
    shards: options.Shards = 1,
    server: options.Server = options.DEFAULT_SERVER,
    timeout: options.Timeout = 30.0,
    as_json: options.Json = False,
) -> None:
    """Make a collection on a stand-alone node. On Kubernetes apply a VectorCollection instead."""
    types = dict(_name_and_type(each) for each in field)
    with options.connected(server, timeout) as client:
        made = client.create_collection(
            collection,
            dimensions,
            metric=metric,
            index=index,
            quantization=quantization,
            key=key,
            fields=types,
            shards=shards,
        )
    if as_json:
        render.print_json(render.as_dict(made))
    else:
        render.print_collections([made])


def _name_and_type(text: str) -> tuple[str, str]:
    name, separator, kind = text.partition(":")
    if not separator:
        raise typer.BadParameter(f"{text!r}: expected name:Type, e.g. lang:String", param_hint="--field")
    return name, kind


def delete(
    collection: options.Collection,
    keys: Annotated[list[str], typer.Argument(help="Keys of the rows.", show_default=False)] = [],  # noqa: B006 - typer copies it
    filter: Annotated[
        str, typer.Option("--filter", "-f", help="""Delete all rows that match, e.g. 'year < 2000'.""")
    ] = "",
    server: options.Server = options.DEFAULT_SERVER,
    timeout: options.Timeout = 30.0,
    as_json: options.Json = False,
) -> None:
    """Delete rows by key, or all that match a filter. Deleting what is not there is no error."""
    if bool(keys) == bool(filter):
        raise typer.BadParameter("give keys or --filter, one of the two", param_hint="KEYS")
    with options.connected(server, timeout) as client:
        typed = typing_keys.typed(client, collection, keys) if keys else None
        done = client.delete(collection, typed, filter=filter)
    if as_json:
        render.print_json({"keys" if keys else "rows": done.rows, "request_id": done.request_id})
    elif keys:
        print(f"deleted {done.rows:,} {'key' if done.rows == 1 else 'keys'}")
    else:
        more = "" if done.rows_known else " now, others by an earlier attempt"
        print(f"deleted {done.rows:,} {'row' if done.rows == 1 else 'rows'}{more}")
