"""What the graphs of encoders over subwords share: products, activations, attention, the head.

Shape suffixes: B batch, S subwords, L words, D model width, H heads.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from distill_jax.export.graph import Graph
from distill_jax.models.attention import MASKED


class Encoder:
    """Adds nodes to a graph that tags words by their first subwords.

    Args:
        graph: gets the inputs `tokens` int32[batch, source] and `first` int32[batch, length], where each
            word's first token stands, -1 where there is no word.
        pad_id: the token that is padding.
    """

    def __init__(self, graph: Graph, pad_id: int) -> None:
        self.graph = graph
        self.tokens = graph.input("tokens", np.int32, ("batch", "source"))
        self.first = graph.input("first", np.int32, ("batch", "length"))
        is_padding = graph.node("Equal", self.tokens, graph.number(pad_id, np.int32))
        self.is_padding_BxS = is_padding
        bias_BxS = graph.node(
            "Where", is_padding, graph.number(MASKED, np.float32), graph.number(0, np.float32)
        )
        self.mask_Bx1x1xS = graph.node("Unsqueeze", bias_BxS, graph.number([1, 2], np.int64))

    def positions(self) -> str:
        """int32[S]: 0, 1, …"""
        graph = self.graph
        shape = graph.node("Shape", self.tokens, start=1)
        length = graph.node("Squeeze", graph.cast(shape, np.int32))
        return graph.node("Range", graph.number(0, np.int32), length, graph.number(1, np.int32))

    def dense(self, x: str, name: str, params: Mapping[str, Any]) -> str:
        """x W, and + b where there is a bias."""
        graph = self.graph
        product = graph.node("MatMul", x, graph.constant(f"{name}.kernel", params["kernel"]))
        if "bias" not in params:
            return product
        return graph.node("Add", product, graph.constant(f"{name}.bias", params["bias"]))

    def activation(self, x: str, name: str) -> str:
        """One of `relu`, `silu`, `gelu` (by erf) and `gelu_new` (by tanh)."""
        graph = self.graph
        if name == "relu":
            return graph.node("Relu", x)
        if name == "silu":
            return graph.node("Mul", x, graph.node("Sigmoid", x))
        one, half = graph.number(1, np.float32), graph.number(0.5, np.float32)
        if name == "gelu":
            scaled = graph.node("Div", x, graph.number(math.sqrt(2), np.float32))
            gate = graph.node("Erf", scaled)
        else:
            cube = graph.node("Mul", graph.node("Mul", x, x), x)
            small = graph.node("Mul", cube, graph.number(0.044715, np.float32))
            scale = graph.number(math.sqrt(2 / math.pi), np.float32)
            gate = graph.node("Tanh", graph.node("Mul", graph.node("Add", x, small), scale))
        return graph.node("Mul", graph.node("Mul", x, graph.node("Add", gate, one)), half)

    def attention(
        self, x: str, name: str, params: Mapping[str, Any], heads: int, bias: str, scale: float
    ) -> str:
        """Self-attention (Vaswani et al. 2017, section 3.2) of `heads` heads; `bias` broadcasts to
        [B, H, S, S], and the product of queries and keys is multiplied by `scale` before it is added."""
        graph = self.graph
        size = params["query"]["kernel"].shape[1] // heads

        def split(which: str, perm: tuple[int, ...]) -> str:
            projected = self.dense(x, f"{name}.{which}", params[which])
            shape = graph.number([0, 0, heads, size], np.int64)
            return graph.node("Transpose", graph.node("Reshape", projected, shape), perm=perm)

        query, value = split("query", (0, 2, 1, 3)), split("value", (0, 2, 1, 3))
        scores = graph.node("MatMul", query, split("key", (0, 2, 3, 1)))
        if scale != 1.0:
            scores = graph.node("Mul", scores, graph.number(scale, np.float32))
        weights = graph.node("Softmax", graph.node("Add", scores, bias), axis=-1)
        mixed = graph.node("Transpose", graph.node("MatMul", weights, value), perm=(0, 2, 1, 3))
        joined = graph.node("Reshape", mixed, graph.number([0, 0, heads * size], np.int64))
        return self.dense(joined, f"{name}.out", params["out"])

    def tag(self, states_BxSxD: str, head: Mapping[str, Any]) -> None:
        """Makes `logits` and `log_probabilities`, float32[batch, length, tags], the graph's outputs; where
        there is no word they have no meaning."""
        graph = self.graph
        places = graph.node("Max", self.first, graph.number(0, np.int32))
        # One index a row: rows are gathered along the second axis of each sentence.
        indices = graph.node(
            "Unsqueeze", graph.cast(places, np.int64), graph.number([-1], np.int64)
        )
        words_BxLxD = graph.node("GatherND", states_BxSxD, indices, batch_dims=1)
        logits = self.dense(words_BxLxD, "output", head)
        shape = ("batch", "length", head["kernel"].shape[1])
        graph.output(logits, "logits", np.float32, shape)
        graph.output(
            graph.node("LogSoftmax", logits, axis=-1), "log_probabilities", np.float32, shape
        )
