"""Random filters as text, each with what it means in Python: a function from a row to True, False or None (null)."""

from __future__ import annotations

import operator
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

Fields = Mapping[str, Any]  # `key`, and a value or None for each field
LANGS: Final = ("en", "de", "e%n", "", "日本")
YEARS: Final = (-1, 0, 1, 2020, 2**53 + 1)
PRICES: Final = (-1.5, 0.0, 2.5, 1e300)
_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class RandomFilter:
    """passes: the meaning of `text`."""

    text: str
    passes: Callable[[Fields], bool | None]


def random_filter(source: random.Random, keys: list[Any], depth: int = 2) -> RandomFilter:
    """Any filter of the language over the fields of `shard.schema`; `keys` are those that rows may have."""
    if depth == 0 or source.random() < 0.3:
        return _leaf(source, keys)
    if source.random() < 0.25:
        inner = random_filter(source, keys, depth - 1)
        return RandomFilter(f"not ({inner.text})", lambda row: _negated(inner.passes(row)))
    word = source.choice(["and", "or"])
    terms = [random_filter(source, keys, depth - 1) for _ in range(source.randint(2, 3))]
    text = f" {word} ".join(f"({term.text})" for term in terms)
    return RandomFilter(text, lambda row: _joined(word == "and", [term.passes(row) for term in terms]))


def _leaf(source: random.Random, keys: list[Any]) -> RandomFilter:
    name, values = source.choice([("lang", LANGS), ("year", YEARS), ("price", PRICES), ("key", tuple(keys))])
    match source.randrange(6):
        case 0:
            options = source.sample(values, k=min(len(values), 3))
            listed = ", ".join(_literal(value) for value in options)
            return RandomFilter(f"{name} in [{listed}]", _known(name, lambda value: value in options))
        case 1:
            low, high = sorted(source.choices(values, k=2))
            text = f"{_literal(low)} <= {name} <= {_literal(high)}"
            return RandomFilter(text, _known(name, lambda value: low <= value <= high))
        case 2:
            return RandomFilter(f"{name} is null", lambda row: row[name] is None)
        case 3:
            return RandomFilter("lang like 'e%'", _known("lang", lambda value: value.startswith("e")))
        case 4:
            wanted = source.random() < 0.5
            text = "open" if wanted else "open == false"
            return RandomFilter(text, _known("open", lambda value: value is wanted))
        case _:
            sign, value = source.choice(list(_COMPARE)), source.choice(values)
            compare = _COMPARE[sign]
            return RandomFilter(f"{name} {sign} {_literal(value)}", _known(name, lambda held: compare(held, value)))


def _known(name: str, test: Callable[[Any], bool]) -> Callable[[Fields], bool | None]:
    return lambda row: None if row[name] is None else test(row[name])


def _literal(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _negated(value: bool | None) -> bool | None:
    return None if value is None else not value


def _joined(conjunction: bool, values: list[bool | None]) -> bool | None:
    decided = not conjunction
    return decided if decided in values else (None if None in values else conjunction)
