"""The commands and their order in `--help`. Loaded by `vectorfleet.cli.main`."""

from __future__ import annotations

from typing import Annotated

import typer

from vectorfleet.cli import loading, maintenance, reading, serving, status, writing

app = typer.Typer(
    name="vectorfleet",
    help=(
        "Vector search as one Kubernetes resource.\n\n"
        "On a laptop: [bold]vectorfleet serve --data ./data[/bold], then [bold]vectorfleet load things vectors.npy "
        "--create[/bold] and [bold]vectorfleet search things --like 42[/bold]. With a fleet: the same, with "
        "[bold]--server host:7300[/bold] or VECTORFLEET_SERVER."
    ),
    rich_markup_mode="rich",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"vectorfleet {version('vectorfleet')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options before the command."""


app.command("search", rich_help_panel="Read")(reading.search)
app.command("get", rich_help_panel="Read")(reading.get)
app.command("scan", rich_help_panel="Read")(reading.scan)
app.command("count", rich_help_panel="Read")(reading.count)
app.command("status", rich_help_panel="Read")(status.status)
app.command("load", rich_help_panel="Write")(loading.load)
app.command("import", rich_help_panel="Write")(loading.import_)
app.command("create", rich_help_panel="Write")(writing.create)
app.command("delete", rich_help_panel="Write")(writing.delete)
app.command("serve", rich_help_panel="Run")(serving.serve)
app.command("log", rich_help_panel="Look after the data")(maintenance.log)
app.command("fsck", rich_help_panel="Look after the data")(maintenance.fsck)
