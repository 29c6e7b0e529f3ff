"""Why a question cannot be asked. The API layer makes INVALID_ARGUMENT of these, with a BadRequest naming the
field."""

from __future__ import annotations


class InvalidQuery(Exception):
    """The caller has to change the request. `field` is the request's field as in the .proto, `message` one sentence.

    row: which row of a write is wrong, from 0, where it is a row; the message begins with it.
    """

    def __init__(self, field: str, message: str, row: int | None = None) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message
        self.row = row


class FilterError(InvalidQuery):
    """The filter does not parse or does not fit the schema. `column` counts characters from 1."""

    def __init__(self, column: int, problem: str) -> None:
        super().__init__("filter", f"column {column}: {problem}")
        self.column = column
