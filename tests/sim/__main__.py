"""`python -m tests.sim`: one seed again, with all that happens in it, or as many seeds as a time allows."""

from __future__ import annotations

import argparse
import random
import sys

from .events import table, too_seldom
from .run import CI_SECONDS, describe, prepare, run_for, run_seed


def main() -> int:
    """0 when every promise held, and in a run of the CI's length everything rare happened often enough."""
    options = _options()
    if options.seed is not None:
        prepare()
        outcome = run_seed(options.seed, print if options.trace else None)
        print(f"seed {outcome.seed}: {outcome.calls} store calls, {outcome.seconds:.0f} s, trace {outcome.digest}")
        print(outcome.violation or "all promises held")
        return int(bool(outcome.violation))
    first = options.first if options.first is not None else random.randrange(10**9)
    print(f"seeds from {first} for {options.seconds} s on {options.processes} processes", flush=True)
    summary = run_for(options.seconds, first, options.processes)
    print(table(summary.events), describe(summary), sep="\n\n")
    missing = too_seldom(summary.events) if options.seconds >= CI_SECONDS else []
    if missing:
        print(f"happened too seldom: {', '.join(missing)}")
    return int(bool(summary.broken or missing))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description="The deterministic simulation.")
    parser.add_argument("--seed", type=int, help="run this seed only")
    parser.add_argument("--trace", action="store_true", help="with --seed: print what happens")
    parser.add_argument(
        "--seconds", type=float, default=CI_SECONDS, help="run seeds for so long (default: %(default)s)"
    )
    parser.add_argument("--first", type=int, help="the first of the seeds (default: a random one, which is printed)")
    parser.add_argument("--processes", type=int, default=2, help="how many run side by side (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
