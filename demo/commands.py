"""kubectl and helm for one cluster, always with that cluster's kubeconfig. Used by every step that talks to it."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.errors import DemoError


@dataclass(frozen=True)
class Commands:
    """`kubeconfig`, `kubectl` and `helm` are paths; nothing here reads the user's own kubeconfig by accident."""

    kubeconfig: Path
    kubectl_path: Path
    helm_path: Path

    def kubectl(self, *args: str, stdin: str | None = None, timeout: float = 180) -> str:
        """What it prints; DemoError with its complaint when it fails."""
        return self._run(self.kubectl_path, args, stdin, timeout)

    def helm(self, *args: str, timeout: float = 300) -> str:
        """What it prints; DemoError with its complaint when it fails."""
        return self._run(self.helm_path, args, None, timeout)

    def json(self, *args: str) -> Any:
        """`kubectl get … -o json`."""
        return json.loads(self.kubectl("get", *args, "-o", "json"))

    def apply(self, *resources: dict[str, Any]) -> None:
        """Applies resources."""
        self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": resources}))

    def environment(self) -> dict[str, str]:
        """The environment of a program that is to use this cluster."""
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig)}

    def _run(self, program: Path, args: tuple[str, ...], stdin: str | None, timeout: float) -> str:
        shown = f"{program.name} {' '.join(args)}"
        try:
            done = subprocess.run(
                [program, *args],
                input=stdin,
                text=True,
                capture_output=True,
                timeout=timeout,
                env=self.environment(),
            )
        except FileNotFoundError as error:
            raise DemoError(f"{program} is missing") from error
        except subprocess.TimeoutExpired as error:
            raise DemoError(f"{shown}: no end after {timeout:g} s") from error
        if done.returncode:
            raise DemoError(f"{shown}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout
