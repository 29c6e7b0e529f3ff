"""What `hnsw` and `pq` hold of vectors: zero-padded, scaled for fp16, of length 1 for Cosine. Pure.

The trap is a scalar quantizer over dimensions that are no multiple of 16: many times slower. And fp16 ends at 65504 and
loses digits below 6e-5, so what is not normalised is scaled by a power of two, which adds no rounding.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from vectorfleet.schema import Metric
from vectorfleet_node.engine.port import Floats
from vectorfleet_node.engine.scoring import rows_per_chunk

_PAD: Final = 16
_TOP_EXPONENT: Final = 8  # components are scaled below 2**8, far from both ends
_TRAINED_ON: Final = 65_536  # rows at most: more change nothing that was measured
_FINE_UP_TO: Final = 256  # dimensions; shorter vectors lose too much with four dimensions to a code
FP16_BYTES: Final = 2


def padded_dimensions(dimensions: int) -> int:
    """The next multiple of 16."""
    return -(-dimensions // _PAD) * _PAD


def codes_of(dimensions: int) -> int:
    """How many 4-bit codes a vector has in a product quantizer: one for 4 dimensions, for short vectors one for 2."""
    width = padded_dimensions(dimensions)
    return width // (2 if width <= _FINE_UP_TO else 4)


def scale_of(vectors: Floats, metric: Metric) -> float:
    """A power of two that brings the largest component near the top of fp16's best range; 1 for Cosine."""
    if metric is Metric.COSINE or not vectors.size:
        return 1.0
    step = rows_per_chunk(vectors.shape[1], 4)
    largest = max(float(np.abs(vectors[start : start + step]).max()) for start in range(0, len(vectors), step))
    return 2.0 ** (_TOP_EXPONENT - int(np.frexp(largest)[1])) if largest else 1.0


def prepare(vectors: Floats, metric: Metric, scale: float) -> Floats:
    """(rows, padded) float32: scaled, for Cosine of length 1 (L2 then orders as cosine does), zero-padded."""
    rows, dimensions = vectors.shape
    out = np.zeros((rows, padded_dimensions(dimensions)), np.float32)
    np.multiply(vectors, np.float32(scale), out=out[:, :dimensions])
    if metric is Metric.COSINE:
        lengths = np.sqrt(np.einsum("ij,ij->i", out, out))
        out /= np.maximum(lengths, np.finfo(np.float32).tiny)[:, None]
    return out


def sample(vectors: Floats, metric: Metric, scale: float, at_least: int) -> Floats:
    """Prepared rows for a quantizer to learn from, evenly spaced (rows often come sorted by something).

    Rows are repeated where there are fewer than `at_least`; without any it learns zeros.
    """
    if not len(vectors):
        return np.zeros((at_least, padded_dimensions(vectors.shape[1])), np.float32)
    rows = vectors[:: -(-len(vectors) // _TRAINED_ON)]
    return np.resize(prepare(rows, metric, scale), (max(at_least, len(rows)), padded_dimensions(vectors.shape[1])))
