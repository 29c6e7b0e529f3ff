"""Keys, certificates and kubeconfig files of the cluster. Called by `up`; `down` throws them away.

Components and nodes prove who they are by random tokens in a file of the API server's; certificates are for TLS, for
the API server towards the kubelets, and for the tokens of service accounts.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from devcluster import layout
from devcluster.layout import Machine

LIFETIME = datetime.timedelta(days=365)
SERVER_NAMES = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "localhost",
)
SERVER_ADDRESSES = (layout.CONTROL_PLANE.address, layout.API_SERVICE, "127.0.0.1")


@dataclass(frozen=True)
class User:
    """One line of the API server's token file."""

    name: str
    groups: tuple[str, ...] = ()


ADMIN = User("admin", ("system:masters",))
CONTROLLER_MANAGER = User("system:kube-controller-manager")
SCHEDULER = User("system:kube-scheduler")
PROXY = User("system:kube-proxy")


def kubelet(machine: Machine) -> User:
    """The user that a node's kubelet is; NodeRestriction goes by this name."""
    return User(f"system:node:{machine.name}", ("system:nodes",))


def _name(common: str, organization: str | None = None) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    if organization:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(parts)


class Authority:
    """A certificate authority in a folder: `ca.crt`, `ca.key`, and `<name>.crt`, `<name>.key` for what it issues."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = _name("vectorfleet-devcluster")
        certificate = self._sign(self._subject, self._key.public_key(), x509.BasicConstraints(ca=True, path_length=0))
        self.certificate = certificate.public_bytes(serialization.Encoding.PEM)
        self._write("ca", self._key, self.certificate)

    def issue(self, name: str, common: str, organization: str | None = None, server: bool = False) -> None:
        """Issues `<name>.crt` and `<name>.key`; for a server, with the API server's names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        extensions: list[x509.ExtensionType] = [x509.BasicConstraints(ca=False, path_length=None)]
        if server:
            names: list[x509.GeneralName] = [x509.DNSName(value) for value in SERVER_NAMES]
            names += [x509.IPAddress(ipaddress.ip_address(value)) for value in SERVER_ADDRESSES]
            extensions.append(x509.SubjectAlternativeName(names))
        certificate = self._sign(_name(common, organization), key.public_key(), *extensions)
        self._write(name, key, certificate.public_bytes(serialization.Encoding.PEM))

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *extensions: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            # A clock that was set back a little must not make it "not yet valid".
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + LIFETIME)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(self._key, hashes.SHA256())

    def _write(self, name: str, key: ec.EllipticCurvePrivateKey, certificate: bytes) -> None:
        (self._folder / f"{name}.crt").write_bytes(certificate)
        write_key(self._folder / f"{name}.key", key)


def write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """Writes a private key that only root can read."""
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def write_service_account_keys(folder: Path) -> None:
    """Writes `sa.key` and `sa.pub`, with which service account tokens are signed and checked."""
    key = ec.generate_private_key(ec.SECP256R1())
    write_key(folder / "sa.key", key)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (folder / "sa.pub").write_bytes(public)


def token_file(tokens: dict[User, str]) -> str:
    """The API server's static token file: token, user, uid, groups."""
    rows = [f'{token},{user.name},{user.name},"{",".join(user.groups)}"' for user, token in tokens.items()]
    return "\n".join(rows) + "\n"


def kubeconfig(certificate: bytes, token: str) -> str:
    """A kubeconfig (JSON, which is YAML) with everything in it, so that it can be copied elsewhere."""
    authority = base64.b64encode(certificate).decode()
    name = "vectorfleet-devcluster"
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": name, "cluster": {"server": layout.API_SERVER, "certificate-authority-data": authority}}
            ],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        },
        indent=1,
    )


def kubeconfig_file(folder: Path, user: User) -> Path:
    """Where the user's kubeconfig is."""
    return folder / f"{user.name.replace(':', '-')}.kubeconfig"


def write_all(folder: Path, machines: list[Machine]) -> dict[User, Path]:
    """Writes every key, certificate and token of a cluster with these nodes.

    Returns:
        The kubeconfig file of each user.
    """
    authority = Authority(folder)
    authority.issue("apiserver", "kube-apiserver", server=True)
    authority.issue("kubelet-client", "apiserver-kubelet-client", "system:masters")
    write_service_account_keys(folder)
    users = [ADMIN, CONTROLLER_MANAGER, SCHEDULER, PROXY, *(kubelet(machine) for machine in machines)]
    tokens = {user: secrets.token_hex(16) for user in users}
    (folder / "tokens.csv").write_text(token_file(tokens))
    files = {user: kubeconfig_file(folder, user) for user in users}
    for user, path in files.items():
        path.write_text(kubeconfig(authority.certificate, tokens[user]))
    return files
