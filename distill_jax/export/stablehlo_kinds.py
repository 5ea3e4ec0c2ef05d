"""The StableHLO programs that each kind of tagger is exported as."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from distill_jax.errors import UserError
from distill_jax.export.size import check_size
from distill_jax.export.stablehlo import sentscore_program, subword_program, word_program
from distill_jax.inference.settings import TaggerSettings
from distill_jax.kinds.base import Model
from distill_jax.kinds.registry import kind_of
from distill_jax.models.bert import BertTagger
from distill_jax.models.bert_config import BertConfig
from distill_jax.models.bilstm import BiLSTMConfig, BiLSTMTagger
from distill_jax.models.encoder_tagger import EncoderTagger, EncoderTaggerConfig
from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config
from distill_jax.sent.format import SenTFormat
from distill_jax.sentscore import DecoderSettings, LabelTrie

PROGRAM_FILE = "model.stablehlo"


class Program(NamedTuple):
    """A serialised StableHLO program, and what its caller has to know beyond the model's own settings."""

    content: bytes
    about: Mapping[str, Any]


def stablehlo_program(model: Model, where: Path, *, batch_size: int) -> Program:
    """The program of a model; `batch_size` is that of a T5.

    Raises `UserError` for a kind that has none, or a model that is too large for one.
    """
    make = _PROGRAMS.get(type(model.config))
    if make is None:
        raise UserError(
            f"{where}: a {kind_of(model.config).name} has no StableHLO program; kinds that have one: "
            "bilstm, encoder, bert, t5"
        )
    check_size(sum(array.nbytes for array in jax.tree.leaves(model.params)), "a StableHLO program")
    return make(model, batch_size)


def _sentscore(model: Model, batch_size: int) -> Program:
    settings = model.settings or TaggerSettings()
    written = SenTFormat(
        model.vocabulary,
        model.labels,
        single_token_tags=settings.single_token_tags,
        rows=model.config.vocab_size,
    )
    sentinels = written.sentinel_ids.tolist()
    content = sentscore_program(
        T5(model.config),
        model.params,
        LabelTrie.compile(written.tag_token_ids, sentinel_ids=sentinels),
        DecoderSettings(normaliser=settings.normaliser),
        batch_size=batch_size,
        pad_id=model.vocabulary.pad_id,
    )
    inputs = ["encoder_tokens", "num_words", "sentinel_ids"]
    return Program(content, {"inputs": inputs, "batch_size": batch_size, "sentinel_ids": sentinels})


def _subword_program(module: Any, model: Model) -> Program:
    return Program(subword_program(module, model.params), {"inputs": ["tokens", "first"]})


_PROGRAMS: Mapping[type, Callable[[Model, int], Program]] = {
    BiLSTMConfig: lambda model, _: Program(
        word_program(BiLSTMTagger(model.config), model.params),
        {"inputs": ["word_ids", "char_ids"]},
    ),
    BertConfig: lambda model, _: _subword_program(BertTagger(model.config), model),
    EncoderTaggerConfig: lambda model, _: _subword_program(EncoderTagger(model.config), model),
    T5Config: _sentscore,
}
