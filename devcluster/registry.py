"""The image registry on the bridge address, which nodes pull from over plain HTTP. Called by `up` and `images`.

Its blobs are in the cache folder, so that after a `down` and `up` nothing has to be pushed again.
"""

from __future__ import annotations

import urllib.error
import urllib.request

from devcluster import layout
from devcluster.layout import Folders
from devcluster.network import accepts, check_port_is_free
from devcluster.processes import Supervisor

NAME = "registry"
READY_TIMEOUT = 20.0
MANIFESTS = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"


def start(supervisor: Supervisor, folders: Folders) -> None:
    """Starts the registry and returns when it listens."""
    config = folders.state / "registry.yaml"
    data = layout.cache_folder() / "registry"
    config.write_text(
        f'version: 0.1\nlog: {{level: warn}}\nhttp: {{addr: "{layout.REGISTRY}"}}\n'
        f'storage: {{filesystem: {{rootdirectory: "{data}"}}}}\n'
    )
    check_port_is_free(layout.REGISTRY_PORT)
    supervisor.spawn(NAME, "registry", "serve", config, env={"OTEL_TRACES_EXPORTER": "none"})
    supervisor.wait(NAME, lambda: accepts(layout.HOST, layout.REGISTRY_PORT), READY_TIMEOUT)


def holds(reference: str) -> bool:
    """Whether the registry has the image `<registry>/<name>:<tag>`."""
    name, _, tag = reference.removeprefix(f"{layout.REGISTRY}/").rpartition(":")
    url = f"http://{layout.REGISTRY}/v2/{name}/manifests/{tag}"
    request = urllib.request.Request(url, method="HEAD", headers={"Accept": MANIFESTS})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10):
            return True
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return False
        raise
