"""The file with the indexes of a segment's fields: an Arrow IPC file with one row for each field.

`writing` writes it beside the rows of a segment, `opening` maps it, `fsck` compares it with the rows. It is a `checked`
file, verified whole when it is opened; `fieldindex` verifies again what it reads later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vectorfleet_node.storage.arrow import read_file
from vectorfleet_node.storage.checked import CheckedFile
from vectorfleet_node.storage.fieldindex import FieldIndex, Texts, build, texts_of
from vectorfleet_node.storage.store import DataLoss

_VALUES: Final = {"texts": pa.large_string(), "ints": pa.int64(), "floats": pa.float64()}  # one has a field's values
_NUMBERS: Final = {"starts": pa.uint32(), "order": pa.uint32()}
_SCHEMA: Final = pa.schema(
    [
        ("field", pa.string()),
        *((name, pa.large_list(kind)) for name, kind in {**_VALUES, **_NUMBERS}.items()),
        ("valid", pa.large_binary()),
    ]
)


def write_fields(path: Path, rows: pa.Table, fields: Iterable[str]) -> None:
    """Writes the indexes of those columns: strings, int64, float64 or lists of these. Slow: call it in a thread."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA) as writer:
        for name in fields:  # one at a time: an index takes several times its size while it is built
            writer.write_batch(_packed(name, build(rows.column(name))))


def read_fields(file: CheckedFile, rows: pa.Table) -> dict[str, FieldIndex]:
    """The indexes in the file, by field, over its map. DataLoss when they cannot be of those rows."""
    file.verify_all()
    found = {}
    try:
        for batch in read_file(pa.py_buffer(file.data), _check).to_batches():
            for number, name in enumerate(batch.column("field").to_pylist()):
                found[name] = _unpacked(batch, number, rows, file)
    except (ValueError, LookupError) as error:
        raise DataLoss(f"{file.name} cannot be read: {error}") from None
    return found


def wrong_fields(found: Mapping[str, FieldIndex], rows: pa.Table) -> list[str]:
    """The fields whose index does not say what the rows' column does."""
    return [name for name, index in found.items() if _content(index) != _content(build(rows.column(name)))]


def _check(schema: pa.Schema) -> None:
    if not schema.equals(_SCHEMA):
        raise ValueError(f"these are not indexes of fields: the columns are {schema.names}")


def _packed(name: str, index: FieldIndex) -> pa.RecordBatch:
    lists = {each: pa.array([], kind) for each, kind in _VALUES.items()}
    values = index.values
    if isinstance(values, Texts):
        buffers = pa.py_buffer(values.offsets), pa.py_buffer(values.data)
        lists["texts"] = pa.LargeStringArray.from_buffers(len(values), *buffers)
    else:
        lists["ints" if values.dtype == np.int64 else "floats"] = pa.array(values)
    lists |= {"starts": pa.array(index.starts), "order": pa.array(index.order)}
    columns: dict[str, Any] = {"field": pa.array([name]), "valid": pa.array([_valid(index)], pa.large_binary())}
    for each, elements in lists.items():
        columns[each] = pa.LargeListArray.from_arrays(pa.array([0, len(elements)], pa.int64()), elements)
    return pa.RecordBatch.from_arrays([columns[each] for each in _SCHEMA.names], schema=_SCHEMA)


def _unpacked(batch: pa.RecordBatch, number: int, rows: pa.Table, file: CheckedFile) -> FieldIndex:
    if any(column.null_count for column in batch.columns):
        raise ValueError("a column has nulls")
    kind = rows.schema.field(batch.column("field")[number].as_py()).type
    element = kind.value_type if pa.types.is_list(kind) else kind
    values = _list(batch, "texts" if element == pa.string() else "ints" if element == pa.int64() else "floats", number)
    valid = np.frombuffer(batch.column("valid")[number].as_py(), np.uint8)
    index = FieldIndex(
        rows.num_rows,
        texts_of(values) if element == pa.string() else values.to_numpy(),
        _list(batch, "starts", number).to_numpy(),
        _list(batch, "order", number).to_numpy(),
        valid if len(valid) else None,
        file.verify_view,
    )
    _check_index(index, values)
    return index


def _list(batch: pa.RecordBatch, name: str, number: int) -> pa.Array:
    """The elements of one list, as a slice of the column's."""
    column = batch.column(name)
    start, stop = column.offsets[number].as_py(), column.offsets[number + 1].as_py()
    elements = column.values.slice(start, stop - start)
    if elements.null_count:
        raise ValueError(f"column {name} has nulls")
    return elements


def _check_index(index: FieldIndex, values: pa.Array) -> None:
    """ValueError when something points outside of something else, or the values do not ascend."""
    starts = index.starts
    if len(starts) != len(values) + 1 or starts[0] or starts[-1] != index.entries or np.any(starts[1:] < starts[:-1]):
        raise ValueError("its starts do not fit its values and rows")
    if np.any(index.order >= index.rows) or (index.valid is not None and len(index.valid) != -(-index.rows // 8)):
        raise ValueError(f"it names rows beyond {index.rows}")
    compared = values.slice(0, index.comparable)
    if not pc.all(pc.less(compared[:-1], compared[1:]), min_count=0).as_py():
        raise ValueError("its values do not ascend")


def _content(index: FieldIndex) -> tuple[bytes, ...]:
    values = index.values
    if isinstance(values, Texts):
        start, stop = values.offsets[0], values.offsets[-1]
        said = (values.offsets - start).tobytes(), values.data[start:stop].tobytes()
    else:
        said = values.dtype.str.encode(), values.tobytes()
    return *said, index.starts.tobytes(), index.order.tobytes(), _valid(index)


def _valid(index: FieldIndex) -> bytes:
    return b"" if index.valid is None else index.valid.tobytes()
