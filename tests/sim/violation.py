"""What every check of the simulation raises."""

from __future__ import annotations


class Violation(AssertionError):
    """The product broke a promise in a simulated run."""
