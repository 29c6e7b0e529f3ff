"""Which searches a node lets into its queue: those that it expects to answer before their deadlines.

`batching` asks before it queues a search and tells how long the engine took. A queue without a bound would only turn
load into latency until every answer comes too late; who is refused is told when to come back, and the clients obey.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from vectorfleet_node.shard.port import Overloaded

MOST_WAITING: Final = 1024  # searches; at 1 ms each on one thread, a second of waiting
_NEWEST: Final = 0.1  # weight of the newest measurement in the moving average
_RETRY_SECONDS: Final = (0.05, 2.0)


@dataclass(frozen=True)
class SearchObserver:
    """Told, on the event loop, what happens to searches: for metrics.

    shed: the reason of a refusal, `full`, `late` (would be) or `expired` (while it waited). started: of each engine
    call, how many queries it answers and the seconds that its searches had waited.
    """

    shed: Callable[[str], None] = lambda _reason: None
    started: Callable[[int, list[float]], None] = lambda _queries, _waited: None


class Admission:
    """Counts the searches that wait and estimates how long one more would. `threads`: that serve them."""

    def __init__(self, threads: int, observer: SearchObserver | None = None, most: int = MOST_WAITING) -> None:
        self.observer = observer or SearchObserver()
        self.threads = threads
        self.waiting = 0
        self._queries = 0
        self._most = most
        self._seconds_per_query = 0.0

    @property
    def expected_wait(self) -> float:
        """Seconds until a search that is queued now would begin."""
        return self._queries * self._seconds_per_query / self.threads

    def enter(self, queries: int, seconds: float) -> None:
        """Counts a search that has `seconds` left until its deadline as waiting. Overloaded when it must not wait."""
        wait = self.expected_wait
        if self.waiting >= self._most:
            raise self._refusal("full", f"{self.waiting} searches wait on this node, as many as may", wait)
        # With nobody waiting the estimate says nothing: it is always worth a try, and trying renews the estimate.
        if self.waiting and wait + queries * self._seconds_per_query > seconds:
            problem = (
                f"{self.waiting} searches wait on this node, about {wait:.2f} s; this one has {seconds:.2f} s left"
            )
            raise self._refusal("late", problem, wait)
        self.waiting += 1
        self._queries += queries

    def leave(self, queries: int) -> None:
        """A search waits no longer: it is served, or its caller went away."""
        self.waiting -= 1
        self._queries -= queries

    def expired(self, waited: float) -> Overloaded:
        """The refusal of a search whose deadline passed while it waited."""
        problem = f"the search waited {waited:.2f} s on this node, past its deadline"
        return self._refusal("expired", problem, self.expected_wait)

    def served(self, queries: int, seconds: float) -> None:
        """An engine call of `seconds` answered so many queries."""
        each = seconds / queries
        known = self._seconds_per_query
        self._seconds_per_query = known + _NEWEST * (each - known) if known else each

    def _refusal(self, reason: str, problem: str, wait: float) -> Overloaded:
        self.observer.shed(reason)
        shortest, longest = _RETRY_SECONDS
        return Overloaded(f"{problem}; the engine was not asked", min(max(wait, shortest), longest))
