"""Both predictors: the same predictions however sentences are put together, and always legal."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_jax.data.length_batches import (
    Shape,
    batches_by_length,
    padded_batch_size,
    round_up,
    shaped_batches,
)
from distill_jax.errors import UserError
from distill_jax.inference import Prediction, SentPredictor, WordPredictor, sent
from distill_jax.inference.base import InputLimits
from distill_jax.models.bilstm import BiLSTMTagger
from distill_jax.models.t5 import T5
from distill_jax.sent.format import SenTFormat
from distill_jax.sent.pieces import TruncatedWord
from distill_jax.sent.windows import owned_ranges, windows
from distill_jax.sentscore import Decoded, DecoderSettings, SentScoreBatch
from distill_jax.tagging import LabelSet
from distill_jax.vocab import ByteVocabulary, train_sentencepiece
from tests.tiny import (
    BILSTM_CONFIG,
    KINDS,
    LABELS,
    SENTENCES,
    T5_CONFIG,
    WORDS,
    bilstm_params,
    is_legal,
    t5_params,
)

Predict = Callable[..., list[Prediction]]


def make_predictor(kind: str, batch_size: int, **options: Any) -> tuple[Any, Any]:
    """A predictor of a kind and its parameters."""
    if kind == "t5":
        sent_format = SenTFormat(ByteVocabulary(), LABELS)
        predictor = SentPredictor(T5(T5_CONFIG), sent_format, batch_size=batch_size, **options)
        return predictor, t5_params()
    model = BiLSTMTagger(BILSTM_CONFIG)
    return WordPredictor(model, WORDS, LABELS, batch_size=batch_size), bilstm_params()


@pytest.fixture(scope="module", params=KINDS)
def together(request: pytest.FixtureRequest) -> tuple[str, list[Prediction]]:
    """All sentences predicted in one call."""
    predictor, params = make_predictor(request.param, 32)
    return request.param, predictor.predict(params, SENTENCES)


def assert_same(found: Prediction, expected: Prediction) -> None:
    np.testing.assert_array_equal(found.tag_ids, expected.tag_ids)
    np.testing.assert_allclose(
        found.log_likelihoods, expected.log_likelihoods, rtol=1e-4, atol=1e-5
    )


def test_predictions_are_of_the_sentences_in_their_order(
    together: tuple[str, list[Prediction]],
) -> None:
    _, predictions = together
    assert len(predictions) == len(SENTENCES)
    for words, found in zip(SENTENCES, predictions, strict=True):
        assert found.tag_ids.shape == (len(words),)
        assert found.tag_ids.dtype == np.int32
        assert found.log_likelihoods.shape == (len(words), LABELS.num_tags)
        assert found.log_likelihoods.dtype == np.float32
        assert is_legal(found.tag_ids)
        np.testing.assert_allclose(found.posteriors.sum(-1), 1, rtol=1e-6)
        # A legal tag always has a finite score.
        assert np.isfinite(found.log_likelihoods[np.arange(len(words)), found.tag_ids]).all()
    # The models are random, but a test of predictions that are all alike would be worth little.
    assert len({tag for found in predictions for tag in found.tag_ids.tolist()}) > 1


@pytest.mark.parametrize("batch_size", [1, 3])
def test_batches_make_no_difference(
    together: tuple[str, list[Prediction]], batch_size: int
) -> None:
    kind, expected = together
    predictor, params = make_predictor(kind, batch_size)
    for found, wanted in zip(predictor.predict(params, SENTENCES), expected, strict=True):
        assert_same(found, wanted)


def test_one_by_one_equals_together_equals_reversed(
    together: tuple[str, list[Prediction]],
) -> None:
    kind, expected = together
    predictor, params = make_predictor(kind, 4)
    for words, wanted in zip(SENTENCES[::2], expected[::2], strict=True):
        [found] = predictor.predict(params, [words])
        assert_same(found, wanted)
    for found, wanted in zip(
        predictor.predict(params, SENTENCES[::-1]), expected[::-1], strict=True
    ):
        assert_same(found, wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_to_predict(kind: str) -> None:
    predictor, params = make_predictor(kind, 4)
    assert predictor.predict(params, []) == []
    heard: list[int] = []
    for found in predictor.predict(params, [(), ()], heard.append):
        assert found.tag_ids.shape == (0,)
        assert found.posteriors.shape == (0, LABELS.num_tags)
    assert sum(heard) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_progress_counts_sentences_not_windows(kind: str) -> None:
    options = {"limits": InputLimits(16, overlap_words=1)} if kind == "t5" else {}
    predictor, params = make_predictor(kind, 4, **options)
    heard: list[int] = []
    predictor.predict(params, [(), ("may",) * 6, ("to",)], heard.append)
    assert sum(heard) == 3


# ---- windows -----------------------------------------------------------------------------------


def test_a_sentence_that_fits_is_not_split() -> None:
    """The limits do not matter to sentences within them."""
    words = SENTENCES[2]
    narrow, params = make_predictor("t5", 4, limits=InputLimits(40, overlap_words=0))
    wide, _ = make_predictor("t5", 4)
    assert len(SenTFormat(ByteVocabulary(), LABELS).encode_input(words)) <= 40
    assert_same(*narrow.predict(params, [words]), *wide.predict(params, [words]))


def test_windows_are_predicted_each_alone_and_merged() -> None:
    words = tuple(["to", "berlin", "on", "may", "4", "to", "rome", "on", "may", "5", "and", "x"])
    limit, overlap = 32, 3
    predictor, params = make_predictor("t5", 4, limits=InputLimits(limit, overlap))
    sent_format = SenTFormat(ByteVocabulary(), LABELS)
    parts = windows(
        words,
        max_words=sent_format.max_words,
        max_tokens=limit,
        token_length=sent_format.word_length,
        overlap_words=overlap,
    )
    assert len(parts) > 1
    [found] = predictor.predict(params, [words])
    assert is_legal(found.tag_ids)
    alone = predictor.predict(params, [words[start:end] for start, end in parts])
    for part, own, piece in zip(parts, owned_ranges(parts), alone, strict=True):
        np.testing.assert_allclose(
            found.log_likelihoods[own.start : own.end],
            piece.log_likelihoods[own.start - part.start : own.end - part.start],
            rtol=1e-4,
            atol=1e-5,
        )
    # Neighbours of a sentence in windows are not mixed up with it.
    before, again, after = predictor.predict(params, [("to",), words, ("berlin", "on")])
    assert_same(again, found)
    assert len(before.tag_ids) == 1 and len(after.tag_ids) == 2


@pytest.mark.parametrize("length", [19, 20, 50])
def test_more_words_than_sentinels(tmp_path: Path, length: int) -> None:
    texts = ["to berlin on may 4", "from rome to x"] * 5
    vocabulary = train_sentencepiece(
        texts, 60, tmp_path / "spiece.model", extra_ids=20, required=LABELS.tag_texts
    )
    config = T5_CONFIG.replace(vocab_size=vocabulary.size)
    predictor = SentPredictor(T5(config), SenTFormat(vocabulary, LABELS), batch_size=4)
    words = tuple(itertools.islice(itertools.cycle(["to", "berlin", "on", "may", "4"]), length))
    [found] = predictor.predict(t5_params(config), [words])
    assert found.tag_ids.shape == (length,)
    assert is_legal(found.tag_ids)
    np.testing.assert_allclose(found.posteriors.sum(-1), 1, rtol=1e-6)


def test_a_word_beyond_the_limit_is_cut() -> None:
    predictor, params = make_predictor("t5", 4, limits=InputLimits(16))
    sentences = [("to", "x" * length, "on") for length in (13, 14, 40)]
    fitting, *others = predictor.predict(params, sentences)
    assert predictor.truncated_words(sentences[0]) == ()
    assert predictor.truncated_words(sentences[2]) == (TruncatedWord(1, 40, 13),)
    for found in others:
        assert_same(found, fitting)


# ---- the word tagger ---------------------------------------------------------------------------


def test_word_tags_are_the_best_legal_sequence(together: tuple[str, list[Prediction]]) -> None:
    kind, predictions = together
    if kind != "bilstm":
        pytest.skip("SenTScore has its own tests")
    for found in predictions:
        length = len(found.tag_ids)
        if length > 4:
            continue
        sequences = itertools.product(range(LABELS.num_tags), repeat=length)
        scores = found.log_likelihoods.astype(np.float64)
        best = max(
            filter(is_legal, sequences),
            key=lambda tags: sum(scores[i, tag] for i, tag in enumerate(tags)),
        )
        assert found.tag_ids.tolist() == list(best)


def test_word_tags_are_legal_where_single_words_would_not_be() -> None:
    """A model that wants I everywhere."""
    predictor, params = make_predictor("bilstm", 4)

    def prefer_inside(path: Any, leaf: np.ndarray) -> np.ndarray:
        if leaf.shape == (LABELS.num_tags,):
            return np.array([0, 50, 0, 0], np.float32)
        return leaf

    import jax

    params = jax.tree_util.tree_map_with_path(prefer_inside, params)
    [found] = predictor.predict(params, [("to", "berlin", "on", "may")])
    assert (found.log_likelihoods.argmax(-1) == 1).all()
    assert found.tag_ids[0] > 1
    assert found.tag_ids[1:].tolist() == [1, 1, 1]


def test_a_word_tagger_needs_its_own_labels() -> None:
    with pytest.raises(UserError, match="predicts 4 tags but the label set has 3"):
        WordPredictor(BiLSTMTagger(BILSTM_CONFIG), WORDS, LabelSet(("city",)))


def test_a_vocabulary_that_does_not_fit() -> None:
    with pytest.raises(UserError, match="384"):
        SentPredictor(T5(T5_CONFIG.replace(vocab_size=300)), SenTFormat(ByteVocabulary(), LABELS))


# ---- batches -----------------------------------------------------------------------------------


def test_batches_by_length() -> None:
    lengths = [3, 0, 9, 4, 4, 20, 1, 33]
    groups = batches_by_length(lengths, 2, (4, 8))
    assert sorted(int(i) for _, members in groups for i in members) == [0, 2, 3, 4, 5, 6, 7]
    for bucket, members in groups:
        assert 1 <= len(members) <= 2
        assert all(bucket == round_up(lengths[i], (4, 8)) for i in members)
    assert {bucket for bucket, _ in groups} == {4, 16, 24, 40}


@pytest.mark.parametrize(("items", "expected"), [(1, 1), (2, 2), (3, 4), (5, 8), (9, 12), (12, 12)])
def test_padded_batch_size(items: int, expected: int) -> None:
    assert padded_batch_size(items, 12) == expected


@pytest.mark.parametrize(("items", "expected"), [(1, 1), (2, 4), (4, 4), (5, 12), (12, 12)])
def test_rows_in_vain_rather_than_programs(items: int, expected: int) -> None:
    assert padded_batch_size(items, 12, coarse=True) == expected


def shapes(words: list[int], tokens: list[int] | None = None) -> list[Shape]:
    groups = shaped_batches(words, 4, (4, 8), tokens=tokens, token_buckets=(10, 20))
    for shape, members in groups:
        assert len(members) <= shape.rows
        assert all(round_up(words[index], (4, 8)) == shape.words for index in members)
        if tokens is not None:
            assert all(tokens[index] <= shape.tokens for index in members)
    return [shape for shape, _ in groups]


def test_shapes_of_few_sentences_are_their_own() -> None:
    assert shapes([1, 2, 5]) == [Shape(2, 0, 4), Shape(1, 0, 8)]


def test_the_last_batch_of_a_length_takes_the_shape_of_the_full_ones() -> None:
    # Of 8 words there is no full batch: rows are one of few numbers, as there are many sentences.
    assert shapes([2] * 9 + [7] * 2) == [*[Shape(4, 0, 4)] * 3, Shape(4, 0, 8)]
    assert shapes([2] * 9 + [7]) == [*[Shape(4, 0, 4)] * 3, Shape(1, 0, 8)]
    # The smallest one in which its tokens have room; of several, and where there is none.
    narrow, wide = [9] * 4, [15] * 4
    full = [Shape(4, 10, 4), Shape(4, 20, 4)]
    assert shapes([2] * 9, [*narrow, *wide, 19]) == [*full, Shape(4, 20, 4)]
    assert shapes([*[2] * 4, 3], [*narrow, 3]) == [Shape(4, 10, 4)] * 2
    assert shapes([*[2] * 4, 3], [*narrow, 11]) == [Shape(4, 10, 4), Shape(1, 20, 4)]


def test_a_large_pool_has_few_programs() -> None:
    """However many sentences of each length a shard happens to have."""
    rng, found = np.random.default_rng(0), set()
    for _ in range(50):
        lengths = rng.choice([3, 7, 50], size=1000, p=[0.5, 0.45, 0.05])
        found |= {shape for shape, _ in shaped_batches(lengths.tolist(), 128, (4, 8, 64))}
    assert {shape for shape in found if shape.words < 64} == {Shape(128, 0, 4), Shape(128, 0, 8)}
    assert {shape.rows for shape in found if shape.words == 64} <= {16, 64, 128}


def test_batches_go_by_length_then_by_tokens() -> None:
    lengths, tokens = [3, 2, 3, 3], [9, 9, 7, 8]
    [(_, members)] = batches_by_length(lengths, 4, (4,), then=tokens)
    assert members.tolist() == [1, 2, 3, 0]


# ---- programs ----------------------------------------------------------------------------------


def sentences_of(lengths: list[int]) -> list[tuple[str, ...]]:
    return [("ab",) * length for length in lengths]


def compiled(kind: str, predictor: Any) -> int:
    function = predictor._decode if kind == "t5" else predictor._log_probabilities
    return function._cache_size()


def fresh_predictor(kind: str, seed: int, **options: Any) -> tuple[Any, Any]:
    """A predictor whose programs no other test has compiled: a T5's are shared by equal models."""
    if kind == "t5":
        config = T5_CONFIG.replace(layer_norm_epsilon=1e-6 * (2 + seed))
        sent_format = SenTFormat(ByteVocabulary(), LABELS)
        return SentPredictor(T5(config), sent_format, **options), t5_params(config)
    return make_predictor(kind, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_every_bucket_is_compiled_once_and_by_a_warm_up(kind: str) -> None:
    predictor, params = fresh_predictor(kind, 0, batch_size=2)
    # Two full batches of the bucket of 4 words, and one of that of 8.
    lengths = [1, 2, 2, 3, 0, 5, 6]
    assert predictor.warm_up(params, sentences_of(lengths)) == compiled(kind, predictor) == 2
    for again in (lengths, lengths[::-1], [2, 1], [6, 5], [2] * 6):
        predictor.predict(params, sentences_of(again))
        assert predictor.warm_up(params, sentences_of(again)) == 0
    assert compiled(kind, predictor) == 2
    predictor.predict(params, sentences_of([1]))  # a single row is cheaper than two
    assert compiled(kind, predictor) == 3
    assert predictor.warm_up(params, sentences_of([1, 2, 3])) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_batch_is_padded_rather_than_compiled_anew(kind: str) -> None:
    predictor, params = fresh_predictor(kind, 1, batch_size=4)
    found = predictor.predict(params, sentences_of([2] * 9))
    assert compiled(kind, predictor) == 1
    assert_same(found[8], found[0])


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 8), min_size=1, max_size=4),
    more=st.integers(0, 40),
    overlap=st.integers(0, 5),
)
def test_windows_that_are_large_enough_are_no_windows(
    lengths: list[int], more: int, overlap: int
) -> None:
    sentences = sentences_of(lengths)
    sent_format = SenTFormat(ByteVocabulary(), LABELS)
    needed = max(sent_format.input_length(words) for words in sentences)
    narrow, params = make_predictor("t5", 4, limits=InputLimits(needed + more, overlap))
    wide, _ = make_predictor("t5", 4)
    for found, wanted in zip(
        narrow.predict(params, sentences), wide.predict(params, sentences), strict=True
    ):
        np.testing.assert_array_equal(found.tag_ids, wanted.tag_ids)
        np.testing.assert_array_equal(found.log_likelihoods, wanted.log_likelihoods)


def test_the_next_batch_is_dispatched_before_the_last_one_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    predictor, _ = make_predictor("t5", 2)
    events: list[tuple[str, int]] = []
    read = sent.read_batch

    def decode(params: Any, batch: SentScoreBatch) -> Decoded:
        events.append(("dispatch", int(batch.num_words.max())))
        tags = np.zeros((len(batch.num_words), batch.max_words), np.int32)
        return Decoded(tags, np.zeros((*tags.shape, LABELS.num_tags), np.float32))

    def reading(decoded: Decoded, sent_format: SenTFormat, lengths: list[int]) -> Any:
        events.append(("read", max(lengths)))
        return read(decoded, sent_format, lengths)

    monkeypatch.setattr(predictor, "_decode", decode)
    monkeypatch.setattr(sent, "read_batch", reading)
    predictor.predict(None, sentences_of([9, 1, 5, 2, 4, 4]))
    # The shortest first: a batch of similar sentences is done when its longest is.
    assert events == [
        ("dispatch", 2),
        ("dispatch", 4),
        ("read", 2),
        ("dispatch", 5),
        ("read", 4),
        ("dispatch", 9),
        ("read", 5),
        ("read", 9),
    ]


def test_too_little_memory_is_noticed_before_anything_is_compiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("distill_jax.sentscore.memory.device_memory", lambda: 100_000)
    predictor, params = fresh_predictor("t5", 4, batch_size=32, limit_memory=True)
    for ask in (predictor.predict, predictor.warm_up):
        with pytest.raises(UserError, match=r"32 sentences of 4 words .* with 4 tags needs"):
            ask(params, sentences_of([3] * 32))
    assert compiled("t5", predictor) == 0
    predictor._check_memory(())
    unlimited, _ = fresh_predictor("t5", 4, batch_size=32)
    unlimited._check_memory([(32, 512, 100)])


# ---- other decoders ----------------------------------------------------------------------------

# One bucket, one program: a sentence in windows, one without words, and one that fits.
LONG = tuple(["to", "berlin", "on", "may", "4", "to", "rome", "on", "may", "5", "and", "x"])
FEW = [LONG, (), ("berlin", "on", "monday", "may", "4")]


def decoded_by(settings: DecoderSettings) -> list[Prediction]:
    predictor, params = make_predictor(
        "t5", 4, decoder=settings, limits=InputLimits(32, overlap_words=3)
    )
    return predictor.predict(params, FEW)


@pytest.fixture(scope="module")
def exact() -> list[Prediction]:
    """By SenTScore."""
    return decoded_by(DecoderSettings())


def test_a_beam_returns_its_sequences(exact: list[Prediction]) -> None:
    for found, words in zip(decoded_by(DecoderSettings(beam=3)), FEW, strict=True):
        assert found.beam is not None
        covered = [part.start + i for part in found.beam for i in range(part.tags_SxL.shape[1])]
        assert covered == list(range(len(words)))
        assert (len(found.beam) > 1) == (words is LONG)
        for part in found.beam:
            assert len(part.scores_S) == 3 and (np.diff(part.scores_S) <= 0).all()
        if words and words is not LONG:
            [part] = found.beam
            assert all(is_legal(tags) for tags in part.tags_SxL)
            np.testing.assert_array_equal(part.tags_SxL[0], found.tag_ids)
            assert found.log_likelihoods is not None
            own = found.log_likelihoods[np.arange(len(words)), found.tag_ids].sum()
            np.testing.assert_allclose(part.scores_S[0], own, rtol=1e-4)


def test_pruned_is_sentscore_with_less_to_see(exact: list[Prediction]) -> None:
    epsilon = 0.05
    found = decoded_by(DecoderSettings("pruned", epsilon=epsilon))
    for one, other in zip(found, exact, strict=True):
        np.testing.assert_array_equal(one.tag_ids, other.tag_ids)
        mass = one.unexplored_mass
        assert mass is not None and mass.shape == (len(one.tag_ids),)
        assert (one.posteriors <= other.posteriors + 1e-4).all()
        assert (other.posteriors <= one.posteriors + mass[:, None] + 1e-4).all()
        assert (mass <= epsilon + 1e-4).all()


def test_pruned_keeps_its_epsilon_at_the_models_temperature() -> None:
    epsilon, temperature = 0.05, 1.6
    predictor, params = make_predictor(
        "t5", 4, decoder=DecoderSettings("pruned", epsilon=epsilon), temperature=temperature
    )
    assert (
        predictor.decoder.epsilon == epsilon
    )  # what was asked for, which labels are recorded with
    for found in predictor.predict(params, FEW[1:]):
        mass = found._replace(temperature=temperature).unexplored_mass
        assert mass is not None and (mass <= epsilon + 1e-4).all()


@pytest.mark.parametrize("name", ["sentscore", "pruned", "greedy", "free"])
def test_weights_that_are_no_numbers_are_noticed(name: Any) -> None:
    predictor, params = make_predictor("t5", 4, decoder=DecoderSettings(name))
    params["decoder"]["decoder_norm"]["scale"] = np.full(T5_CONFIG.d_model, np.nan, np.float32)
    with pytest.raises(UserError, match="not numbers"):
        predictor.predict(params, FEW[2:])


def test_greedy_gives_legal_tags_alone() -> None:
    for words, found in zip(FEW, decoded_by(DecoderSettings("greedy")), strict=True):
        assert found.tag_ids.shape == (len(words),)
        assert is_legal(found.tag_ids)
        assert found.log_likelihoods is None and found.malformed is None


def test_free_gives_o_where_it_is_malformed() -> None:
    for words, found in zip(FEW, decoded_by(DecoderSettings("free")), strict=True):
        assert found.tag_ids.shape == (len(words),)
        assert found.log_likelihoods is None and found.malformed is not None
        assert not (found.malformed and found.tag_ids.any())


def test_single_token_tags_are_decoded() -> None:
    """A T5 with some rows beyond its vocabulary: two tags are there, two are sentinels."""
    sent_format = SenTFormat(ByteVocabulary(), LABELS, single_token_tags=True, rows=386)
    assert sent_format.tag_token_ids[:2] == ((384,), (385,))
    config = T5_CONFIG.replace(vocab_size=386)
    predictor = SentPredictor(T5(config), sent_format, batch_size=4)
    tags = set()
    for words, found in zip(FEW[1:], predictor.predict(t5_params(config), FEW[1:]), strict=True):
        assert found.posteriors.shape == (len(words), 4)
        assert is_legal(found.tag_ids)
        tags |= set(found.tag_ids.tolist())
    assert len(tags) > 1
