"""What nodes are configured by: the topology's ConfigMap and the Secret that their calls carry."""

from __future__ import annotations

import json
from typing import Any

from vectorfleet_operator.model import names
from vectorfleet_operator.model.observed import Observed
from vectorfleet_operator.planner.children.common import child
from vectorfleet_operator.planner.fleet import PLACEMENT_KEY, TOPOLOGY_KEY, Fleet

SECRET_KEY = "secret"  # noqa: S105 - the name of a key, not a secret


def topology(observed: Observed, fleet: Fleet) -> dict[str, Any]:
    """What nodes read when they start, and where the operator remembers where shards are going."""
    data = {
        TOPOLOGY_KEY: fleet.topology.model_dump_json(),
        PLACEMENT_KEY: json.dumps({str(shard): nodes for shard, nodes in sorted(fleet.target.items())}),
    }
    return child(observed, "ConfigMap", names.topology(observed.name), data=data)


def peer_secret(observed: Observed) -> dict[str, Any]:
    """The Secret of the fleet, without the secret: whoever makes it adds one line of randomness as SECRET_KEY."""
    return child(observed, "Secret", names.peers(observed.name), type="Opaque")
