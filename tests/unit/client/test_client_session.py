"""Sessions only move forward, per collection and uid."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vectorfleet import InvalidArgument, Session
from vectorfleet.v1 import vectorfleet_pb2 as pb

POSITIONS = st.dictionaries(st.integers(0, 5), st.integers(0, 1000))


@given(st.lists(POSITIONS))
def test_merging_takes_the_highest_position_of_each_shard(tokens: list[dict[int, int]]) -> None:
    session = Session()
    for positions in tokens:
        session.merge("things", pb.SessionToken(uid="u", positions=positions))
    shards = {shard for positions in tokens for shard in positions}
    expected = {shard: max(positions.get(shard, 0) for positions in tokens) for shard in shards}
    assert dict(session.token("things").positions) == expected


def test_another_uid_starts_over_and_nothing_changes_nothing() -> None:
    session = Session()
    session.merge("things", pb.SessionToken(uid="old", positions={0: 9}))
    session.merge("things", pb.SessionToken())
    assert dict(session.token("things").positions) == {0: 9}
    session.merge("things", pb.SessionToken(uid="new", positions={1: 2}))
    assert session.token("things") == pb.SessionToken(uid="new", positions={1: 2})
    session.forget("things")
    assert session.token("things") == pb.SessionToken()


@given(POSITIONS)
def test_a_session_survives_json(positions: dict[int, int]) -> None:
    session = Session()
    session.merge("things", pb.SessionToken(uid="u", positions=positions))
    assert Session.from_json(session.to_json()).token("things") == session.token("things")


@pytest.mark.parametrize("text", ["", "[]", "7", '{"a": 1}', '{"a": {"uid": "u"}}', '{"a": {"positions": {"x": 1}}}'])
def test_what_is_no_session_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="not a session"):
        Session.from_json(text)
