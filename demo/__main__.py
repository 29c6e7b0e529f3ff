"""`python -m demo up|down`, the programs behind `make demo` and `make demo-down`. CLUSTER=devcluster|kind|current."""

from __future__ import annotations

import argparse
import os
import sys

from demo import places, story
from demo.errors import DemoError
from devcluster.errors import DevclusterError
from vectorfleet import VectorFleetError

REMEMBERED = places.CACHE / "place"  # where the last `up` ran, so that `down` needs no CLUSTER


def up() -> None:
    """Runs the demo; the cluster stays up."""
    place = places.choose(os.environ.get("CLUSTER", ""))
    places.CACHE.mkdir(parents=True, exist_ok=True)
    REMEMBERED.write_text(place.name)
    story.run(place)


def down() -> None:
    """Removes what `up` made, and keeps the cache of embeddings."""
    remembered = REMEMBERED.read_text() if REMEMBERED.is_file() else ""
    place = places.choose(os.environ.get("CLUSTER", "") or remembered)
    place.stop()
    REMEMBERED.unlink(missing_ok=True)
    print(f"removed what the demo made on {place.name}; the embeddings stay in {places.CACHE}")


def main() -> int:
    """Exit code 0 when everything the demo promises held, 1 when not, 130 for Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("what", choices=["up", "down"])
    chosen = parser.parse_args().what
    try:
        (up if chosen == "up" else down)()
    except (DemoError, DevclusterError, VectorFleetError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted; make demo-down removes what is there", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
