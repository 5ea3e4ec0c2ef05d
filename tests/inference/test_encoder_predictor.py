"""The encoder tagger's predictions: the model's own, whatever sentences are put together."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distill_jax.errors import UserError
from distill_jax.inference import EncoderPredictor
from distill_jax.inference.base import InputLimits
from distill_jax.models.encoder_tagger import EncoderTagger
from distill_jax.sent.pieces import TruncatedWord
from distill_jax.sent.subwords import SubwordFormat
from distill_jax.tagging import LabelSet
from distill_jax.vocab import ByteVocabulary
from distill_jax_runtime.legal import constrained_tags
from tests.tiny import ENCODER_CONFIG, LABELS, SENTENCES, encoder_params, is_legal

MODEL = EncoderTagger(ENCODER_CONFIG)
SUBWORDS = SubwordFormat(ByteVocabulary())


def predictor(**options: Any) -> EncoderPredictor:
    return EncoderPredictor(MODEL, ByteVocabulary(), LABELS, **options)


def by_itself(words: tuple[str, ...]) -> np.ndarray:
    """Log-probabilities of a sentence without padding or batch."""
    tokens, first = SUBWORDS.encode(words)
    logits = jax.jit(MODEL.apply)({"params": encoder_params()}, tokens[None], first[None])
    return np.asarray(jax.nn.log_softmax(jnp.asarray(logits)))[0]


@pytest.mark.parametrize("batch_size", [3, 32])
def test_predictions_are_those_of_the_model(batch_size: int) -> None:
    found = predictor(batch_size=batch_size).predict(encoder_params(), SENTENCES)
    assert len({tag for one in found for tag in one.tag_ids.tolist()}) > 1
    for words, one in zip(SENTENCES, found, strict=True):
        assert one.tag_ids.shape == (len(words),) and one.tag_ids.dtype == np.int32
        assert is_legal(one.tag_ids)
        if words:
            np.testing.assert_allclose(one.log_likelihoods, by_itself(words), rtol=1e-4, atol=1e-5)
            np.testing.assert_array_equal(one.tag_ids, constrained_tags(one.log_likelihoods))
            np.testing.assert_allclose(one.posteriors.sum(-1), 1, rtol=1e-5)


def test_long_sentences_are_tagged_in_windows() -> None:
    words = tuple("abcdefghijkl"[i % 12] * (1 + i % 3) for i in range(20))
    told: list[int] = []
    short = predictor(limits=InputLimits(16, overlap_words=2))
    parts = short.windows(words)
    assert len(parts) > 2
    assert all(len(SUBWORDS.encode(words[a:b])[0]) <= 16 for a, b in parts)
    [found, other] = short.predict(encoder_params(), [words, ("a",)], told.append)
    assert sum(told) == 2
    assert found.log_likelihoods is not None and len(found.log_likelihoods) == 20
    assert is_legal(found.tag_ids)
    # The first word is owned by the first window, the last by the last.
    start, end = parts[0].end, parts[-1].start
    np.testing.assert_allclose(
        found.log_likelihoods[0], by_itself(words[:start])[0], rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(
        found.log_likelihoods[-1], by_itself(words[end:])[-1], rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(other.log_likelihoods, by_itself(("a",)), rtol=1e-4, atol=1e-5)


def test_a_word_beyond_the_limit_is_cut() -> None:
    short = predictor(limits=InputLimits(16))
    fitting, cut = short.predict(encoder_params(), [("to", "x" * 14), ("to", "x" * 40)])
    assert short.truncated_words(("to", "x" * 14)) == ()
    assert short.truncated_words(("to", "x" * 40)) == (TruncatedWord(1, 40, 14),)
    np.testing.assert_array_equal(cut.tag_ids, fitting.tag_ids)
    np.testing.assert_allclose(cut.log_likelihoods, fitting.log_likelihoods, rtol=1e-4, atol=1e-5)


def test_warm_up_compiles_everything() -> None:
    tagger = predictor()
    assert tagger.warm_up(encoder_params(), SENTENCES) > 0
    assert tagger.warm_up(encoder_params(), SENTENCES) == 0
    compiled = tagger._log_probabilities._cache_size()
    tagger.predict(encoder_params(), SENTENCES)
    assert tagger._log_probabilities._cache_size() == compiled


def test_labels_and_damaged_weights() -> None:
    with pytest.raises(UserError, match="4 tags but the label set has 3"):
        EncoderPredictor(MODEL, ByteVocabulary(), LabelSet(("city",)))
    params = jax.tree.map(lambda leaf: leaf * np.nan, encoder_params())
    with pytest.raises(UserError, match="not numbers"):
        predictor().predict(params, [("a",)])
