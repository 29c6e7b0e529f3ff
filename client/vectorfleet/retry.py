"""When a failed call is tried again. Used by both clients around every request.

UNAVAILABLE and ABORTED are retried, and so is an attempt that got no answer while there is time to ask another node,
and a refusal for lack of room (RESOURCE_EXHAUSTED) when the server says how long to wait. A read may be repeated; a
write is sent again as the same bytes, so with the same request id and floor, and a node applies an id once. The trap: a
loop that makes a new request id per attempt doubles rows.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from vectorfleet.errors import DeadlineExceeded, Failure, VectorFleetError, from_status

RETRIED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED)
SHORTEST_ATTEMPT = 1.0  # seconds
LATEST = 1.5  # times the wait that the server asked for: clients that it sent away together come back one by one
Told = Callable[[VectorFleetError], None]


@dataclass(frozen=True)
class RetryPolicy:
    """At most `attempts` within the call's timeout, with waits of `first` seconds that grow by `factor` to `longest`.

    Each wait is shortened by up to half at random, so that clients that failed together do not come back together.
    Where the server says how long to wait, that counts instead, and only the timeout ends the attempts.
    """

    attempts: int = 8
    first: float = 0.05
    factor: float = 2.0
    longest: float = 2.0


class Attempts:
    """The attempts of one call of the user's. `timeout` is in seconds and covers all of them.

    full: told each refusal for lack of room that is going to be waited out.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        timeout: float,
        full: Told | None = None,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._policy = policy
        self._full = full
        self._clock = clock
        self._uniform = uniform
        self._deadline = clock() + timeout
        self._failures = 0
        self._last: VectorFleetError | None = None

    def remaining(self) -> float:
        """Seconds left for all further attempts."""
        return max(0.0, self._deadline - self._clock())

    def share(self) -> float:
        """Seconds for the next attempt: not all that is left, so that a node that hangs leaves time to ask another."""
        left = self.remaining()
        return min(left, max(SHORTEST_ATTEMPT, left / 3))

    def succeeded(self) -> None:
        """One request of the call got its answer; the next one has all its attempts again."""
        self._failures = 0
        self._last = None

    def pause(self, failure: Failure, request_id: str = "") -> float:
        """Seconds to wait before trying again; raises what the user gets when there is nothing left to try."""
        error = from_status(failure, request_id)
        if error.retry_after is not None and failure.code() in (*RETRIED, grpc.StatusCode.RESOURCE_EXHAUSTED):
            return self._wait_for_room(error, error.retry_after)
        self._failures += 1
        if isinstance(error, DeadlineExceeded):
            if self._failures < self._policy.attempts and self.remaining() > 0:
                return 0.0
            raise self._last or error  # why the time ran out says more than that it did
        if failure.code() not in RETRIED:
            raise error
        self._last = error
        wait = min(self._policy.longest, self._policy.first * self._policy.factor ** (self._failures - 1))
        wait *= self._uniform(0.5, 1.0)
        if self._failures >= self._policy.attempts or wait >= self.remaining():
            raise error
        return wait

    def _wait_for_room(self, error: VectorFleetError, seconds: float) -> float:
        self._last = error
        wait = max(seconds, self._policy.first) * self._uniform(1.0, LATEST)
        if wait >= self.remaining():
            raise error
        if self._full is not None:
            self._full(error)
        return wait
