"""Bad YAML is refused by the API server, with the field and what is allowed; good YAML is not.

All objects go there in a few kubectl calls, because a process for each would take longer than all the rest. The ones
that are updated are suspended, so that no pod starts.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator

import pytest
import yaml
from admission_cases import ACCEPTED, ALLOWED_UPDATES, BASE, CREATED, UPDATED, Case, Json, merged
from clusters import ROOT, Commands

REFUSALS = {case.name or f"refused-{number}": case for number, case in enumerate(CREATED)}
REFUSED_UPDATES = {f"refused-update-{number}": case for number, case in enumerate(UPDATED)}


def manifests(specs: dict[str, Json]) -> str:
    """YAML documents of VectorCollections with these names and specs."""
    head = {"apiVersion": "vectorfleet.io/v1alpha1", "kind": "VectorCollection"}
    return "\n---\n".join(
        json.dumps({**head, "metadata": {"name": name}, "spec": spec}) for name, spec in specs.items()
    )


@pytest.fixture(scope="module")
def verdicts(
    operator: Commands, make_namespace: Callable[[], contextlib.AbstractContextManager[str]]
) -> Iterator[dict[str, str]]:
    """Object -> `accepted`, or why not. Of unknown fields the API server does not say in which object."""
    existing = {name: merged(BASE, case.before or {}) for name, case in REFUSED_UPDATES.items()}
    existing |= dict.fromkeys(ALLOWED_UPDATES, BASE)
    proposed = {name: merged(BASE, case.change) for name, case in {**REFUSALS, **REFUSED_UPDATES}.items()}
    proposed |= {name: merged(BASE, change) for name, change in {**ACCEPTED, **ALLOWED_UPDATES}.items()}
    with make_namespace() as namespace:
        operator.kubectl("-n", namespace, "apply", "-f", "-", input=manifests(existing))
        told = operator.kubectl(
            "-n", namespace, "apply", "--dry-run=server", "-f", "-", input=manifests(proposed), check=False
        )
        found = dict(re.findall(r'VectorCollection.*? "([^"]+)" is invalid: (.+)', told.stderr))
        found |= dict.fromkeys(re.findall(r"/(\S+) (?:created|configured) \(server dry run\)", told.stdout), "accepted")
        found["unknown fields"] = "\n".join(line for line in told.stderr.splitlines() if "unknown field" in line)
        yield found


@pytest.mark.parametrize(
    ("name", "case"), {**REFUSALS, **REFUSED_UPDATES}.items(), ids=lambda part: getattr(part, "rule", part)
)
def test_a_bad_spec_is_refused_with_the_field_and_what_is_allowed(
    verdicts: dict[str, str], name: str, case: Case
) -> None:
    verdict = verdicts["unknown fields"] if "unknown field" in case.expected else verdicts[name]
    assert [fragment for fragment in case.expected if fragment not in verdict] == [], verdict


@pytest.mark.parametrize("name", [*ACCEPTED, *ALLOWED_UPDATES])
def test_a_good_spec_is_accepted(verdicts: dict[str, str], name: str) -> None:
    assert verdicts[name] == "accepted"


def test_kubectl_scale_below_the_replicas_is_refused(
    operator: Commands, make_namespace: Callable[[], contextlib.AbstractContextManager[str]]
) -> None:
    with make_namespace() as namespace:
        spec = merged(BASE, {"sharding": {"replicas": 2}})
        operator.kubectl("-n", namespace, "apply", "-f", "-", input=manifests({"scaled": spec}))
        refused = operator.kubectl("-n", namespace, "scale", "vc/scaled", "--replicas=1", check=False)
        assert "nodes.count must be at least 2" in refused.stderr
        operator.kubectl("-n", namespace, "scale", "vc/scaled", "--replicas=3")
        assert operator.kubectl("-n", namespace, "get", "vc/scaled", "-o", "jsonpath={.spec.nodes.count}").stdout == "3"


def test_the_schema_is_the_one_in_the_repository(operator: Commands) -> None:
    written = yaml.safe_load((ROOT / "crds/vectorfleet.io_vectorcollections.yaml").read_text())
    served = json.loads(operator.kubectl("get", "crd", written["metadata"]["name"], "-o", "json").stdout)
    assert served["spec"]["versions"][0]["schema"] == written["spec"]["versions"][0]["schema"]
