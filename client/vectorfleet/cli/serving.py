"""`vectorfleet serve`: a node in this process. The only command that needs the `node` extra, so it imports it late."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vectorfleet.cli import Failure


def serve(
    data: Annotated[Path, typer.Option("--data", help="Folder of the collections; made if it is absent.")] = Path(
        "data"
    ),
    host: Annotated[str, typer.Option("--host", help="Address to listen on; 0.0.0.0 is every one.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 lets the system choose.")] = 7300,
    http_port: Annotated[
        int | None, typer.Option("--http-port", min=0, max=65535, help="Port of /metrics, /healthz and /readyz.")
    ] = None,
    fronts: Annotated[
        int,
        typer.Option(
            "--fronts",
            min=0,
            max=256,
            envvar="VECTORFLEET_FRONTS",
            help="Processes that take the calls for the one that answers them; worth it from about 8 CPUs on.",
        ),
    ] = 0,
) -> None:
    """Run one node on a folder: no Kubernetes, no bucket. Ctrl-C stops it."""
    try:
        import uvloop

        from vectorfleet_node import standalone
        from vectorfleet_node.api.server import PortTaken
    except ModuleNotFoundError as error:
        raise Failure(f"serve needs {error.name}: pip install 'vectorfleet[node]'") from error

    def ready(address: str) -> None:
        typer.echo(f"vectorfleet is serving {data} on {address} (Ctrl-C stops it)", err=True)

    try:
        uvloop.run(standalone.serve(data, host=host, port=port, http_port=http_port, fronts=fronts, on_ready=ready))
    except (standalone.DataFolderInUse, standalone.BrokenCollection, PortTaken, OSError) as error:
        raise Failure(str(error)) from error
