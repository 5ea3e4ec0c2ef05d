"""Vectors of fewer dimensions by truncated singular value decomposition."""

import numpy as np


def truncated_svd(vectors_NxD: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """The best approximation of rank k in the least-squares sense (Eckart–Young), as two factors.

    With X = U S Vᵀ it is X ≈ (U_k S_k) V_kᵀ. Rows of U_k S_k are the vectors' coordinates along the k
    directions in which they are largest: dot products between them are kept as well as k numbers can.

    Args:
        vectors_NxD: X.
        rank: k, from 1; beyond min(N, D) there is nothing more to keep.

    Returns:
        float64 coordinates [N, min(k, N, D)] and directions [min(k, N, D), D], orthonormal rows. Of
        each direction the largest entry is positive, so that the result is one and the same.
    """
    if rank < 1:
        raise ValueError(f"the rank is {rank}; it must be at least 1")
    u, s, vt = np.linalg.svd(vectors_NxD.astype(np.float64), full_matrices=False)
    u, s, vt = u[:, :rank], s[:rank], vt[:rank]
    largest = np.take_along_axis(vt, np.abs(vt).argmax(axis=1)[:, None], axis=1)[:, 0]
    sign = np.where(largest < 0, -1.0, 1.0)
    return u * (s * sign), vt * sign[:, None]
