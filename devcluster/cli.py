"""The command line: `python -m devcluster --help`. Thin: every command is a method of `Cluster`."""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn, ParamSpec

import typer
from rich.table import Table

from devcluster import debian, layout
from devcluster.cluster import Cluster
from devcluster.errors import DevclusterError
from devcluster.images import PARTS
from devcluster.progress import Reporter

P = ParamSpec("P")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A real Kubernetes of several nodes on this Debian machine, without Docker: etcd, API server, kubelets and "
    "containerd in network namespaces, an S3 server and an image registry beside them.",
)
node_app = typer.Typer(no_args_is_help=True, help="Take a node's power away, or give it back.")
app.add_typer(node_app, name="node")
Name = Annotated[str, typer.Argument(help="A machine: n1, n2, ... or cp, the control plane.")]


def _command(body: Callable[P, None]) -> Callable[P, None]:
    """Shows errors that a user can act on as one message, and ends with status 1 (130 after Ctrl-C)."""

    @functools.wraps(body)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            debian.check_root()
            body(*args, **kwargs)
        except (DevclusterError, ValueError) as error:
            Reporter().console.print(f"error: {error}", markup=False, style="red", soft_wrap=True)
            raise typer.Exit(1) from error
        except KeyboardInterrupt as error:
            Reporter().say("interrupted; what was started is removed again")
            raise typer.Exit(130) from error

    return wrapped


@app.command()
@_command
def up(
    nodes: Annotated[int, typer.Option(min=1, max=layout.MAX_NODES, help="How many nodes.")] = 3,
) -> None:
    """Start the cluster. The first time it builds every program, a quarter of an hour; after that it takes seconds."""
    signal.signal(signal.SIGTERM, _interrupt)
    cluster = Cluster()
    cluster.up(nodes)
    typer.echo(f"export KUBECONFIG={cluster.kubeconfig} PATH={cluster.bin}:$PATH")


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


@app.command()
@_command
def down(
    keep_s3: Annotated[bool, typer.Option("--keep-s3", help="Keep the buckets for the next cluster.")] = False,
) -> None:
    """Remove the cluster, and whatever a killed `up` left behind. Built programs and images stay cached."""
    Cluster().down(keep_s3)


@app.command()
@_command
def status() -> None:
    """Show the programs, the nodes and the addresses. Exits 1 unless everything runs and every node is Ready."""
    cluster = Cluster()
    description = cluster.description()
    ready = cluster.api().ready_nodes()
    table = Table("program", "pid")
    stopped = False
    for name in cluster.supervisor.names():
        process = cluster.supervisor.find(name)
        stopped |= process is None
        table.add_row(name, str(process.pid) if process else "ended")
    Reporter().console.print(table)
    for machine in layout.nodes(description.nodes):
        condition = "Ready" if ready.get(machine.name) else "NotReady"
        typer.echo(f"node {machine.name}: {condition}, {machine.address}, pods {machine.pods}")
    typer.echo(f"S3 {cluster.s3.endpoint}, registry {layout.REGISTRY}, logs in {cluster.folders.logs}")
    typer.echo(f"export KUBECONFIG={cluster.kubeconfig} PATH={cluster.bin}:$PATH")
    if stopped or not cluster.all_ready():
        raise typer.Exit(1)


@app.command()
@_command
def load(
    image: Annotated[
        str, typer.Argument(help=f"{' or '.join(PARTS)}: built from this tree; or a `docker save` archive.")
    ],
) -> None:
    """Make an image pullable by the nodes and print its reference."""
    cluster = Cluster()
    typer.echo(cluster.build_and_load(image) if image in PARTS else cluster.load(_file(image)))


def _file(name: str) -> Path:
    path = Path(name)
    if not path.is_file():
        raise DevclusterError(f"image {name!r}: neither {' nor '.join(PARTS)}, nor a file")
    return path


@app.command()
@_command
def kubeconfig() -> None:
    """Print the administrator's kubeconfig."""
    cluster = Cluster()
    cluster.description()
    sys.stdout.write(cluster.kubeconfig.read_text() + "\n")


@node_app.command("stop")
@_command
def node_stop(name: Name) -> None:
    """Kill everything on a node and pull its cable; Kubernetes notices 20 seconds later."""
    Cluster().stop_node(layout.machine(name))


@node_app.command("start")
@_command
def node_start(name: Name) -> None:
    """Start a stopped node again and wait until it is Ready."""
    Cluster().start_node(layout.machine(name))


@app.command()
@_command
def partition(one: Name, other: Name) -> None:
    """Cut two machines and their pods off from each other, silently."""
    Cluster().partition(layout.machine(one), layout.machine(other))


@app.command()
@_command
def heal() -> None:
    """Undo every partition."""
    Cluster().heal()
