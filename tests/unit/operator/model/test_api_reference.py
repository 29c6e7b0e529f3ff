"""The generated API reference, and the status that it describes."""

from __future__ import annotations

from vectorfleet_operator.model.generate import files, resource_schema
from vectorfleet_operator.model.openapi import rules_of
from vectorfleet_operator.model.reference import shown
from vectorfleet_operator.model.status import Condition, ConditionStatus, ShardsStatus, Status

PAGE = files()["docs/reference/api.md"]


def test_every_rule_is_in_the_reference() -> None:
    assert [rule.name for rule in rules_of(resource_schema()) if shown(rule).replace("|", "\\|") not in PAGE] == []


def test_every_link_leads_to_a_chapter() -> None:
    chapters = {line[3:].lower() for line in PAGE.splitlines() if line.startswith("## ")}
    links = {part.split(")")[0] for part in PAGE.split("](#")[1:]}
    assert links
    assert links <= chapters


def test_every_table_row_has_five_cells() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    assert [row for row in rows if row.replace("\\|", "").count("|") != 6] == []


def test_a_status_is_written_in_camel_case_without_what_is_unknown() -> None:
    status = Status(
        observed_generation=3,
        conditions=(
            Condition(
                type="Ready",
                status=ConditionStatus.TRUE,
                reason="Ready",
                last_transition_time="2026-01-01T00:00:00Z",
                observed_generation=3,
            ),
        ),
        shards=ShardsStatus(total=2, available=2, under_replicated=1),
        rows=0,
    )
    written = status.to_resource()
    assert written["observedGeneration"] == 3
    assert written["conditions"][0]["lastTransitionTime"] == "2026-01-01T00:00:00Z"
    assert written["shards"] == {"total": 2, "available": 2, "underReplicated": 1, "moving": 0}
    assert written["rows"] == 0
    assert "operation" not in written
