"""`vectorfleet load`, `create` and `delete`."""

from __future__ import annotations

import itertools
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vectorfleet.cli import keys as typing_keys
from vectorfleet.cli import options, render

if TYPE_CHECKING:
    from vectorfleet import Client, Source
    from vectorfleet.loading import Progress


class Metric(StrEnum):
    """The metrics, for --help; the contract's own enum would import pydantic before it is needed."""

    COSINE = "Cosine"
    L2 = "L2"
    DOT = "Dot"


MetricOption = Annotated[Metric, typer.Option("--metric", case_sensitive=False, help="How vectors are compared.")]
Shards = Annotated[int, typer.Option("--shards", min=1, help="Shards of the new collection.")]


def load(
    collection: options.Collection,
    file: Annotated[Path, typer.Argument(help=".npy .npz .parquet .fvecs .fbin or .jsonl", show_default=False)],
    create: Annotated[
        bool, typer.Option("--create", help="Make the collection by what the file holds, unless it is there.")
    ] = False,
    metric: MetricOption = Metric.COSINE,
    shards: Shards = 1,
    format: Annotated[str, typer.Option("--format", help="Format of the file; by default its suffix tells.")] = "",
    key: Annotated[str, typer.Option("--key", help="Column with the keys; default: key, id, else row numbers.")] = "",
    vector: Annotated[str, typer.Option("--vector", help="Column with the vectors; default: vector, embedding.")] = "",
    fields: Annotated[str, typer.Option("--fields", help="Columns to load, comma-separated; * is all.")] = "*",
    skip: Annotated[int, typer.Option("--skip", min=0, help="Rows of the file to leave out: resumes a load.")] = 0,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Rows per write.")] = 2000,
    in_flight: Annotated[int, typer.Option("--in-flight", min=1, max=64, help="Writes at a time.")] = 4,
    server: options.Server = options.DEFAULT_SERVER,
    as_json: options.Json = False,
) -> None:
    """Load a file of vectors.

    Rows whose key exists are replaced, so loading a file again is harmless. When it ends, every row is durable.
    """
    from vectorfleet.readers import open_source

    with options.connected(server) as client:
        chosen = None if fields.strip() == "*" else options.listed(fields)
        source = open_source(file, format=format, key=key, vector=vector, fields=chosen)
        if create:
            _create_for(client, collection, source, metric, shards)
        with _progress(f"loading {collection}") as progress:
            loaded = client.load(
                collection,
                source,
                batch_size=batch_size,
                in_flight=in_flight,
                skip=skip,
                progress=progress,
                full=_Notice(),
            )
    rate = loaded.rows / max(loaded.seconds, 1e-9)
    if as_json:
        render.print_json({"rows": loaded.rows, "seconds": round(loaded.seconds, 3)})
    else:
        print(f"{loaded.rows:,} rows in {loaded.seconds:.1f} s ({rate:,.0f} rows/s)")


def _create_for(client: Client, collection: str, source: Source, metric: str, shards: int) -> None:
    from vectorfleet.schema import FieldSchema, VectorSchema

    found = source.schema()
    vectors = [
        VectorSchema.model_validate({"name": name, "dimensions": size, "metric": metric})
        for name, size in found.dimensions.items()
    ]
    fields = [FieldSchema.model_validate({"name": name, "type": kind}) for name, kind in found.fields.items()]
    client.create_collection(collection, key=found.key, vectors=vectors, fields=fields, shards=shards)


class _Notice:
    """Says once that the server has no room, on standard error; called from the threads of a load."""

    def __init__(self) -> None:
        self._calls = itertools.count()

    def __call__(self, error: Exception) -> None:
        if next(self._calls) == 0:
            typer.echo(f"vectorfleet: the server is full, waiting: {error}", err=True)


class _progress:  # noqa: N801 - a context manager that reads like a function
    """A progress bar on standard error where that is a terminal; gives the callback for `Client.load`."""

    def __init__(self, what: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            console=Console(stderr=True), disable=not Console(stderr=True).is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task(what, total=None)

    def __enter__(self) -> Progress:
        self._bar.start()
        return lambda done, rows: self._bar.update(self._task, completed=done, total=rows)

    def __exit__(self, *problem: object) -> None:
        self._bar.stop()


def create(
    collection: options.Collection,
    dimensions: Annotated[int, typer.Option("--dimensions", "-d", help="Length of the vectors.", show_default=False)],
    metric: MetricOption = Metric.COSINE,
    index: Annotated[str, typer.Option("--index", help="Auto, Exact or HNSW.")] = "Auto",
    key: Annotated[str, typer.Option("--key", help="Type of the keys: String or Int64.")] = "String",
    field: Annotated[
        list[str], typer.Option("--field", help="name:Type, e.g. tags:StringArray; docs/filters.md has the types.")
    ] = [],  # noqa: B006 - typer copies it
    shards: Shards = 1,
    server: options.Server = options.DEFAULT_SERVER,
    timeout: options.Timeout = 30.0,
    as_json: options.Json = False,
) -> None:
    """Make a collection on a stand-alone node. On Kubernetes apply a VectorCollection instead."""
    types = dict(_name_and_type(each) for each in field)
    with options.connected(server, timeout) as client:
        made = client.create_collection(
            collection, dimensions, metric=metric, index=index, key=key, fields=types, shards=shards
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
