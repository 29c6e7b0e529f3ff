"""Payload columns of the wire: every type comes back as it was sent, and what does not fit is refused with its row."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from vectorfleet import columns
from vectorfleet.columns import Json
from vectorfleet.schema import FieldSchema, FieldType
from vectorfleet.v1 import vectorfleet_pb2 as pb
from vectorfleet_node.api.errors import ApiError
from vectorfleet_node.api.fields import MAX_JSON_BYTES, MAX_JSON_DEPTH, add_field, field_array
from vectorfleet_node.api.rows import concatenate, take
from vectorfleet_node.shard.rowhash import hash_rows

DOCUMENTS = [{"a": {"b": [1, 2.5, "x", True, None]}}, None, Json([1, {"c": 2}]), Json("text"), {}]
VALUES: dict[FieldType, list[object]] = {
    FieldType.STRING: ["a", None, "", "日本", "a"],
    FieldType.INT64: [1, None, -(2**63), 2**63 - 1, 0],
    FieldType.FLOAT64: [1.5, None, -0.0, 1e300, 0.0],
    FieldType.BOOL: [True, None, False, True, True],
    FieldType.STRING_ARRAY: [["a", "b"], None, [], ["日本", ""], ["a"]],
    FieldType.INT64_ARRAY: [[1, -(2**63)], None, [], [0], [7, 7]],
    FieldType.FLOAT64_ARRAY: [[1.5], None, [], [-0.0, 1e300], [2.0]],
    FieldType.JSON: DOCUMENTS,
}


def stored(kind: FieldType, values: list[object]) -> pa.Array:
    column = columns.pack_field("f", values)
    assert column is not None
    return field_array(column, FieldSchema(name="f", type=kind), len(values))


def answered(kind: FieldType, values: pa.Array) -> pb.Rows:
    rows = pb.Rows(keys=pb.Keys(ints=range(len(values))))
    add_field(rows, "f", kind, pa.chunked_array([values]))
    return rows


def plain(values: list[object]) -> list[object]:
    return [value.value if isinstance(value, Json) else value for value in values]


@pytest.mark.parametrize("kind", FieldType)
def test_every_type_of_field_comes_back_as_it_was_sent(kind: FieldType) -> None:
    rows = answered(kind, stored(kind, VALUES[kind]))
    both = take(concatenate([rows, pb.Rows(), rows]), [9, 1, 2, 3, 0])
    assert columns.unpack_fields(rows.fields, 5)["f"] == plain(VALUES[kind])
    assert columns.unpack_fields(both.fields, 5)["f"] == plain([VALUES[kind][row] for row in (4, 1, 2, 3, 0)])


@pytest.mark.parametrize("kind", [kind for kind in FieldType if kind.endswith("Array")])
def test_empty_arrays_fit_a_field_of_any_array_type(kind: FieldType) -> None:
    assert stored(kind, [[], None, []]).to_pylist() == [[], None, []]


@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        (FieldType.INT64_ARRAY, [["a"]], "values are string_arrays; a Int64Array field takes int_arrays"),
        (FieldType.STRING_ARRAY, ["a"], "values are strings; a StringArray field takes string_arrays"),
        (FieldType.JSON, [["a"]], "values are string_arrays; a Json field takes jsons"),
        (FieldType.STRING, [{"a": 1}], "values are jsons; a String field takes strings"),
    ],
)
def test_values_of_another_type_are_refused(kind: FieldType, values: list[object], words: str) -> None:
    with pytest.raises(ApiError, match=words):
        stored(kind, values)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "row 1 has '{', which is not JSON"),
        ("", "row 1 has '', which is not JSON"),
        ("NaN", "which is not JSON"),
        ('"\\ud800"', "which is not JSON"),
        ("1e999", "row 1 has a number beyond the range of Float64"),
        ("9" * 400, "row 1 has a number beyond the range of Float64"),
        ("[" * MAX_JSON_DEPTH + "[]" + "]" * MAX_JSON_DEPTH, "row 1 has a document nested more than 64 deep"),
        ("[" * 60_000, "which is not JSON"),
        (json.dumps("x" * MAX_JSON_BYTES), "row 1 has a document of 65538 bytes; at most 65536 are allowed"),
    ],
)
def test_what_is_no_document_within_bounds_is_refused_with_its_row(text: str, words: str) -> None:
    column = pb.FieldColumn(name="f", jsons=pb.StringValues(values=["1", text]))
    with pytest.raises(ApiError, match=words):
        field_array(column, FieldSchema(name="f", type=FieldType.JSON), 2)


def test_the_deepest_document_is_stored_and_the_document_null_is_the_null_of_the_field() -> None:
    deepest = "[" * (MAX_JSON_DEPTH - 1) + "[]" + "]" * (MAX_JSON_DEPTH - 1)
    column = pb.FieldColumn(name="f", jsons=pb.StringValues(values=[deepest, "null", '"null"']))
    assert field_array(column, FieldSchema(name="f", type=FieldType.JSON), 3).to_pylist() == [deepest, None, '"null"']


def hashes(kind: FieldType, values: list[object]) -> list[bytes]:
    rows = pa.table({"key": list(range(len(values))), "f": stored(kind, values)})
    return [each.tobytes() for each in hash_rows([0] * len(values), [0] * len(values), rows, {})]


@pytest.mark.parametrize("kind", FieldType)
def test_the_hash_of_a_row_tells_its_values_apart(kind: FieldType) -> None:
    values = VALUES[kind][:3]
    assert hashes(kind, values) == hashes(kind, values)
    assert len(set(hashes(kind, values))) == len(values)


def test_the_hash_of_a_row_knows_where_elements_begin() -> None:
    first, second, third = hashes(FieldType.STRING_ARRAY, [["ab", "c"], ["a", "bc"], ["abc"]])
    assert len({first, second, third}) == 3


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([[1, "a"]], "lists of int, str"),
        ([[None]], "lists of NoneType"),
        ([["a"], [1]], "lists of int, str"),
        ([{"a": 1}, [1]], "mixes dict with"),
        ([{"a": object()}], "no JSON document in row 0: a object is not JSON"),
        ([{"a": float("nan")}], "no JSON document in row 0"),
        ([[2**63]], r"fields\[f\]\[0\]\[0\] is 9223372036854775808"),
    ],
)
def test_a_client_refuses_what_no_field_holds(values: list[object], words: str) -> None:
    with pytest.raises(columns.InvalidArgument, match=words):
        columns.pack_field("f", values)
