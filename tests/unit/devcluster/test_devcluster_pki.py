"""The API server can be trusted by everyone who talks to it, and keys are root's alone."""

from __future__ import annotations

import base64
import csv
import ipaddress
import json
from pathlib import Path

import pytest
from cryptography import x509

from devcluster import layout, nodes, pki
from devcluster.layout import Folders
from devcluster.pki import User


@pytest.fixture
def written(tmp_path: Path) -> dict[User, Path]:
    """The files of a cluster of two nodes."""
    return pki.write_all(tmp_path, layout.nodes(2))


@pytest.mark.parametrize("address", [layout.CONTROL_PLANE.address, layout.API_SERVICE, "127.0.0.1"])
def test_the_api_server_is_trusted_under_every_address_it_has(
    tmp_path: Path, written: dict[User, Path], address: str
) -> None:
    authority = x509.load_pem_x509_certificate((tmp_path / "ca.crt").read_bytes())
    server = x509.load_pem_x509_certificate((tmp_path / "apiserver.crt").read_bytes())
    server.verify_directly_issued_by(authority)
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert ipaddress.ip_address(address) in names.get_values_for_type(x509.IPAddress)


def test_only_root_can_read_a_private_key(tmp_path: Path, written: dict[User, Path]) -> None:
    keys = list(tmp_path.glob("*.key"))
    assert {path.name for path in keys} == {"ca.key", "apiserver.key", "kubelet-client.key", "sa.key"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in keys)


def test_a_kubelet_is_the_user_that_node_restriction_expects(tmp_path: Path, written: dict[User, Path]) -> None:
    rows = {row[1]: row for row in csv.reader((tmp_path / "tokens.csv").read_text().splitlines())}
    assert rows["system:node:n2"][3] == "system:nodes"
    assert rows["admin"][3] == "system:masters"
    assert len({row[0] for row in rows.values()}) == len(rows), "every user has a token of its own"


def test_a_kubeconfig_holds_all_it_needs(tmp_path: Path, written: dict[User, Path]) -> None:
    config = json.loads(written[pki.ADMIN].read_text())
    cluster = config["clusters"][0]["cluster"]
    assert cluster["server"] == "https://10.213.0.2:6443"
    assert base64.b64decode(cluster["certificate-authority-data"]) == (tmp_path / "ca.crt").read_bytes()


def test_nodes_do_not_share_the_leases_of_pod_addresses() -> None:
    folders = Folders()
    configs = [json.dumps(nodes.cni_config(folders.node(node), node)) for node in layout.nodes(2)]
    assert all(f"/nodes/n{number}/ipam" in config for number, config in enumerate(configs, 1))
