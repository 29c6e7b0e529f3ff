"""Names and labels: of the API, of what the operator owns, and of the files in its pods.

Imported wherever a name is needed, so that each is written once.
"""

from __future__ import annotations

GROUP = "vectorfleet.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "VectorCollection"
PLURAL = "vectorcollections"
SINGULAR = "vectorcollection"
SHORT_NAME = "vc"
CATEGORY = "vectorfleet"
FINALIZER = f"{GROUP}/finalizer"

COLLECTION_LABEL = f"{GROUP}/collection"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "vectorfleet"

# Children carry at most 13 more characters: `-topology`, or a StatefulSet's ordinal and revision hash.
MAX_NAME_LENGTH = 50
COLLECTION_NAME = f"^[a-z]([-a-z0-9]{{0,{MAX_NAME_LENGTH - 2}}}[a-z0-9])?$"


def labels(collection: str) -> dict[str, str]:
    """Labels of everything that is made for a collection."""
    return {COLLECTION_LABEL: collection, MANAGED_BY_LABEL: MANAGED_BY}


def stateful_set(collection: str) -> str:
    """The pods of the fleet; also the name of its client Service, PDB, NetworkPolicy and ServiceAccount."""
    return collection


def peers(collection: str) -> str:
    """The headless Service by which nodes find each other, and the Secret they prove themselves with."""
    return f"{collection}-peers"


def topology(collection: str) -> str:
    """The ConfigMap with `topology.json`."""
    return f"{collection}-topology"


def purge(collection: str) -> str:
    """The Job that removes the data under deletionPolicy Delete."""
    return f"{collection}-purge"


def pod(collection: str, ordinal: int) -> str:
    """A node of the fleet, which has its pod's name."""
    return f"{collection}-{ordinal}"


def peer_host(collection: str, namespace: str, ordinal: int) -> str:
    """Where the others reach a node, without the port."""
    return f"{pod(collection, ordinal)}.{peers(collection)}.{namespace}.svc"
