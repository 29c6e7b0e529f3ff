"""`vectorfleet load` and `import`: files to rows."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Annotated

import typer

from vectorfleet.cli import options, render

if TYPE_CHECKING:
    from vectorfleet import Client, Source
    from vectorfleet.loading import Progress


File = Annotated[
    str,
    typer.Argument(
        help=".npy .npz .parquet .fvecs .fbin or .jsonl; .parquet and .jsonl also as s3://bucket/key",
        show_default=False,
    ),
]
Create = Annotated[
    bool, typer.Option("--create", help="Make the collection by what the file holds, unless it is there.")
]
Format = Annotated[str, typer.Option("--format", help="Format of the file; by default its suffix tells.")]
Key = Annotated[str, typer.Option("--key", help="Column with the keys; default: key, id, else row numbers.")]
Vector = Annotated[str, typer.Option("--vector", help="Column with the vectors; default: vector, embedding.")]
Columns = Annotated[str, typer.Option("--fields", help="Columns to load, comma-separated; * is all.")]


def load(
    collection: options.Collection,
    file: File,
    create: Create = False,
    metric: options.Metric = options.MetricName.COSINE,
    shards: options.Shards = 1,
    format: Format = "",
    key: Key = "",
    vector: Vector = "",
    fields: Columns = "*",
    skip: Annotated[int, typer.Option("--skip", min=0, help="Rows of the file to leave out: resumes a load.")] = 0,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Rows per write.")] = 2000,
    in_flight: Annotated[int, typer.Option("--in-flight", min=1, max=64, help="Writes at a time.")] = 4,
    server: options.Server = options.DEFAULT_SERVER,
    as_json: options.Json = False,
) -> None:
    """Load a file of vectors, as writes. For many rows see import, which also goes on by itself after a stop.

    Rows whose key exists are replaced, so loading a file again is harmless. When it ends, every row is durable.
    """
    with options.connected(server) as client:
        source = _opened(file, format, key, vector, fields)
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
    if as_json:
        render.print_json({"rows": loaded.rows, "seconds": round(loaded.seconds, 3)})
    else:
        print(_rate(loaded.rows, loaded.seconds))


def import_(
    collection: options.Collection,
    file: File,
    create: Create = False,
    metric: options.Metric = options.MetricName.COSINE,
    shards: options.Shards = 1,
    format: Format = "",
    key: Key = "",
    vector: Vector = "",
    fields: Columns = "*",
    parallel: Annotated[int, typer.Option("--parallel", min=1, max=64, help="Parts at a time.")] = 4,
    part_rows: Annotated[
        int, typer.Option("--part-rows", min=0, help="Rows of a shard's part; 0: what suits the vectors.")
    ] = 0,
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Leave out parts that an earlier import of the file stored.")
    ] = True,
    server: options.Server = options.DEFAULT_SERVER,
    as_json: options.Json = False,
) -> None:
    """Import a file of many vectors: as segments, past the log.

    When it ends, every row is durable and searched. Stopped in the middle, the same command goes on where it was: parts
    of the file that are stored are left out, unless the file has changed. Rows whose key exists are replaced.
    """
    with options.connected(server) as client:
        source = _opened(file, format, key, vector, fields)
        if create:
            _create_for(client, collection, source, metric, shards)
        with _progress(f"importing {collection}") as progress:
            done = client.import_rows(
                collection,
                source,
                parallel=parallel,
                part_rows=part_rows,
                resume=resume,
                progress=progress,
                full=_Notice(),
            )
    if as_json:
        render.print_json({"rows": done.rows, "repeated": done.repeated, "seconds": round(done.seconds, 3)})
    else:
        known = f", {done.repeated:,} more by an earlier import" if done.repeated else ""
        print(_rate(done.rows - done.repeated, done.seconds) + known)


def _opened(file: str, format: str, key: str, vector: str, fields: str) -> Source:
    from vectorfleet.readers import open_source

    chosen = None if fields.strip() == "*" else options.listed(fields)
    return open_source(file, format=format, key=key, vector=vector, fields=chosen)


def _rate(rows: int, seconds: float) -> str:
    return f"{rows:,} rows in {seconds:.1f} s ({rows / max(seconds, 1e-9):,.0f} rows/s)"


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
