"""/metrics, /healthz and /readyz of the operator.

Started by `main`. /healthz fails when a collection waits for too long, also when everything else seems well: a process
that hangs must be restarted. It is served by the loop that does the work, so a loop that hangs does not answer at all.
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from vectorfleet_operator.handlers import metrics

TOO_OLD_SECONDS = 120.0


def application(oldest: Callable[[], float], ready: Callable[[], bool]) -> web.Application:
    """`oldest` is the age in seconds of the oldest key in the queue, `ready` whether the API server was reached."""

    async def show_metrics(_: web.Request) -> web.Response:
        metrics.QUEUE_OLDEST_SECONDS.set(oldest())
        return web.Response(body=generate_latest(metrics.REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(_: web.Request) -> web.Response:
        age = oldest()
        if age > TOO_OLD_SECONDS:
            return web.Response(status=503, text=f"a collection waits for {age:.0f} s\n")
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n") if ready() else web.Response(status=503, text="no API server yet\n")

    made = web.Application()
    made.router.add_get("/metrics", show_metrics)
    made.router.add_get("/healthz", healthz)
    made.router.add_get("/readyz", readyz)
    return made


async def serve(application: web.Application, port: int) -> web.AppRunner:
    """Serves on all addresses; `cleanup` of the result ends it."""
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner
