"""What goes wrong with nodes: kills, restarts, pauses, outages, jumping clocks, files that rot while a node is down.

Besides random moments there are ambushes: the next time that a node is about to do a certain step, it is killed or
paused right there. Without them the interesting moments, which are short, would hardly ever be hit.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from vectorfleet_node.storage import paths
from vectorfleet_node.storage.record import Batch, decode

from .events import STEPS
from .loop import Process, current_process
from .network import Network, Request
from .nodes import SHARD, UID, Node
from .tracing import Trace
from .volume import Volume

_JOBS: Final = {  # functions that run in threads
    "Sealer.seal": "seal",
    "merge": "merge",
    "reindex": "reindex",
    "Importer._build": "import",
    "open_segment": "open",
}
# So seldom that their ambushes are laid more often.
_SELDOM: Final = (
    "fence",
    "publish",
    "marker",
    *(2 * ["import", "manifest", "pin"]),
    *(3 * ["merge"]),
    *(5 * ["commit"]),
    *(5 * ["reindex"]),
)
_AMBUSHES: Final = 6  # laid at the same time, so that a frequent step does not end the wait for a rare one


class Chaos:
    """Trouble until it is cancelled; `end` then makes every node well again.

    power_lost: to be told when a machine starts again after a power cut. duel: lets a node try to lead.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        network: Network,
        volume: Volume | None,
        power_lost: Callable[[], None],
        duel: Callable[[Node], None],
        source: random.Random,
        events: Counter[str],
        trace: Trace,
    ) -> None:
        self._nodes = list(nodes)
        self._volume = volume
        self._power_lost = power_lost
        self._duel = duel
        self._network = network
        self._random = source
        self._events = events
        self._trace = trace
        self._ambushes: list[str] = []  # steps
        self._candidate: Node | None = None  # waited for at its fence
        self._context = current_process().context
        network.sending = self._before_request
        for node in nodes:
            node.on_job = self._before_job
        if volume is not None:
            volume.on_cut = lambda: self._crash(self._nodes[0])

    def begin(self) -> None:
        """Starts all nodes."""
        for node in self._nodes:
            self._start(node, keep_cache=True)

    async def run(self) -> None:
        """Something every few seconds, for ever."""
        actions = [self._crash, self._pause, self._set_ambush, self._cut, self._jump, self._stop]
        if self._volume is not None:
            actions[3:4] = [self._trouble_the_volume]
        while True:
            await asyncio.sleep(self._random.random() * 2.6)
            action = self._random.choices(actions, [2, 2, 13, 2, 1, 1])[0]
            action(self._random.choice(self._nodes))

    def end(self) -> None:
        """Everybody is up, and one ambush is left, where garbage is collected: that mostly happens in calm."""
        self._ambushes = [self._random.choice(["marker", "delete"])]
        self._network.mend()
        if self._volume is not None:
            self._volume.mend()
            self._nodes[0].kill()  # only a restart heals a store whose sync has failed
        for node in self._nodes:
            if node.process is None:
                self._restart(node)
            elif node.process.paused:
                self._resume(node.process)

    def disarm(self) -> None:
        """No ambush is left."""
        self._ambushes.clear()

    async def stall_a_candidate(self, node: Node) -> Callable[[], None]:
        """Lets a follower try to lead and pauses it before it sends its fence; returns what lets it go on."""
        self._candidate = node
        self._duel(node)
        process = node.process
        assert process is not None
        for _ in range(100):
            if process.paused:
                break
            await asyncio.sleep(0.1)
        self._candidate = None
        return lambda: self._resume(process)

    def _crash(self, node: Node) -> None:
        if node.process is not None:
            self._events["crash"] += 1
            self._events["crash during a merge"] += node.merges
            node.kill()
            if self._volume is not None and self._random.random() < 0.5:
                self._volume.cut()
            self._later(self._random.random() * 4, self._restart, node)

    def _stop(self, node: Node) -> None:
        """A polite end, as of a rolling update."""
        if node.up and not node.stopping:
            node.stopping = True
            self._events["stop"] += 1
            node.call(lambda replica: replica.stop(), lambda _: self._stopped(node))

    def _stopped(self, node: Node) -> None:
        node.kill()
        self._later(self._random.random() * 2, self._restart, node)

    def _restart(self, node: Node) -> None:
        if node.process is None:
            keep = self._random.random() < 0.7
            if keep and self._random.random() < 0.2:
                self._rot(node.folder)
            if self._volume is not None:
                self._volume.switch_on(self._random)
                self._power_lost()
            self._start(node, keep_cache=keep)

    def _start(self, node: Node, *, keep_cache: bool) -> None:
        node.start(keep_cache=keep_cache)
        if node.process is None:
            self._later(1, self._restart, node)

    def _pause(self, node: Node) -> None:
        if node.up and node.process is not None:
            self._events["pause"] += 1
            self._trace(node.name, "is paused")
            node.process.paused = True
            self._later(self._random.random() * 20, self._resume, node.process)

    def _resume(self, process: Process) -> None:
        self._trace(process.name, "goes on")
        process.paused = False

    def _cut(self, node: Node) -> None:
        everybody = self._random.random() < 0.3
        self._events["outage"] += 1
        self._trace("network", f"is cut from {'everybody' if everybody else node.name}")
        self._network.cut("" if everybody else node.name, self._random.random() * 8)

    def _trouble_the_volume(self, _: Node) -> None:
        assert self._volume is not None
        if self._random.random() < 0.7:
            self._volume.cut_soon(self._random.randint(1, 40), after_link=self._random.random() < 0.6)
        else:
            self._volume.fill(self._random.randint(0, 3000))
            self._later(self._random.random() * 6, self._volume.empty)

    def _jump(self, node: Node) -> None:
        self._events["clock jump"] += 1
        node.clock.jumped += (self._random.random() - 0.5) * 7200

    def _set_ambush(self, _: Node) -> None:
        self._ambushes = [*self._ambushes, self._random.choice([*STEPS, *_SELDOM])][-_AMBUSHES:]

    def _rot(self, folder: Path) -> None:
        files = sorted(path for path in folder.iterdir() if path.stat().st_size) if folder.exists() else []
        if not files:
            return
        path = self._random.choice(files)
        body = bytearray(path.read_bytes())
        body[int(self._random.random() * len(body))] ^= 1 << int(self._random.random() * 8)
        self._events["rot in a cache"] += 1
        self._trace("disk", f"rots {path.name}")
        path.unlink()  # who has mapped it keeps the old bytes: only dead processes have
        path.write_bytes(body if self._random.random() < 0.5 else body[: len(body) // 2])

    def _before_request(self, sender: Process, request: Request) -> None:
        if request.kind == "list" and request.key.startswith(paths.manifests_prefix(SHARD)):
            self._events["reload of a node that fell behind"] += any(
                node.follows for node in self._nodes if node.process is sender
            )
        if self._ambushes or self._candidate:
            self._spring(sender.name, _step_of(request))

    def _before_job(self, node: Node, job: str) -> None:
        if self._ambushes:
            self._spring(node.name, _JOBS.get(job, ""))

    def _spring(self, name: str, step: str) -> None:
        node = next((node for node in self._nodes if node.name == name), None)
        if node is None or node.process is None or not node.up:
            return
        if node is self._candidate and step == "fence":
            self._trace(name, "is paused")
            node.process.paused = True
        elif step in self._ambushes and self._random.random() < 0.7:
            self._ambushes.remove(step)
            crash = self._random.random() < 0.5
            self._events[f"{'crash' if crash else 'pause'} before {step}"] += 1
            self._crash(node) if crash else self._pause(node)

    def _later(self, delay: float, action: Callable[..., None], *args: Any) -> None:
        asyncio.get_running_loop().call_later(delay, action, *args, context=self._context)


def _step_of(request: Request) -> str:
    """Which of STEPS a request is; another word for others."""
    if request.kind != "create":
        return request.kind
    if request.key.startswith(paths.log_prefix(SHARD)):
        position = paths.number_of(request.key) or 0
        body = decode(request.body, uid=UID, shard=SHARD, position=position).body
        if isinstance(body, Batch) and body.imports:
            return "commit"
        return type(body).__name__.lower()
    return "manifest" if request.key.startswith(paths.manifests_prefix(SHARD)) else "marker"
