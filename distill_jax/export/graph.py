"""Writes ONNX graphs (https://onnx.ai/onnx/operators/) node by node.

Why own nodes, and not a converter of JAX programs: a converter sees the loop of an LSTM as a `Loop` of small
products, with shapes that were traced; ONNX has the layer itself, `LSTM`, which runtimes compute in
one fused kernel, quantise, and take any batch and length for. The graphs of our models are a page each, and
are held equal to the models by tests.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import external_data_helper, helper, numpy_helper

from distill_jax.export.size import check_size
from distill_jax.version import __version__
from distill_jax_runtime.directory import tables_file

OPSET = 17
"""Of the standard operators: the least that has all that is used, so that older runtimes load it too."""
IR_VERSION = 8
"""Of the file: that of the same release of ONNX as `OPSET`."""

_LARGE = 1 << 24
"""Bytes of a tensor that is kept beside the graph: a table of words or subwords, not a student's layer."""
_PAGE = 1 << 12

Dim = int | str
"""A size, or the name of one that may change from call to call."""


class Graph:
    """A graph in the making: `node` adds one and gives its output's name."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, dtype: Any, shape: Sequence[Dim]) -> str:
        """An argument of the graph."""
        self._inputs.append(_value(name, dtype, shape))
        return name

    def output(self, value: str, name: str, dtype: Any, shape: Sequence[Dim]) -> None:
        """Makes a value a result of the graph, under a name of its own."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(_value(name, dtype, shape))

    def constant(self, name: str, array: Any) -> str:
        """A tensor of the model, stored under this name."""
        if name in self._constants:
            raise ValueError(f"{name} is there already")
        self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def number(self, value: Any, dtype: Any) -> str:
        """A small constant, a number or a list of them, that is there once."""
        array = np.asarray(value, dtype)
        name = f"{array.dtype}:{array.tolist()}"
        return name if name in self._constants else self.constant(name, array)

    def nodes(self, kind: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> list[str]:
        """Adds a node with so many outputs; their names. An input of "" is one that is left out."""
        number = len(self._nodes)
        names = [f"{kind}_{number}_{k}" if k else f"{kind}_{number}" for k in range(outputs)]
        self._nodes.append(helper.make_node(kind, inputs, names, name=names[0], **attributes))
        return names

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node with one output; its name."""
        return self.nodes(kind, inputs, 1, **attributes)[0]

    def cast(self, value: str, dtype: Any) -> str:
        """The value in another type."""
        return self.node("Cast", value, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def model(self, name: str, metadata: Mapping[str, str]) -> onnx.ModelProto:
        """The finished model, checked. Raises `UserError` if it is too large for a file."""
        size = sum(constant.ByteSize() for constant in self._constants.values())
        check_size(size, "an ONNX file")
        graph = helper.make_graph(
            self._nodes,
            name,
            self._inputs,
            self._outputs,
            initializer=list(self._constants.values()),
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="distill_jax",
            producer_version=__version__,
        )
        helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model)
        return model


def serialised(model: onnx.ModelProto, file: str) -> dict[str, bytes]:
    """A model's bytes under the name of its file, and under another those of its large tables.

    A program that needs few rows of a table, as a sentence does, may then map that file and read no more.
    The tables are taken out of `model`.
    """
    tables = tables_file(Path(file)).name
    content = bytearray()
    for tensor in model.graph.initializer:
        if len(tensor.raw_data) < _LARGE:
            continue
        content += bytes(-len(content) % _PAGE)
        size = len(tensor.raw_data)
        external_data_helper.set_external_data(tensor, tables, len(content), size)
        content += tensor.raw_data
        tensor.ClearField("raw_data")
    graph = {file: model.SerializeToString()}
    return {**graph, tables: bytes(content)} if content else graph


def _value(name: str, dtype: Any, shape: Sequence[Dim]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(
        name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), list(shape)
    )
