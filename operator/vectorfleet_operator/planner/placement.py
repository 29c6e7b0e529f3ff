"""Which nodes should hold which shard: spread over zones, then hosts, balanced, and as little moved as possible.

Pure and deterministic; called by `planner.fleet`. A placement that this module made stays as it is for as long as the
hosts do: `place(..., place(...))` changes nothing, which is what keeps a steady fleet steady.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

Placement = Mapping[int, tuple[str, ...]]  # shard -> nodes, preferred leader first


@dataclass(frozen=True)
class Host:
    """A node of the fleet and where it runs. Hosts without a known zone count as one zone."""

    name: str
    zone: str = ""
    host: str = ""


def place(shards: int, replicas: int, hosts: Sequence[Host], present: Placement) -> dict[int, tuple[str, ...]]:
    """`min(replicas, len(hosts))` nodes for each of `shards` shards; `hosts` in order of preference."""
    return _Search(shards, min(replicas, len(hosts)), hosts, present).run()


class _Search:
    """Greedy filling, then single moves for as long as one makes the placement better."""

    def __init__(self, shards: int, replicas: int, hosts: Sequence[Host], present: Placement) -> None:
        self.replicas = replicas
        self.hosts = {host.name: host for host in hosts}
        self.rank = {host.name: number for number, host in enumerate(hosts)}
        self.held = {
            shard: [node for node in present.get(shard, ()) if node in self.hosts][:replicas] for shard in range(shards)
        }
        self.ideal = self._ideal()
        self.load = Counter(dict.fromkeys(self.hosts, 0))
        self.load.update(node for nodes in self.held.values() for node in nodes)

        self.together = Counter(
            frozenset(pair) for nodes in self.held.values() for pair in itertools.combinations(nodes, 2)
        )

    def run(self) -> dict[int, tuple[str, ...]]:
        for shard, nodes in self.held.items():
            while len(nodes) < self.replicas:
                self._add(shard, min(self._absent(nodes), key=lambda name: self._preference(nodes, name)))
        moved = True
        while moved:  # ends: each round stands less close together, or is no closer and better balanced
            for shard in self.held:
                self._spread(shard)
            moved = self._balance_once()
        return self._with_leaders()

    def _absent(self, nodes: Sequence[str]) -> list[str]:
        return [name for name in self.hosts if name not in nodes]

    def _add(self, shard: int, node: str) -> None:
        self.together.update(frozenset((node, other)) for other in self.held[shard])
        self.held[shard].append(node)
        self.load[node] += 1

    def _replace(self, shard: int, old: str, new: str) -> None:
        nodes = self.held[shard]
        nodes[nodes.index(old)] = new
        self.load[old] -= 1
        self.load[new] += 1

    def _preference(self, nodes: Sequence[str], name: str) -> tuple[tuple[int, int], int, int, int]:
        """Less crowded, less loaded, then with partners it has few shards with: a lost node's load goes to many."""
        shared = sum(self.together[frozenset((name, node))] for node in nodes)
        return self._crowding([*nodes, name]), self.load[name], shared, self.rank[name]

    def _crowding(self, nodes: Sequence[str]) -> tuple[int, int]:
        """How close together a shard's nodes stand, by zone and then by host; lower is better."""
        zones = Counter(self.hosts[node].zone for node in nodes)
        machines = Counter(self.hosts[node].host or node for node in nodes)
        return sum(count**2 for count in zones.values()), sum(count**2 for count in machines.values())

    def _ideal(self) -> tuple[int, int]:
        """The least crowding that could be, were every zone as large as the others."""
        zones = len({host.zone for host in self.hosts.values()})
        each, more = divmod(self.replicas, zones) if zones else (0, 0)
        return more * (each + 1) ** 2 + (zones - more) * each**2, self.replicas

    def _spread(self, shard: int) -> None:
        """Moves single replicas of a shard that stand closer together than they must."""
        nodes = self.held[shard]
        while self._crowding(nodes) != self.ideal:
            moves = [
                (
                    self._crowding([new if node == old else node for node in nodes]),
                    self.load[new] - self.load[old],
                    i,
                    j,
                )
                for i, old in enumerate(nodes)
                for j, new in enumerate(self.hosts)
                if new not in nodes
            ]
            if not moves or min(moves)[0] >= self._crowding(nodes):
                return
            _, _, i, j = min(moves)
            self._replace(shard, nodes[i], list(self.hosts)[j])

    def _balance_once(self) -> bool:
        """Moves one replica from a node to one with at least two fewer, if a shard can go without crowding."""
        for full, spare in self._unequal_pairs():
            for shard, nodes in self.held.items():
                if full not in nodes or spare in nodes:
                    continue
                moved = [spare if node == full else node for node in nodes]
                if self._crowding(moved) <= self._crowding(nodes):
                    self._replace(shard, full, spare)
                    return True
        return False

    def _unequal_pairs(self) -> Iterator[tuple[str, str]]:
        by_load = sorted(self.hosts, key=lambda name: (self.load[name], self.rank[name]))
        for full in reversed(by_load):
            for spare in by_load:
                if self.load[full] - self.load[spare] < 2:
                    break
                yield full, spare

    def _with_leaders(self) -> dict[int, tuple[str, ...]]:
        """Preferred leaders spread evenly; one that can stay first stays first."""
        led = Counter(nodes[0] for nodes in self.held.values() if nodes)
        placed = {shard: list(nodes) for shard, nodes in self.held.items()}
        changed = True
        while changed:
            changed = False
            for nodes in placed.values():
                best = min(nodes, key=lambda name: (led[name], self.rank[name]), default=None)
                if best is not None and led[nodes[0]] - led[best] >= 2:
                    led[nodes[0]] -= 1
                    led[best] += 1
                    nodes.remove(best)
                    nodes.insert(0, best)
                    changed = True
        return {shard: tuple(nodes) for shard, nodes in placed.items()}


def step(present: Placement, target: Placement, ready: Mapping[str, frozenset[int]], at_once: int) -> Placement:
    """The next placement on the way from `present` to `target`: add, wait until ready, then drop.

    `ready` maps nodes to the shards that they serve now. At most `at_once` shards are on their way at a time.
    """
    result: dict[int, tuple[str, ...]] = {}
    moving = sum(1 for shard, wanted in target.items() if set(wanted) < set(present.get(shard, ())))
    for shard, wanted in target.items():
        held = present.get(shard, ())
        serving = {node for node in held if shard in ready.get(node, ())}
        if set(wanted) == set(held):
            # A preferred leader that is still loading would only make the others wait for it.
            waits = bool(held) and held[0] in serving and wanted[0] not in serving
            result[shard] = held if waits else wanted
        elif not held or set(wanted) <= serving:
            result[shard] = wanted
        elif set(wanted) < set(held) or moving >= at_once:
            result[shard] = held
        else:
            moving += 1
            result[shard] = (*held, *(node for node in wanted if node not in held))
    return result
