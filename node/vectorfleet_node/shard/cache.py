"""A shard's folder of segment files on this node: fetched from the store, checked, opened.

Used when a replica loads or follows, and by the leader for the files that it makes. Losing the folder loses nothing.
The traps: a file that was here before may be rotten, cut, or (after a power cut) not have reached the disk, so each is
read whole and checked before it is mapped; a bad one is set aside, fetched once more, and if that is bad too the damage
is in the store. It is read, not mapped, for that: a disk that fails is then an error, and no SIGBUS.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from vectorfleet.schema import CollectionSchema
from vectorfleet_node.engine.port import BuildFailed, Engine
from vectorfleet_node.shard.blocks import Segment
from vectorfleet_node.shard.budget import DAMAGED, CacheBudget
from vectorfleet_node.shard.checks import RottenCallback
from vectorfleet_node.shard.opening import open_requests, open_segment
from vectorfleet_node.shard.settings import Observer
from vectorfleet_node.storage import paths, segment
from vectorfleet_node.storage.manifest import FileEntry, Manifest, RequestsEntry, SegmentEntry
from vectorfleet_node.storage.store import DataLoss, StorageError, Store


class SegmentCache:
    """The files of one shard under `folder`.

    budget: of the node. observer: told of indexes opened or built, and of files set aside.
    read_rotten: told each bad block that a reader of an open segment ran into, in the reader's thread.
    """

    def __init__(
        self,
        store: Store,
        shard: int,
        folder: Path,
        engine: Engine,
        collection: CollectionSchema,
        observer: Observer,
        budget: CacheBudget | None = None,
    ) -> None:
        self.folder = folder
        self._budget = budget or CacheBudget()
        self._observer = observer
        self.read_rotten: RottenCallback = lambda _, __: None
        self._closed = False
        self._made: set[str] = set()  # files made here that no manifest names yet
        self._busy: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # two who fetch a file take turns
        self._store = store
        self._shard = shard
        self._engine = engine
        self._collection = collection

    @property
    def quarantined(self) -> int:
        """How many files were set aside and are kept for a look."""
        return self._budget.damaged_in(self.folder)

    async def prepare(self) -> None:
        """Makes the folder, removes what a process that died was writing, and counts what is left."""
        await self._budget.found(await asyncio.to_thread(_sweep, self.folder))

    def close(self) -> None:
        """The shard is served no more: its files are somebody else's to count, and no index is built for it."""
        self._closed = True
        self._budget.forget(self.folder)

    async def reserve(self, manifest: Manifest) -> None:
        """Makes room for all files of a manifest. CacheFull when what this node must hold does not fit."""
        await self._hold(manifest.files())

    async def require(self, size: int) -> None:
        """Makes room for `size` bytes of files to be made here. CacheFull when there is none."""
        await self._budget.require(size, self._name)

    async def open(self, entry: SegmentEntry) -> Segment:
        """The segment, its files fetched as needed and checked; an index that the store has lost is built anew.

        Lost indexes of fields are not: filters can do without.

        DataLoss when the store's rows or vectors are damaged, CacheFull; any StorageError.
        """
        await self._hold(entry.files())
        await asyncio.gather(*(self._fetch(file) for file in [entry.rows, *entry.vectors.values()]))
        lost = frozenset([file.name for file in entry.derived() if not await self._has(file)])
        try:
            opened = await asyncio.to_thread(
                open_segment,
                self.folder,
                entry,
                self._collection,
                self._engine,
                self.found_rotten,
                lost,
                lambda: self._closed,
            )
        except OSError as error:
            raise StorageError(f"{entry.rows.name} cannot be opened in {self.folder}: {error.strerror}") from error
        except BuildFailed as error:
            raise StorageError(f"{entry.rows.name} cannot be opened: {error}") from None
        for index in entry.indexes.values():
            (self._observer.index_built if index.file.name in lost else self._observer.index_loaded)()
        return opened

    def found_rotten(self, file: str, problem: str) -> None:
        """What the segments of this folder call; see `read_rotten`."""
        self.read_rotten(file, problem)

    async def requests(self, entries: Iterable[RequestsEntry]) -> list[tuple[str, int]]:
        """The request ids in those files, oldest first."""
        found: list[tuple[str, int]] = []
        for entry in entries:
            await self._hold([entry.file])
            await self._fetch(entry.file)
            found += await asyncio.to_thread(open_requests, self.folder, entry.file)
        return found

    async def upload(self, files: Iterable[FileEntry]) -> None:
        """Puts files that were made in the folder into the store."""
        made = list(files)
        self._made |= {file.name for file in made}
        await self._budget.made({self.folder / file.name: file.size for file in made})
        await asyncio.gather(*(self._store.upload(self.key(file.name), self.folder / file.name) for file in made))

    def give_up(self, files: Iterable[FileEntry]) -> None:
        """Files that were made here wait for no manifest any more."""
        self._made -= {file.name for file in files}

    async def keep_only(self, manifest: Manifest, imported: Iterable[Segment]) -> None:
        """Holds the files that the manifest names, and those that wait for a manifest, and no others.

        imported: segments in use that are younger than it. Open files stay readable until they are let go.
        """
        names = {file.name for file in manifest.files()}.union(*(segment.entry.names() for segment in imported))
        self._made -= names
        await self._budget.keep_only(self.folder, names | self._made)
        for name in [name for name, lock in self._busy.items() if name not in names and not lock.locked()]:
            del self._busy[name]

    @property
    def _name(self) -> str:
        return f"shard {self._shard}"

    async def _hold(self, files: Iterable[FileEntry]) -> None:
        await self._budget.hold({self.folder / file.name: file.size for file in files}, self._name)

    async def _fetch(self, file: FileEntry) -> Path:
        path = self.folder / file.name
        async with self._busy[file.name]:
            if await self._good(path, file):
                return path
            for _ in range(2):
                await self._store.download(self.key(file.name), path)
                if await self._good(path, file):
                    return path
        raise DataLoss(f"{self.key(file.name)} is damaged in the store: its checksum is wrong")

    async def _has(self, file: FileEntry) -> bool:
        try:
            await self._fetch(file)
        except DataLoss:
            return False
        return True

    def key(self, name: str) -> str:
        """The key of the object that is a file."""
        return paths.segment(self._shard, name)

    async def check_store(self, file: FileEntry) -> str:
        """What is wrong with the store's copy of a file; empty when nothing is. CacheFull; any other StorageError."""
        await self.require(file.size)
        copy = self.folder / f"{file.name}.store.tmp"
        try:
            await self._store.download(self.key(file.name), copy)
            found = await asyncio.to_thread(_measure, copy)
        except DataLoss as error:
            return str(error)
        finally:
            await asyncio.to_thread(copy.unlink, missing_ok=True)
        return "" if found == (file.size, file.crc32c) else difference(found or (0, 0), file)

    async def _good(self, path: Path, file: FileEntry) -> bool:
        """Whether the file is there and whole; one that is not whole is set aside."""
        found = await asyncio.to_thread(_measure, path)
        if found is None or found == (file.size, file.crc32c):
            return found is not None
        aside = path.with_name(path.name + DAMAGED)
        try:
            await asyncio.to_thread(path.replace, aside)
        except OSError as error:
            raise StorageError(f"{path} is damaged and cannot be set aside: {error.strerror}") from error
        await self._budget.set_aside(aside, found[0])
        self._observer.rotten(file.name, difference(found, file))
        return False


def difference(found: tuple[int, int], file: FileEntry) -> str:
    """What is wrong with a file of that size and checksum."""
    size, crc = found
    return f"{size} bytes with checksum {crc:08x}; {file.size} with {file.crc32c:08x} were written"


def _measure(path: Path) -> tuple[int, int] | None:
    """(size in bytes, crc32c), None when there is no file; what the disk cannot read counts as not there: (0, 0)."""
    try:
        return segment.checksum(path)
    except FileNotFoundError:
        return None
    except OSError:
        return 0, 0


def _sweep(folder: Path) -> dict[Path, int]:
    """The size of each finished file, oldest first; unfinished ones are deleted."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for path in folder.iterdir():
        if path.name.startswith(".") or path.suffix == ".tmp":
            path.unlink(missing_ok=True)
        else:
            with suppress(FileNotFoundError):  # another replica with this folder has deleted it since
                status = path.stat()
                files.append((status.st_mtime_ns, path, status.st_size))
    return {path: size for _, path, size in sorted(files)}
