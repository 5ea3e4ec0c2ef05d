"""The language-model loss without all logits at once equals the loss with them."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from distill_jax.distill.language_model import (
    LanguageModel,
    LanguageModelLoss,
    chunked_language_model_loss,
    language_model_loss,
)
from distill_jax.errors import UserError
from distill_jax.models.t5 import T5
from tests.tiny import T5_CONFIG

BATCH, LENGTH, WIDTH, VOCAB = 2, 7, 5, 11
RNG = np.random.default_rng(0)
HIDDEN = RNG.normal(size=(BATCH, LENGTH, WIDTH)).astype(np.float32)
KERNEL = RNG.normal(size=(WIDTH, VOCAB)).astype(np.float32)
TARGETS = RNG.integers(0, VOCAB, (BATCH, LENGTH))
WEIGHTS = RNG.choice([0.0, 0.5, 2.0], (BATCH, LENGTH)).astype(np.float32)
OPTIONS = {"label_smoothing": 0.1, "z_loss": 1e-2}


def losses(chunks: int | None, kernel: Any, hidden: Any, weights: Any = WEIGHTS) -> Any:
    def logits_of(hidden: jax.Array) -> jax.Array:
        return hidden @ kernel

    if chunks is None:
        return language_model_loss(logits_of(hidden), TARGETS, weights, **OPTIONS)
    return chunked_language_model_loss(
        logits_of, hidden, TARGETS, weights, chunks=chunks, **OPTIONS
    )


@pytest.mark.parametrize("chunks", [1, 2, 3, 4, 7, 100])
def test_chunks_change_neither_value_nor_gradient(chunks: int) -> None:
    """Whether they divide the positions or not."""

    @functools.partial(jax.jit, static_argnums=0)
    def run(chunks: int | None) -> Any:
        def total(kernel: Any, hidden: Any) -> Any:
            sums = losses(chunks, kernel, hidden)
            return sums["loss"].total, sums

        return jax.value_and_grad(total, (0, 1), has_aux=True)(KERNEL, HIDDEN)

    (_, sums), gradients = run(chunks)
    (_, expected), expected_gradients = run(None)
    assert jax.tree.structure(sums) == jax.tree.structure(expected)
    np.testing.assert_allclose(jax.tree.leaves(sums), jax.tree.leaves(expected), rtol=1e-6)
    for found, wanted in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_padding_gets_exactly_no_gradient() -> None:
    hidden = np.where(WEIGHTS[..., None] == 0, np.nan, HIDDEN)

    def total(hidden: Any) -> Any:
        return losses(3, KERNEL, hidden)["loss"].total

    gradient = jax.jit(jax.grad(total))(hidden)
    assert np.all(np.asarray(gradient)[WEIGHTS == 0] == 0)
    assert np.all(np.isfinite(gradient))


def lowered(objective: LanguageModel, length: int) -> Any:
    """The gradient of the objective, lowered for rows of so many tokens."""
    ids = jax.ShapeDtypeStruct((4, length), jnp.int32)
    params = nn.unbox(jax.eval_shape(objective.init, jax.random.key(0)))
    batch = {
        f"{side}_{what}": ids
        for side, whats in (
            ("encoder", ("input_tokens", "segment_ids")),
            ("decoder", ("input_tokens", "segment_ids", "target_tokens")),
        )
        for what in whats
    }
    gradient = jax.grad(lambda params, batch: objective.loss(params, None, batch, None)["loss"][0])
    return jax.jit(gradient).lower(params, batch)


def test_all_logits_are_never_there() -> None:
    config = T5_CONFIG.replace(vocab_size=8192)
    bytes_of_all_logits = 4 * 64 * 8192 * 4
    temporaries = {}
    for chunks in (1, 8):
        program = lowered(LanguageModel(T5(config), LanguageModelLoss(logit_chunks=chunks)), 64)
        has_all = "4x64x8192xf32" in program.as_text()
        assert has_all == (chunks == 1)
        analysis = program.compile().memory_analysis()
        temporaries[chunks] = analysis.temp_size_in_bytes
    assert temporaries[1] > bytes_of_all_logits
    assert temporaries[8] < temporaries[1] - bytes_of_all_logits / 2


@pytest.mark.slow
@pytest.mark.parametrize("tied", [False, True])
def test_the_objective_computes_the_same_in_chunks(tied: bool) -> None:
    config = T5_CONFIG.replace(tied_embedding=tied, dropout_rate=0.1)
    options = LanguageModelLoss(label_smoothing=0.1, z_loss=1e-3)
    whole = LanguageModel(T5(config), options)
    chunked = LanguageModel(T5(config), dataclasses.replace(options, logit_chunks=3))
    params = nn.unbox(jax.jit(whole.init)(jax.random.key(0)))
    rng = np.random.default_rng(0)
    ids = rng.integers(3, 384, (3, 2, 8))
    segments = np.ones((2, 8), np.int32)
    batch: Any = {
        "encoder_input_tokens": ids[0],
        "encoder_segment_ids": segments,
        "decoder_input_tokens": ids[1],
        "decoder_segment_ids": segments,
        "decoder_target_tokens": ids[2],
        "decoder_loss_weights": WEIGHTS[:, [0, 1, 2, 3, 4, 5, 6, 0]],
    }

    @functools.partial(jax.jit, static_argnums=0)
    def run(objective: LanguageModel, params: Any) -> Any:
        return jax.grad(
            lambda params: (
                (sums := objective.loss(params, None, batch, jax.random.key(1)))["loss"][0],
                sums,
            ),
            has_aux=True,
        )(params)

    found, expected = run(chunked, params), run(whole, params)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_a_number_of_chunks_below_one_is_refused() -> None:
    with pytest.raises(UserError, match="logit_chunks is 0; it must be at least 1"):
        LanguageModelLoss(logit_chunks=0)
