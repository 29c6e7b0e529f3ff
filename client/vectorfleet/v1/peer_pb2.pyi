from vectorfleet.v1 import vectorfleet_pb2 as _vectorfleet_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ShardStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SHARD_OK: _ClassVar[ShardStatus]
    SHARD_NOT_HERE: _ClassVar[ShardStatus]
    SHARD_BEHIND: _ClassVar[ShardStatus]
    SHARD_UNCHECKED: _ClassVar[ShardStatus]

class StorageState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STORAGE_STARTING: _ClassVar[StorageState]
    STORAGE_OK: _ClassVar[StorageState]
    STORAGE_UNREACHABLE: _ClassVar[StorageState]
    STORAGE_CREDENTIALS_MISSING: _ClassVar[StorageState]
    STORAGE_CREDENTIALS_REFUSED: _ClassVar[StorageState]
    STORAGE_NOT_FOUND: _ClassVar[StorageState]
    STORAGE_UNSAFE: _ClassVar[StorageState]
    STORAGE_CLAIMED: _ClassVar[StorageState]
    STORAGE_SCHEMA_MISMATCH: _ClassVar[StorageState]
    STORAGE_DELETED: _ClassVar[StorageState]
    STORAGE_DATA_LOSS: _ClassVar[StorageState]
SHARD_OK: ShardStatus
SHARD_NOT_HERE: ShardStatus
SHARD_BEHIND: ShardStatus
SHARD_UNCHECKED: ShardStatus
STORAGE_STARTING: StorageState
STORAGE_OK: StorageState
STORAGE_UNREACHABLE: StorageState
STORAGE_CREDENTIALS_MISSING: StorageState
STORAGE_CREDENTIALS_REFUSED: StorageState
STORAGE_NOT_FOUND: StorageState
STORAGE_UNSAFE: StorageState
STORAGE_CLAIMED: StorageState
STORAGE_SCHEMA_MISMATCH: StorageState
STORAGE_DELETED: StorageState
STORAGE_DATA_LOSS: StorageState

class AppendRequest(_message.Message):
    __slots__ = ("collection", "shard", "request_id", "floor", "upsert", "delete", "delete_filter", "take_over")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    FLOOR_FIELD_NUMBER: _ClassVar[int]
    UPSERT_FIELD_NUMBER: _ClassVar[int]
    DELETE_FIELD_NUMBER: _ClassVar[int]
    DELETE_FILTER_FIELD_NUMBER: _ClassVar[int]
    TAKE_OVER_FIELD_NUMBER: _ClassVar[int]
    collection: str
    shard: int
    request_id: str
    floor: int
    upsert: bytes
    delete: _vectorfleet_pb2.Keys
    delete_filter: str
    take_over: bool
    def __init__(self, collection: _Optional[str] = ..., shard: _Optional[int] = ..., request_id: _Optional[str] = ..., floor: _Optional[int] = ..., upsert: _Optional[bytes] = ..., delete: _Optional[_Union[_vectorfleet_pb2.Keys, _Mapping]] = ..., delete_filter: _Optional[str] = ..., take_over: _Optional[bool] = ...) -> None: ...

class AppendResponse(_message.Message):
    __slots__ = ("position", "deleted")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    position: int
    deleted: int
    def __init__(self, position: _Optional[int] = ..., deleted: _Optional[int] = ...) -> None: ...

class ImportShardRequest(_message.Message):
    __slots__ = ("header", "rows")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    header: ImportShardHeader
    rows: bytes
    def __init__(self, header: _Optional[_Union[ImportShardHeader, _Mapping]] = ..., rows: _Optional[bytes] = ...) -> None: ...

class ImportShardHeader(_message.Message):
    __slots__ = ("collection", "shard", "request_id", "floor", "rows", "take_over")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    FLOOR_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    TAKE_OVER_FIELD_NUMBER: _ClassVar[int]
    collection: str
    shard: int
    request_id: str
    floor: int
    rows: int
    take_over: bool
    def __init__(self, collection: _Optional[str] = ..., shard: _Optional[int] = ..., request_id: _Optional[str] = ..., floor: _Optional[int] = ..., rows: _Optional[int] = ..., take_over: _Optional[bool] = ...) -> None: ...

class ImportShardResponse(_message.Message):
    __slots__ = ("position", "repeated")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    REPEATED_FIELD_NUMBER: _ClassVar[int]
    position: int
    repeated: bool
    def __init__(self, position: _Optional[int] = ..., repeated: _Optional[bool] = ...) -> None: ...

class NotLeader(_message.Message):
    __slots__ = ("owner", "address")
    OWNER_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    owner: str
    address: str
    def __init__(self, owner: _Optional[str] = ..., address: _Optional[str] = ...) -> None: ...

class ShardAnswer(_message.Message):
    __slots__ = ("shard", "status", "position", "message")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    shard: int
    status: ShardStatus
    position: int
    message: str
    def __init__(self, shard: _Optional[int] = ..., status: _Optional[_Union[ShardStatus, str]] = ..., position: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class SearchShardsRequest(_message.Message):
    __slots__ = ("request", "shards")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    request: _vectorfleet_pb2.SearchRequest
    shards: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, request: _Optional[_Union[_vectorfleet_pb2.SearchRequest, _Mapping]] = ..., shards: _Optional[_Iterable[int]] = ...) -> None: ...

class SearchShardsResponse(_message.Message):
    __slots__ = ("answers", "results", "indexes", "explanation")
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    INDEXES_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    answers: _containers.RepeatedCompositeFieldContainer[ShardAnswer]
    results: _containers.RepeatedCompositeFieldContainer[_vectorfleet_pb2.Hits]
    indexes: _containers.RepeatedScalarFieldContainer[str]
    explanation: _containers.RepeatedCompositeFieldContainer[_vectorfleet_pb2.ShardExplanation]
    def __init__(self, answers: _Optional[_Iterable[_Union[ShardAnswer, _Mapping]]] = ..., results: _Optional[_Iterable[_Union[_vectorfleet_pb2.Hits, _Mapping]]] = ..., indexes: _Optional[_Iterable[str]] = ..., explanation: _Optional[_Iterable[_Union[_vectorfleet_pb2.ShardExplanation, _Mapping]]] = ...) -> None: ...

class SearchGroupsRequest(_message.Message):
    __slots__ = ("request", "shards", "only")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    ONLY_FIELD_NUMBER: _ClassVar[int]
    request: _vectorfleet_pb2.SearchRequest
    shards: _containers.RepeatedScalarFieldContainer[int]
    only: _containers.RepeatedCompositeFieldContainer[_vectorfleet_pb2.FieldColumn]
    def __init__(self, request: _Optional[_Union[_vectorfleet_pb2.SearchRequest, _Mapping]] = ..., shards: _Optional[_Iterable[int]] = ..., only: _Optional[_Iterable[_Union[_vectorfleet_pb2.FieldColumn, _Mapping]]] = ...) -> None: ...

class SearchGroupsResponse(_message.Message):
    __slots__ = ("answers", "found", "indexes")
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    INDEXES_FIELD_NUMBER: _ClassVar[int]
    answers: _containers.RepeatedCompositeFieldContainer[ShardAnswer]
    found: _containers.RepeatedCompositeFieldContainer[ShardGroups]
    indexes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, answers: _Optional[_Iterable[_Union[ShardAnswer, _Mapping]]] = ..., found: _Optional[_Iterable[_Union[ShardGroups, _Mapping]]] = ..., indexes: _Optional[_Iterable[str]] = ...) -> None: ...

class ShardGroups(_message.Message):
    __slots__ = ("shard", "results", "complete")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    shard: int
    results: _containers.RepeatedCompositeFieldContainer[_vectorfleet_pb2.Hits]
    complete: _containers.RepeatedScalarFieldContainer[bool]
    def __init__(self, shard: _Optional[int] = ..., results: _Optional[_Iterable[_Union[_vectorfleet_pb2.Hits, _Mapping]]] = ..., complete: _Optional[_Iterable[bool]] = ...) -> None: ...

class ScanCursor(_message.Message):
    __slots__ = ("uid", "filter", "shard", "node", "id", "offset", "last", "position")
    UID_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    uid: str
    filter: str
    shard: int
    node: str
    id: str
    offset: int
    last: _vectorfleet_pb2.Keys
    position: int
    def __init__(self, uid: _Optional[str] = ..., filter: _Optional[str] = ..., shard: _Optional[int] = ..., node: _Optional[str] = ..., id: _Optional[str] = ..., offset: _Optional[int] = ..., last: _Optional[_Union[_vectorfleet_pb2.Keys, _Mapping]] = ..., position: _Optional[int] = ...) -> None: ...

class ScanShardRequest(_message.Message):
    __slots__ = ("request", "cursor")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    request: _vectorfleet_pb2.ScanRequest
    cursor: ScanCursor
    def __init__(self, request: _Optional[_Union[_vectorfleet_pb2.ScanRequest, _Mapping]] = ..., cursor: _Optional[_Union[ScanCursor, _Mapping]] = ...) -> None: ...

class ScanShardResponse(_message.Message):
    __slots__ = ("answers", "rows", "next", "lost")
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    answers: _containers.RepeatedCompositeFieldContainer[ShardAnswer]
    rows: _vectorfleet_pb2.Rows
    next: ScanCursor
    lost: bool
    def __init__(self, answers: _Optional[_Iterable[_Union[ShardAnswer, _Mapping]]] = ..., rows: _Optional[_Union[_vectorfleet_pb2.Rows, _Mapping]] = ..., next: _Optional[_Union[ScanCursor, _Mapping]] = ..., lost: _Optional[bool] = ...) -> None: ...

class GetShardsRequest(_message.Message):
    __slots__ = ("request", "shards")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    request: _vectorfleet_pb2.GetRequest
    shards: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, request: _Optional[_Union[_vectorfleet_pb2.GetRequest, _Mapping]] = ..., shards: _Optional[_Iterable[int]] = ...) -> None: ...

class GetShardsResponse(_message.Message):
    __slots__ = ("answers", "rows")
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    answers: _containers.RepeatedCompositeFieldContainer[ShardAnswer]
    rows: _vectorfleet_pb2.Rows
    def __init__(self, answers: _Optional[_Iterable[_Union[ShardAnswer, _Mapping]]] = ..., rows: _Optional[_Union[_vectorfleet_pb2.Rows, _Mapping]] = ...) -> None: ...

class CountShardsRequest(_message.Message):
    __slots__ = ("request", "shards")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    request: _vectorfleet_pb2.CountRequest
    shards: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, request: _Optional[_Union[_vectorfleet_pb2.CountRequest, _Mapping]] = ..., shards: _Optional[_Iterable[int]] = ...) -> None: ...

class CountShardsResponse(_message.Message):
    __slots__ = ("answers", "count")
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    answers: _containers.RepeatedCompositeFieldContainer[ShardAnswer]
    count: int
    def __init__(self, answers: _Optional[_Iterable[_Union[ShardAnswer, _Mapping]]] = ..., count: _Optional[int] = ...) -> None: ...

class PingRequest(_message.Message):
    __slots__ = ("collection", "shard", "owner")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    collection: str
    shard: int
    owner: str
    def __init__(self, collection: _Optional[str] = ..., shard: _Optional[int] = ..., owner: _Optional[str] = ...) -> None: ...

class PingResponse(_message.Message):
    __slots__ = ("owner", "leads", "position")
    OWNER_FIELD_NUMBER: _ClassVar[int]
    LEADS_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    owner: str
    leads: bool
    position: int
    def __init__(self, owner: _Optional[str] = ..., leads: _Optional[bool] = ..., position: _Optional[int] = ...) -> None: ...

class ReportRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class NodeReport(_message.Message):
    __slots__ = ("node", "version", "topology_fence", "topology_version", "collections", "draining", "storage_format")
    NODE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TOPOLOGY_FENCE_FIELD_NUMBER: _ClassVar[int]
    TOPOLOGY_VERSION_FIELD_NUMBER: _ClassVar[int]
    COLLECTIONS_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    STORAGE_FORMAT_FIELD_NUMBER: _ClassVar[int]
    node: str
    version: str
    topology_fence: int
    topology_version: int
    collections: _containers.RepeatedCompositeFieldContainer[CollectionReport]
    draining: bool
    storage_format: int
    def __init__(self, node: _Optional[str] = ..., version: _Optional[str] = ..., topology_fence: _Optional[int] = ..., topology_version: _Optional[int] = ..., collections: _Optional[_Iterable[_Union[CollectionReport, _Mapping]]] = ..., draining: _Optional[bool] = ..., storage_format: _Optional[int] = ...) -> None: ...

class CollectionReport(_message.Message):
    __slots__ = ("name", "uid", "storage", "message", "shards", "claim_holder")
    NAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    STORAGE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    CLAIM_HOLDER_FIELD_NUMBER: _ClassVar[int]
    name: str
    uid: str
    storage: StorageState
    message: str
    shards: _containers.RepeatedCompositeFieldContainer[ShardReport]
    claim_holder: str
    def __init__(self, name: _Optional[str] = ..., uid: _Optional[str] = ..., storage: _Optional[_Union[StorageState, str]] = ..., message: _Optional[str] = ..., shards: _Optional[_Iterable[_Union[ShardReport, _Mapping]]] = ..., claim_holder: _Optional[str] = ...) -> None: ...

class ShardReport(_message.Message):
    __slots__ = ("id", "ready", "leader", "position", "rows", "growing_rows", "bytes", "indexes", "message", "quarantined", "segments", "live_bytes", "compaction", "index_details")
    ID_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    GROWING_ROWS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    INDEXES_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    LIVE_BYTES_FIELD_NUMBER: _ClassVar[int]
    COMPACTION_FIELD_NUMBER: _ClassVar[int]
    INDEX_DETAILS_FIELD_NUMBER: _ClassVar[int]
    id: int
    ready: bool
    leader: bool
    position: int
    rows: int
    growing_rows: int
    bytes: int
    indexes: _containers.RepeatedScalarFieldContainer[str]
    message: str
    quarantined: int
    segments: int
    live_bytes: int
    compaction: str
    index_details: _containers.RepeatedCompositeFieldContainer[_vectorfleet_pb2.IndexInfo]
    def __init__(self, id: _Optional[int] = ..., ready: _Optional[bool] = ..., leader: _Optional[bool] = ..., position: _Optional[int] = ..., rows: _Optional[int] = ..., growing_rows: _Optional[int] = ..., bytes: _Optional[int] = ..., indexes: _Optional[_Iterable[str]] = ..., message: _Optional[str] = ..., quarantined: _Optional[int] = ..., segments: _Optional[int] = ..., live_bytes: _Optional[int] = ..., compaction: _Optional[str] = ..., index_details: _Optional[_Iterable[_Union[_vectorfleet_pb2.IndexInfo, _Mapping]]] = ...) -> None: ...

class PutTopologyRequest(_message.Message):
    __slots__ = ("topology",)
    TOPOLOGY_FIELD_NUMBER: _ClassVar[int]
    topology: bytes
    def __init__(self, topology: _Optional[bytes] = ...) -> None: ...

class PutTopologyResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class FlushRequest(_message.Message):
    __slots__ = ("collection",)
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    collection: str
    def __init__(self, collection: _Optional[str] = ...) -> None: ...

class FlushResponse(_message.Message):
    __slots__ = ("shards",)
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    shards: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, shards: _Optional[_Iterable[int]] = ...) -> None: ...

class ReleaseClaimRequest(_message.Message):
    __slots__ = ("collection",)
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    collection: str
    def __init__(self, collection: _Optional[str] = ...) -> None: ...

class ReleaseClaimResponse(_message.Message):
    __slots__ = ("released",)
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    released: bool
    def __init__(self, released: _Optional[bool] = ...) -> None: ...
