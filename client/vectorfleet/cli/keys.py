"""Keys and query vectors as people type them. Used by the commands that take either."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vectorfleet.cli import Failure

if TYPE_CHECKING:
    from vectorfleet import Client


def typed(client: Client, collection: str, keys: list[str]) -> list[Any]:
    """`keys` as the collection's key type wants them."""
    from vectorfleet.loading import fit_keys

    return fit_keys(keys, client.describe(collection).key_type)


def vector_of(client: Client, collection: str, key: Any, name: str) -> Any:
    """The vector of the row `key`."""
    rows = client.get(collection, [key], output_fields=(), include_vectors=True)
    if not rows:
        raise Failure(f"{collection} has no row with key {key!r}")
    vectors = rows[0].vectors
    if name and name not in vectors:
        raise Failure(f"{collection} has no vector {name!r}; it has {', '.join(vectors)}")
    return vectors[name or ("default" if "default" in vectors else next(iter(vectors)))]


def queries(text: str) -> Any:
    """Query vectors, (queries, dimensions) or (dimensions,): JSON, `-` for JSON on standard input, or a file.

    A file holds JSON, or rows in any format that `load` reads (its vectors are the queries).
    """
    if text == "-":
        return _json(sys.stdin.read(), "standard input")
    if text.lstrip().startswith("["):
        return _json(text, "the argument")
    path = Path(text)
    if path.suffix == ".json":
        if not path.is_file():
            raise Failure(f"{path}: no such file")
        return _json(path.read_text(encoding="utf-8"), str(path))
    return _from_rows(path)


def _json(text: str, where: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise Failure(f"{where} is no JSON list of numbers: {error}") from error
    return value


def _from_rows(path: Path) -> Any:
    import numpy as np

    from vectorfleet.readers import open_source

    batches = list(open_source(path, fields=()).batches(10_000))
    return np.concatenate([next(iter(batch.vectors.values())) for batch in batches])
