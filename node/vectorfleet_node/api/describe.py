"""What a node tells of itself and of the fleet: reports as protobuf. Called by `Report` and `Describe`."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

from vectorfleet.topology import CollectionTopology, ShardPlacement
from vectorfleet.v1 import peer_pb2
from vectorfleet.v1 import vectorfleet_pb2 as pb
from vectorfleet_node.api.watch import PeerWatch
from vectorfleet_node.shard.port import ReplicaReport

VERSION = version("vectorfleet")
OwnShard = Callable[[str, int], peer_pb2.ShardReport | None]  # collection, shard


def shard_report(report: ReplicaReport) -> peer_pb2.ShardReport:
    """A replica's report for another node or the operator."""
    return peer_pb2.ShardReport(
        id=report.shard,
        ready=report.ready,
        leader=report.leader,
        position=report.position,
        rows=report.rows,
        growing_rows=report.growing_rows,
        bytes=report.bytes,
        indexes=report.indexes,
        message=report.message,
        quarantined=report.quarantined,
        segments=report.segments,
        live_bytes=report.live_bytes,
        compaction=report.compaction,
        index_details=[
            pb.IndexInfo(vector=each.vector, kind=each.kind, reason=each.reason, segments=each.segments, rows=each.rows)
            for each in report.index_details
        ],
    )


def _replica(node: str, report: peer_pb2.ShardReport | None, reachable: bool) -> pb.ReplicaInfo:
    if report is None:
        message = "not loaded yet" if reachable else "the node does not answer"
        return pb.ReplicaInfo(node=node, reachable=reachable, message=message)
    return pb.ReplicaInfo(
        node=node,
        reachable=True,
        ready=report.ready,
        leader=report.leader,
        position=report.position,
        rows=report.rows,
        growing_rows=report.growing_rows,
        indexes=report.indexes,
        message=report.message,
        quarantined=report.quarantined,
        segments=report.segments,
        bytes=report.bytes,
        live_bytes=report.live_bytes,
        compaction=report.compaction,
        index_details=report.index_details,
    )


class Describer:
    """Makes the answers of `Describe` from this node's replicas and the others' last reports."""

    def __init__(self, own_name: str, own_shard: OwnShard, watch: PeerWatch) -> None:
        self._own_name = own_name
        self._own_shard = own_shard
        self._watch = watch

    def _shard(self, collection: str, placement: ShardPlacement) -> pb.ShardInfo:
        info = pb.ShardInfo(id=placement.id)
        for node in placement.replicas:
            if node == self._own_name:
                info.replicas.append(_replica(node, self._own_shard(collection, placement.id), reachable=True))
            else:
                report = self._watch.shard(node, collection, placement.id)
                info.replicas.append(_replica(node, report, reachable=self._watch.report(node) is not None))
        return info

    def collection(self, topology: CollectionTopology, uid: str) -> pb.CollectionInfo:
        """Schema and shards of one collection."""
        schema = topology.collection
        return pb.CollectionInfo(
            name=topology.name,
            uid=uid,
            key_type=schema.key,
            vectors=[
                pb.VectorInfo(
                    name=vector.name,
                    dimensions=vector.dimensions,
                    metric=vector.metric,
                    index=vector.index,
                    quantization=vector.quantization,
                )
                for vector in schema.vectors
            ],
            fields=[pb.FieldInfo(name=field.name, type=field.type, indexed=field.indexed) for field in schema.fields],
            shards=[self._shard(topology.name, placement) for placement in topology.shards],
        )
