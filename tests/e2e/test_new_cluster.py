"""A lost cluster comes back from the YAML and the bucket alone."""

from __future__ import annotations

from collections.abc import Callable

from clusters import DevCluster
from fleet import Fleet


def test_the_same_yaml_on_a_new_cluster_adopts_the_data(
    devcluster: DevCluster, fleet: Fleet, install_chart: Callable[[], None]
) -> None:
    fleet.apply()
    fleet.wait_for("Ready")
    fleet.load(1000, seed=11)
    before = fleet.answers()
    uid = fleet.status["storage"]["uid"]
    fleet.kubectl("delete", "vc", fleet.name, "--timeout=60s")
    devcluster.renew()
    install_chart()
    fleet.commands.kubectl("create", "namespace", fleet.namespace)
    fleet.make_secret()
    fleet.apply()
    fleet.wait_for("Ready")
    assert fleet.status["storage"]["uid"] == uid
    assert fleet.answers() == before
