"""The ONNX graphs that each kind of tagger is exported as."""

from collections.abc import Callable, Mapping
from pathlib import Path

import onnx

from distill_jax.errors import UserError
from distill_jax.export.bert import bert_graph
from distill_jax.export.bilstm import spelling_graph, word_graph
from distill_jax.export.encoder import encoder_graph
from distill_jax.export.int8 import quantised
from distill_jax.kinds.base import Model
from distill_jax.kinds.registry import kind_of
from distill_jax.models.bert_config import BertConfig
from distill_jax.models.bilstm import BiLSTMConfig
from distill_jax.models.encoder_tagger import EncoderTaggerConfig
from distill_jax_runtime.directory import MODEL_FILE, SPELLING_FILE

Graphs = dict[str, onnx.ModelProto]
"""By the names of their files."""


def onnx_graphs(model: Model, where: Path, *, int8: bool) -> Graphs:
    """The graphs of a model. Raises `UserError` for a kind that has none."""
    make = _GRAPHS.get(type(model.config))
    if make is None:
        raise UserError(
            f"{where}: a {kind_of(model.config).name} has no ONNX graph; kinds that have one: "
            "bilstm, encoder, bert. --to stablehlo takes a t5 too"
        )
    return make(model, int8)


def _bilstm(model: Model, int8: bool) -> Graphs:
    config, params = model.config, model.params
    if not int8:
        return {
            MODEL_FILE: word_graph(config, params),
            SPELLING_FILE: spelling_graph(config, params),
        }
    # Spellings stay as they are: they are a few kilobytes, each is computed once, and it is not to depend
    # on the words beside it.
    return {
        MODEL_FILE: quantised(word_graph(config, params, "int8")),
        SPELLING_FILE: spelling_graph(config, params, "float16"),
    }


def _subword(make: Callable[..., onnx.ModelProto], model: Model, int8: bool) -> Graphs:
    if int8:
        return {MODEL_FILE: quantised(make(model.config, model.params, "int8"))}
    return {MODEL_FILE: make(model.config, model.params)}


_GRAPHS: Mapping[type, Callable[[Model, bool], Graphs]] = {
    BiLSTMConfig: _bilstm,
    BertConfig: lambda model, int8: _subword(bert_graph, model, int8),
    EncoderTaggerConfig: lambda model, int8: _subword(encoder_graph, model, int8),
}
