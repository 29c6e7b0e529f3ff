"""What a client has seen of each collection, so that it reads its own writes on any node.

Every call of a client sends its session and merges what comes back. Hand `Session.to_json()` to another process and it
reads at least what this one saw. The trap: a session is of one collection *uid*; a collection that was deleted and made
anew starts over.
"""

from __future__ import annotations

import json
import threading

from vectorfleet.errors import InvalidArgument
from vectorfleet.v1 import vectorfleet_pb2 as pb


class Session:
    """Log positions per collection and shard. Safe to share between threads and clients."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokens: dict[str, tuple[str, dict[int, int]]] = {}

    def token(self, collection: str) -> pb.SessionToken:
        """What to send: empty where nothing was seen yet."""
        with self._lock:
            uid, positions = self._tokens.get(collection, ("", {}))
            return pb.SessionToken(uid=uid, positions=positions)

    def merge(self, collection: str, token: pb.SessionToken) -> None:
        """Takes the higher position of each shard; a token of another uid replaces what was there."""
        if not token.uid and not token.positions:
            return
        with self._lock:
            uid, known = self._tokens.get(collection, (token.uid, {}))
            seen = dict(known) if uid == token.uid else {}
            for shard, position in token.positions.items():
                seen[shard] = max(position, seen.get(shard, 0))
            self._tokens[collection] = (token.uid, seen)

    def forget(self, collection: str) -> None:
        """Starts over with a collection, e.g. after it was deleted and made anew."""
        with self._lock:
            self._tokens.pop(collection, None)

    def to_json(self) -> str:
        """This session as text for another process."""
        with self._lock:
            return json.dumps({name: {"uid": uid, "positions": seen} for name, (uid, seen) in self._tokens.items()})

    @classmethod
    def from_json(cls, text: str) -> Session:
        """The session that `to_json` wrote; InvalidArgument when it is something else."""
        session = cls()
        try:
            for name, token in json.loads(text).items():
                positions = {int(shard): int(position) for shard, position in token["positions"].items()}
                session.merge(str(name), pb.SessionToken(uid=str(token["uid"]), positions=positions))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidArgument(f"not a session: {error}") from error
        return session
