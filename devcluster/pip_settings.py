"""The machine's pip settings, for `pip` in an image build: an index of one's own, certificates, a folder of wheels.

They are mounted as /etc/pip.conf for the length of the build, so that neither a Dockerfile nor an image knows of them.
"""

from __future__ import annotations

import ast
import configparser
import io
import re
import sys
from pathlib import Path

from devcluster.commands import run

# Settings about where packages come from; those about where they go would break the build.
PASSED_ON = {
    "cert", "client-cert", "default-timeout", "extra-index-url", "find-links", "index-url", "no-index", "proxy",
    "retries", "timeout", "trusted-host",
}  # fmt: skip
CERTIFICATES = Path("/etc/ssl/certs")


def parse(listing: str) -> dict[str, str]:
    """What PASSED_ON names in the output of `pip config list`; the environment wins over files, as in pip."""
    found: dict[str, str] = {}
    for line in sorted(listing.splitlines(), key=lambda line: line.startswith(":env:")):
        setting = re.match(r"(:env:|global|install)\.([a-z-]+)=(.*)$", line)
        if setting and setting.group(2) in PASSED_ON:
            # The command line calls it `timeout`; only the environment knows the other name.
            found[setting.group(2).replace("default-timeout", "timeout")] = str(ast.literal_eval(setting.group(3)))
    return found


def as_file(settings: dict[str, str]) -> str:
    """The settings as a pip.conf."""
    config = configparser.RawConfigParser()
    config["global"] = settings
    text = io.StringIO()
    config.write(text)
    return text.getvalue()


def paths(settings: dict[str, str]) -> list[Path]:
    """Files and folders of this machine that the settings name."""
    words = [Path(word) for value in settings.values() for word in value.split() if word.startswith("/")]
    return [path for path in words if path.exists() and CERTIFICATES not in path.parents]


def volumes(folder: Path) -> list[str]:
    """Options for `buildah bud` that make the settings known to its RUN lines.

    Args:
        folder: where the pip.conf is written; it must outlive the build.
    """
    settings = parse(run(sys.executable, "-m", "pip", "config", "list", check=False))
    file = folder / "pip.conf"
    file.write_text(as_file(settings))
    mounted = [(file, Path("/etc/pip.conf")), *((path, path) for path in paths(settings))]
    if CERTIFICATES.is_dir():
        mounted.append((CERTIFICATES, CERTIFICATES))
    return [f"--volume={source}:{target}:ro" for source, target in mounted]
