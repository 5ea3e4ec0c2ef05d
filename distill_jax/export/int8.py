"""Dynamic quantisation of a graph by onnxruntime: int8 weights, activations quantised as they come.

The layers alone (LSTM, products): embeddings are quantised where the graph is written (`tables`), a row at a
time. A tensor's activations have one scale for the whole batch, so that what is found for a sentence may
differ, a little, with the sentences that are tagged beside it.
"""

import contextlib
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnx

_LAYERS = ["LSTM", "MatMul"]


def quantised(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with its layers' weights in int8, a scale for each output; its metadata stay."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "int8.onnx"
        quantize_dynamic(
            model,
            path,
            op_types_to_quantize=_LAYERS,
            per_channel=True,
            # Seven bits: processors with AVX2 and no VNNI add products of two weights up in 16 bits, where
            # eight overflow.
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )
        result = onnx.load(path)
    del result.metadata_props[:]
    result.metadata_props.extend(model.metadata_props)
    return result


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice to prepare the graph first, which is for graphs of converters."""

    def is_news(record: logging.LogRecord) -> bool:
        return "pre-processing" not in record.getMessage()

    root = logging.getLogger()
    root.addFilter(is_news)
    try:
        yield
    finally:
        root.removeFilter(is_news)
