"""Filters that ask the indexes of fields have exactly the values of plain ones, and read no column for it."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from views import table

from vectorfleet.schema import CollectionSchema, FieldSchema, FieldType, VectorSchema
from vectorfleet_node.query.filters import Filter, compile_filter, indexed
from vectorfleet_node.query.filters.binding import Binder
from vectorfleet_node.query.filters.documents import Source
from vectorfleet_node.query.filters.syntax import parse
from vectorfleet_node.storage import checked, fieldfile
from vectorfleet_node.storage.checked import CheckedFile
from vectorfleet_node.storage.fieldindex import FieldIndex

TYPES = {
    "lang": FieldType.STRING,
    "year": FieldType.INT64,
    "price": FieldType.FLOAT64,
    "tags": FieldType.STRING_ARRAY,
    "years": FieldType.INT64_ARRAY,
    "prices": FieldType.FLOAT64_ARRAY,
}
SCHEMA = CollectionSchema(
    vectors=(VectorSchema(name="default", dimensions=2),),
    fields=tuple(FieldSchema(name=name, type=kind, indexed=True) for name, kind in TYPES.items()),
    shards=1,
)
TEXTS = st.one_of(
    st.sampled_from(["", "a", "ab", "aé", "b%", "a_", "日本", "日", "\U0010ffff"]), st.text("ab日", max_size=4)
)
WHOLES = st.one_of(st.sampled_from([-(2**63), 2**63 - 1, 0, 1, 2, 2**53 + 1]), st.integers(-5, 5))
FINITE = st.one_of(st.sampled_from([0.0, -0.0, 1.5, -1e300, 5e-324]), st.floats(-3, 3, width=16))
FLOATS = st.one_of(FINITE, st.sampled_from([float("nan"), float("inf"), float("-inf")]))
ELEMENTS: dict[str, tuple[st.SearchStrategy[Any], st.SearchStrategy[Any]]] = {  # of rows, and of constants
    "lang": (TEXTS, TEXTS),
    "year": (WHOLES, WHOLES),
    "price": (FLOATS, FINITE),
    "tags": (TEXTS, TEXTS),
    "years": (WHOLES, WHOLES),
    "prices": (FLOATS, FINITE),
}


def values(name: str) -> st.SearchStrategy[Any]:
    element = ELEMENTS[name][0]
    return st.none() | (st.lists(element, max_size=3) if TYPES[name].endswith("Array") else element)


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Up to 40 rows; the values of a field come from few, so that some are in many rows and some in all."""
    count = draw(st.integers(0, 40))
    columns = {}
    for name in TYPES:
        pool = draw(st.lists(values(name), min_size=1, max_size=8))
        columns[name] = draw(st.lists(st.sampled_from(pool), min_size=count, max_size=count))
    return table(SCHEMA, [f"k{row}" for row in range(count)], **columns)


@st.composite
def leaves(draw: st.DrawFn) -> str:
    name = draw(st.sampled_from(sorted(TYPES)))
    constants = ELEMENTS[name][1].map(lambda value: json.dumps(value, ensure_ascii=False))
    constant, listed = draw(constants), ", ".join(draw(st.lists(constants, max_size=4)))
    if TYPES[name].endswith("Array"):
        asked = [f"contains({name}, {constant})", f"contains_any({name}, [{listed}])", f"length({name}) > 1"]
        return draw(st.sampled_from([*asked, f"contains_all({name}, [{listed}])", f"{name} is null"]))
    sign = draw(st.sampled_from(["==", "!=", "<", "<=", ">", ">="]))
    asked = [f"{name} {sign} {constant}", f"{constant} {sign} {name}", f"{name} in [{listed}]", f"exists({name})"]
    asked += [f"{name} between {constant} and {draw(constants)}", f"{constant} < {name} <= {draw(constants)}"]
    if name == "lang":
        asked.append(
            f"lang like {json.dumps(draw(TEXTS) + draw(st.sampled_from(['%', '%%', ''])), ensure_ascii=False)}"
        )
    return draw(st.sampled_from(asked))


FILTERS = st.recursive(
    leaves(),
    lambda term: st.one_of(
        term.map(lambda text: f"not ({text})"),
        st.lists(term, min_size=2, max_size=4).map(lambda terms: " and ".join(f"({text})" for text in terms)),
        st.lists(term, min_size=2, max_size=4).map(lambda terms: " or ".join(f"({text})" for text in terms)),
    ),
    max_leaves=6,
)


def indexes_of(rows: pa.Table) -> dict[str, FieldIndex]:
    """As a segment's file has them."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "1-a-b.fields"
        fieldfile.write_fields(path, rows, TYPES)
        checked.seal(path)
        return fieldfile.read_fields(CheckedFile.open(path), rows)


class Read(Exception):
    """A column was read."""


def reading(names: tuple[str, ...]) -> None:
    raise Read(*names)


def plain(text: str) -> Filter:
    return Filter(text, Binder(SCHEMA).bind(parse(text)))


NASTY: dict[str, list[Any]] = {
    "lang": ["", "a", "ab", "aé", "b", "b%", "日本", "日", "\U0010ffff", None],
    "year": [-(2**63), 2**63 - 1, 0, 1, 2, 2**53 + 1, 2**53, None, 1, 0],
    "price": [0.0, -0.0, 1.5, -1e300, 5e-324, float("nan"), float("inf"), float("-inf"), None, 1.5],
}


@pytest.mark.parametrize("name", NASTY)
def test_every_comparison_with_every_value_has_the_same_values(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexed, "_DENSE", 0)  # also where a scan is quicker
    rows = table(SCHEMA, [f"k{row}" for row in range(10)], **{name: NASTY[name]})
    indexes = indexes_of(rows)
    constants = [json.dumps(value, ensure_ascii=False) for value in NASTY[name] if value is not None]
    for constant in {text for text in constants if text.strip("-") not in ("NaN", "Infinity")}:
        texts = [f"{name} {sign} {constant}" for sign in ("==", "!=", "<", "<=", ">", ">=")]
        texts += [f"{name} in [{constant}]", f"{name} between {constant} and {constants[2]}"]
        texts += [f'lang like {constant[:-1]}%"', f"lang like {constant}"] if name == "lang" else []
        for text in [*texts, *(f"not ({text})" for text in texts)]:
            found = compile_filter(text, SCHEMA).expression.values(Source(rows, None, indexes, reading)).to_pylist()
            assert found == plain(text).expression.values(Source(rows)).to_pylist(), text


@settings(deadline=None, max_examples=60)
@given(tables(), st.lists(FILTERS, min_size=1, max_size=10), st.sampled_from([0, indexed._DENSE]))
def test_with_and_without_indexes_a_filter_has_the_same_values(rows: pa.Table, texts: list[str], dense: int) -> None:
    indexes = indexes_of(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexed, "_DENSE", dense)  # 0: also where a scan is quicker
        for text in texts:
            asking, scanning = compile_filter(text, SCHEMA), plain(text)
            found = asking.expression.values(Source(rows, None, indexes)).to_pylist()
            assert found == scanning.expression.values(Source(rows)).to_pylist(), text
            assert asking.mask(Source(rows)).tolist() == scanning.mask(Source(rows)).tolist(), text


ROWS = table(
    SCHEMA,
    [f"k{row}" for row in range(1000)],
    lang=[None if row % 10 == 0 else f"l{row % 7}" for row in range(1000)],
    year=[None if row % 9 == 0 else row for row in range(1000)],
    price=[float("nan") if row % 8 == 0 else row / 2 for row in range(1000)],
    tags=[None if row % 11 == 0 else [f"t{row % 5}", f"u{row % 3}"] for row in range(1000)],
)
INDEXES = indexes_of(ROWS)


@pytest.mark.parametrize(
    "text",
    [
        "lang == 'l3'",
        "lang != 'l3'",
        "not (lang in ['l1', 'l2'])",
        "lang > 'l2'",
        "lang like 'l%'",
        "lang like 'l3'",
        "lang is null or year is null",
        "exists(tags)",
        "year between 300 and 350",
        "300 <= year and lang == 'l1' and year < 350",
        "not (year between 300 and 350)",
        "price < 20",
        "price != 4.5",
        "contains(tags, 't1')",
        "contains_any(tags, ['t1', 'u1'])",
        "contains_all(tags, ['t1', 'u1'])",
    ],
)
def test_where_the_index_answers_no_column_is_read(text: str) -> None:
    found = compile_filter(text, SCHEMA).mask(Source(ROWS, None, INDEXES, reading))
    assert found.tolist() == plain(text).mask(Source(ROWS)).tolist()
    assert 0 < found.sum() < 1000


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("year < 500", "year"),  # neither the rows nor the others are few
        ("lang like 'l_'", "lang"),
        ("lang like '%3'", "lang"),
        ("length(tags) == 2", "tags"),
        ("year in [" + ", ".join(map(str, range(17))) + "]", "year"),
        (" and ".join(f"year > {number}" for number in range(17)), "year"),
        ("year == 5 and key == 'k5'", "key"),
    ],
)
def test_where_the_index_does_not_help_the_column_is_read(text: str, column: str) -> None:
    with pytest.raises(Read, match=column):
        compile_filter(text, SCHEMA).mask(Source(ROWS, None, INDEXES, reading))
    found = compile_filter(text, SCHEMA).mask(Source(ROWS, None, INDEXES))
    assert found.tolist() == plain(text).mask(Source(ROWS)).tolist()


def test_a_field_without_an_index_is_read_and_the_others_are_not() -> None:
    some = {"lang": INDEXES["lang"]}
    with pytest.raises(Read, match="year"):
        compile_filter("lang == 'l3' and year == 3", SCHEMA).mask(Source(ROWS, None, some, reading))
