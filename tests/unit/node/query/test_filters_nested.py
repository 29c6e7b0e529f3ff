"""Filters over arrays and JSON documents: what passes, checked against plain Python, and what is refused."""

from __future__ import annotations

import json
import operator
import random
import re
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from views import table

from vectorfleet.schema import CollectionSchema, FieldSchema, FieldType, VectorSchema
from vectorfleet_node.query.errors import FilterError
from vectorfleet_node.query.filters import compile_filter, documents
from vectorfleet_node.query.filters.documents import Source
from vectorfleet_node.shard.view import RowsIdentity

SCHEMA = CollectionSchema(
    vectors=(VectorSchema(name="default", dimensions=2),),
    fields=(
        FieldSchema(name="tags", type=FieldType.STRING_ARRAY),
        FieldSchema(name="years", type=FieldType.INT64_ARRAY),
        FieldSchema(name="weights", type=FieldType.FLOAT64_ARRAY),
        FieldSchema(name="meta", type=FieldType.JSON),
    ),
    shards=1,
)
POOLS: dict[str, list[Any]] = {
    "tags": ["a", "b", "日本", ""],
    "years": [2020, -(2**63), 2**53 + 1, 0],
    "weights": [0.0, -0.0, 2.5, 1e300],
}
LEAVES: list[Any] = [
    "x",
    "xy",
    "",
    True,
    False,
    None,
    0,
    3,
    2.5,
    3.0,
    -0.0,
    2**53 + 1,
    2**63,
    -(2**63),
    [3, "x"],
    {"b": 3},
]
CONSTANTS: list[Any] = ["x", "xy", True, False, 0, 3, 2.5, 3.0, 2**53 + 1, 2**63, -(2**63), -9.3e18, 1e19, 2.0**63]
PATHS: dict[str, tuple[str | int, ...]] = {
    "meta": (),
    "meta.a": ("a",),
    'meta["a"].b': ("a", "b"),
    "meta.list[0]": ("list", 0),
    "`meta`.list[2].in": ("list", 2, "in"),
    "meta[1]": (1,),
}
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
Row = dict[str, Any]
Verdict = Callable[[Row], "bool | None"]


def a_document(rng: random.Random) -> Any:
    match rng.randrange(6):
        case 0:
            return None
        case 1:
            return rng.choice(LEAVES)
        case 2:
            return [rng.choice(LEAVES) for _ in range(rng.randrange(4))]
    return {
        "a": rng.choice([*LEAVES, {"b": rng.choice(LEAVES)}]),
        "list": [rng.choice([*LEAVES, {"in": rng.choice(LEAVES)}]) for _ in range(rng.randrange(4))],
    }


def some_rows(rng: random.Random, count: int) -> list[Row]:
    rows = []
    for _ in range(count):
        row: Row = {
            name: rng.choice([None, *[[rng.choice(pool) for _ in range(rng.randrange(4))] for _ in range(5)]])
            for name, pool in POOLS.items()
        }
        rows.append(row | {"meta": a_document(rng)})
    return rows


def as_table(rows: list[Row]) -> pa.Table:
    columns = {name: [row[name] for row in rows] for name in POOLS}
    columns["meta"] = [None if row["meta"] is None else json.dumps(row["meta"]) for row in rows]
    return table(SCHEMA, [f"k{number}" for number in range(len(rows))], **columns)


def at(row: Row, path: tuple[str | int, ...]) -> Any:
    value = row["meta"]
    for step in path:
        try:
            value = value[step] if isinstance(value, dict if isinstance(step, str) else list) else None
        except (KeyError, IndexError):
            value = None
    return value


def kind(value: Any) -> str:
    return "bool" if isinstance(value, bool) else "number" if isinstance(value, int | float) else type(value).__name__


def literal(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


class Writer:
    """Writes random filters, each with what plain Python says of a row."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def write(self, depth: int) -> tuple[str, Verdict]:
        pick = self.rng.randrange(4) if depth else 3
        if pick == 0:
            text, verdict = self.write(depth - 1)
            return f"not ({text})", lambda row: None if verdict(row) is None else not verdict(row)
        if pick < 3:
            terms = [self.write(depth - 1) for _ in range(2)]
            word, decided = self.rng.choice([("and", False), ("or", True)])

            def joined(row: Row) -> bool | None:
                verdicts = [term(row) for _, term in terms]
                return decided if decided in verdicts else (None if None in verdicts else not decided)

            return f" {word} ".join(f"({text})" for text, _ in terms), joined
        return self.rng.choice([self.array, self.path, self.path_list, self.path_other])()

    def array(self) -> tuple[str, Verdict]:
        name, pool = self.rng.choice(list(POOLS.items()))
        values = [self.rng.choice(pool) for _ in range(self.rng.randrange(4))]
        number, sign = self.rng.randrange(4), self.rng.choice(list(OPERATORS))
        listed = ", ".join(map(literal, values))
        choices: list[tuple[str, Callable[[list[Any]], bool]]] = [
            (f"contains({name}, {literal(pool[0])})", lambda held: pool[0] in held),
            (f"contains_any({name}, [{listed}])", lambda held: any(value in held for value in values)),
            (f"contains_all({name}, [{listed}])", lambda held: all(value in held for value in values)),
            (f"length({name}) {sign} {number}", lambda held: OPERATORS[sign](len(held), number)),
            (f"LENGTH({name}) in [{number}]", lambda held: len(held) == number),
        ]
        text, test = self.rng.choice(choices)
        return text, lambda row: None if row[name] is None else test(row[name])

    def path(self) -> tuple[str, Verdict]:
        (path, steps), constant = self.rng.choice(list(PATHS.items())), self.rng.choice(CONSTANTS)
        sign = self.rng.choice(["==", "!="] if isinstance(constant, bool) else list(OPERATORS))
        text = f"{path} {sign} {literal(constant)}"
        if self.rng.random() < 0.3:
            text = f"{literal(constant)} {TURNED.get(sign, sign)} {path}"

        def verdict(row: Row) -> bool | None:
            value = at(row, steps)
            return OPERATORS[sign](value, constant) if kind(value) == kind(constant) else None

        return text, verdict

    def path_list(self) -> tuple[str, Verdict]:
        path, steps = self.rng.choice(list(PATHS.items()))
        wanted = self.rng.choice(["str", "number", "bool"])
        values = [value for value in self.rng.sample(CONSTANTS, 6) if kind(value) == wanted]

        def verdict(row: Row) -> bool | None:
            value = at(row, steps)
            if value is None or (values and kind(value) != wanted):
                return None
            return value in values

        return f"{path} in [{', '.join(map(literal, values))}]", verdict

    def path_other(self) -> tuple[str, Verdict]:
        path, steps = self.rng.choice(list(PATHS.items()))
        low, high = 0, self.rng.choice([3, 2.5])

        def of(wanted: str, test: Callable[[Any], bool]) -> Verdict:
            return lambda row: test(at(row, steps)) if kind(at(row, steps)) == wanted else None

        choices: list[tuple[str, Verdict]] = [
            (f"exists({path})", lambda row: at(row, steps) is not None),
            (f"{path} is null", lambda row: at(row, steps) is None),
            (f"{path} like 'x%'", of("str", lambda value: value.startswith("x"))),
            (f"{path} like '%y'", of("str", lambda value: value.endswith("y"))),
            (f"{path} between {low} and {high}", of("number", lambda value: low <= value <= high)),
            (path, of("bool", lambda value: value)),
        ]
        return self.rng.choice(choices)


@pytest.mark.parametrize("seed", range(30))
def test_masks_agree_with_plain_python(seed: int) -> None:
    rng = random.Random(seed)
    rows = some_rows(rng, 60)
    whole, identity = as_table(rows), RowsIdentity()
    pieces = pa.concat_tables([whole.slice(0, 7), whole.slice(7, 0), whole.slice(7)])
    for _ in range(40):
        text, verdict = Writer(rng).write(2)
        expected = [verdict(row) is True for row in rows]
        compiled = compile_filter(text, SCHEMA)
        assert compiled.mask(Source(whole, identity)).tolist() == expected, f"seed {seed}: {text}"
        assert compiled.mask(Source(pieces)).tolist() == expected, f"seed {seed}, in pieces: {text}"


def test_a_block_of_no_rows_has_a_mask() -> None:
    for text in ("contains(tags, 'a')", "meta.a == 3", "length(years) > 1", "meta.a in [1]", "exists(meta)"):
        assert compile_filter(text, SCHEMA).mask(Source(as_table([]))).tolist() == []


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("tags == 'a'", 1, "tags is StringArray and is not compared as a whole; there are contains, contains_any"),
        ("tags in ['a']", 1, "tags is StringArray and is not compared as a whole"),
        ("tags", 1, "tags is StringArray and stands alone"),
        ("tags[0] == 'a'", 1, "tags is StringArray; only a Json field has paths"),
        ("contains(tags, 3)", 16, "an element of tags is String and cannot be compared with 3"),
        ("contains_any(years, [1, 2.5])", 25, "an element of years is Int64 and cannot be compared with 2.5"),
        ("contains(tags, ['a'])", 1, "the arguments do not fit; write contains(array, value)"),
        ("contains_all(tags, 'a')", 1, "the arguments do not fit; write contains_all(array, [values])"),
        ("contains(tags)", 1, "the arguments do not fit; write contains(array, value)"),
        ("length(tags)", 1, "length(tags) is Int64 and stands alone; compare it with something"),
        ("length(tags) > 'a'", 16, 'length(tags) is Int64 and cannot be compared with "a"'),
        ("length(meta.a) > 1", 8, "meta is Json; `length` needs one of StringArray, Int64Array, Float64Array"),
        ("meta.a == key", 1, "meta is Json; it can be compared with constants only"),
        ("key == meta.a", 8, "meta is Json; it can be compared with constants only"),
        ("meta.a < true", 10, "true can be compared by == and !=, not by <"),
        ("meta.a in [1, 'x']", 15, 'the list begins with 1 and has "x"; one type is needed'),
        ("meta.a == " + "9" * 380, 11, "cannot be compared with 999"),
        ("meta[-1] == 3", 6, "-1 is no element of an array; they are counted 0, 1, 2"),
        ("meta[1.5] == 3", 6, "1.5 is no element of an array"),
        ("meta. == 3", 7, "found '== 3', expected a field"),
        (r'meta["\d"] == 3', 7, r"\d is no escape"),
    ],
)
def test_a_wrong_filter_is_refused_with_its_column_and_what_is_allowed(text: str, column: int, words: str) -> None:
    with pytest.raises(FilterError, match=re.escape(words)) as caught:
        compile_filter(text, SCHEMA)
    assert caught.value.column == column


def test_documents_are_parsed_once_for_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    from_json = documents.from_json
    monkeypatch.setattr(documents, "from_json", lambda text: parsed.append(text) or from_json(text))
    rows, identity = as_table([{"tags": None, "years": None, "weights": None, "meta": {"a": 3}}] * 4), RowsIdentity()
    for text in ("meta.a == 3", "meta.a in [3, 4]", "not exists(meta.a) or meta.a like 'x%'"):
        compile_filter(text, SCHEMA).mask(Source(rows, identity))
    assert len(parsed) == 4
    compile_filter("meta.a == 3", SCHEMA).mask(Source(rows))
    assert len(parsed) == 8, "rows that may change are parsed each time"
