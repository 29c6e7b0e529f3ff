"""Settings of the operator, from `VECTORFLEET_OPERATOR_*` in the environment; read once by `main`.

POD_NAME and POD_NAMESPACE have no prefix, since the Deployment fills them from the pod itself. Outside a cluster
(development), KUBECONFIG names the cluster and the defaults do for the rest.
"""

from __future__ import annotations

import socket
from typing import Literal

from pydantic import AliasChoices, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "VECTORFLEET_OPERATOR_"
LEASE = "vectorfleet-operator"


class SettingsError(Exception):
    """A setting cannot be used; the message names the variable, its value and what is allowed."""


class OperatorSettings(BaseSettings):
    """Everything that the operator must be told from outside."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", populate_by_name=True)

    node_image: str = Field(min_length=1)
    namespaces: str = ""  # separated by commas; empty: all
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    http_port: int = Field(default=8080, ge=0, le=65535)
    workers: int = Field(default=4, ge=1, le=64)
    pod_name: str = Field(
        default_factory=socket.gethostname, validation_alias=AliasChoices("POD_NAME", f"{PREFIX}POD_NAME")
    )
    pod_namespace: str = Field(
        default="default", validation_alias=AliasChoices("POD_NAMESPACE", f"{PREFIX}POD_NAMESPACE")
    )
    kubeconfig: str = Field(default="", validation_alias=AliasChoices("KUBECONFIG", f"{PREFIX}KUBECONFIG"))

    @property
    def watched_namespaces(self) -> tuple[str, ...]:
        """The namespaces to watch; empty for all."""
        return tuple(name.strip() for name in self.namespaces.split(",") if name.strip())


def load() -> OperatorSettings:
    """The settings in the environment. SettingsError, in one line, when one cannot be used."""
    try:
        return OperatorSettings()
    except ValidationError as error:
        problems = [
            f"{PREFIX}{str(problem['loc'][0]).upper()}={problem.get('input')!r}: {problem['msg']}"
            for problem in error.errors()
        ]
        raise SettingsError("; ".join(problems)) from None
