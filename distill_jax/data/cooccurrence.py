"""Vectors of tokens or words from the company they keep: what unlabelled text knows in seconds.

Positive pointwise mutual information between a token and those beside it, reduced by a truncated
singular value decomposition, as Levy, Goldberg & Dagan 2015 ("Improving Distributional Similarity with
Lessons Learned from Word Embeddings", TACL 3) recommend it for little text: contexts smoothed by the power
0.75, singular values by 0.5. Contexts to the left and to the right are told apart and near ones count
more, so that what is alike is what could stand in the same place.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import svds

_OFFSETS = {-2: 0.5, -1: 1.0, 1: 1.0, 2: 0.5}
"""Position of the context relative to the token → weight."""
_SMOOTHING = 0.75
_SINGULAR_POWER = 0.5


def cooccurrence_vectors(
    sequences: Iterable[Sequence[int]], size: int, dim: int, *, min_count: int = 2
) -> np.ndarray:
    """A unit vector for every token that occurs at least `min_count` times, zero for the others.

    Args:
        sequences: sentences of ids from 0 to `size` - 1; their edges are a context too.
        size: how many ids there are.
        dim: the width; beyond the rank of the data, columns are zero.

    Returns:
        float32[size, dim].
    """
    edge = size
    occurrences_N = np.zeros(size + 1, np.int64)
    token, context, weight = [], [], []
    for ids in sequences:
        line = np.array([edge, *ids, edge])
        np.add.at(occurrences_N, line, 1)
        for number, (offset, share) in enumerate(_OFFSETS.items()):
            if len(line) <= abs(offset):
                continue
            here, there = (
                (line[-offset:], line[:offset]) if offset < 0 else (line[:-offset], line[offset:])
            )
            token.append(here)
            context.append(there + number * (size + 1))
            weight.append(np.full(len(here), share))
    vectors = np.zeros((size, dim), np.float32)
    if not token:
        return vectors
    counts = sparse.coo_matrix(
        (np.concatenate(weight), (np.concatenate(token), np.concatenate(context))),
        shape=(size + 1, len(_OFFSETS) * (size + 1)),
    ).tocsr()
    counts.sum_duplicates()
    total_N = np.asarray(counts.sum(axis=1)).ravel()
    smoothed_C = np.asarray(counts.sum(axis=0)).ravel() ** _SMOOTHING
    smoothed_C /= smoothed_C.sum()
    counts = counts.tocoo()
    # log p(t, c) / (p(t) p(c)) = log #(t, c) / (#(t) p(c))
    pmi = np.log(counts.data / (total_N[counts.row] * smoothed_C[counts.col]))
    positive = pmi > 0
    matrix = sparse.csr_matrix(
        (pmi[positive], (counts.row[positive], counts.col[positive])), shape=counts.shape
    )
    rank = min(dim, size)
    if matrix.nnz == 0:
        return vectors
    u, s, _ = svds(matrix, k=rank, random_state=np.random.default_rng(0))
    vectors[:, :rank] = (u * s**_SINGULAR_POWER)[:size]
    vectors[occurrences_N[:size] < min_count] = 0
    norm_N = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norm_N, out=np.zeros_like(vectors), where=norm_N > 1e-6)
