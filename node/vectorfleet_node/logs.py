"""Structured logs: one JSON object a line on stderr, with the id of the request that is being served.

`main` and `standalone` call `configure` once; everything else asks `logger()`.
"""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from typing import Any

import structlog

request_id: ContextVar[str] = ContextVar("request_id", default="")

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_told = {"from": logging.NOTSET}


def _add_request_id(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    current = request_id.get()
    if current:
        event.setdefault("request_id", current)
    return event


def configure(level: str, node: str) -> None:
    """Sends logs of `level` (debug, info, warning, error) and above to stderr; each line carries the node's name."""
    _told["from"] = _LEVELS[level]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _add_request_id,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(node=node)


def debugging() -> bool:
    """Whether anybody reads debug lines: where one is written for each call, not making it is worth the question."""
    return _told["from"] <= logging.DEBUG


def logger() -> structlog.typing.FilteringBoundLogger:
    """The process' logger."""
    log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return log
