"""Entry point `vectorfleet-node`.

It imports nothing of weight before it listens to SIGTERM: a container's first process ignores signals that it has no
handler for, and a pod that is deleted while it still imports would otherwise take its whole grace period to go.
"""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Serves, or purges, until it is done or told to stop."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    from vectorfleet_node.process import run

    run()


if __name__ == "__main__":
    main()
