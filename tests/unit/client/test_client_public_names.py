"""The public surface of the package, pinned: what is added or removed here is a change for users."""

from __future__ import annotations

import subprocess
import sys

import vectorfleet

PUBLIC = """
AlreadyExists AsyncClient Batch Client CollectionInfo CollectionSchema ConsistencyLevel DeadlineExceeded
FailedPrecondition FieldSchema FieldType FieldViolation Group Hit ImportFailed ImportResult IndexType
InvalidArgument Json KeyType LoadFailed LoadResult Metric NotFound PartFailure PermissionDenied Quantization ReplicaInfo
ResourceExhausted RetryPolicy Row ScanLost SearchResult ServerError Session ShardInfo Source SourceError
Unauthenticated Unavailable VectorFleetError VectorSchema WriteFailed WriteResult from_arrays open_source
"""


def test_the_public_names_are_these_and_all_resolve() -> None:
    assert vectorfleet.__all__ == PUBLIC.split()
    for name in vectorfleet.__all__:
        assert getattr(vectorfleet, name).__name__ == name


def test_the_contract_is_imported_without_grpc_or_numpy() -> None:
    """Operator and nodes import the schema; it must not cost them the SDK."""
    code = "import sys, vectorfleet.topology; sys.exit(any(name in sys.modules for name in ('grpc', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
