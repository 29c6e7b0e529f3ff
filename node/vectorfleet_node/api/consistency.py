"""Consistency levels: what a request asks for, resolved against the collection's default, and applied to one replica.

The node that a client called resolves the level once; the nodes that hold the shards apply it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping

import grpc

from vectorfleet.topology import CollectionTopology, ConsistencyLevel
from vectorfleet.v1 import peer_pb2
from vectorfleet.v1 import vectorfleet_pb2 as pb
from vectorfleet_node.api.errors import ApiError, invalid
from vectorfleet_node.shard.port import Behind, NotReady, Replica, Rotten
from vectorfleet_node.shard.view import ShardView
from vectorfleet_node.storage.store import StorageError

_LEVELS = {
    ConsistencyLevel.STRONG: pb.Consistency.STRONG,
    ConsistencyLevel.SESSION: pb.Consistency.SESSION,
    ConsistencyLevel.BOUNDED: pb.Consistency.BOUNDED,
    ConsistencyLevel.EVENTUAL: pb.Consistency.EVENTUAL,
}
_KNOWN = frozenset(pb.Consistency.Level.values())


def check_token(token: pb.SessionToken, uid: str, shards: int, field: str) -> None:
    """Refuses a token of another collection (FAILED_PRECONDITION), or of shards that do not exist."""
    if token.positions and token.uid != uid:
        message = (
            f"{field} is of collection {token.uid!r}; this one's id is {uid!r}: it was made anew, or is another one"
        )
        raise ApiError(grpc.StatusCode.FAILED_PRECONDITION, message)
    unknown = [shard for shard in token.positions if shard >= shards]
    if unknown:
        raise invalid(f"{field}.positions", f"shard {min(unknown)} does not exist; shards are 0 to {shards - 1}")


def resolve(asked: pb.Consistency, collection: CollectionTopology, uid: str) -> pb.Consistency:
    """The level with every default filled in, checked."""
    resolved = pb.Consistency()
    resolved.CopyFrom(asked)
    if asked.level not in _KNOWN:
        raise invalid("consistency.level", f"is {asked.level}; allowed are {', '.join(pb.Consistency.Level.keys())}")
    if asked.level == pb.Consistency.DEFAULT:
        resolved.level = _LEVELS[collection.consistency]
    if resolved.level == pb.Consistency.SESSION:
        check_token(asked.session, uid, collection.collection.shards, "consistency.session")
    if resolved.level == pb.Consistency.BOUNDED:
        staleness = asked.max_staleness_seconds
        if not math.isfinite(staleness) or staleness < 0:
            raise invalid("consistency.max_staleness_seconds", f"is {staleness:g}; a finite number from 0 is needed")
        resolved.max_staleness_seconds = staleness or collection.max_staleness_seconds
    return resolved


def not_before(asked: pb.Consistency, uid: str, positions: Mapping[int, int]) -> pb.Consistency:
    """A (resolved) level for a read that goes on with one that saw those positions."""
    if asked.level == pb.Consistency.STRONG:
        return asked
    newer = pb.Consistency(level=pb.Consistency.SESSION)
    if asked.level == pb.Consistency.SESSION:  # of no other level was the token checked
        newer.session.CopyFrom(asked.session)
    newer.session.uid = uid
    for shard, position in positions.items():
        newer.session.positions[shard] = max(position, newer.session.positions[shard])
    return newer


def _waits(view: ShardView, shard: int, consistency: pb.Consistency) -> bool:
    if consistency.level == pb.Consistency.SESSION:
        return consistency.session.positions.get(shard, 0) > view.position
    return consistency.level != pb.Consistency.EVENTUAL


async def _settle(replica: Replica, consistency: pb.Consistency) -> None:
    match consistency.level:
        case pb.Consistency.STRONG:
            await replica.make_strong()
        case pb.Consistency.BOUNDED:
            await replica.make_fresh(consistency.max_staleness_seconds)
        case pb.Consistency.SESSION:
            await replica.wait_for(consistency.session.positions[replica.shard])


async def view_at(
    replica: Replica | None, shard: int, consistency: pb.Consistency, seconds: float
) -> tuple[peer_pb2.ShardAnswer, ShardView | None]:
    """The shard's view at the (resolved) level, and the answer that tells its position or why there is none in time."""
    answer = peer_pb2.ShardAnswer(shard=shard, status=peer_pb2.SHARD_NOT_HERE)
    if replica is None:
        answer.message = f"shard {shard} is not on this node"
        return answer, None
    try:
        view = replica.view()
        if _waits(view, shard, consistency):
            async with asyncio.timeout(seconds):
                await _settle(replica, consistency)
            view = replica.view()
    except (NotReady, Rotten) as error:
        answer.message = str(error) or f"shard {shard} is loading"
    except Behind as error:
        answer.status, answer.message = peer_pb2.SHARD_BEHIND, str(error)
    except (StorageError, TimeoutError) as error:
        level = pb.Consistency.Level.Name(consistency.level)
        reason = str(error) or f"no answer within {seconds:.1f} s"
        answer.status, answer.message = peer_pb2.SHARD_UNCHECKED, f"{level} needs the object store: {reason}"
    else:
        answer.status, answer.position = peer_pb2.SHARD_OK, view.position
        return answer, view
    return answer, None


def tell_rotten(answers: Iterable[peer_pb2.ShardAnswer], rotten: Mapping[int, str]) -> None:
    """Makes refusals of the answers of those shards whose bytes turned out damaged while they were read."""
    for answer in answers:
        if answer.shard in rotten:
            message = rotten[answer.shard]
            answer.CopyFrom(peer_pb2.ShardAnswer(shard=answer.shard, status=peer_pb2.SHARD_NOT_HERE, message=message))
