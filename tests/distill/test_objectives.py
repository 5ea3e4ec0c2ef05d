"""What steps minimise: padding and packing change nothing, and the KL is that of SenTScores."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from distill_jax.data.seq2seq import join_pairs
from distill_jax.distill.language_model import LanguageModel, LanguageModelLoss
from distill_jax.distill.sent import SentDistillation
from distill_jax.distill.tags import DistillationWeights, TaggerDistillation
from distill_jax.models.bilstm import BiLSTMConfig, BiLSTMTagger
from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config
from distill_jax.sentscore import LabelTrie
from distill_jax.train.objective import Objective, Sums
from tests.sentscore.reference import (
    LABEL_SETS,
    SENTINELS,
    SOURCE,
    TARGET,
    WORDS,
    brute_force_u,
    legal_tags,
    random_batch,
    spelled,
    tiny_t5,
)

Batch = dict[str, np.ndarray]
TAGS = LABEL_SETS[1]
K = len(TAGS)
EOS = 1
JUNK = 42  # a token that no sentence below holds


@functools.cache
def jitted(objective: Objective) -> Any:
    """Gradient and sums together: compiling is what these tests spend their time on."""

    def loss(params: Any, batch: Batch) -> tuple[jax.Array, Sums]:
        sums = objective.loss(params, None, batch, None)
        return sums["loss"][0], sums

    return jax.jit(jax.grad(loss, has_aux=True))


def loss_of(objective: Objective, params: Any, batch: Batch) -> Sums:
    return jax.device_get(jitted(objective)(params, batch)[1])


def gradient_of(objective: Objective, params: Any, batch: Batch) -> Any:
    return jax.device_get(jitted(objective)(params, batch)[0])


def assert_equal_sums(one: Sums, two: Sums, rtol: float = 1e-5) -> None:
    assert one.keys() == two.keys()
    for name, pair in one.items():
        np.testing.assert_allclose(pair, two[name], rtol=rtol, atol=1e-6, err_msg=name)


def assert_equal_trees(one: Any, two: Any) -> None:
    def check(path: Any, left: np.ndarray, right: np.ndarray) -> None:
        np.testing.assert_allclose(
            left,
            right,
            rtol=1e-3,
            atol=1e-5 * np.abs(right).max() + 1e-8,
            err_msg=jax.tree_util.keystr(path),
        )

    jax.tree_util.tree_map_with_path(check, one, two)


def padded(batch: Batch, rows: int, columns: int, junk: bool = False) -> Batch:
    """More rows and columns of padding, holding a token that is nowhere else with `junk`."""
    found = {}
    for name, array in batch.items():
        widths = [(0, rows)] + ([(0, columns)] if array.ndim > 1 else [])
        fill = JUNK if junk and name.endswith("_tokens") else 0
        widths += [(0, 0)] * (array.ndim - len(widths))
        found[name] = np.pad(array, widths, constant_values=fill)
    return found


PAIRS = [
    (np.array([7, 8, 9, EOS]), np.array([10, 11, EOS])),
    (np.array([12, 8, EOS]), np.array([13, 10, 9, 14, EOS])),
    (np.array([15, EOS]), np.array([16, EOS])),
]


def rows_of(groups: list[list[Any]], inputs: int = 12, targets: int = 13) -> Batch:
    shape = {"inputs": inputs, "targets": targets}
    rows = [join_pairs(pairs, shape, pad_id=0, start_id=0) for pairs in groups]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


@functools.cache
def language_model(family: str, **options: Any) -> tuple[LanguageModel, Any]:
    model, params = tiny_t5(family)
    return LanguageModel(model, LanguageModelLoss(**options)), params


@pytest.mark.parametrize("family", ["v1.0", "umt5"])
def test_packed_equals_alone(family: str) -> None:
    objective, params = language_model(family, label_smoothing=0.1, z_loss=1e-3)
    alone = loss_of(objective, params, rows_of([[pair] for pair in PAIRS]))
    packed = loss_of(objective, params, rows_of([PAIRS, [], []]))
    assert alone["loss"][1] == sum(len(targets) for _, targets in PAIRS)
    assert_equal_sums(alone, packed)
    assert_equal_sums(packed, loss_of(objective, params, rows_of([PAIRS[1:], [], PAIRS[:1]])))


def test_padding_changes_no_language_model_loss() -> None:
    objective, params = language_model("v1.1")
    batch = rows_of([PAIRS[:2], PAIRS[2:]], 8, 9)
    more = padded(batch, 2, 5, junk=True)
    assert_equal_sums(loss_of(objective, params, batch), loss_of(objective, params, more))
    one, two = (gradient_of(objective, params, b) for b in (batch, more))
    assert_equal_trees(one, two)
    # Untied: a token that only padding holds is read by nothing.
    assert not two["token_embedder"]["embedding"][JUNK].any()
    assert one["token_embedder"]["embedding"][7].any()


def test_loss_weights_weigh_examples() -> None:
    objective, params = language_model("v1.1")
    batch = rows_of([[pair] for pair in PAIRS])
    twice = rows_of([PAIRS[:2], PAIRS[1:], []], 12, 13)
    weights = (batch["decoder_segment_ids"] > 0) * np.array([[1], [2], [1]], np.float32)
    assert_equal_sums(
        loss_of(objective, params, batch | {"decoder_loss_weights": weights}),
        loss_of(objective, params, twice),
    )


def test_objectives_are_static_and_follow_the_dropout_key() -> None:
    model, params = tiny_t5("v1.1", dropout_rate=0.3)
    objective = LanguageModel(model)
    assert hash(objective) == hash(LanguageModel(T5(T5Config(**vars(model.config)))))
    loss = jax.jit(
        lambda params, key: objective.loss(params, None, rows_of([PAIRS]), key)["loss"][0]
    )
    one, again, other = (float(loss(params, jax.random.key(seed))) for seed in (1, 1, 2))
    still = float(loss_of(objective, params, rows_of([PAIRS]))["loss"][0])
    assert one == again
    assert len({one, other, still}) == 3


# --- a T5 student -----------------------------------------------------------------------------

SEQUENCES = [[2, 1, 0, 3], [3, 0], [0, 2, 1]]


def sent_batch(sequences: list[list[int]] = SEQUENCES, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    scored = random_batch(seed, [len(tags) for tags in sequences])
    pairs = [
        (row[: 2 * len(tags) + 2], np.array([*spelled(TAGS, tags), EOS]))
        for row, tags in zip(np.asarray(scored.encoder_tokens), sequences, strict=True)
    ]
    batch = rows_of([[pair] for pair in pairs], SOURCE, TARGET + 1)
    rows = len(sequences)
    batch |= {
        "num_words": np.array([len(tags) for tags in sequences], np.int32),
        "tags": np.zeros((rows, WORDS), np.int32),
        "tag_weights": np.zeros((rows, WORDS), np.float32),
        "teacher_scores": rng.normal(size=(rows, WORDS, K), scale=3).astype(np.float32),
    }
    for row, tags in enumerate(sequences):
        batch["tags"][row, : len(tags)] = tags
        batch["tag_weights"][row, : len(tags)] = 1
    return batch | {"kl_weights": batch["tag_weights"].copy()}


@functools.cache
def student(normaliser: str = "trie", **weights: Any) -> tuple[SentDistillation, Any]:
    model, params = tiny_t5("v1.1")
    objective = SentDistillation(
        model,
        LabelTrie.compile(TAGS),
        tuple(SENTINELS.tolist()),
        DistillationWeights(**weights),
        normaliser,  # type: ignore[arg-type]
    )
    return objective, params


def brute_force_kl(batch: Batch, normaliser: str, temperature: float) -> float:
    """Σ τ² KL(softmax(u_teacher / τ) ‖ softmax(u_student / τ)) over the legal tags."""
    model, params = tiny_t5("v1.1")
    total = 0.0
    for row, words in enumerate(batch["num_words"]):
        tags = batch["tags"][row, :words].tolist()
        for word in range(words):
            legal = legal_tags(TAGS, tags[word - 1] if word else 0)
            queries = [(tags[:word], tag) for tag in legal]
            u = brute_force_u(
                model, params, batch["encoder_input_tokens"][row], TAGS, queries, normaliser
            )
            log_q = np.asarray(jax.nn.log_softmax(u / temperature), np.float64)
            teacher = batch["teacher_scores"][row, word, legal] / temperature
            log_p = np.asarray(jax.nn.log_softmax(teacher), np.float64)
            total += batch["kl_weights"][row, word] * np.sum(np.exp(log_p) * (log_p - log_q))
    return total * temperature**2


@pytest.mark.parametrize(
    ("normaliser", "temperature", "kl_weight"), [("trie", 10.0, 1.0), ("vocab", 2.0, 0.7)]
)
def test_kl_is_that_of_sentscores_by_brute_force(
    normaliser: str, temperature: float, kl_weight: float
) -> None:
    objective, params = student(normaliser, temperature=temperature, kl_weight=kl_weight)
    batch = sent_batch()
    batch["kl_weights"][1, 1] = 0  # a word without teacher
    sums = loss_of(objective, params, batch)
    assert sums["kl"][1] == 8
    assert sums["kl"][0] == pytest.approx(brute_force_kl(batch, normaliser, temperature), rel=1e-4)
    plain = loss_of(LanguageModel(objective.model), params, batch)
    np.testing.assert_allclose(sums["language_model"], plain["loss"], rtol=1e-6)
    tokens, words = plain["loss"][1], 9
    expected = plain["loss"][0] / tokens * words + kl_weight * sums["kl"][0]
    np.testing.assert_allclose(sums["loss"], (expected, words), rtol=1e-5)


def test_a_teacher_that_thought_another_tag_before() -> None:
    """I is illegal under the gold tags and likely for the teacher: no infinite loss."""
    objective, params = student()
    batch = sent_batch([[0, 0, 2], [3], [2]])
    batch["teacher_scores"][0, 1] = [-3.0, -0.1, -4.0, -5.0]
    sums = loss_of(objective, params, batch)
    assert sums["kl"][0] == pytest.approx(brute_force_kl(batch, "trie", 10.0), rel=1e-4)
    changed = batch | {"teacher_scores": batch["teacher_scores"].copy()}
    changed["teacher_scores"][0, 1, 1] = -np.inf
    assert_equal_sums(loss_of(objective, params, changed), sums)
    for leaf in jax.tree.leaves(gradient_of(objective, params, batch)):
        assert np.isfinite(leaf).all()


def test_words_without_teacher_have_no_kl() -> None:
    objective, params = student()
    batch = sent_batch()
    batch["kl_weights"][:] = 0
    batch["teacher_scores"][:] = np.nan
    sums = loss_of(objective, params, batch)
    assert sums["kl"] == (0, 0)
    plain = LanguageModel(objective.model)
    tokens, words = loss_of(plain, params, batch)["loss"][1], 9
    expected = jax.tree.map(lambda g: g / tokens * words, gradient_of(plain, params, batch))
    assert_equal_trees(gradient_of(objective, params, batch), expected)


def test_pseudo_labels_look_at_no_scores() -> None:
    objective, params = student(kl_weight=0.0)
    batch = sent_batch()
    plain = loss_of(LanguageModel(objective.model), params, batch)
    batch["teacher_scores"][:] = np.nan
    assert_equal_sums(loss_of(objective, params, batch), plain)


def test_padding_changes_no_student() -> None:
    objective, params = student()
    batch = sent_batch([[2, 1], [3]])
    for name, array in batch.items():
        batch[name] = array[:, :-2] if array.ndim > 1 else array
    more = padded(batch, 1, 2, junk=True)  # of the other tests' shape
    more["tags"][:, 2:] = 3
    more["teacher_scores"][:, 2:] = np.nan
    assert_equal_sums(loss_of(objective, params, batch), loss_of(objective, params, more), 1e-4)
    one, two = (gradient_of(objective, params, b) for b in (batch, more))
    assert_equal_trees(one, two)
    assert not two["token_embedder"]["embedding"][JUNK].any()


# --- a word tagger ----------------------------------------------------------------------------


@functools.cache
def tagger(**weights: Any) -> tuple[TaggerDistillation, Any]:
    config = BiLSTMConfig(
        num_words=20, num_chars=9, num_tags=K, word_dim=5, char_dim=3, char_hidden=2, hidden=4
    )
    objective = TaggerDistillation(BiLSTMTagger(config), DistillationWeights(**weights))
    return objective, nn.unbox(jax.jit(objective.init)(jax.random.key(0)))


def word_batch() -> Batch:
    rng = np.random.default_rng(0)
    words = np.array([4, 2, 3])
    real = np.arange(4) < words[:, None]
    scores = rng.normal(size=(3, 4, K), scale=3).astype(np.float32)
    scores[:, 0, 1] = -np.inf
    return {
        "word_ids": (rng.integers(1, 20, (3, 4)) * real).astype(np.int32),
        "char_ids": (rng.integers(1, 9, (3, 4, 3)) * real[..., None]).astype(np.int32),
        "tags": (rng.integers(0, K, (3, 4)) * real).astype(np.int32),
        "tag_weights": real.astype(np.float32),
        "kl_weights": real.astype(np.float32),
        "teacher_scores": scores,
    }


def test_the_taggers_loss_is_the_papers() -> None:
    objective, params = tagger()
    batch = word_batch()
    logits = jax.jit(objective.model.apply)(
        {"params": params}, batch["word_ids"], batch["char_ids"]
    )
    log_q = np.asarray(jax.nn.log_softmax(logits), np.float64)
    soft_q = np.asarray(jax.nn.log_softmax(logits / 10), np.float64)
    log_p = np.asarray(jax.nn.log_softmax(batch["teacher_scores"] / 10), np.float64)
    with np.errstate(invalid="ignore"):
        kl = np.nansum(np.exp(log_p) * (log_p - soft_q), -1) * 100
    ce = -np.take_along_axis(log_q, batch["tags"][..., None], -1)[..., 0]
    sums = loss_of(objective, params, batch)
    weights = batch["tag_weights"]
    np.testing.assert_allclose(sums["kl"], ((kl * weights).sum(), 9), rtol=1e-5)
    np.testing.assert_allclose(sums["cross_entropy"], ((ce * weights).sum(), 9), rtol=1e-5)
    np.testing.assert_allclose(sums["loss"], (((ce + kl) * weights).sum(), 9), rtol=1e-5)
    right = ((logits.argmax(-1) == batch["tags"]) * weights).sum()
    np.testing.assert_allclose(sums["tag_accuracy"], (right, 9))


def test_padding_changes_no_tagger() -> None:
    objective, params = tagger()
    batch = word_batch()
    more = padded(batch, 2, 3)
    more["tags"][:, 4:] = 2
    more["teacher_scores"][:, 4:] = np.nan
    assert_equal_sums(loss_of(objective, params, batch), loss_of(objective, params, more))
    assert_equal_trees(*(gradient_of(objective, params, b) for b in (batch, more)))


def test_gold_only_and_pseudo_labels_are_cross_entropy() -> None:
    batch = word_batch()
    pseudo, params = tagger(kl_weight=0.0)
    expected = loss_of(pseudo, params, batch)
    assert "kl" not in expected
    assert expected["loss"] == expected["cross_entropy"]
    gold, _ = tagger()
    batch["kl_weights"][:] = 0
    batch["teacher_scores"][:] = np.nan
    sums = loss_of(gold, params, batch)
    assert sums.pop("kl") == (0, 0)
    assert_equal_sums(sums, expected)
    assert_equal_trees(*(gradient_of(objective, params, batch) for objective in (gold, pseudo)))


def test_sums_add_up_over_batches() -> None:
    objective, params = tagger()
    batch = word_batch()
    whole = loss_of(objective, params, batch)
    parts = []
    for rows in (slice(0, 1), slice(1, 3)):
        part = {name: np.zeros_like(array) for name, array in batch.items()}
        for name, array in batch.items():
            part[name][rows] = array[rows]
        parts.append(loss_of(objective, params, part))
    added = jax.tree.map(lambda *values: np.sum(values), *parts)
    assert_equal_sums(added, whole)


@pytest.mark.parametrize("make", [lambda: language_model("v1.1"), student, tagger])
def test_initial_parameters_are_boxed_and_fit(make: Any) -> None:
    objective, params = make()
    boxed = jax.eval_shape(objective.init, jax.random.key(0))
    shapes = jax.tree.map(jnp.shape, nn.unbox(boxed))
    assert shapes == jax.tree.map(jnp.shape, params)
    boxes = jax.tree.leaves(boxed, is_leaf=lambda x: isinstance(x, nn.LogicallyPartitioned))
    assert all(isinstance(box, nn.LogicallyPartitioned) for box in boxes)
