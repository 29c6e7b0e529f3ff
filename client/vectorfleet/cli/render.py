"""Rows, hits and states as tables for humans or JSON for programs. Used by every command that prints."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from vectorfleet.values import CollectionInfo, Group, Hit, ReplicaInfo, Row, SearchResult, ShardExplanation


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    json.dump(value, sys.stdout, ensure_ascii=False, default=_plain)
    sys.stdout.write("\n")


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


def row_json(row: Row | Hit) -> dict[str, Any]:
    """A row or hit as an object."""
    told: dict[str, Any] = {"key": row.key}
    if hasattr(row, "score"):
        told["score"] = row.score
    told["fields"] = dict(row.fields)
    if row.vectors:
        told["vectors"] = {name: vector.tolist() for name, vector in row.vectors.items()}
    return told


def group_json(group: Group) -> dict[str, Any]:
    """A group as an object."""
    return {"group": group.value, "hits": [row_json(hit) for hit in group.hits]}


def print_rows(rows: Sequence[Row] | Sequence[Hit], title: str = "") -> None:
    """A table: key, score where there is one, a column per field and vector."""
    fields = list(dict.fromkeys(name for row in rows for name in row.fields))
    vectors = list(dict.fromkeys(name for row in rows for name in row.vectors))
    scored = any(hasattr(row, "score") for row in rows)
    table = _table(title, ["key", *(["score"] if scored else []), *fields, *vectors])
    for row in rows:
        score = [f"{row.score:.4f}"] if hasattr(row, "score") else []
        shown = [_cell(row.fields.get(name)) for name in fields] + [_vector(row.vectors.get(name)) for name in vectors]
        table.add_row(_cell(row.key), *score, *shown)
    _print(table)


def print_result(result: SearchResult) -> None:
    """The hits, one table per query, and what answered."""
    from rich.console import Console

    for number, hits in enumerate(result.hits, start=1):
        query = f"query {number}" if len(result.hits) > 1 else ""
        if not result.groups:
            print_rows(hits, query)
        for group in result.groups[number - 1] if result.groups else ():
            print_rows(group.hits, f"{query} {_value(group.value)}".strip())
    if result.explanation:
        print_explanation(result.explanation)
    told = Console(stderr=True)
    told.print(f"[dim]answered by: {', '.join(result.indexes) or 'no index'}[/dim]")
    if result.missing_shards:
        told.print(f"[yellow]shards that did not answer: {', '.join(map(str, result.missing_shards))}[/yellow]")


def print_explanation(explanation: Sequence[ShardExplanation]) -> None:
    """A table per shard with a line per segment, narrow enough for 80 columns; the title tells the rest."""
    for shard in explanation:
        where = f"shard {shard.shard} on {_cell(shard.node)} at position {shard.position}"
        took = f"waited {shard.wait_us:,} µs, ranked in {shard.rank_us:,} µs, rows read in {shard.gather_us:,} µs"
        columns = ["segment", "rows", "live", "allowed", "plan", "found", "filter", "engine"]
        table = _table(f"{where}, queries in the call: {shard.batch_queries}\n{took}\nfilter, engine: µs", columns)
        for each in shard.segments:
            counts = [
                f"{each.rows:,}",
                f"{each.live:,}",
                f"{each.allowed:,}",
                _cell(each.plan or "not searched"),
                f"{each.candidates:,}",
            ]
            times = [f"{each.filter_us:,}", f"{each.engine_us:,}"]
            table.add_row("sealed" if each.sealed else "growing", *counts, *times)
        _print(table)


def print_collections(collections: Iterable[CollectionInfo]) -> None:
    """One line per collection."""
    table = _table("", ["collection", "rows", "shards", "ready", "vectors", "fields"])
    for info in collections:
        vectors = ", ".join(f"{each.name}: {each.dimensions} x {each.metric}" for each in info.vectors)
        copies = [copy for shard in info.shards for copy in shard.replicas]
        ready = f"{sum(copy.ready for copy in copies)}/{len(copies)} copies"
        fields = ", ".join(f"{each.name}: {each.type}" for each in info.fields)
        table.add_row(info.name, f"{info.rows:,}", str(len(info.shards)), ready, vectors, fields)
    _print(table)


def print_shards(info: CollectionInfo) -> None:
    """One line per copy of a shard."""
    table = _table("", ["shard", "node", "state", "rows", "growing", "position", "segments", "indexes", "message"])
    for shard in info.shards:
        for copy in shard.replicas:
            state = "ready" if copy.ready else "loading" if copy.reachable else "unreachable"
            colour = {"ready": "green", "loading": "yellow"}.get(state, "red")
            table.add_row(
                str(shard.id),
                copy.node + (" (leader)" if copy.leader else ""),
                f"[{colour}]{state}[/{colour}]",
                f"{copy.rows:,}",
                f"{copy.growing_rows:,}",
                f"{copy.position:,}",
                f"{copy.segments:,}",
                ", ".join(copy.indexes),
                _cell(copy.message or _condition(copy)),
            )
        table.add_section()
    _print(table)
    for line in _index_lines(info):
        print(line)


def _index_lines(info: CollectionInfo) -> list[str]:
    """Which indexes the leaders' rows have, and why."""
    segments, rows = Counter[tuple[str, str, str]](), Counter[tuple[str, str, str]]()
    for copy in (copy for shard in info.shards for copy in shard.replicas if copy.leader):
        for each in copy.index_details:
            told = each.vector, each.kind, each.reason
            segments[told] += each.segments
            rows[told] += each.rows
    return [
        f"{vector}: {kind} over {rows[vector, kind, reason]:,} rows in {count} segment{'s' * (count != 1)}: {reason}"
        for (vector, kind, reason), count in sorted(segments.items())
    ]


def _condition(copy: ReplicaInfo) -> str:
    """What is worth a word about a copy that is well."""
    return f"{copy.quarantined} damaged files set aside" if copy.quarantined else copy.compaction


def _table(title: str, columns: Iterable[str]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left")
    numbers = {"score", "rows", "growing", "position", "segments", "shards", "shard"}
    for column in columns:
        table.add_column(_cell(column), justify="right" if column in numbers else "left", overflow="fold")
    return table


def _print(table: Table) -> None:
    from rich.console import Console

    Console(highlight=False).print(table)


def _cell(value: Any) -> str:
    from rich.markup import escape

    if isinstance(value, list | dict):
        value = json.dumps(value, ensure_ascii=False)
    return "" if value is None else escape(str(value))


def _value(value: Any) -> str:
    return "(no value)" if value is None else _cell(value)


def _vector(vector: Any) -> str:
    if vector is None:
        return ""
    head = ", ".join(f"{number:.3f}" for number in vector[:3].tolist())
    return f"\\[{head}{', …' if len(vector) > 3 else ''}]"


def as_dict(value: Any) -> Any:
    """A frozen value of the SDK, with all it holds, as JSON types."""
    from dataclasses import asdict, is_dataclass

    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return dict(value) if isinstance(value, Mapping) else value
