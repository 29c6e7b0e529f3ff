"""Checks one shard, reading only. Made by `check`, once per attempt.

The order matters: the log says which manifests count and which slots must be there; manifests say which files must be
there; the rows of the files, and of the log behind the oldest manifest, must add up to what every later manifest says.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from vectorfleet.partition import Key
from vectorfleet.schema import CollectionSchema
from vectorfleet_node.maintenance import filecheck
from vectorfleet_node.maintenance.facts import Controls, Fact, fact_of
from vectorfleet_node.maintenance.findings import Kind, ShardReport
from vectorfleet_node.maintenance.logcheck import check_log, first_kept
from vectorfleet_node.maintenance.rows import Change, Tally, changes_of
from vectorfleet_node.maintenance.slots import read_slots, sort_out
from vectorfleet_node.shard.parts import Import, read_requests
from vectorfleet_node.shard.rowhash import to_hex
from vectorfleet_node.storage import manifest as manifests
from vectorfleet_node.storage import paths, segment
from vectorfleet_node.storage.checked import CheckedFile
from vectorfleet_node.storage.manifest import FileEntry, Manifest, SegmentEntry
from vectorfleet_node.storage.parallel import for_each
from vectorfleet_node.storage.record import Batch, UnknownRecord
from vectorfleet_node.storage.segment import KEY
from vectorfleet_node.storage.store import DataLoss, Store

_PARALLEL: Final = 4
_PROBED: Final = 64  # slots of a hole that are asked for by name


class ShardCheck:
    """One look at a shard."""

    def __init__(
        self,
        store: Store,
        uid: str,
        collection: CollectionSchema,
        shard: int,
        folder: Path,
        progress: Callable[[str, int, int], None],
    ) -> None:
        """folder: for files while they are checked."""
        self._store = store
        self._uid = uid
        self._collection = collection
        self._shard = shard
        self._folder = folder
        self._progress = progress
        self._report = ShardReport(shard)
        self.facts = self._report.facts
        self._changes: dict[int, list[Change]] = {}
        self._stopped = 1 << 64  # the first record that cannot be applied
        self._tallies: dict[int, Tally] = {}
        self._unhashed: set[int] = set()  # manifests with a segment whose rows cannot be read

    async def run(self) -> ShardReport:
        """The report, with its facts."""
        keys = await self._store.list(paths.shard_prefix(self._shard))
        self.facts.inventory = sort_out(self._shard, keys)
        await self._read_log()
        await self._read_manifests()
        check_log(self._report, self.facts.slots, self.facts.inventory, self.facts.controls)
        base = await self._read_changes()
        await self._check_segments()
        await self._check_requests()
        self._check_sums(base)
        await self._note_garbage()
        self._count()
        return self._report

    async def _read_log(self) -> None:
        inventory, shard = self.facts.inventory, self._shard
        listed, asked = inventory.slots, list[int]()
        for before, position in zip([0, *listed], listed, strict=False):
            for first, last, collected in inventory.stretches(before + 1, position - 1):
                asked += [] if collected else range(first, min(last, first + _PROBED - 1) + 1)
            asked.append(position)
        async for slot in read_slots(self._store, self._uid, shard, asked):
            self.facts.slots.append(fact_of(slot))
            self._progress(f"shard {shard}: log", len(self.facts.slots), max(len(asked), len(self.facts.slots)))
        # Markers after slots: a slot that was collected while this looked had its marker before.
        markers = sort_out(shard, await self._store.list(f"{paths.shard_prefix(shard)}boundary/"))
        inventory.small, inventory.large = markers.small, markers.large

    async def _read_manifests(self) -> None:
        facts = self.facts
        # Publish records stand behind the manifests that they name, so those of all that count are still there; pin
        # records may have been collected, so the newest manifest is asked.
        for fact in facts.slots:
            if fact.record is not None:
                facts.controls.apply(fact.record)
        for position, crc in sorted(facts.controls.published.items(), reverse=True):
            await self._read_manifest(position, crc)
        newest = facts.newest
        if newest is not None:
            since = Controls.at(newest)
            for fact in facts.slots:
                if fact.record is not None and fact.position > newest.position:
                    since.apply(fact.record)
            facts.controls.pins, facts.controls.imports = since.pins, since.imports
        for position in sorted({manifest for manifest, _ in facts.controls.pins.values()}):
            if position not in facts.manifests and position not in facts.bad_manifests:
                await self._read_manifest(position, None)

    async def _read_manifest(self, position: int, crc: int | None) -> None:
        key = paths.manifest(self._shard, position)
        data = await self._store.get(key)
        kind, problem = Kind.MANIFEST_DAMAGED, ""
        if data is None:
            kind, problem = Kind.MANIFEST_MISSING, "it is missing"
        else:
            try:
                manifest = manifests.decode(data, uid=self._uid, shard=self._shard, position=position)
                self.facts.manifests[position] = manifest
                if crc is not None and manifests.stored_crc(data) != crc:
                    problem = f"it is whole and not the one that the log names ({crc:08x})"
            except DataLoss as error:
                problem = str(error)
            except UnknownRecord as error:
                kind, problem = Kind.NEWER, str(error)
        if problem:
            self.facts.manifests.pop(position, None)
            self.facts.bad_manifests.add(position)
            self._report.add(kind, key, problem, position=position, size=len(data or b""))

    async def _read_changes(self) -> int:
        """Decodes what the log writes; the position to add up from: the oldest manifest, or 0 for the log's begin."""
        kept = self.facts.kept = first_kept(self.facts.slots, self.facts.inventory)
        counted = [position for position in self.facts.manifests if position in self.facts.controls.published]
        base = min(counted, default=0)
        if base < kept - 1:
            base = min((position for position in counted if position >= kept - 1), default=-1)
        pinned = self.facts.controls.pinned
        wanted = [fact for fact in self.facts.slots if (0 <= base < fact.position) or pinned(fact.position)]
        expected = base + 1
        for fact in wanted:
            if fact.position > base:
                if fact.record is None or fact.position != expected:
                    self._stopped = min(self._stopped, expected)
                expected = fact.position + 1
            if fact.kind == "batch":
                await self._read_batch(fact.position)
        return base

    async def _read_batch(self, position: int) -> None:
        async for slot in read_slots(self._store, self._uid, self._shard, [position]):
            if slot.record is not None and isinstance(slot.record.body, Batch):
                try:
                    parts = await asyncio.to_thread(
                        read_requests, slot.record.body.requests, position, self._collection
                    )
                    entries = [part.entry for part in parts if isinstance(part, Import)]
                    imported = await self._read_import(entries[0]) if entries else None
                except DataLoss as error:
                    self._stopped = min(self._stopped, position)
                    key = paths.log_slot(self._shard, position)
                    self._report.add(Kind.RECORD_DAMAGED, key, str(error), position=position, size=slot.size)
                else:
                    if entries and imported is None:
                        self._stopped = min(self._stopped, position)
                    self._changes[position] = changes_of(parts, imported)
                    self.facts.rewritten |= {key for change in self._changes[position] for key in change.keys}
            return

    async def _read_import(self, entry: SegmentEntry) -> Change | None:
        """The rows of an imported segment; None when they cannot be read, which is noted."""
        files = {file.name: file for file in entry.files()}
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        try:
            await self._fetch(list(files.values()), folder)
            content = await asyncio.to_thread(
                filecheck.check_segment, folder, [entry], self._collection, self._shard, frozenset()
            )
            keys = await asyncio.to_thread(_keys_of, folder, entry) if content.hashes is not None else []
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        self._note(content.problems, files)
        return None if content.hashes is None else Change(keys, content.hashes)

    async def _check_segments(self) -> None:
        groups: dict[str, list[tuple[int, SegmentEntry]]] = {}
        for position, manifest in self.facts.manifests.items():
            self._tallies[position] = Tally()
            for entry in manifest.segments:
                groups.setdefault(entry.rows.name, []).append((position, entry))
        done = 0

        async def check(group: list[tuple[int, SegmentEntry]]) -> None:
            nonlocal done
            await self._check_segment(group)
            done += 1
            self._progress(f"shard {self._shard}: segments", done, len(groups))

        await for_each(groups.values(), check, limit=_PARALLEL)

    async def _check_segment(self, group: list[tuple[int, SegmentEntry]]) -> None:
        entries = [entry for _, entry in group]
        files = {file.name: file for entry in entries for file in entry.files()}
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        try:
            await self._fetch(list(files.values()), folder)
            content = await asyncio.to_thread(
                filecheck.check_segment, folder, entries, self._collection, self._shard, self.facts.rewritten
            )
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        self._note(content.problems, files)
        for position, entry in group:
            if content.hashes is None:
                self._unhashed.add(position)
            else:
                self._tallies[position].add(content.hashes, entry.live_mask(), content.touched)

    async def _fetch(self, files: list[FileEntry], folder: Path) -> None:
        async def fetch(file: FileEntry) -> None:
            with suppress(DataLoss):  # absent: the check of the folder says so
                await self._store.download(paths.segment(self._shard, file.name), folder / file.name)

        await for_each(files, fetch, limit=_PARALLEL)

    def _note(self, problems: list[filecheck.Problem], files: dict[str, FileEntry]) -> None:
        for kind, name, problem in problems:
            if name not in self.facts.bad_files:
                self.facts.bad_files.add(name)
                key = paths.segment(self._shard, name)
                self._report.add(kind, key, problem, size=files[name].size if name in files else None)

    async def _check_requests(self) -> None:
        checked: dict[tuple[str, int], FileEntry] = {}
        for _, manifest in sorted(self.facts.manifests.items()):
            before = 0
            for entry in manifest.requests:
                if (entry.file.name, before) not in checked:
                    checked[entry.file.name, before] = entry.file
                    folder = Path(tempfile.mkdtemp(dir=self._folder))
                    await self._fetch([entry.file], folder)
                    problem = await asyncio.to_thread(filecheck.check_requests, folder, entry, before)
                    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
                    self._note([problem] if problem else [], {entry.file.name: entry.file})
                before = entry.through

    def _check_sums(self, base: int) -> None:
        """What each manifest says against its files' rows, and against the oldest one's rows plus the log since."""
        for position, manifest in sorted(self.facts.manifests.items()):
            tally = self._tallies[position]
            if position not in self._unhashed and not _says(manifest, tally):
                self._wrong(position, f"its segments hold {tally}; it says {_said(manifest)}")
                self._unhashed.add(position)
        if base < 0 or base in self._unhashed:
            return
        tally = self._tallies[base].copy() if base else Tally()
        controls = Controls.at(self.facts.manifests[base]) if base else Controls()
        for fact in self.facts.slots:
            if fact.position <= base or fact.record is None or fact.position >= self._stopped:
                continue
            controls.apply(fact.record)
            tally.apply(self._changes.get(fact.position, []))
            said = self.facts.manifests.get(fact.position)
            if said is not None:
                self._compare(said, fact, tally, controls)
        if self._stopped > (self.facts.slots[-1].position if self.facts.slots else 0):
            self._report.rows = tally.rows

    def _compare(self, manifest: Manifest, fact: Fact, tally: Tally, controls: Controls) -> None:
        position = manifest.position
        if not _says(manifest, tally):
            self._wrong(position, f"the log up to here makes {tally}; it says {_said(manifest)}")
        elif Controls.at(manifest) != controls:
            self._wrong(position, f"the log up to here makes {controls}; it says {Controls.at(manifest)}")
        elif fact.record and (manifest.chain, manifest.stamp) != (fact.chain, fact.record.stamp):
            self._wrong(position, "the chain or the stamp in it is not that of the record in its slot")

    def _wrong(self, position: int, problem: str) -> None:
        if position not in self.facts.bad_manifests:
            self.facts.bad_manifests.add(position)
            self._report.add(Kind.MANIFEST_WRONG, paths.manifest(self._shard, position), problem, position=position)

    async def _note_garbage(self) -> None:
        facts, shard = self.facts, self._shard
        for key in facts.inventory.unknown:
            self._report.add(Kind.UNKNOWN, key, "it has no place in a shard")
        counted = set(facts.manifests) | facts.bad_manifests
        for position in facts.inventory.manifests:
            if position not in counted:
                key = paths.manifest(shard, position)
                size = len(await self._store.get(key) or b"")
                self._report.add(Kind.MANIFEST_LEFT, key, _why_left(position, facts.controls), size=size)
        if facts.bad_manifests - set(facts.manifests):
            return  # what a manifest that cannot be read names is not known
        if any(fact.record is None and fact.position > facts.controls.boundary for fact in facts.slots):
            return  # nor what a record that cannot be read imports
        named = {file.name for manifest in facts.manifests.values() for file in manifest.files()}
        named |= {name for files in facts.controls.imports.values() for name in files}
        for name in facts.inventory.segments:
            if name not in named:
                key = paths.segment(shard, name)
                self._report.add(Kind.FILE_LEFT, key, "nothing names it", size=await self._size(key))

    async def _size(self, key: str) -> int | None:
        path = self._folder / "left"
        try:
            await self._store.download(key, path)
            return path.stat().st_size
        except DataLoss:
            return None  # collected meanwhile
        finally:
            path.unlink(missing_ok=True)

    def _count(self) -> None:
        report, facts = self._report, self.facts
        files = {file.name: file for manifest in facts.manifests.values() for file in manifest.files()}
        report.tail = facts.slots[-1].position if facts.slots else 0
        report.records = len(facts.slots)
        report.epoch, report.boundary = facts.controls.epoch, facts.controls.boundary
        report.manifests = len(facts.manifests)
        report.segments = len({entry.rows.name for manifest in facts.manifests.values() for entry in manifest.segments})
        report.files, report.bytes = len(files), sum(file.size for file in files.values())


def _keys_of(folder: Path, entry: SegmentEntry) -> list[Key]:
    """The keys of a segment that was checked, in the order of its rows."""
    keys: list[Key] = segment.read_rows(CheckedFile.open(folder / entry.rows.name)).rows.column(KEY).to_pylist()
    return keys


def _says(manifest: Manifest, tally: Tally) -> bool:
    return (manifest.rows, manifest.row_hash) == (tally.rows, to_hex(tally.hashed))


def _said(manifest: Manifest) -> str:
    return f"{manifest.rows} rows with hash {manifest.row_hash}"


def _why_left(position: int, controls: Controls) -> str:
    if position < controls.boundary:
        return f"it is older than the boundary {controls.boundary} and no pin keeps it"
    return "no record of the log says that it counts"
