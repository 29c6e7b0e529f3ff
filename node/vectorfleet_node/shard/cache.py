"""A shard's folder of segment files on this node: fetched from the store, checked, opened.

Used when a replica loads or follows, and by the leader for the files that it makes. Losing the folder loses nothing.
The trap is rot: a file is checked whenever it is opened, also one that was here before; a bad one is set aside, fetched
once more, and if that is bad too the damage is in the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

import pyarrow as pa

from vectorfleet.schema import CollectionSchema
from vectorfleet_node.engine.port import Engine
from vectorfleet_node.shard.batch import KEY_COLUMN, arrow_schema, field_column
from vectorfleet_node.shard.blocks import Segment
from vectorfleet_node.storage import paths, segment
from vectorfleet_node.storage.manifest import FileEntry, Manifest, RequestsEntry, SegmentEntry
from vectorfleet_node.storage.store import DataLoss, Store

QUARANTINED: Final = ".damaged"


class SegmentCache:
    """The files of one shard under `folder`."""

    def __init__(
        self,
        store: Store,
        shard: int,
        folder: Path,
        engine: Engine,
        collection: CollectionSchema,
        index_loaded: Callable[[], None],
    ) -> None:
        self.folder = folder
        self._store = store
        self._shard = shard
        self._engine = engine
        self._collection = collection
        self._index_loaded = index_loaded

    def prepare(self) -> None:
        """Makes the folder and removes what a process that died was writing."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.glob("*.tmp"):
            left.unlink(missing_ok=True)

    async def open(self, entry: SegmentEntry) -> Segment:
        """The segment, its files fetched as needed. DataLoss when the store's copy is damaged; else a StorageError."""
        await asyncio.gather(*(self._fetch(file) for file in entry.files()))
        opened = await asyncio.to_thread(self._open, entry)
        for _ in opened.indexes:
            self._index_loaded()
        return opened

    async def requests(self, entries: Iterable[RequestsEntry]) -> list[tuple[str, int]]:
        """The request ids in those files, oldest first."""
        found: list[tuple[str, int]] = []
        for entry in entries:
            found += await asyncio.to_thread(segment.read_requests, await self._fetch(entry.file))
        return found

    async def upload(self, files: Iterable[FileEntry]) -> None:
        """Puts files of the folder into the store."""
        await asyncio.gather(
            *(self._store.upload(paths.segment(self._shard, file.name), self.folder / file.name) for file in files)
        )

    def keep_only(self, manifest: Manifest) -> None:
        """Deletes the files that the manifest does not name. Open ones stay readable until they are let go."""
        named = {file.name for file in manifest.files()}
        for path in self.folder.iterdir():
            if path.suffix != ".tmp" and path.name.removesuffix(QUARANTINED) not in named:
                path.unlink(missing_ok=True)

    def _open(self, entry: SegmentEntry) -> Segment:
        content = segment.read_rows(self.folder / entry.rows.name)
        if len(content.sequences) != entry.count:
            raise DataLoss(f"{entry.rows.name} has {len(content.sequences)} rows; its manifest says {entry.count}")
        vectors, indexes = {}, {}
        for vector in self._collection.vectors:
            if vector.name not in entry.vectors or vector.name not in entry.indexes:
                raise DataLoss(f"segment {entry.rows.name} has no vector {vector.name}")
            path = self.folder / entry.vectors[vector.name].name
            vectors[vector.name] = segment.map_vectors(path, entry.count, vector.dimensions)
            index = entry.indexes[vector.name]
            artefact = self.folder / index.file.name
            try:
                indexes[vector.name] = self._engine.load(index.kind, vectors[vector.name], vector.metric, artefact)
            except ValueError as error:
                raise DataLoss(f"{index.file.name} cannot be opened: {error}") from None
        rows = _conform(content.rows, self._collection, entry.rows.name)
        return Segment(entry, replace(content, rows=rows), vectors, indexes)

    async def _fetch(self, file: FileEntry) -> Path:
        path = self.folder / file.name
        if await asyncio.to_thread(_is_good, path, file):
            return path
        for _ in range(2):
            await self._store.download(paths.segment(self._shard, file.name), path)
            if await asyncio.to_thread(_is_good, path, file):
                return path
        raise DataLoss(f"{paths.segment(self._shard, file.name)} is damaged in the store: its checksum is wrong")


def _conform(rows: pa.Table, collection: CollectionSchema, name: str) -> pa.Table:
    """The columns as the schema has them: a field added since the file was written is null in all its rows."""
    wanted = arrow_schema(collection)
    unknown = set(rows.column_names) - {KEY_COLUMN, *(field.name for field in collection.fields)}
    if unknown:
        raise DataLoss(f"{name} has the fields {sorted(unknown)}, which are not in this node's schema")
    columns = {KEY_COLUMN: rows.column(KEY_COLUMN)}
    for field in collection.fields:
        kind = wanted.field(field_column(field.name)).type
        present = field.name in rows.column_names
        columns[field.name] = rows.column(field.name) if present else pa.nulls(rows.num_rows, kind)
        if columns[field.name].type != kind:
            raise DataLoss(f"{name} has {columns[field.name].type} in field {field.name}; the schema says {kind}")
    return pa.table(columns)


def _is_good(path: Path, file: FileEntry) -> bool:
    """Whether the file is there and whole; one that is not whole is set aside."""
    if not path.exists():
        return False
    if segment.checksum(path) == (file.size, file.crc32c):
        return True
    path.rename(path.with_name(path.name + QUARANTINED))
    return False
