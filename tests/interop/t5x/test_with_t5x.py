"""`SenTModel` in t5x, with t5x's own T5; where t5x does not import, this is skipped."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distill_jax.data.seqio_sent import seqio_vocabulary
from distill_jax.errors import UserError
from distill_jax.inference.sent import SentPredictor
from distill_jax.models.t5 import T5
from distill_jax.sent.format import SenTFormat
from distill_jax.tagging import LabelSet
from distill_jax.vocab import ByteVocabulary
from tests.in_t5x import module_of, needs_t5x, sent_model
from tests.tiny import SENTENCES, t5_params
from tests.tiny_t5x import CONFIGS, target_of

needs_t5x()

LABELS = LabelSet(("city", "date_time"), ("c", "dt"))
FORMAT = SenTFormat(ByteVocabulary(), LABELS)


@pytest.mark.parametrize("kind", CONFIGS)
def test_predictions_are_ours(kind: str) -> None:
    config, params = CONFIGS[kind], t5_params(CONFIGS[kind])
    tokens = np.zeros((len(SENTENCES), 40), np.int32)
    for row, words in enumerate(SENTENCES):
        ids = FORMAT.encode_input(words)
        tokens[row, : len(ids)] = ids if words else 0
    batch = {
        "encoder_input_tokens": jnp.asarray(tokens),
        "decoder_input_tokens": jnp.zeros((len(SENTENCES), 36), jnp.int32),
    }
    target = jax.tree.map(jnp.asarray, target_of(config))
    tagging = sent_model(config, LABELS, seqio_vocabulary("byte"))
    ids, aux = jax.jit(tagging.predict_batch_with_aux)(target, batch)
    expected = SentPredictor(T5(config), FORMAT).predict(params, SENTENCES)
    for row, prediction in enumerate(expected):
        length = len(prediction.tag_ids)
        np.testing.assert_array_equal(aux["tags"][row, :length], prediction.tag_ids)
        np.testing.assert_allclose(
            aux["posteriors"][row, :length], prediction.posteriors, atol=1e-4
        )
        if length:
            wanted = FORMAT.encode_target(prediction.tag_ids)
            np.testing.assert_array_equal(ids[row, : len(wanted)], wanted)


@pytest.mark.parametrize("kind", CONFIGS)
def test_logits_are_those_of_t5x(kind: str) -> None:
    config, params = CONFIGS[kind], t5_params(CONFIGS[kind])
    rng = np.random.default_rng(0)
    source = rng.integers(2, 384, (2, 9)).astype(np.int32)
    target = rng.integers(2, 384, (2, 6)).astype(np.int32)
    shifted = np.pad(target, ((0, 0), (1, 0)))[:, :-1]
    theirs = module_of(config).apply(
        {"params": jax.tree.map(jnp.asarray, target_of(config))},
        source,
        shifted,
        target,
        enable_dropout=False,
    )
    one = np.ones_like
    ours = jax.jit(T5(config).apply)({"params": params}, source, one(source), shifted, one(target))
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


def test_another_vocabulary_is_refused() -> None:
    import seqio

    with pytest.raises(UserError, match="the vocabulary is a ByteVocabulary"):
        sent_model(CONFIGS["v1.1"], LABELS, seqio.ByteVocabulary())
