"""What an index of a field is worth: the first mask of a filter over a sealed segment, with and without the index.

Run it by hand: `python -m benchmarks.filters --help`. Both ways read the same files and are asked in turn, so that a
busy machine harms both; times are of the CPU. Nothing is kept between two masks, as when each filter has new constants.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from vectorfleet.schema import CollectionSchema, FieldSchema, FieldType, VectorSchema
from vectorfleet_node.query.filters import compile_filter
from vectorfleet_node.query.filters.masks import mask_of
from vectorfleet_node.shard.checks import SegmentFiles
from vectorfleet_node.shard.view import RowBlock
from vectorfleet_node.storage import checked, fieldfile, segment
from vectorfleet_node.storage.checked import CheckedFile
from vectorfleet_node.storage.keyindex import KeyIndex
from vectorfleet_node.storage.segment import SegmentRows

FIELDS: Final = {
    "year": FieldType.INT64,
    "price": FieldType.FLOAT64,
    "lang": FieldType.STRING,
    "tags": FieldType.STRING_ARRAY,
}
SCHEMA: Final = CollectionSchema(
    vectors=(VectorSchema(dimensions=1),),
    fields=tuple(FieldSchema(name=name, type=kind, indexed=True) for name, kind in FIELDS.items()),
    shards=1,
)
FILTERS: Final = (
    "year == 500000",
    "year between 500000 and 510000",
    "year between 500000 and 600000",
    "year between 500000 and 750000",
    "year < 500000",
    "price < 0.01",
    "lang == 'l500'",
    "lang in ['l1', 'l2', 'l3', 'l4']",
    "lang like 'l50%'",
    "lang != 'l500'",
    "contains(tags, 't500')",
    "contains_all(tags, ['t500', 't501'])",
    "contains(tags, 't500') and year < 100000",
)


def rows(count: int, seed: int = 7) -> pa.Table:
    """Numbers of a million values, texts of a thousand, arrays of two of a thousand; a tenth of each is null."""
    rng = np.random.default_rng(seed)
    gone = [rng.random(count) < 0.1 for _ in FIELDS]
    tags = pa.array([f"t{number}" for number in range(1000)]).take(pa.array(rng.integers(0, 1000, 2 * count)))
    offsets = pa.array(np.arange(0, 2 * count + 1, 2, dtype=np.int32), mask=np.append(gone[3], False))
    langs = pa.array([f"l{number}" for number in range(1000)])
    return pa.table(
        {
            "key": pa.array(np.arange(count)),
            "year": pa.array(rng.integers(0, 1_000_000, count), mask=gone[0]),
            "price": pa.array(rng.random(count), mask=gone[1]),
            "lang": langs.take(pa.array(rng.integers(0, 1000, count), mask=gone[2])),
            "tags": pa.ListArray.from_arrays(offsets, tags),
        }
    )


def written(folder: Path, table: pa.Table, console: Console) -> RowBlock:
    """A sealed segment of those rows with an index of each field; tells what the indexes cost."""
    count = table.num_rows
    content = SegmentRows(
        table, np.arange(count, dtype=np.uint64), np.zeros((count, 4), np.uint64), KeyIndex.of(table.column("key"))
    )
    segment.write_rows(folder / "1-a-b.rows", content, 2)
    checked.seal(folder / "1-a-b.rows")
    shown = Table("field", "MB of the column", "MB of the index", "ms to build", title=f"{count} rows")
    for name in FIELDS:
        began = time.process_time()
        fieldfile.write_fields(folder / "one", table, [name])
        took = time.process_time() - began
        size = (folder / "one").stat().st_size
        shown.add_row(name, f"{table[name].nbytes / 1e6:.1f}", f"{size / 1e6:.1f}", f"{took * 1e3:.0f}")
    console.print(shown)
    fieldfile.write_fields(folder / "1-a-c.fields", table, FIELDS)
    checked.seal(folder / "1-a-c.fields")
    file = CheckedFile.open(folder / "1-a-b.rows")
    opened = segment.read_rows(file).rows
    fields = fieldfile.read_fields(CheckedFile.open(folder / "1-a-c.fields"), opened)
    files = SegmentFiles(file, opened, {}, lambda *_: None)
    return RowBlock(opened, {}, {}, np.ones(count, np.bool_), sealed=True, check=files, fields=fields)


def in_turn(ways: list[Callable[[], object]], rounds: int) -> list[float]:
    """The median CPU seconds of each way."""
    took = np.empty((rounds, len(ways)))
    for number in range(rounds):
        for place in range(len(ways)) if number % 2 else reversed(range(len(ways))):
            began = time.process_time()
            ways[place]()
            took[number, place] = time.process_time() - began
    return [float(median) for median in np.median(took, axis=0)]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.filters", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=15)
    told, console = parser.parse_args(), Console()
    with TemporaryDirectory() as folder:
        block = written(Path(folder), rows(told.rows), console)
        plain = replace(block, fields={})
        shown = Table("filter", "passing", "ms with the index", "ms without", "times as fast")
        for text in FILTERS:
            filter_ = compile_filter(text, SCHEMA)
            asked, scanned = mask_of(block, filter_), mask_of(plain, filter_)
            if not np.array_equal(asked, scanned):
                raise SystemExit(f"{text}: the index says something else than the column")
            with_index, without = in_turn([partial(mask_of, one, filter_) for one in (block, plain)], told.rounds)
            share, faster = f"{asked.mean():.2%}", f"{without / with_index:.1f}"
            shown.add_row(text, share, f"{with_index * 1e3:.2f}", f"{without * 1e3:.2f}", faster)
        console.print(shown)


if __name__ == "__main__":
    main()
