"""The language model's loss with word states beside it."""

from typing import Any

import jax
import numpy as np
import pytest

from distill_jax.distill.language_model import LanguageModel
from distill_jax.distill.online import OnlineTeacher
from distill_jax.distill.states import PROJECTIONS, STUDENT, StateDistillation
from distill_jax.distill.text_states import (
    INPUTS,
    STATES,
    SentWordStates,
    TextWithStates,
    sentences_of,
)
from distill_jax.distill.word_teacher import WordTeacher
from distill_jax.models.bert import BertTagger
from distill_jax.models.t5 import T5
from distill_jax.sent.format import SenTFormat
from distill_jax.sent.subwords import SubwordFormat
from distill_jax.sentscore import LabelTrie
from distill_jax.vocab import ByteVocabulary
from tests.tiny import BERT_CONFIG, LABELS, T5_CONFIG, bert_params, t5_params

FORMAT = SenTFormat(ByteVocabulary(), LABELS)
SENTENCES = (("to", "rome"), ("on", "may", "4"), ("now",), ("to", "berlin"))
SENTINELS = tuple(FORMAT.sentinel_ids.tolist())
ROWS, WORDS = 2, 4


def padded(arrays: list[np.ndarray], fill: int = 0) -> np.ndarray:
    width = max(map(len, arrays))
    return np.stack([np.pad(a, (0, width - len(a)), constant_values=fill) for a in arrays])


def batch() -> dict[str, Any]:
    subwords = SubwordFormat(ByteVocabulary())
    read = [subwords.encode(words) for words in SENTENCES]
    tokens, first = (list(part) for part in zip(*read, strict=True))
    places = padded(first, -1)
    features = {
        "encoder_input_tokens": padded([FORMAT.encode_input(words) for words in SENTENCES]),
        "num_words": np.array([len(words) for words in SENTENCES], np.int32),
        "tags": np.zeros((len(SENTENCES), WORDS), np.int32),
        "tag_weights": padded([np.ones(len(w), np.float32) for w in SENTENCES]),
        "teacher_tokens": padded(tokens),
        "teacher_first": np.pad(places, ((0, 0), (0, 1)), constant_values=-1),
    }
    features["tag_weights"] = np.pad(features["tag_weights"], ((0, 0), (0, 1)))
    rng = np.random.default_rng(0)
    text = {
        "encoder_input_tokens": rng.integers(3, 50, (ROWS, 6)).astype(np.int32),
        "encoder_segment_ids": np.ones((ROWS, 6), np.int32),
        "decoder_input_tokens": rng.integers(3, 50, (ROWS, 5)).astype(np.int32),
        "decoder_target_tokens": rng.integers(3, 50, (ROWS, 5)).astype(np.int32),
        "decoder_segment_ids": np.ones((ROWS, 5), np.int32),
    }
    beside = {STATES + n: x.reshape(ROWS, -1, *x.shape[1:]) for n, x in features.items()}
    return {**text, **beside}


@pytest.fixture(scope="module")
def objective() -> TextWithStates:
    teacher = WordTeacher(
        BertTagger(BERT_CONFIG.replace(max_positions=64)), ("teacher_tokens", "teacher_first")
    )
    states = StateDistillation(
        SentWordStates(T5(T5_CONFIG), SENTINELS), INPUTS, teacher, ((1, 2),), ((8, 8),), "mse"
    )
    return TextWithStates(LanguageModel(T5(T5_CONFIG)), states, 3.0)


@pytest.fixture(scope="module")
def params() -> Any:
    projections = {"pair_0": {"kernel": np.eye(8, dtype=np.float32), "bias": np.zeros(8)}}
    return {STUDENT: t5_params(), PROJECTIONS: projections}


@pytest.fixture(scope="module")
def results(objective: TextWithStates, params: Any) -> dict[str, Any]:
    """Everything that is compared, of one program."""
    given, frozen = batch(), bert_params(BERT_CONFIG.replace(max_positions=64))
    text: Any = {name: x for name, x in given.items() if not name.startswith(STATES)}

    def distance(params: Any, frozen: Any) -> Any:
        sums = objective.loss(params, frozen, given, None)
        return sums["states"].total, sums["loss"].total

    def compute(params: Any, frozen: Any) -> dict[str, Any]:
        whole, both = jax.vjp(distance, params, frozen)
        del whole
        return {
            "sums": objective.loss(params, frozen, given, None),
            "language": objective.language.loss(params[STUDENT], None, text, None),
            "states": objective.states.loss(params, frozen, sentences_of(given), None),
            "of distance": both((1.0, 0.0)),
            "of loss": both((0.0, 1.0))[0],
        }

    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    computed: dict[str, Any] = jax.jit(compute)(params, frozen)
    jax.config.update("jax_disable_most_optimizations", before)
    return computed


def test_states_are_those_of_a_t5_that_teaches() -> None:
    whole = sentences_of(batch())
    model, trie = T5(T5_CONFIG), LabelTrie.compile(FORMAT.tag_token_ids, sentinel_ids=SENTINELS)
    student, teacher = SentWordStates(model, SENTINELS), OnlineTeacher(model, trie, SENTINELS)

    def both(params: Any) -> tuple[Any, Any]:
        inputs = (whole[name] for name in INPUTS)
        as_teacher = {**whole, "teacher_tokens": whole["encoder_input_tokens"]}
        return (
            student.apply({"params": params}, *inputs, method="word_states"),
            teacher.states(params, as_teacher),
        )

    own, theirs = jax.jit(both)(t5_params())
    for one, other in zip(own, theirs, strict=True):
        assert one.shape == (len(SENTENCES), WORDS, T5_CONFIG.d_model)
        np.testing.assert_array_equal(one, other)
        assert not np.any(one[2, 1:]) and np.all(np.any(one[2, :1], axis=-1))
    # The embedding of a word's first byte, wherever the word stands.
    embedding = t5_params()["token_embedder"]["embedding"]
    [first] = ByteVocabulary().encode("4")
    np.testing.assert_array_equal(own[0][1, 2], embedding[first])


def test_the_loss_is_the_language_models_and_the_weighted_distance(results: Any) -> None:
    sums, language, states = results["sums"], results["language"], results["states"]
    expected = language["loss"].total + 3.0 * states["loss"].total
    np.testing.assert_allclose(sums["loss"].total, expected, rtol=1e-6)
    assert sums["loss"].weight == language["loss"].weight == ROWS * 5
    assert sums["states"].weight == states["loss"].weight == 8
    np.testing.assert_allclose(sums["states"].total, states["loss"].total, rtol=1e-6)
    assert sums["states"].mean() > 0


def test_the_decoder_learns_of_text_alone_and_the_teacher_nothing(results: Any) -> None:
    own, theirs = results["of distance"]
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(own[STUDENT]["decoder"]))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(theirs))
    assert all(np.any(leaf) for leaf in jax.tree.leaves(own[STUDENT]["encoder"]))
    whole = results["of loss"]
    assert all(np.any(leaf) for leaf in jax.tree.leaves(whole[STUDENT]["decoder"]))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(whole))
