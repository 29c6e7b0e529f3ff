"""The filter language: what passes, what is refused and how, checked against a naive evaluation in Python."""

from __future__ import annotations

import random
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from views import schema, table

from vectorfleet.schema import FieldSchema
from vectorfleet_node.query.errors import FilterError
from vectorfleet_node.query.filters import compile_filter, syntax
from vectorfleet_node.query.filters.documents import Source

SCHEMA = schema()
LANGS = ["en", "de", None, "e%n", "", "enx", "a\\b", "\n", "日本"]
YEARS = [2019, 2020, None, -(2**63), 2**53 + 1]
PRICES = [0.0, -0.0, None, float("nan"), 2.5, -7.0, 1e300]
ROWS: list[dict[str, Any]] = [
    {
        "key": f"k{i:02}",
        "lang": LANGS[i % len(LANGS)],
        "year": YEARS[i % len(YEARS)],
        "price": PRICES[i % len(PRICES)],
        "open": [True, False, None][i % 3],
    }
    for i in range(60)
]
COLUMNS = {name: [row[name] for row in ROWS] for name in ("lang", "year", "price", "open")}
TABLE = table(SCHEMA, [row["key"] for row in ROWS], **COLUMNS)


def passing(text: str, rows: pa.Table = TABLE) -> list[str]:
    mask = compile_filter(text, SCHEMA).mask(Source(rows))
    return [key for key, passed in zip(rows["key"].to_pylist(), mask.tolist(), strict=True) if passed]


def naive(node: syntax.Node, row: dict[str, Any]) -> bool | None:
    """Three-valued evaluation of a syntax tree for one row."""

    def value(operand: syntax.Operand) -> Any:
        return row[operand.name] if isinstance(operand, syntax.Name) else operand.value

    match node:
        case syntax.Junction(conjunction, terms):
            results = [naive(term, row) for term in terms]
            decided = not conjunction
            return decided if decided in results else (None if None in results else conjunction)
        case syntax.Not(term):
            result = naive(term, row)
            return None if result is None else not result
        case syntax.Comparison(operands, operators):
            links = [compared(value(a), o, value(b)) for (a, b), o in zip(pairwise(operands), operators, strict=True)]
            return False if False in links else (None if None in links else True)
        case syntax.Membership(operand, values):
            return None if value(operand) is None else value(operand) in [literal.value for literal in values]
        case syntax.Like(operand, pattern):
            return (
                None if value(operand) is None else re.fullmatch(like(pattern), value(operand), re.DOTALL) is not None
            )
        case syntax.IsNull(operand):
            return value(operand) is None
        case syntax.Flag(syntax.Call(_, _, (syntax.Name(_, name), *_))):
            return row[name] is not None
        case syntax.Flag(operand):
            return value(operand)


def compared(left: Any, operator: str, right: Any) -> bool | None:
    if left is None or right is None:
        return None
    results = {"==": left == right, "!=": left != right}
    if not isinstance(left, bool):
        results |= {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}
    return results[operator]


def like(pattern: str) -> str:
    """The regular expression of a LIKE pattern; a backslash makes the next character plain."""
    out, plain = "", False
    for character in pattern:
        if not plain and character == "\\":
            plain = True
            continue
        out += {"%": ".*", "_": "."}.get(character, re.escape(character)) if not plain else re.escape(character)
        plain = False
    return out


class Writer:
    """Writes random well-typed filters."""

    LITERALS = {
        "lang": ['"en"', "'de'", '""', '"e%n"', r'"a\\b"', r'"\n"', r'"\u65e5\u672c"'],
        "year": ["2019", "2020", "+2020", "-9223372036854775808", "9007199254740993", "2e3", "2020.0"],
        "price": ["0", "-0.0", "2.5", ".5", "1e300", "-7", "3."],
        "key": ['"k10"', '"k55"', '"nobody"'],
    }
    PATTERNS = [
        '"e%"',
        '"%n"',
        '"%n%"',
        '"e_%"',
        r'"e\\%n"',
        '"en"',
        '"%"',
        '"_"',
        '""',
        r'"a\\\\b"',
        '"%x%y%"',
        '"__"',
    ]

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def write(self, depth: int) -> str:
        pick = self.rng.randrange(4) if depth else 3
        if pick == 0:
            return f"{self.keyword('not')} ({self.write(depth - 1)})"
        if pick < 3:
            word = self.keyword(self.rng.choice(["and", "or"]))
            return f" {word} ".join(f"({self.write(depth - 1)})" for _ in range(self.rng.randint(2, 3)))
        return self.predicate()

    def keyword(self, word: str) -> str:
        return self.rng.choice([word, word.upper()])

    def predicate(self) -> str:
        field = self.rng.choice(list(self.LITERALS))
        literal = self.rng.choice(self.LITERALS[field])
        name = self.rng.choice([field, f"`{field}`"])
        negation = self.rng.choice(["", "not "])
        values = ", ".join(self.rng.choices(self.LITERALS[field], k=self.rng.randint(0, 3)))
        choices = [
            f"{name}{self.operator()}{literal}",
            f"{literal} {self.operator()} {name}",
            f"{literal} {self.operator()} {name} {self.operator()} {self.rng.choice(self.LITERALS[field])}",
            f"{name} {negation}in [{values}]",
            f"{name} {negation}between {literal} {self.keyword('and')} {self.rng.choice(self.LITERALS[field])}",
            f"{negation}exists({name})",
            f"{name} is {negation}null",
            f"{self.rng.choice(['lang', 'key'])} {negation}like {self.rng.choice(self.PATTERNS)}",
            f"lang {self.operator()} key",
            f"open {self.rng.choice(['==', '!='])} {self.rng.choice(['true', 'False'])}",
            f"{negation}open",
        ]
        return self.rng.choice(choices)

    def operator(self) -> str:
        return self.rng.choice(["==", "!=", "<", "<=", ">", ">="])


@pytest.mark.parametrize("seed", range(40))
def test_masks_agree_with_a_naive_evaluation(seed: int) -> None:
    writer = Writer(random.Random(seed))
    for _ in range(25):
        text = writer.write(3)
        node = syntax.parse(text)
        assert passing(text) == [row["key"] for row in ROWS if naive(node, row) is True], f"seed {seed}: {text}"


@pytest.mark.parametrize("text", ["not (lang == 'en')", "lang != 'en'", "lang not in ['en']", "not lang like 'en'"])
def test_the_opposite_of_a_comparison_with_null_is_not_true(text: str) -> None:
    assert {row["lang"] for row in ROWS if row["key"] in passing(text)} == {*LANGS} - {None, "en"}


def test_int64_beyond_the_precision_of_float64_is_compared_exactly() -> None:
    assert passing("year == 9007199254740993")
    assert passing("year == 9007199254740992") == []
    assert passing("year in [9007199254740992]") == []


def test_both_zeros_are_equal_in_lists_too() -> None:
    assert passing("price in [0]") == passing("price == 0") == passing("price in [-0.0]") != []


def test_a_table_of_no_rows_and_one_of_many_chunks_have_masks() -> None:
    assert passing("year > 3", TABLE.slice(0, 0)) == []
    assert passing("year > 3", pa.concat_tables([TABLE.slice(0, 7), TABLE.slice(7)])) == passing("year > 3")


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("", 1, "the filter ends here, expected a field"),
        ("year >=", 8, "the filter ends here, expected a field, a number, a string, true, false"),
        ("year = 4", 6, "found '= 4', expected or, and, not, in, between, like, is, a comparison (== != < <= > >=)"),
        ("(year > 4", 10, "expected or, and, a comparison (== != < <= > >=), )"),
        ("year > 4 lang", 10, "found 'lang'"),
        ("year > 3\n and & open", 15, "found '& open'"),
        ('lang == "en', 9, "a quote that is never closed"),
        (r'lang == "a\d"', 11, r"\d is no escape; there are"),
        (r'lang == "\ud800"', 10, r"\ud800 is no escape"),
        ("lnag == 'en'", 1, "there is no field 'lnag'; the fields are key, lang, year, price, open"),
        ("open and `x y` > 3", 10, "there is no field 'x y'"),
        ("lang == 5", 9, "lang is String and cannot be compared with 5"),
        ("year == 'x'", 9, 'year is Int64 and cannot be compared with "x"'),
        ("year == true", 9, "year is Int64 and cannot be compared with true"),
        ("year < 2020.5", 8, "year is Int64 and cannot be compared with 2020.5"),
        ("year < 9223372036854775808", 8, "year is Int64; 9223372036854775808 is out of its range"),
        ("price < 1e999", 9, "1e999 is out of the range of Float64"),
        ("price < " + "9" * 380, 9, "price is Float64 and cannot be compared with 9999"),
        ("price < " + "9" * 5000, 9, "a number of 5000 characters; at most 400"),
        ("open < true", 1, "open is Bool; it can be compared by == and !=, not by <"),
        ("year == null", 9, "nothing compares with null; write `is null`"),
        ("lang in ['a', 3]", 15, "lang is String and cannot be compared with 3"),
        ("lang in ('a')", 9, "expected ["),
        ("year like 'x%'", 1, "year is Int64; `like` needs String"),
        ("year < price", 8, "price is Float64; `year < price` needs Int64"),
        ("1 < 2 < year", 1, "`<` stands between two constants; one has to be a field"),
        ("3 in [3]", 1, "left of `in` stands 3; a field has to"),
        ("lang", 1, "lang is String and stands alone; compare it with something"),
        ("true", 1, "true stands alone; compare a field with it"),
        ("not " * 70 + "open", 1, "nested more than 64 deep"),
        ("year between 3", 15, "the filter ends here, expected and"),
        ("year between 'a' and 4", 14, 'year is Int64 and cannot be compared with "a"'),
        ("year.a == 3", 1, "year is Int64; only a Json field has paths"),
        ("lang[0] == 'a'", 1, "lang is String; only a Json field has paths"),
        ("size(lang) > 3", 1, "there is no function 'size'; the functions are exists(field), length(array), contains("),
        ("contains(lang, 'a')", 10, "lang is String; `contains` needs one of StringArray, Int64Array, Float64Array"),
        ("open and exists('a')", 10, "the arguments do not fit; write exists(field)"),
        ("exists(lang) == true", 1, "`exists` is true or false by itself; compare nothing"),
        ("x" * 20_000, 16_385, "the filter has 20000 characters; at most 16384 are allowed"),
    ],
)  # fmt: skip
def test_a_wrong_filter_is_refused_with_its_column_and_what_is_allowed(text: str, column: int, words: str) -> None:
    with pytest.raises(FilterError) as caught:
        compile_filter(text, SCHEMA)
    assert caught.value.field == "filter"
    assert caught.value.column == column
    assert words in caught.value.message


def test_a_keyword_can_be_a_field_in_backticks() -> None:
    assert syntax.parse("`in` in [1]") == syntax.Membership(syntax.Name(1, "in"), (syntax.Literal(10, 1),))


KEYWORDS = ["not", "and", "or", "in", "is", "null", "like", "between", "true", "lang", "year", "open", "key"]
SYMBOLS = [
    "(",
    ")",
    "[",
    "]",
    ",",
    ".",
    "exists(",
    "length",
    "contains",
    "==",
    "<",
    ">=",
    "'en'",
    '"',
    "`",
    "\\",
    "5",
    "-2.5e3",
    "&",
    "\x00",
    "é",
]
TOKENS = st.sampled_from(KEYWORDS + SYMBOLS)


@settings(deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(TOKENS, max_size=60).map(" ".join)))
@example("(" * 8000 + "open" + ")" * 8000)
@example("not " * 4000 + "open")
@example("open and (" * 1500 + "open" + ")" * 1500)
@example(" or ".join(["open"] * 2000))
@example("1" + "<year<1" * 2000)
@example("year in [" + ",".join(["1"] * 8000) + "]")
@example("'" + "\\" * 16_000)
@example("1" * 16_000)
def test_any_text_compiles_or_is_refused(text: str) -> None:
    try:
        compiled = compile_filter(text, SCHEMA)
    except FilterError:
        return
    assert len(compiled.mask(Source(TABLE))) == TABLE.num_rows


def test_the_examples_in_the_documentation_compile_and_the_bad_ones_do_not() -> None:
    text = (Path(__file__).parents[4] / "docs" / "filters.md").read_text()
    good, bad = (re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL) for kind in ("filter", "refused"))
    described = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    fields = tuple(FieldSchema.model_validate(field) for field in yaml.safe_load(described[0])["fields"])
    documented = SCHEMA.model_copy(update={"fields": fields})
    examples = [line for block in good for line in block.splitlines()]
    assert len(examples) >= 10
    for example_ in examples:
        compile_filter(example_, documented)
    for line in (line for block in bad for line in block.splitlines()):
        filter_, message = line.split(" # ")
        with pytest.raises(FilterError) as caught:
            compile_filter(filter_.strip(), documented)
        assert caught.value.message == message.strip()
