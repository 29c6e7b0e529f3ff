"""What wakes the queue, how Kopf is set up, and the operator's settings."""

from __future__ import annotations

from typing import Any

import kopf
import pytest

from vectorfleet_operator.handlers import watch
from vectorfleet_operator.model import names
from vectorfleet_operator.settings import SettingsError, load


def handlers(woken: list[tuple[str, str]]) -> list[Any]:
    """The event handlers: of collections, then of children."""
    registry = watch.registry(woken.append, "")
    return list(registry._watching._handlers)


async def test_a_collection_wakes_the_queue_when_more_than_its_status_changed() -> None:
    woken: list[tuple[str, str]] = []
    handler = handlers(woken)[0].fn
    metadata = {"name": "x", "namespace": "search", "uid": "u", "generation": 1}
    await handler(body={"metadata": metadata, "status": {"rows": 1}})
    await handler(body={"metadata": {**metadata, "resourceVersion": "2"}, "status": {"rows": 2}})
    assert woken == [("search", "x")]
    await handler(body={"metadata": {**metadata, "generation": 2}})
    await handler(body={"metadata": {**metadata, "generation": 2, "deletionTimestamp": "now"}})
    await handler(body={"metadata": {**metadata, "uid": "another", "generation": 2}})
    assert len(woken) == 4


async def test_a_child_wakes_its_collection() -> None:
    woken: list[tuple[str, str]] = []
    labels = {names.COLLECTION_LABEL: "x"}
    await handlers(woken)[1].fn(body={"metadata": {"name": "x-0", "namespace": "search", "labels": labels}})
    assert woken == [("search", "x")]


def test_kopf_neither_scans_nor_posts_nor_takes_our_finalizer_off() -> None:
    made = watch.settings()
    assert made.scanning.disabled
    assert not made.posting.enabled
    assert made.peering.standalone
    assert made.persistence.finalizer != names.FINALIZER


def test_kopf_watches_only_what_carries_our_label() -> None:
    selectors = watch.settings().watching.label_selectors
    assert {selectors[child] for child in watch.CHILDREN} == {names.COLLECTION_LABEL}


def test_no_handler_makes_kopf_write_to_a_resource() -> None:
    registry = watch.registry(lambda key: None, "")
    assert not list(registry._changing._handlers)
    assert not list(registry._spawning._handlers)
    assert isinstance(registry, kopf.OperatorRegistry)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("KUBECONFIG", "POD_NAME", "POD_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VECTORFLEET_OPERATOR_NODE_IMAGE", "node:1")
    return monkeypatch


def test_settings_come_from_the_environment_that_the_chart_sets(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("VECTORFLEET_OPERATOR_NAMESPACES", "one, two")
    environment.setenv("VECTORFLEET_OPERATOR_LOG_LEVEL", "debug")
    environment.setenv("POD_NAME", "operator-1")
    environment.setenv("POD_NAMESPACE", "vectorfleet-system")
    settings = load()
    assert settings.watched_namespaces == ("one", "two")
    assert (settings.pod_name, settings.pod_namespace) == ("operator-1", "vectorfleet-system")


def test_no_namespaces_means_all(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("VECTORFLEET_OPERATOR_NAMESPACES", "")
    assert load().watched_namespaces == ()


@pytest.mark.parametrize(("name", "value"), [("LOG_LEVEL", "loud"), ("NODE_IMAGE", ""), ("WORKERS", "0")])
def test_a_setting_that_cannot_be_used_is_named_with_its_value(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    environment.setenv(f"VECTORFLEET_OPERATOR_{name}", value)
    with pytest.raises(SettingsError, match=f"VECTORFLEET_OPERATOR_{name}={value!r}"):
        load()
