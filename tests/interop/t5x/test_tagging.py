"""SenTScore over t5x's parameters and batches: as `Tagger` has it, and targets as SenT′ writes them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distill_jax.errors import UserError
from distill_jax.inference.sent import SentPredictor
from distill_jax.interop.t5x.tagging import BatchTagger, model_of_params
from distill_jax.models.t5 import T5
from distill_jax.sent.format import SenTFormat
from distill_jax.sentscore import DecoderSettings
from distill_jax.tagging import LabelSet
from distill_jax.vocab import ByteVocabulary
from tests.tiny import SENTENCES, t5_params
from tests.tiny_t5x import CONFIGS, V1_0, V1_1, target_of

LABELS = LabelSet(("city", "date_time"), ("c", "dt"))  # of one token and of two
FORMAT = SenTFormat(ByteVocabulary(), LABELS)
SOURCE, TARGET = 40, 36


def batch() -> np.ndarray:
    """The sentences' inputs, and a row of padding."""
    tokens = np.zeros((len(SENTENCES) + 1, SOURCE), np.int32)
    for row, words in enumerate(SENTENCES):
        ids = FORMAT.encode_input(words)
        tokens[row, : len(ids)] = ids if words else 0
    return tokens


@pytest.mark.parametrize("kind", CONFIGS)
def test_tags_are_those_of_the_predictor(kind: str) -> None:
    config, params = CONFIGS[kind], t5_params(CONFIGS[kind])
    settings = DecoderSettings(normaliser="trie" if kind == "v1.0" else "vocab")
    tagger = BatchTagger(FORMAT, settings)

    @jax.jit
    def run(params: Any, tokens: jax.Array) -> Any:
        fields = {"activation": config.activation}
        return tagger(*model_of_params(params, **fields), tokens, TARGET)

    targets, aux = run(jax.tree.map(jnp.asarray, target_of(config)), jnp.asarray(batch()))
    expected = SentPredictor(T5(config), FORMAT, decoder=settings).predict(params, SENTENCES)
    seen = set()
    for row, (words, prediction) in enumerate(zip(SENTENCES, expected, strict=True)):
        length = len(words)
        assert aux["num_words"][row] == length
        np.testing.assert_array_equal(aux["tags"][row, :length], prediction.tag_ids)
        assert not np.any(aux["tags"][row, length:])
        posteriors = np.asarray(aux["posteriors"][row])
        np.testing.assert_allclose(
            posteriors[:length], jax.nn.softmax(prediction.log_likelihoods), atol=1e-5
        )
        assert not posteriors[length:].any()
        wanted = FORMAT.encode_target(prediction.tag_ids)
        np.testing.assert_array_equal(targets[row, : len(wanted)], wanted)
        assert not np.any(targets[row, len(wanted) :])
        seen.update(np.asarray(prediction.tag_ids).tolist())
    assert len(seen) > 2  # tags of more than one kind are compared
    assert aux["num_words"][-1] == 0
    assert np.isfinite(np.asarray(aux["log_likelihoods"])).all()


@pytest.mark.slow
def test_greedy_has_tags_alone() -> None:
    tagger = BatchTagger(FORMAT, DecoderSettings(name="greedy"))
    _, aux = tagger(V1_0, t5_params(V1_0), jnp.asarray(batch()), TARGET)
    assert set(aux) == {"tags", "num_words"}


def test_what_is_refused() -> None:
    with pytest.raises(UserError, match="decoder 'free' finds text and no tags"):
        BatchTagger(FORMAT, DecoderSettings(name="free"))
    params = target_of(V1_1)
    del params["decoder"]["decoder_norm"]
    with pytest.raises(UserError, match="'decoder/decoder_norm/scale' is missing"):
        model_of_params(params)
