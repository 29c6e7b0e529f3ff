"""Range search: a score that every hit has to reach. `search` and `grouping` call this after ranking.

The k best rows are cut where the score falls below the threshold, so k stays the most that comes back: k hits mean that
there may be more of them. On an index that approximates, what is among the k best is as good as without a threshold.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vectorfleet_node.query.errors import InvalidQuery
from vectorfleet_node.query.model import Floats


def check_min_score(min_score: float | None) -> float | None:
    """The threshold, as it was. InvalidQuery for NaN, which no score can be compared with."""
    if min_score is not None and np.isnan(min_score):
        raise InvalidQuery("min_score", "is NaN; a number is needed")
    return min_score


def reaching(scores: Floats, min_score: float | None) -> slice | NDArray[np.int64]:
    """Which of (n,) scores reach the threshold: an index for arrays of n, all of them when there is none."""
    return slice(None) if min_score is None else np.flatnonzero(scores >= np.float32(min_score))
