"""From a filter's text to its syntax tree; knows the grammar and no schema. Used by `filters.compile_filter`.

The grammar is written down for users in docs/filters.md. The parser is LALR and builds the tree as it goes, so that
no text, however nested, can exhaust the stack; `MAX_DEPTH` bounds what walks the tree afterwards.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedInput, UnexpectedToken, v_args

from vectorfleet_node.query.errors import FilterError

MAX_LENGTH: Final = 16_384  # characters
MAX_DEPTH: Final = 64
_MAX_DIGITS: Final = 400
_FOUND: Final = 40  # characters of the text that an error repeats

_GRAMMAR: Final = r"""
?start: either
?either: both (_OR both)+ -> either
    | both
?both: term (_AND term)+ -> both
    | term
?term: _NOT term -> negation
    | "(" either ")"
    | operand (COMPARISON operand)+ -> comparison
    | operand _IN list -> membership
    | operand _NOT _IN list -> no_membership
    | operand _BETWEEN operand _AND operand -> between
    | operand _NOT _BETWEEN operand _AND operand -> no_between
    | operand _LIKE STRING -> like
    | operand _NOT _LIKE STRING -> unlike
    | operand _IS _NULL -> null
    | operand _IS _NOT _NULL -> no_null
    | operand -> flag
list: "[" "]" | "[" literal ("," literal)* "]"
?operand: place
    | literal
    | NAME "(" (argument ("," argument)*)? ")" -> call
?argument: place | literal | list
?place: NAME step* -> field
    | QUOTED_NAME step* -> quoted_field
?step: "." NAME -> member
    | "[" STRING "]" -> quoted_member
    | "[" NUMBER "]" -> element
?literal: NUMBER -> number
    | STRING -> string
    | TRUE -> true
    | FALSE -> false

_OR.2: /or\b/i
_AND.2: /and\b/i
_NOT.2: /not\b/i
_IN.2: /in\b/i
_BETWEEN.2: /between\b/i
_LIKE.2: /like\b/i
_IS.2: /is\b/i
_NULL.2: /null\b/i
TRUE.2: /true\b/i
FALSE.2: /false\b/i
COMPARISON: "==" | "!=" | "<=" | ">=" | "<" | ">"
NAME: /[A-Za-z_][A-Za-z0-9_]*/
QUOTED_NAME: /`[^`\n]*`/
NUMBER: /[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?(?![\w.])/
STRING: /"([^"\\\n]|\\.)*"/ | /'([^'\\\n]|\\.)*'/
%ignore /[ \t\r\n]+/
"""

_SPOKEN: Final = {  # in the order in which an error lists them
    "NAME": "a field",
    "QUOTED_NAME": "a field",
    "NUMBER": "a number",
    "STRING": "a string",
    "_OR": "or",
    "_AND": "and",
    "_NOT": "not",
    "_IN": "in",
    "_BETWEEN": "between",
    "_LIKE": "like",
    "_IS": "is",
    "_NULL": "null",
    "TRUE": "true",
    "FALSE": "false",
    "COMPARISON": "a comparison (== != < <= > >=)",
    "LPAR": "(",
    "RPAR": ")",
    "LSQB": "[",
    "RSQB": "]",
    "COMMA": "a comma",
    "DOT": "a path",
    "$END": "the end of the filter",
}
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)


@dataclass(frozen=True)
class Name:
    """A field or `key`. path: where in a document; names of members and numbers of elements."""

    column: int
    name: str
    path: tuple[str | int, ...] = ()


@dataclass(frozen=True)
class Literal:
    """A constant. A number without a point and exponent is an int."""

    column: int
    value: bool | int | float | str


@dataclass(frozen=True)
class Call:
    """`function(arguments)`; the name in lower case, a list as a tuple."""

    column: int
    function: str
    arguments: tuple[Name | Literal | tuple[Literal, ...], ...]


Operand = Name | Literal | Call


@dataclass(frozen=True)
class Comparison:
    """`operands[0] operators[0] operands[1] operators[1] …`: each neighbouring pair has to hold."""

    operands: tuple[Operand, ...]
    operators: tuple[str, ...]


@dataclass(frozen=True)
class Membership:
    """`operand in [values]`."""

    operand: Operand
    values: tuple[Literal, ...]


@dataclass(frozen=True)
class Like:
    """`operand like pattern`."""

    operand: Operand
    pattern: str


@dataclass(frozen=True)
class IsNull:
    """`operand is null`."""

    operand: Operand


@dataclass(frozen=True)
class Flag:
    """An operand that stands alone and so has to be a Bool."""

    operand: Operand


@dataclass(frozen=True)
class Not:
    """The opposite of `term`."""

    term: Node
    depth: int


@dataclass(frozen=True)
class Junction:
    """`terms` joined by `and` (conjunction) or by `or`."""

    conjunction: bool
    terms: tuple[Node, ...]
    depth: int


Node = Comparison | Membership | Like | IsNull | Flag | Not | Junction


def parse(text: str) -> Node:
    """The syntax tree of a filter. FilterError when it is too long, too deep or not in the grammar."""
    if len(text) > MAX_LENGTH:
        raise FilterError(MAX_LENGTH + 1, f"the filter has {len(text)} characters; at most {MAX_LENGTH} are allowed")
    try:
        node: Any = _PARSER.parse(text)
    except UnexpectedInput as error:
        raise _explained(text, error) from None
    return node  # type: ignore[no-any-return]  # lark types what a parser with a transformer returns as a Tree


def _explained(text: str, error: UnexpectedInput) -> FilterError:
    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        at, found = len(text), "the filter ends here"
    else:
        at = error.pos_in_stream or 0
        found = f"found {text[at : at + _FOUND]!r}"
    if isinstance(error, UnexpectedCharacters) and text[at] in "\"'`":
        return FilterError(at + 1, f"{found}, a quote that is never closed")
    expected = _acceptable(text)
    spoken = dict.fromkeys(words for name, words in _SPOKEN.items() if name in expected)
    return FilterError(at + 1, f"{found}, expected {', '.join(spoken)}")


def _acceptable(text: str) -> set[str]:
    """Which terminals could have followed where parsing failed (the exception itself lists too many)."""
    parser: Any = _PARSER.parse_interactive(text)
    with suppress(UnexpectedInput):
        parser.exhaust_lexer()
    return set(parser.accepts())


def _deeper(token_at: int, *terms: Node) -> int:
    depth = 1 + max((term.depth for term in terms if isinstance(term, Not | Junction)), default=0)
    if depth > MAX_DEPTH:
        raise FilterError(token_at, f"the filter is nested more than {MAX_DEPTH} deep")
    return depth


@v_args(inline=True)
class _Builder(Transformer[Token, Node]):
    """Called by the parser for each rule it completes."""

    def either(self, *terms: Node) -> Node:
        return Junction(False, terms, _deeper(1, *terms))

    def both(self, *terms: Node) -> Node:
        return Junction(True, terms, _deeper(1, *terms))

    def negation(self, term: Node) -> Node:
        return Not(term, _deeper(1, term))

    def comparison(self, *parts: Any) -> Node:
        return Comparison(tuple(parts[0::2]), tuple(str(operator) for operator in parts[1::2]))

    def list(self, *values: Literal) -> tuple[Literal, ...]:
        return values

    def membership(self, operand: Operand, values: tuple[Literal, ...]) -> Node:
        return Membership(operand, values)

    def no_membership(self, operand: Operand, values: tuple[Literal, ...]) -> Node:
        return Not(Membership(operand, values), 1)

    def between(self, operand: Operand, low: Operand, high: Operand) -> Node:
        return Comparison((low, operand, high), ("<=", "<="))

    def no_between(self, operand: Operand, low: Operand, high: Operand) -> Node:
        return Not(self.between(operand, low, high), 1)

    def like(self, operand: Operand, pattern: Token) -> Node:
        return Like(operand, _unquoted(pattern))

    def unlike(self, operand: Operand, pattern: Token) -> Node:
        return Not(Like(operand, _unquoted(pattern)), 1)

    def null(self, operand: Operand) -> Node:
        return IsNull(operand)

    def no_null(self, operand: Operand) -> Node:
        return Not(IsNull(operand), 1)

    def flag(self, operand: Operand) -> Node:
        return Flag(operand)

    def field(self, token: Token, *steps: str | int) -> Operand:
        return Name(_column(token), str(token), steps)

    def quoted_field(self, token: Token, *steps: str | int) -> Operand:
        return Name(_column(token), str(token)[1:-1], steps)

    def member(self, token: Token) -> str:
        return str(token)

    def quoted_member(self, token: Token) -> str:
        return _unquoted(token)

    def element(self, token: Token) -> int:
        if not token.isdigit():
            raise FilterError(_column(token), f"{token} is no element of an array; they are counted 0, 1, 2, …")
        return int(_number(token))

    def call(self, token: Token, *arguments: Any) -> Operand:
        return Call(_column(token), token.lower(), arguments)

    def number(self, token: Token) -> Operand:
        return Literal(_column(token), _number(token))

    def string(self, token: Token) -> Operand:
        return Literal(_column(token), _unquoted(token))

    def true(self, token: Token) -> Operand:
        return Literal(_column(token), True)

    def false(self, token: Token) -> Operand:
        return Literal(_column(token), False)


def _column(token: Token) -> int:
    return (token.start_pos or 0) + 1


def _number(token: Token) -> int | float:
    if len(token) > _MAX_DIGITS:
        raise FilterError(_column(token), f"a number of {len(token)} characters; at most {_MAX_DIGITS} are allowed")
    if token.lstrip("+-").isdigit():
        return int(token)
    value = float(token)
    if abs(value) == float("inf"):
        raise FilterError(_column(token), f"{token} is out of the range of Float64")
    return value


def _unquoted(token: Token) -> str:
    def decoded(match: re.Match[str]) -> str:
        escape = match[1]
        if len(escape) == 5 and not 0xD800 <= int(escape[1:], 16) < 0xE000:
            return chr(int(escape[1:], 16))
        if escape not in _ESCAPES:
            problem = rf"\{escape} is no escape; there are \\ \" \' \n \r \t and \uXXXX (no surrogates)"
            raise FilterError(_column(token) + 1 + match.start(), problem)
        return _ESCAPES[escape]

    return _ESCAPE.sub(decoded, token[1:-1])


_PARSER: Final = Lark(_GRAMMAR, parser="lalr", transformer=_Builder(), maybe_placeholders=False)
