"""The Helm chart: it lints, installs, upgrades, refuses bad values, and an uninstall deletes nobody's collection."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import yaml
from clusters import ROOT, Commands
from conftest import RELEASE, SYSTEM
from fleet import Fleet

CHART = str(ROOT / "charts/vectorfleet")
CRD = "crd/vectorcollections.vectorfleet.io"


def running(cluster: Commands) -> list[str]:
    """Uids of the operator's pods that are not on their way out."""
    pods = json.loads(
        cluster.kubectl("-n", SYSTEM, "get", "pods", "-l", "app.kubernetes.io/name=vectorfleet", "-o", "json").stdout
    )["items"]
    return sorted(pod["metadata"]["uid"] for pod in pods if "deletionTimestamp" not in pod["metadata"])


def test_the_chart_lints(cluster: Commands) -> None:
    cluster.helm("lint", "--strict", CHART)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ("replicas=3", ("/replicas", "must be one of 1, 2")),
        ("logLevel=loud", ("/logLevel", "'debug', 'info', 'warning', 'error'")),
        ("imag.reference=x", ("'imag' not allowed",)),
        ("image.reference=a b", ("/image/reference", "'a b'")),
        ("watchNamespaces=search", ("/watchNamespaces", "want array")),
        ("resources.requests.cpu=lots", ("/resources/requests/cpu", "'lots'")),
        ("crds.install=perhaps", ("/crds/install", "want boolean")),
    ],
)
def test_a_bad_value_is_refused_with_its_place_and_what_is_allowed(
    cluster: Commands, values: str, told: tuple[str, ...]
) -> None:
    refused = cluster.helm("template", RELEASE, CHART, "--set", values, check=False)
    assert refused.returncode != 0
    assert [fragment for fragment in told if fragment not in refused.stderr] == [], refused.stderr


def test_watched_namespaces_get_the_rights_and_no_other(cluster: Commands) -> None:
    rendered = cluster.helm("template", RELEASE, CHART, "--set", "watchNamespaces={search,ads}").stdout
    parts = [part for part in yaml.safe_load_all(rendered) if part]
    bound = [
        (part["kind"], part["metadata"].get("namespace"))
        for part in parts
        if part.get("roleRef", {}).get("name") == RELEASE
    ]
    assert sorted(bound) == [("RoleBinding", "ads"), ("RoleBinding", "search")]
    (deployment,) = [part for part in parts if part["kind"] == "Deployment"]
    environment = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "VECTORFLEET_OPERATOR_NAMESPACES", "value": "search,ads"} in environment


def test_the_operator_passes_the_restricted_pod_security_standard(operator: Commands) -> None:
    told = operator.kubectl(
        "label",
        "--dry-run=server",
        "--overwrite",
        f"namespace/{SYSTEM}",
        "pod-security.kubernetes.io/enforce=restricted",
    )
    assert "violate" not in told.stderr


def test_an_upgrade_with_the_same_values_restarts_nothing(
    operator: Commands, install_chart: Callable[[], None]
) -> None:
    before = running(operator)
    install_chart()
    assert running(operator) == before


def test_a_changed_value_rolls_out(operator: Commands, install_chart: Callable[[], None]) -> None:
    before = running(operator)
    operator.helm(
        "upgrade", RELEASE, CHART, "--namespace", SYSTEM, "--reuse-values", "--set", "logLevel=debug",
        "--wait", "--timeout", "120s",
    )  # fmt: skip
    environment = operator.kubectl(
        "-n", SYSTEM, "get", f"deployment/{RELEASE}", "-o", "jsonpath={.spec.template.spec.containers[0].env}"
    ).stdout
    assert {"name": "VECTORFLEET_OPERATOR_LOG_LEVEL", "value": "debug"} in json.loads(environment)
    assert not set(before) & set(running(operator))
    install_chart()


def test_an_uninstall_keeps_the_collections_and_a_new_install_takes_them_up(
    fleet: Fleet, install_chart: Callable[[], None]
) -> None:
    fleet.apply(suspend=True)
    fleet.wait_for("Ready", "False", reason="Suspended")
    uid = fleet.json("vc", fleet.name)["metadata"]["uid"]
    fleet.commands.helm("uninstall", RELEASE, "--namespace", SYSTEM, "--wait")
    assert running(fleet.commands) == []
    fleet.commands.kubectl("get", CRD)
    assert fleet.json("vc", fleet.name)["metadata"]["uid"] == uid
    install_chart()
    fleet.patch({"consistency": {"default": "Eventual"}})
    fleet.wait_for("Ready", "False", reason="Suspended")
