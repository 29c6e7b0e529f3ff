"""The mutants, read from the TOML files of `catalogue/`. Used by `__main__`; `make unit` checks that they still fit.

A mutant's patch names product source by its exact text. The trap is drift: a text that is not found exactly once means
that the rule it breaks was rewritten, and the mutant must be rewritten with it, never dropped in silence.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = Path(__file__).with_suffix("")
PACKAGES: Final = {
    "vectorfleet_node": ROOT / "node" / "vectorfleet_node",
    "vectorfleet": ROOT / "client" / "vectorfleet",
}


class StaleMutant(Exception):
    """A patch no longer fits the source."""


class Patch(BaseModel):
    """Replaces `old`, which must be there exactly once, by `new` in a file: `vectorfleet_node/storage/log.py`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    old: str = Field(min_length=1)
    new: str

    def applied(self, source: str) -> str:
        """The mutated source. StaleMutant when the text is not there exactly once."""
        found = source.count(self.old)
        if found != 1:
            raise StaleMutant(f"{self.file} has {found} times, instead of once, the text\n{self.old}")
        return source.replace(self.old, self.new)


class Mutant(BaseModel):
    """promise: what the rule that is broken guarantees. killed_by: the pytest node that must fail by its own assertion.
    fast: whether it is part of `make test`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    promise: str
    killed_by: str
    fast: bool = False
    patch: tuple[Patch, ...] = Field(min_length=1)


def load(folder: Path = FOLDER) -> list[Mutant]:
    """Every mutant, in the order of the files and in them. ValueError when two have one name."""
    mutants = [
        Mutant.model_validate(entry)
        for path in sorted(folder.glob("*.toml"))
        for entry in tomllib.loads(path.read_text())["mutant"]
    ]
    names = [mutant.name for mutant in mutants]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"mutants of one name: {', '.join(twice)}")
    return mutants


def check(mutant: Mutant) -> None:
    """StaleMutant when it does not fit the source, or names a test file that is not there."""
    sources: dict[Path, str] = {}
    for patch in mutant.patch:
        package, _, inner = patch.file.partition("/")
        path = PACKAGES[package] / inner
        if not path.is_file():
            raise StaleMutant(f"mutant {mutant.name} is stale: {patch.file} does not exist")
        try:
            sources[path] = patch.applied(sources.get(path, path.read_text()))
        except StaleMutant as error:
            raise StaleMutant(f"mutant {mutant.name} is stale: {error}") from None
    if not (ROOT / mutant.killed_by.partition("::")[0]).is_file():
        raise StaleMutant(f"mutant {mutant.name} is stale: there is no test {mutant.killed_by}")
