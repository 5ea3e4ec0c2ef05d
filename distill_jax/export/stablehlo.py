"""Models as StableHLO programs, through `jax.export` (https://docs.jax.dev/en/latest/export/export.html).

A program holds the parameters, and runs on any of `PLATFORMS`. `jax.export` keeps serialised programs
readable for six months by later versions of JAX, and for three weeks by earlier ones.

Sizes have names and may change from call to call, but for the batch of a T5: how SenTScore divides what does
not fit into memory at once depends on that.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import export

from distill_jax.models.t5 import T5
from distill_jax.sentscore import DecoderSettings, LabelTrie, SentScoreBatch
from distill_jax.sentscore.decode import decode

PLATFORMS = ("cpu", "cuda", "tpu")
"""On which a program runs, whatever it was made on."""


def word_program(module: Any, params: Mapping[str, Any]) -> bytes:
    """A BiLSTM: `word_ids` int32[batch, length] and `char_ids` int32[batch, length, chars] to
    log-probabilities float32[batch, length, tags]; ids are 0 at padding."""
    batch, length, chars = export.symbolic_shape("batch, length, chars")
    return _word_tagger(module, params, (batch, length), (batch, length, chars))


def subword_program(module: Any, params: Mapping[str, Any]) -> bytes:
    """An encoder tagger or a BERT: `tokens` int32[batch, source] and `first` int32[batch, length], where
    each word's first token stands (-1: no word), to log-probabilities float32[batch, length, tags]."""
    batch, source, length = export.symbolic_shape("batch, source, length")
    return _word_tagger(module, params, (batch, source), (batch, length))


def sentscore_program(
    model: T5,
    params: Mapping[str, Any],
    trie: LabelTrie,
    settings: DecoderSettings,
    *,
    batch_size: int,
    pad_id: int,
) -> bytes:
    """A T5 with the whole loop of SenTScore.

    `encoder_tokens` int32[batch_size, source], `num_words` int32[batch_size] (0: a row without words) and
    `sentinel_ids` int32[words + 1] to tags int32[batch_size, words] and log-likelihoods
    float32[batch_size, words, tags], which mean what those of `sentscore.decode.Decoded` do.
    """
    params = jax.tree.map(jnp.asarray, params)

    def run(
        encoder_tokens: jax.Array, num_words: jax.Array, sentinel_ids: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        real = encoder_tokens != pad_id
        batch = SentScoreBatch(encoder_tokens, real, num_words, sentinel_ids)
        decoded = decode(model, params, batch, trie, settings)
        assert decoded.tags is not None and decoded.log_likelihoods is not None
        return decoded.tags, decoded.log_likelihoods

    source, words = export.symbolic_shape("source, words")
    return _serialised(run, (batch_size, source), (batch_size,), (words + 1,))


def _word_tagger(module: Any, params: Mapping[str, Any], *shapes: tuple[Any, ...]) -> bytes:
    params = jax.tree.map(jnp.asarray, params)  # NumPy's arrays take no traced indices

    def log_probabilities(*inputs: jax.Array) -> jax.Array:
        return jax.nn.log_softmax(module.apply({"params": params}, *inputs))

    return _serialised(log_probabilities, *shapes)


def _serialised(function: Any, *shapes: tuple[Any, ...]) -> bytes:
    arguments = [jax.ShapeDtypeStruct(shape, jnp.int32) for shape in shapes]
    return bytes(export.export(jax.jit(function), platforms=PLATFORMS)(*arguments).serialize())
