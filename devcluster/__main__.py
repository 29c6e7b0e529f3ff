"""`python -m devcluster`."""

from devcluster.cli import app

app(prog_name="python -m devcluster")
