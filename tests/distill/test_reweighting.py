"""Learnt weights against gradients taken sentence by sentence."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from distill_jax.data.distillation import Target, word_batches
from distill_jax.data.features import TRUSTED
from distill_jax.distill.reweighting import Reweighted, learnt_weights
from distill_jax.distill.tags import DistillationWeights, TaggerDistillation
from distill_jax.models.bilstm import BiLSTMConfig, BiLSTMTagger
from distill_jax.vocab import WordVocabulary

LABELS = 3
NUM_TAGS = LABELS + 2
ROWS = 6


def target(words: str, tags: list[int], seed: int = 0, **options: Any) -> Target:
    scores = np.random.default_rng(seed).normal(size=(len(tags), NUM_TAGS)).astype(np.float32)
    scores[0, 1] = -np.inf  # no sentence begins with I
    return Target(tuple(words.split()), np.array(tags, np.int32), scores, **options)


TRUSTED_TARGETS = [target("to rome", [0, 2]), target("play wow", [0, 3])]
TARGETS = [
    target("to oslo now", [0, 2, 0], 1, gold=True),
    target("play wow", [0, 3], 2),
    target("to rome", [0, 2], 3, weight=0.5),
    target("to rome now", [4, 4, 4], 4),
    target("now", [0], 5),
    target("play rome", [0, 0], 6),
]
VOCABULARY = WordVocabulary.build(target.words for target in (*TARGETS, *TRUSTED_TARGETS))
MODULE = BiLSTMTagger(
    BiLSTMConfig(
        num_words=VOCABULARY.num_words,
        num_chars=VOCABULARY.num_chars,
        num_tags=NUM_TAGS,
        word_dim=4,
        char_dim=3,
        char_hidden=3,
        hidden=5,
        dropout=0.0,
        word_dropout=0.0,
    )
)
STUDENT = TaggerDistillation(MODULE, DistillationWeights(0.3, 2.0))


@pytest.fixture(scope="module")
def batch() -> dict[str, np.ndarray]:
    batches = word_batches(
        TARGETS, VOCABULARY, NUM_TAGS, batch_size=ROWS, seed=0, trusted=TRUSTED_TARGETS
    )
    return batches[0]


@pytest.fixture(scope="module")
def params() -> Any:
    return nn.unbox(MODULE.initial(jax.random.key(0)))


def rows(batch: dict[str, np.ndarray], chosen: list[int]) -> dict[str, np.ndarray]:
    return {name: value[chosen] for name, value in batch.items() if not name.startswith(TRUSTED)}


def flat(tree: Any) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


@jax.jit
def weights_of(params: Any, batch: dict[str, np.ndarray], key: Any = None) -> jax.Array:
    return learnt_weights(STUDENT, params, batch, key)


def expected_weights(params: Any, batch: dict[str, np.ndarray]) -> np.ndarray:
    """By the equation, a gradient a sentence."""

    def total(params: Any, part: dict[str, np.ndarray]) -> jax.Array:
        return STUDENT.loss(params, None, part, None)["loss"].total

    def trusted_loss(params: Any) -> jax.Array:
        part = {n.removeprefix(TRUSTED): v for n, v in batch.items() if n.startswith(TRUSTED)}
        return STUDENT.loss(params, None, part, None)["cross_entropy"].mean()

    direction = flat(jax.jit(jax.grad(trusted_loss))(params))
    gradient = jax.jit(jax.grad(total))
    helps = np.array(
        [max(direction @ flat(gradient(params, rows(batch, [row]))), 0.0) for row in range(ROWS)]
    )
    silver = batch["is_silver"]
    helps[~silver] = 0
    return np.where(silver, silver.sum() * helps / helps.sum(), 1.0)


def test_weights_are_those_of_the_equation(params: Any, batch: dict[str, np.ndarray]) -> None:
    assert batch["is_silver"].sum() == ROWS - 1  # each sentence once
    expected = expected_weights(params, batch)
    assert 0 < (expected == 0).sum() < ROWS - 1  # some help, some do not
    found = weights_of(params, batch)
    # Differences of two points: the third derivative, and what float32 rounds.
    np.testing.assert_allclose(found, expected, rtol=5e-3, atol=1e-3)


def test_the_loss_is_that_of_the_weighted_rows(params: Any, batch: dict[str, np.ndarray]) -> None:
    weights = np.asarray(weights_of(params, batch))
    plain = rows(batch, list(range(ROWS)))
    for name in ("tag_weights", "kl_weights"):
        plain[name] = plain[name] * weights[:, None].astype(np.float32)

    def loss(objective: Any, batch: Any) -> Any:
        def mean(params: Any) -> tuple[jax.Array, Any]:
            sums = objective.loss(params, None, batch, None)
            total, weight = sums["loss"]
            return total / weight, sums

        return jax.jit(jax.value_and_grad(mean, has_aux=True))(params)

    (value, sums), gradient = loss(Reweighted(STUDENT), batch)
    (expected, _), wanted = loss(STUDENT, plain)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    # No gradient flows through the weights.
    np.testing.assert_allclose(flat(gradient), flat(wanted), rtol=1e-4, atol=1e-6)
    used = sums["silver_used"].mean()
    np.testing.assert_allclose(used, (weights[batch["is_silver"]] > 0).mean())


def test_where_nothing_helps_gold_alone_counts(params: Any, batch: dict[str, np.ndarray]) -> None:
    same = {**batch, f"{TRUSTED}tag_weights": np.zeros_like(batch[f"{TRUSTED}tag_weights"])}
    weights = weights_of(params, same, jax.random.key(1))
    np.testing.assert_array_equal(weights, np.where(batch["is_silver"], 0.0, 1.0))
    loss = jax.jit(Reweighted(STUDENT).loss)(params, None, same, None)["loss"]
    assert jnp.isfinite(loss.mean())


def test_trusted_sentences_are_drawn_anew_and_have_one_length() -> None:
    long = target(" ".join(["now"] * 11), [0] * 11)
    batches = word_batches(
        TARGETS, VOCABULARY, NUM_TAGS, batch_size=2, seed=0, trusted=[*TRUSTED_TARGETS, long]
    )
    drawn = [batches[number][f"{TRUSTED}word_ids"] for number in range(20)]
    assert {array.shape for array in drawn} == {(2, 16)}
    assert len({array.tobytes() for array in drawn}) > 3
    again = batches[7][f"{TRUSTED}word_ids"]
    np.testing.assert_array_equal(again, drawn[7])  # a run that goes on sees the same
