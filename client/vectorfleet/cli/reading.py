"""`vectorfleet search`, `get`, `scan` and `count`."""

from __future__ import annotations

import itertools
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from vectorfleet.cli import Failure, options, render
from vectorfleet.cli import keys as typing_keys

if TYPE_CHECKING:
    from vectorfleet.values import SearchResult

Consistency = Annotated[
    str, typer.Option("--consistency", help="Strong, Session, Bounded or Eventual; empty: as the collection says.")
]


def search(
    collection: options.Collection,
    vector: Annotated[
        str,
        typer.Argument(
            help="Query vector(s): JSON, a file (.json, .npy, .parquet, …) or - for JSON on standard input.",
            show_default=False,
        ),
    ] = "",
    like: Annotated[str, typer.Option("--like", help="Search with the vector of the row that has this key.")] = "",
    k: Annotated[int, typer.Option("-k", help="How many rows to find.", min=1)] = 10,
    filter: options.Filter = "",
    fields: options.Fields = "*",
    name: Annotated[str, typer.Option("--vector", help="Which named vector to compare with.")] = "",
    exact: Annotated[bool, typer.Option("--exact", help="Compare with every row.")] = False,
    ef: Annotated[int, typer.Option("--ef", help="Size of the candidate list; 0: chosen from k.", min=0)] = 0,
    target_recall: Annotated[
        float | None,
        typer.Option("--target-recall", help="About which share of the best k to find: 0.5 to 1.", show_default=False),
    ] = None,
    min_score: Annotated[
        float | None, typer.Option("--min-score", help="Only rows with at least this score.", show_default=False)
    ] = None,
    group_by: Annotated[str, typer.Option("--group-by", help="Find k values of this field, not k rows.")] = "",
    group_size: Annotated[int, typer.Option("--group-size", help="Rows of each group at most.", min=1)] = 1,
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Answer without shards that cannot, and say which.")
    ] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Tell how each shard was searched.")] = False,
    consistency: Consistency = "",
    server: options.Server = options.DEFAULT_SERVER,
    timeout: options.Timeout = 30.0,
    as_json: options.Json = False,
) -> None:
    """Find the rows most like a vector, or like another row.

    [bold]vectorfleet search articles --like 42 -k 5[/bold]

    [bold]vectorfleet search articles '[0.1, 0.2, 0.3]' --filter 'lang == "en"'[/bold]
    """
    if like and group_by:
        raise typer.BadParameter("--like and --group-by do not go together", param_hint="--group-by")
    if bool(vector) == bool(like):
        raise typer.BadParameter("give a query vector or --like KEY, one of the two", param_hint="VECTOR")
    with options.connected(server, timeout) as client:
        itself = typing_keys.typed(client, collection, [like])[0] if like else None
        query = typing_keys.vector_of(client, collection, itself, name) if like else typing_keys.queries(vector)
        result = client.search(
            collection,
            query,
            k=k + 1 if like else k,
            vector=name,
            filter=filter,
            output_fields=options.listed(fields),
            consistency=consistency or None,
            allow_partial=allow_partial,
            exact=exact,
            ef=ef,
            target_recall=target_recall,
            min_score=min_score,
            group_by=group_by,
            group_size=group_size,
            explain=explain,
        )
    if like:
        result = replace(result, hits=[[hit for hit in hits if hit.key != itself][:k] for hits in result.hits])
    _show(result, as_json, explain)


def _show(result: SearchResult, as_json: bool, explain: bool) -> None:
    if not as_json:
        render.print_result(result)
        return
    hits = [[render.row_json(hit) for hit in found] for found in result.hits]
    groups = [[render.group_json(group) for group in found] for found in result.groups]
    told = {"explanation": [render.as_dict(each) for each in result.explanation]} if explain else {}
    render.print_json(
        {"results": groups or hits, "indexes": result.indexes, "missing_shards": result.missing_shards, **told}
    )


def get(
    collection: options.Collection,
    keys: Annotated[list[str], typer.Argument(help="Keys of the rows.", show_default=False)],
    fields: options.Fields = "*",
    vectors: Annotated[bool, typer.Option("--vectors", help="Show the vectors, too.")] = False,
    consistency: Consistency = "",
    server: options.Server = options.DEFAULT_SERVER,
    timeout: options.Timeout = 30.0,
    as_json: options.Json = False,
) -> None:
    """Read rows by key. Absent keys are left out; finding none is exit code 1."""
    with options.connected(server, timeout) as client:
        rows = client.get(
            collection,
            typing_keys.typed(client, collection, keys),
            output_fields=options.listed(fields),
            include_vectors=vectors,
            consistency=consistency or None,
        )
    if as_json:
        render.print_json([render.row_json(row) for row in rows])
    elif rows:
        render.print_rows(rows)
    if not rows:
        raise Failure(f"{collection} has no row with key {', '.join(keys)}")


class Output(StrEnum):
    """How a scan prints a row."""

    JSONL = "jsonl"
    KEYS = "keys"


def scan(
    collection: options.Collection,
    filter: options.Filter = "",
    fields: options.Fields = "*",
    vectors: Annotated[bool, typer.Option("--vectors", help="Print the vectors, too.")] = False,
    limit: Annotated[int, typer.Option("--limit", help="Stop after so many rows; 0: at the end.", min=0)] = 0,
    output: Annotated[
        Output, typer.Option("--output", "-o", help="jsonl: an object per line; keys: a key per line.")
    ] = Output.JSONL,
    page_size: Annotated[int, typer.Option("--page-size", help="Rows of one request.", min=1, max=16384)] = 1000,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on at a newer position when a node has lost its view.")
    ] = False,
    consistency: Consistency = "",
    server: options.Server = options.DEFAULT_SERVER,
    timeout: options.Timeout = 30.0,
) -> None:
    """Print every row, or those that match a filter, a line each.

    Each shard is read at one position, whatever is written meanwhile.
    """
    with (
        options.connected(server, timeout) as client,
        client.scan(
            collection,
            filter=filter,
            output_fields=options.listed(fields) if output is Output.JSONL else (),
            include_vectors=vectors and output is Output.JSONL,
            page_size=min(page_size, limit or page_size),
            consistency=consistency or None,
            resume=resume,
        ) as rows,
    ):
        for row in itertools.islice(rows, limit or None):
            if output is Output.JSONL:
                render.print_json(render.row_json(row))
            else:
                print(row.key)
        if rows.resumed:
            typer.echo("vectorfleet: a view was lost; the rows after it are of a newer position", err=True)


def count(
    collection: options.Collection,
    filter: options.Filter = "",
    consistency: Consistency = "",
    server: options.Server = options.DEFAULT_SERVER,
    timeout: options.Timeout = 30.0,
    as_json: options.Json = False,
) -> None:
    """Count the rows, or those that match a filter."""
    with options.connected(server, timeout) as client:
        rows = client.count(collection, filter=filter, consistency=consistency or None)
    if as_json:
        render.print_json({"count": rows})
    else:
        print(rows)
