"""Options that several commands share, and the client they are for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from vectorfleet.cli import Failure

if TYPE_CHECKING:
    from vectorfleet import Client


class MetricName(StrEnum):
    """The metrics, for --help; the contract's own enum would import pydantic before it is needed."""

    COSINE = "Cosine"
    L2 = "L2"
    DOT = "Dot"


Collection = Annotated[str, typer.Argument(help="Name of the collection.", show_default=False)]
Server = Annotated[
    str, typer.Option("--server", "-s", envvar="VECTORFLEET_SERVER", help="host:port of any node, or several ip:port.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of tables.")]
Timeout = Annotated[float, typer.Option("--timeout", help="Seconds for a call, retries included.")]
Filter = Annotated[
    str, typer.Option("--filter", "-f", help="""Only rows that match, e.g. 'lang == "en" and year >= 2020'.""")
]
Fields = Annotated[str, typer.Option("--fields", help="Fields to show, comma-separated; * is all, empty none.")]
Metric = Annotated[MetricName, typer.Option("--metric", case_sensitive=False, help="How vectors are compared.")]
Shards = Annotated[int, typer.Option("--shards", min=1, help="Shards of the new collection.")]
DEFAULT_SERVER = "localhost:7300"


@contextmanager
def connected(server: str, timeout: float = 30.0) -> Iterator[Client]:
    """A client; its errors become the one line that the user sees."""
    from vectorfleet import Client, VectorFleetError

    try:
        with Client(server, timeout=timeout) as client:
            yield client
    except VectorFleetError as error:
        raise Failure(str(error)) from error


def listed(fields: str) -> list[str]:
    """`a, b` as ["a", "b"]."""
    return [field.strip() for field in fields.split(",") if field.strip()]
