"""The command line: `vectorfleet --help`. `main` is the entry point of the distribution.

Errors are one line on standard error: exit code 2 for wrong usage, 1 for what failed unless the command says otherwise,
130 for Ctrl-C. No tracebacks.
Heavy imports (gRPC, pyarrow) happen inside the commands that need them.
"""

from __future__ import annotations

import sys

import typer

# typer carries its own copy of click since 0.25 or so; the base of its usage errors is found by name in both.
_UsageProblem: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def main() -> None:
    """Runs the command of sys.argv and exits."""
    from vectorfleet.cli.app import app

    try:
        code = app(standalone_mode=False)
    except _UsageProblem as error:
        _complain(getattr(error, "format_message", error.__str__)())
        code = getattr(error, "exit_code", 2)
    except typer.Abort:
        code = 130
    except Failure as error:
        _complain(str(error))
        code = error.code
    sys.exit(code if isinstance(code, int) else 0)


class Failure(Exception):
    """A command that could not do what it was asked; `str()` is the line to show, `code` the exit code."""

    def __init__(self, message: str, *, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def _complain(message: str) -> None:
    print("vectorfleet: " + " ".join(message.split()), file=sys.stderr)
