"""Embedding tables in an ONNX graph, stored in fewer bytes than they are computed in.

`int8` has a scale for each row, the largest magnitude in it over 127: words' vectors differ much in length,
and one scale for a table, as quantisers of whole graphs take, would leave the short ones few steps. Rows are
widened after they are looked up, so that no wide table is ever in memory.
"""

from typing import Any, Literal

import numpy as np

from distill_jax.export.graph import Graph

Storage = Literal["float32", "float16", "int8"]

_LARGEST = 127


class Table:
    """A table [rows, features] of a graph.

    Args:
        graph: in which it lies.
        name: of its tensor.
        values: float32 or float16.
        storage: in what it is stored; float16 values stay so under `float32`.
    """

    def __init__(self, graph: Graph, name: str, values: Any, storage: Storage) -> None:
        values = np.asarray(values)
        self._graph = graph
        self._scales: str | None = None
        self._is_wide = storage == "float32" and values.dtype == np.float32
        if storage == "int8":
            values, scales = quantised_rows(values)
            self._scales = graph.constant(f"{name}.scales", scales)
        elif not self._is_wide:
            values = values.astype(np.float16)
        self._values = graph.constant(name, values)

    def rows(self, ids: str) -> str:
        """The rows of these ids, float32[…, features]."""
        graph = self._graph
        rows = graph.node("Gather", self._values, ids, axis=0)
        if self._is_wide:
            return rows
        rows = graph.cast(rows, np.float32)
        if self._scales is None:
            return rows
        scales = graph.node("Gather", self._scales, ids, axis=0)
        return graph.node("Mul", rows, graph.cast(scales, np.float32))


def quantised_rows(values_VxE: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8[V, E] and float16[V, 1] whose product is near the values: each is off by half a step or less,
    but for the rounding of the scale."""
    values = np.asarray(values_VxE, np.float32)
    # Rounded before it is divided by, so that it is the same that is multiplied by; never a number below
    # float16's smallest, with which a row of small values would become infinite.
    smallest = np.finfo(np.float16).tiny
    scales = np.maximum(np.abs(values).max(axis=1, keepdims=True) / _LARGEST, smallest)
    scales = scales.astype(np.float16)
    steps = np.rint(values / scales.astype(np.float32))
    return np.clip(steps, -_LARGEST, _LARGEST).astype(np.int8), scales
