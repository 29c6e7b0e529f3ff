"""`python -m tests.property`: one seed again, with all that happens in it, or many seeds."""

from __future__ import annotations

import argparse
import random
import sys

from .run import CI_CASES, describe, run_case, run_many


def main() -> int:
    """0 when every answer was right."""
    options = _options()
    if options.seed is not None:
        outcome = run_case(options.seed, print)
        print(outcome.problem or f"every answer was right: {dict(outcome.seen)}")
        return int(bool(outcome.problem))
    first = options.first if options.first is not None else random.randrange(10**9)
    print(f"{options.cases} seeds from {first} on {options.processes} processes", flush=True)
    summary = run_many(options.cases, first, options.processes)
    print(describe(summary))
    return int(bool(summary.broken))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.property", description="Searches against an oracle.")
    parser.add_argument("--seed", type=int, help="run this seed only, and print what happens")
    parser.add_argument("--cases", type=int, default=CI_CASES, help="run so many seeds (default: %(default)s)")
    parser.add_argument("--first", type=int, help="the first of the seeds (default: a random one, which is printed)")
    parser.add_argument("--processes", type=int, default=2, help="how many run side by side (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
