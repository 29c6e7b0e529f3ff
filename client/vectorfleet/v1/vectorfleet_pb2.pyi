from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CreateCollectionRequest(_message.Message):
    __slots__ = ("name", "key_type", "vectors", "fields", "shards")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KEY_TYPE_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    name: str
    key_type: str
    vectors: _containers.RepeatedCompositeFieldContainer[VectorInfo]
    fields: _containers.RepeatedCompositeFieldContainer[FieldInfo]
    shards: int
    def __init__(self, name: _Optional[str] = ..., key_type: _Optional[str] = ..., vectors: _Optional[_Iterable[_Union[VectorInfo, _Mapping]]] = ..., fields: _Optional[_Iterable[_Union[FieldInfo, _Mapping]]] = ..., shards: _Optional[int] = ...) -> None: ...

class CreateCollectionResponse(_message.Message):
    __slots__ = ("collection",)
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    collection: CollectionInfo
    def __init__(self, collection: _Optional[_Union[CollectionInfo, _Mapping]] = ...) -> None: ...

class Keys(_message.Message):
    __slots__ = ("strings", "ints")
    STRINGS_FIELD_NUMBER: _ClassVar[int]
    INTS_FIELD_NUMBER: _ClassVar[int]
    strings: _containers.RepeatedScalarFieldContainer[str]
    ints: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, strings: _Optional[_Iterable[str]] = ..., ints: _Optional[_Iterable[int]] = ...) -> None: ...

class VectorColumn(_message.Message):
    __slots__ = ("name", "dimensions", "data")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    name: str
    dimensions: int
    data: bytes
    def __init__(self, name: _Optional[str] = ..., dimensions: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class FieldColumn(_message.Message):
    __slots__ = ("name", "strings", "ints", "doubles", "bools", "string_arrays", "int_arrays", "double_arrays", "jsons", "valid")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STRINGS_FIELD_NUMBER: _ClassVar[int]
    INTS_FIELD_NUMBER: _ClassVar[int]
    DOUBLES_FIELD_NUMBER: _ClassVar[int]
    BOOLS_FIELD_NUMBER: _ClassVar[int]
    STRING_ARRAYS_FIELD_NUMBER: _ClassVar[int]
    INT_ARRAYS_FIELD_NUMBER: _ClassVar[int]
    DOUBLE_ARRAYS_FIELD_NUMBER: _ClassVar[int]
    JSONS_FIELD_NUMBER: _ClassVar[int]
    VALID_FIELD_NUMBER: _ClassVar[int]
    name: str
    strings: StringValues
    ints: Int64Values
    doubles: DoubleValues
    bools: BoolValues
    string_arrays: StringArrays
    int_arrays: Int64Arrays
    double_arrays: DoubleArrays
    jsons: StringValues
    valid: _containers.RepeatedScalarFieldContainer[bool]
    def __init__(self, name: _Optional[str] = ..., strings: _Optional[_Union[StringValues, _Mapping]] = ..., ints: _Optional[_Union[Int64Values, _Mapping]] = ..., doubles: _Optional[_Union[DoubleValues, _Mapping]] = ..., bools: _Optional[_Union[BoolValues, _Mapping]] = ..., string_arrays: _Optional[_Union[StringArrays, _Mapping]] = ..., int_arrays: _Optional[_Union[Int64Arrays, _Mapping]] = ..., double_arrays: _Optional[_Union[DoubleArrays, _Mapping]] = ..., jsons: _Optional[_Union[StringValues, _Mapping]] = ..., valid: _Optional[_Iterable[bool]] = ...) -> None: ...

class StringValues(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, values: _Optional[_Iterable[str]] = ...) -> None: ...

class Int64Values(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, values: _Optional[_Iterable[int]] = ...) -> None: ...

class DoubleValues(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, values: _Optional[_Iterable[float]] = ...) -> None: ...

class BoolValues(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[bool]
    def __init__(self, values: _Optional[_Iterable[bool]] = ...) -> None: ...

class StringArrays(_message.Message):
    __slots__ = ("rows",)
    ROWS_FIELD_NUMBER: _ClassVar[int]
    rows: _containers.RepeatedCompositeFieldContainer[StringValues]
    def __init__(self, rows: _Optional[_Iterable[_Union[StringValues, _Mapping]]] = ...) -> None: ...

class Int64Arrays(_message.Message):
    __slots__ = ("rows",)
    ROWS_FIELD_NUMBER: _ClassVar[int]
    rows: _containers.RepeatedCompositeFieldContainer[Int64Values]
    def __init__(self, rows: _Optional[_Iterable[_Union[Int64Values, _Mapping]]] = ...) -> None: ...

class DoubleArrays(_message.Message):
    __slots__ = ("rows",)
    ROWS_FIELD_NUMBER: _ClassVar[int]
    rows: _containers.RepeatedCompositeFieldContainer[DoubleValues]
    def __init__(self, rows: _Optional[_Iterable[_Union[DoubleValues, _Mapping]]] = ...) -> None: ...

class Rows(_message.Message):
    __slots__ = ("keys", "vectors", "fields")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    keys: Keys
    vectors: _containers.RepeatedCompositeFieldContainer[VectorColumn]
    fields: _containers.RepeatedCompositeFieldContainer[FieldColumn]
    def __init__(self, keys: _Optional[_Union[Keys, _Mapping]] = ..., vectors: _Optional[_Iterable[_Union[VectorColumn, _Mapping]]] = ..., fields: _Optional[_Iterable[_Union[FieldColumn, _Mapping]]] = ...) -> None: ...

class SessionToken(_message.Message):
    __slots__ = ("uid", "positions")
    class PositionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: int
        def __init__(self, key: _Optional[int] = ..., value: _Optional[int] = ...) -> None: ...
    UID_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    uid: str
    positions: _containers.ScalarMap[int, int]
    def __init__(self, uid: _Optional[str] = ..., positions: _Optional[_Mapping[int, int]] = ...) -> None: ...

class Consistency(_message.Message):
    __slots__ = ("level", "session", "max_staleness_seconds")
    class Level(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        DEFAULT: _ClassVar[Consistency.Level]
        STRONG: _ClassVar[Consistency.Level]
        SESSION: _ClassVar[Consistency.Level]
        BOUNDED: _ClassVar[Consistency.Level]
        EVENTUAL: _ClassVar[Consistency.Level]
    DEFAULT: Consistency.Level
    STRONG: Consistency.Level
    SESSION: Consistency.Level
    BOUNDED: Consistency.Level
    EVENTUAL: Consistency.Level
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    MAX_STALENESS_SECONDS_FIELD_NUMBER: _ClassVar[int]
    level: Consistency.Level
    session: SessionToken
    max_staleness_seconds: float
    def __init__(self, level: _Optional[_Union[Consistency.Level, str]] = ..., session: _Optional[_Union[SessionToken, _Mapping]] = ..., max_staleness_seconds: _Optional[float] = ...) -> None: ...

class UpsertRequest(_message.Message):
    __slots__ = ("collection", "request_id", "rows", "floor")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    FLOOR_FIELD_NUMBER: _ClassVar[int]
    collection: str
    request_id: str
    rows: Rows
    floor: SessionToken
    def __init__(self, collection: _Optional[str] = ..., request_id: _Optional[str] = ..., rows: _Optional[_Union[Rows, _Mapping]] = ..., floor: _Optional[_Union[SessionToken, _Mapping]] = ...) -> None: ...

class ImportRequest(_message.Message):
    __slots__ = ("header", "rows")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    header: ImportHeader
    rows: Rows
    def __init__(self, header: _Optional[_Union[ImportHeader, _Mapping]] = ..., rows: _Optional[_Union[Rows, _Mapping]] = ...) -> None: ...

class ImportHeader(_message.Message):
    __slots__ = ("collection", "shard", "request_id", "rows", "floor")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    FLOOR_FIELD_NUMBER: _ClassVar[int]
    collection: str
    shard: int
    request_id: str
    rows: int
    floor: SessionToken
    def __init__(self, collection: _Optional[str] = ..., shard: _Optional[int] = ..., request_id: _Optional[str] = ..., rows: _Optional[int] = ..., floor: _Optional[_Union[SessionToken, _Mapping]] = ...) -> None: ...

class ImportResponse(_message.Message):
    __slots__ = ("session", "rows", "repeated")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    REPEATED_FIELD_NUMBER: _ClassVar[int]
    session: SessionToken
    rows: int
    repeated: bool
    def __init__(self, session: _Optional[_Union[SessionToken, _Mapping]] = ..., rows: _Optional[int] = ..., repeated: _Optional[bool] = ...) -> None: ...

class DeleteRequest(_message.Message):
    __slots__ = ("collection", "request_id", "keys", "floor", "filter")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    FLOOR_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    collection: str
    request_id: str
    keys: Keys
    floor: SessionToken
    filter: str
    def __init__(self, collection: _Optional[str] = ..., request_id: _Optional[str] = ..., keys: _Optional[_Union[Keys, _Mapping]] = ..., floor: _Optional[_Union[SessionToken, _Mapping]] = ..., filter: _Optional[str] = ...) -> None: ...

class WriteResponse(_message.Message):
    __slots__ = ("session", "rows", "rows_unknown")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    ROWS_UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    session: SessionToken
    rows: int
    rows_unknown: bool
    def __init__(self, session: _Optional[_Union[SessionToken, _Mapping]] = ..., rows: _Optional[int] = ..., rows_unknown: _Optional[bool] = ...) -> None: ...

class WriteFailure(_message.Message):
    __slots__ = ("parts", "landed", "shards")
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OUTCOME_UNSPECIFIED: _ClassVar[WriteFailure.Outcome]
        FAILED: _ClassVar[WriteFailure.Outcome]
        UNKNOWN: _ClassVar[WriteFailure.Outcome]
    OUTCOME_UNSPECIFIED: WriteFailure.Outcome
    FAILED: WriteFailure.Outcome
    UNKNOWN: WriteFailure.Outcome
    class Part(_message.Message):
        __slots__ = ("shard", "outcome", "keys", "message")
        SHARD_FIELD_NUMBER: _ClassVar[int]
        OUTCOME_FIELD_NUMBER: _ClassVar[int]
        KEYS_FIELD_NUMBER: _ClassVar[int]
        MESSAGE_FIELD_NUMBER: _ClassVar[int]
        shard: int
        outcome: WriteFailure.Outcome
        keys: Keys
        message: str
        def __init__(self, shard: _Optional[int] = ..., outcome: _Optional[_Union[WriteFailure.Outcome, str]] = ..., keys: _Optional[_Union[Keys, _Mapping]] = ..., message: _Optional[str] = ...) -> None: ...
    PARTS_FIELD_NUMBER: _ClassVar[int]
    LANDED_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    parts: _containers.RepeatedCompositeFieldContainer[WriteFailure.Part]
    landed: SessionToken
    shards: int
    def __init__(self, parts: _Optional[_Iterable[_Union[WriteFailure.Part, _Mapping]]] = ..., landed: _Optional[_Union[SessionToken, _Mapping]] = ..., shards: _Optional[int] = ...) -> None: ...

class SearchRequest(_message.Message):
    __slots__ = ("collection", "vector", "dimensions", "queries", "k", "filter", "output_fields", "include_vectors", "consistency", "allow_partial", "params", "min_score", "group_by", "explain")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELDS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_VECTORS_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    ALLOW_PARTIAL_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    MIN_SCORE_FIELD_NUMBER: _ClassVar[int]
    GROUP_BY_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    collection: str
    vector: str
    dimensions: int
    queries: bytes
    k: int
    filter: str
    output_fields: _containers.RepeatedScalarFieldContainer[str]
    include_vectors: bool
    consistency: Consistency
    allow_partial: bool
    params: SearchParams
    min_score: float
    group_by: GroupBy
    explain: bool
    def __init__(self, collection: _Optional[str] = ..., vector: _Optional[str] = ..., dimensions: _Optional[int] = ..., queries: _Optional[bytes] = ..., k: _Optional[int] = ..., filter: _Optional[str] = ..., output_fields: _Optional[_Iterable[str]] = ..., include_vectors: _Optional[bool] = ..., consistency: _Optional[_Union[Consistency, _Mapping]] = ..., allow_partial: _Optional[bool] = ..., params: _Optional[_Union[SearchParams, _Mapping]] = ..., min_score: _Optional[float] = ..., group_by: _Optional[_Union[GroupBy, _Mapping]] = ..., explain: _Optional[bool] = ...) -> None: ...

class GroupBy(_message.Message):
    __slots__ = ("field", "size")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    field: str
    size: int
    def __init__(self, field: _Optional[str] = ..., size: _Optional[int] = ...) -> None: ...

class SearchParams(_message.Message):
    __slots__ = ("exact", "ef", "target_recall")
    EXACT_FIELD_NUMBER: _ClassVar[int]
    EF_FIELD_NUMBER: _ClassVar[int]
    TARGET_RECALL_FIELD_NUMBER: _ClassVar[int]
    exact: bool
    ef: int
    target_recall: float
    def __init__(self, exact: _Optional[bool] = ..., ef: _Optional[int] = ..., target_recall: _Optional[float] = ...) -> None: ...

class SearchResponse(_message.Message):
    __slots__ = ("results", "session", "missing_shards", "indexes", "explanation")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    MISSING_SHARDS_FIELD_NUMBER: _ClassVar[int]
    INDEXES_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[Hits]
    session: SessionToken
    missing_shards: _containers.RepeatedScalarFieldContainer[int]
    indexes: _containers.RepeatedScalarFieldContainer[str]
    explanation: _containers.RepeatedCompositeFieldContainer[ShardExplanation]
    def __init__(self, results: _Optional[_Iterable[_Union[Hits, _Mapping]]] = ..., session: _Optional[_Union[SessionToken, _Mapping]] = ..., missing_shards: _Optional[_Iterable[int]] = ..., indexes: _Optional[_Iterable[str]] = ..., explanation: _Optional[_Iterable[_Union[ShardExplanation, _Mapping]]] = ...) -> None: ...

class ShardExplanation(_message.Message):
    __slots__ = ("shard", "node", "position", "wait_us", "batch_queries", "segments", "rank_us", "gather_us")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    WAIT_US_FIELD_NUMBER: _ClassVar[int]
    BATCH_QUERIES_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    RANK_US_FIELD_NUMBER: _ClassVar[int]
    GATHER_US_FIELD_NUMBER: _ClassVar[int]
    shard: int
    node: str
    position: int
    wait_us: int
    batch_queries: int
    segments: _containers.RepeatedCompositeFieldContainer[SegmentExplanation]
    rank_us: int
    gather_us: int
    def __init__(self, shard: _Optional[int] = ..., node: _Optional[str] = ..., position: _Optional[int] = ..., wait_us: _Optional[int] = ..., batch_queries: _Optional[int] = ..., segments: _Optional[_Iterable[_Union[SegmentExplanation, _Mapping]]] = ..., rank_us: _Optional[int] = ..., gather_us: _Optional[int] = ...) -> None: ...

class SegmentExplanation(_message.Message):
    __slots__ = ("rows", "live", "allowed", "sealed", "index", "candidates", "filter_us", "engine_us", "plan")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    LIVE_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    FILTER_US_FIELD_NUMBER: _ClassVar[int]
    ENGINE_US_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    rows: int
    live: int
    allowed: int
    sealed: bool
    index: str
    candidates: int
    filter_us: int
    engine_us: int
    plan: str
    def __init__(self, rows: _Optional[int] = ..., live: _Optional[int] = ..., allowed: _Optional[int] = ..., sealed: _Optional[bool] = ..., index: _Optional[str] = ..., candidates: _Optional[int] = ..., filter_us: _Optional[int] = ..., engine_us: _Optional[int] = ..., plan: _Optional[str] = ...) -> None: ...

class Hits(_message.Message):
    __slots__ = ("rows", "scores", "group_sizes", "groups")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    GROUP_SIZES_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    rows: Rows
    scores: _containers.RepeatedScalarFieldContainer[float]
    group_sizes: _containers.RepeatedScalarFieldContainer[int]
    groups: FieldColumn
    def __init__(self, rows: _Optional[_Union[Rows, _Mapping]] = ..., scores: _Optional[_Iterable[float]] = ..., group_sizes: _Optional[_Iterable[int]] = ..., groups: _Optional[_Union[FieldColumn, _Mapping]] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("collection", "keys", "output_fields", "include_vectors", "consistency")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELDS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_VECTORS_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    collection: str
    keys: Keys
    output_fields: _containers.RepeatedScalarFieldContainer[str]
    include_vectors: bool
    consistency: Consistency
    def __init__(self, collection: _Optional[str] = ..., keys: _Optional[_Union[Keys, _Mapping]] = ..., output_fields: _Optional[_Iterable[str]] = ..., include_vectors: _Optional[bool] = ..., consistency: _Optional[_Union[Consistency, _Mapping]] = ...) -> None: ...

class GetResponse(_message.Message):
    __slots__ = ("rows", "session")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    rows: Rows
    session: SessionToken
    def __init__(self, rows: _Optional[_Union[Rows, _Mapping]] = ..., session: _Optional[_Union[SessionToken, _Mapping]] = ...) -> None: ...

class ScanRequest(_message.Message):
    __slots__ = ("collection", "filter", "output_fields", "include_vectors", "page_size", "consistency", "cursor", "resume", "close")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELDS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_VECTORS_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    CLOSE_FIELD_NUMBER: _ClassVar[int]
    collection: str
    filter: str
    output_fields: _containers.RepeatedScalarFieldContainer[str]
    include_vectors: bool
    page_size: int
    consistency: Consistency
    cursor: bytes
    resume: bool
    close: bool
    def __init__(self, collection: _Optional[str] = ..., filter: _Optional[str] = ..., output_fields: _Optional[_Iterable[str]] = ..., include_vectors: _Optional[bool] = ..., page_size: _Optional[int] = ..., consistency: _Optional[_Union[Consistency, _Mapping]] = ..., cursor: _Optional[bytes] = ..., resume: _Optional[bool] = ..., close: _Optional[bool] = ...) -> None: ...

class ScanResponse(_message.Message):
    __slots__ = ("rows", "cursor", "session", "resumed")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    rows: Rows
    cursor: bytes
    session: SessionToken
    resumed: bool
    def __init__(self, rows: _Optional[_Union[Rows, _Mapping]] = ..., cursor: _Optional[bytes] = ..., session: _Optional[_Union[SessionToken, _Mapping]] = ..., resumed: _Optional[bool] = ...) -> None: ...

class CountRequest(_message.Message):
    __slots__ = ("collection", "filter", "consistency", "allow_partial")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    ALLOW_PARTIAL_FIELD_NUMBER: _ClassVar[int]
    collection: str
    filter: str
    consistency: Consistency
    allow_partial: bool
    def __init__(self, collection: _Optional[str] = ..., filter: _Optional[str] = ..., consistency: _Optional[_Union[Consistency, _Mapping]] = ..., allow_partial: _Optional[bool] = ...) -> None: ...

class CountResponse(_message.Message):
    __slots__ = ("count", "session", "missing_shards")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    MISSING_SHARDS_FIELD_NUMBER: _ClassVar[int]
    count: int
    session: SessionToken
    missing_shards: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, count: _Optional[int] = ..., session: _Optional[_Union[SessionToken, _Mapping]] = ..., missing_shards: _Optional[_Iterable[int]] = ...) -> None: ...

class DescribeRequest(_message.Message):
    __slots__ = ("collection",)
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    collection: str
    def __init__(self, collection: _Optional[str] = ...) -> None: ...

class DescribeResponse(_message.Message):
    __slots__ = ("collections", "node", "version")
    COLLECTIONS_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    collections: _containers.RepeatedCompositeFieldContainer[CollectionInfo]
    node: str
    version: str
    def __init__(self, collections: _Optional[_Iterable[_Union[CollectionInfo, _Mapping]]] = ..., node: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class CollectionInfo(_message.Message):
    __slots__ = ("name", "uid", "key_type", "vectors", "fields", "shards")
    NAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    KEY_TYPE_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    name: str
    uid: str
    key_type: str
    vectors: _containers.RepeatedCompositeFieldContainer[VectorInfo]
    fields: _containers.RepeatedCompositeFieldContainer[FieldInfo]
    shards: _containers.RepeatedCompositeFieldContainer[ShardInfo]
    def __init__(self, name: _Optional[str] = ..., uid: _Optional[str] = ..., key_type: _Optional[str] = ..., vectors: _Optional[_Iterable[_Union[VectorInfo, _Mapping]]] = ..., fields: _Optional[_Iterable[_Union[FieldInfo, _Mapping]]] = ..., shards: _Optional[_Iterable[_Union[ShardInfo, _Mapping]]] = ...) -> None: ...

class VectorInfo(_message.Message):
    __slots__ = ("name", "dimensions", "metric", "index", "quantization")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    QUANTIZATION_FIELD_NUMBER: _ClassVar[int]
    name: str
    dimensions: int
    metric: str
    index: str
    quantization: str
    def __init__(self, name: _Optional[str] = ..., dimensions: _Optional[int] = ..., metric: _Optional[str] = ..., index: _Optional[str] = ..., quantization: _Optional[str] = ...) -> None: ...

class FieldInfo(_message.Message):
    __slots__ = ("name", "type", "indexed")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    INDEXED_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    indexed: bool
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ..., indexed: _Optional[bool] = ...) -> None: ...

class ShardInfo(_message.Message):
    __slots__ = ("id", "replicas")
    ID_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    id: int
    replicas: _containers.RepeatedCompositeFieldContainer[ReplicaInfo]
    def __init__(self, id: _Optional[int] = ..., replicas: _Optional[_Iterable[_Union[ReplicaInfo, _Mapping]]] = ...) -> None: ...

class ReplicaInfo(_message.Message):
    __slots__ = ("node", "reachable", "ready", "leader", "position", "rows", "growing_rows", "indexes", "message", "quarantined", "segments", "bytes", "live_bytes", "compaction", "index_details")
    NODE_FIELD_NUMBER: _ClassVar[int]
    REACHABLE_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    GROWING_ROWS_FIELD_NUMBER: _ClassVar[int]
    INDEXES_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    LIVE_BYTES_FIELD_NUMBER: _ClassVar[int]
    COMPACTION_FIELD_NUMBER: _ClassVar[int]
    INDEX_DETAILS_FIELD_NUMBER: _ClassVar[int]
    node: str
    reachable: bool
    ready: bool
    leader: bool
    position: int
    rows: int
    growing_rows: int
    indexes: _containers.RepeatedScalarFieldContainer[str]
    message: str
    quarantined: int
    segments: int
    bytes: int
    live_bytes: int
    compaction: str
    index_details: _containers.RepeatedCompositeFieldContainer[IndexInfo]
    def __init__(self, node: _Optional[str] = ..., reachable: _Optional[bool] = ..., ready: _Optional[bool] = ..., leader: _Optional[bool] = ..., position: _Optional[int] = ..., rows: _Optional[int] = ..., growing_rows: _Optional[int] = ..., indexes: _Optional[_Iterable[str]] = ..., message: _Optional[str] = ..., quarantined: _Optional[int] = ..., segments: _Optional[int] = ..., bytes: _Optional[int] = ..., live_bytes: _Optional[int] = ..., compaction: _Optional[str] = ..., index_details: _Optional[_Iterable[_Union[IndexInfo, _Mapping]]] = ...) -> None: ...

class IndexInfo(_message.Message):
    __slots__ = ("vector", "kind", "reason", "segments", "rows")
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    vector: str
    kind: str
    reason: str
    segments: int
    rows: int
    def __init__(self, vector: _Optional[str] = ..., kind: _Optional[str] = ..., reason: _Optional[str] = ..., segments: _Optional[int] = ..., rows: _Optional[int] = ...) -> None: ...
