"""The demo's collection on a cluster: chart, bucket, Secret, manifest, and addresses to reach its nodes.

Everything here is what a user would do with helm and kubectl; the commands are printed as they would type them.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from demo import screen
from demo.commands import Commands
from demo.errors import DemoError
from demo.places import ROOT, Bucket

NAME = "dictionary"
NAMESPACE = "default"
BUCKET = "vectorfleet-demo"
MANIFEST = ROOT / "examples" / "dictionary.yaml"
CHART = ROOT / "charts" / "vectorfleet"
SYSTEM = "vectorfleet-system"
PORT = 7300


def install_chart(commands: Commands, images: dict[str, str], cache: Path) -> None:
    """Installs or upgrades the chart with this tree's images, and waits until the operator is available."""
    values = cache / "values.json"
    values.write_text(
        json.dumps({"image": {"reference": images["operator"]}, "nodeImage": {"reference": images["node"]}})
    )
    commands.helm(
        "upgrade", "--install", "vectorfleet", str(CHART), "--namespace", SYSTEM, "--create-namespace",
        "--values", str(values), "--wait", "--timeout", "180s",
    )  # fmt: skip
    screen.shell(f"helm install vectorfleet charts/vectorfleet --namespace {SYSTEM} --create-namespace")


def make_secret(commands: Commands, bucket: Bucket) -> None:
    """The Secret that the manifest names."""
    secret = manifest_of(bucket)["spec"]["storage"]["credentials"]["secretRef"]["name"]
    keys = {"AWS_ACCESS_KEY_ID": bucket.access_key, "AWS_SECRET_ACCESS_KEY": bucket.secret_key}
    metadata = {"name": secret, "namespace": NAMESPACE}
    commands.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": keys})
    screen.shell(f"kubectl create secret generic {secret} --from-literal=AWS_ACCESS_KEY_ID={bucket.access_key} …")


def manifest_of(bucket: Bucket) -> dict[str, Any]:
    """examples/dictionary.yaml for this bucket; on devcluster it is the file as it stands."""
    manifest: dict[str, Any] = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))
    storage = manifest["spec"]["storage"]
    storage["url"] = f"s3://{bucket.name}/{NAME}"
    storage["endpoint"] = bucket.endpoint
    return manifest


def apply(commands: Commands, bucket: Bucket) -> None:
    """Applies the collection and waits until it is Ready, and then until every copy serves: one will be killed."""
    commands.apply(manifest_of(bucket))
    screen.shell(f"kubectl apply -f {MANIFEST.relative_to(ROOT)}")
    for condition in ("Ready", "FullyReplicated"):
        _wait_for(commands, condition)


def _wait_for(commands: Commands, condition: str) -> None:
    try:
        commands.kubectl("-n", NAMESPACE, "wait", f"--for=condition={condition}", f"vc/{NAME}", "--timeout=120s")
    except DemoError as error:
        conditions = commands.json("-n", NAMESPACE, "vc", NAME).get("status", {}).get("conditions", [])
        told = "; ".join(f"{each['type']}={each['status']}: {each.get('message', '')}" for each in conditions)
        raise DemoError(f"{error}: {told or 'the operator wrote no condition'}") from error
    screen.shell(f"kubectl wait --for=condition={condition} vc/{NAME} --timeout=120s")


def pods(commands: Commands) -> list[dict[str, Any]]:
    """The fleet's pods that are Ready and not on their way out."""
    found = commands.json("-n", NAMESPACE, "pods", "-l", f"vectorfleet.io/collection={NAME}")["items"]
    return [pod for pod in found if _is_ready(pod)]


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


@contextlib.contextmanager
def addresses(commands: Commands, pods_are_reachable: bool) -> Iterator[list[str]]:
    """An address of each ready pod: its own where this machine has a route to it, else a port-forward."""
    ready = pods(commands)
    if not ready:
        raise DemoError(f"no pod of {NAME} is ready")
    if pods_are_reachable:
        yield [f"{pod['status']['podIP']}:{PORT}" for pod in ready]
        return
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(_forwarded(commands, pod["metadata"]["name"])) for pod in ready]


@contextlib.contextmanager
def _forwarded(commands: Commands, pod: str) -> Iterator[str]:
    process = subprocess.Popen(
        [commands.kubectl_path, "-n", NAMESPACE, "port-forward", f"pod/{pod}", f":{PORT}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=commands.environment(),
    )
    try:
        line = process.stdout.readline() if process.stdout else ""
        found = re.search(r"127\.0\.0\.1:(\d+)", line)
        if not found:
            raise DemoError(f"kubectl port-forward pod/{pod}: {line.strip()}")
        yield f"127.0.0.1:{found[1]}"
    finally:
        process.kill()
        process.wait()
