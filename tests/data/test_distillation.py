"""Students' batches: what has no weight, every sentence in every epoch, and restarts."""

import itertools
from collections import Counter
from typing import Any

import grain
import numpy as np
import pytest

from distill_jax.data.distillation import BUCKETS, MAX_CHARS, Target, sent_batches, word_batches
from distill_jax.errors import UserError
from distill_jax.sent.format import SenTFormat
from distill_jax.tagging import LabelSet
from distill_jax.vocab import ByteVocabulary, WordVocabulary

LABELS = LabelSet(("a", "bc"))
FORMAT = SenTFormat(ByteVocabulary(), LABELS)
FEATURE_LENGTHS = {"inputs": 400, "targets": 400}
OUT, IN, A, BC = range(4)
Batch = dict[str, np.ndarray]


def target(number: int, words: int, *, teacher: bool = True, weight: float = 1.0) -> Target:
    """Words that name the sentence; random legal tags; scores of a teacher that chose them."""
    rng = np.random.default_rng([number, words])
    tags = rng.integers(0, 4, words).astype(np.int32)
    for i in range(words):
        if tags[i] == IN and (i == 0 or tags[i - 1] == OUT):
            tags[i] = A
    scores = None
    if teacher:
        scores = rng.normal(size=(words, 4)).astype(np.float32)
        scores[np.concatenate([[OUT], tags[:-1]])[:words] == OUT, IN] = -np.inf
    return Target(tuple(f"{number}.{i}" for i in range(words)), tags, scores, weight)


def targets() -> list[Target]:
    """Three buckets; one sentence without a teacher, one of another weight, one without words."""
    lengths = [1, 3, 8, 5, 12, 16, 9, 2, 7, 4, 6, 20]
    found = [target(i, words) for i, words in enumerate(lengths)]
    found[2] = target(2, 8, teacher=False)
    found[4] = target(4, 12, weight=0.25)
    return [*found, target(99, 0)]


def batches_of(kind: str, found: list[Target], size: int = 2, seed: int = 5) -> Any:
    if kind == "word":
        vocabulary = WordVocabulary.build([one.words for one in found])
        return word_batches(found, vocabulary, 4, batch_size=size, seed=seed)
    return sent_batches(
        found, FORMAT, batch_size=size, seed=seed, feature_lengths=FEATURE_LENGTHS, start_id=2
    )


def sentence_numbers(kind: str, batch: Batch, found: list[Target]) -> list[int]:
    """Which sentence each row holds; checks every feature of the row."""
    numbers = []
    vocabulary = WordVocabulary.build([one.words for one in found])
    rows, length = batch["tags"].shape
    for row in range(rows):
        if kind == "word":
            ids = batch["word_ids"][row]
            words = int(np.count_nonzero(ids))
            spelled = tuple(vocabulary.words[i - 2] for i in ids[:words])
        else:
            words = int(batch["num_words"][row])
            real = batch["encoder_segment_ids"][row] > 0
            text = FORMAT.vocabulary.decode(batch["encoder_input_tokens"][row][real].tolist())
            spelled = next(
                one.words
                for one in found
                if np.array_equal(
                    FORMAT.encode_input(one.words), batch["encoder_input_tokens"][row][real]
                )
            )
            assert text
        number = next(i for i, one in enumerate(found) if one.words == spelled)
        numbers.append(number)
        one = found[number]
        assert len(one.words) == words
        pad = slice(words, length)
        np.testing.assert_array_equal(batch["tags"][row, :words], one.tag_ids)
        assert (batch["tag_weights"][row, :words] == one.weight).all()
        assert not batch["tag_weights"][row, pad].any()
        assert not batch["kl_weights"][row, pad].any()
        assert not batch["teacher_scores"][row, pad].any()
        if one.scores is None:
            assert not batch["kl_weights"][row].any()
        else:
            assert (batch["kl_weights"][row, :words] == one.weight).all()
            np.testing.assert_array_equal(batch["teacher_scores"][row, :words], one.scores)
        if kind == "word":
            char_ids = vocabulary.encode(one.words, MAX_CHARS)[1]
            np.testing.assert_array_equal(batch["char_ids"][row, :words], char_ids)
            assert not batch["char_ids"][row, pad].any()
        else:
            expected = FORMAT.encode_target(one.tag_ids)
            real = batch["decoder_segment_ids"][row] > 0
            np.testing.assert_array_equal(batch["decoder_target_tokens"][row][real], expected)
            np.testing.assert_array_equal(
                batch["decoder_input_tokens"][row][real], [2, *expected[:-1]]
            )
            np.testing.assert_array_equal(
                batch["decoder_loss_weights"][row], real * np.float32(one.weight)
            )
    return numbers


def assert_equal_batches(one: Batch, two: Batch) -> None:
    assert one.keys() == two.keys()
    for name, array in one.items():
        assert array.dtype in (np.int32, np.float32)
        assert array.dtype == two[name].dtype
        np.testing.assert_array_equal(array, two[name])


@pytest.mark.parametrize("kind", ["word", "sent"])
def test_batches_hold_the_targets(kind: str) -> None:
    found = targets()
    batches = batches_of(kind, found)
    seen: Counter[int] = Counter()
    for number in range(60):
        batch = batches[number]
        assert batch["tags"].shape[0] == 2
        assert batch["tags"].shape[1] in BUCKETS
        seen.update(sentence_numbers(kind, batch, found))
    # 120 sentences: ten epochs of the twelve that have words, up to the buckets' proportions.
    assert set(seen) == set(range(12))
    assert min(seen.values()) >= 8 and max(seen.values()) <= 12


@pytest.mark.parametrize("kind", ["word", "sent"])
def test_every_sentence_once_an_epoch(kind: str) -> None:
    found = [target(i, 1 + i % 8) for i in range(9)]
    batches = batches_of(kind, found, size=4)
    rows = itertools.chain.from_iterable(
        sentence_numbers(kind, batches[i], found) for i in range(9)
    )
    epochs = list(zip(*[rows] * 9, strict=True))
    assert len(epochs) == 4
    assert all(sorted(epoch) == list(range(9)) for epoch in epochs)
    assert len(set(epochs)) == 4


@pytest.mark.parametrize("kind", ["word", "sent"])
def test_batches_are_a_function_of_seed_and_number(kind: str) -> None:
    batches = batches_of(kind, targets())
    expected = [batches[i] for i in range(12)]
    again = batches_of(kind, targets())
    for number in reversed(range(12)):
        assert_equal_batches(again[number], expected[number])
    for start in (0, 5):
        options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=8)
        rest = list(batches_of(kind, targets())[start:12].to_iter_dataset(options))
        assert len(rest) == 12 - start
        for one, two in zip(rest, expected[start:], strict=True):
            assert_equal_batches(one, two)
    other = batches_of(kind, targets(), seed=6)
    assert any(
        other[i]["tags"].shape != expected[i]["tags"].shape
        or not np.array_equal(other[i]["tags"], expected[i]["tags"])
        for i in range(12)
    )


def test_few_shapes() -> None:
    found = [target(i, words) for i, words in enumerate([*range(1, 100, 7), *range(101, 130)])]
    batches = batches_of("word", found, size=1)
    widths = {batches[i]["tags"].shape[1] for i in range(200)}
    assert widths == {*BUCKETS, 128, 160}


def test_long_sentences_become_windows() -> None:
    long = target(0, 70)
    limits = {"inputs": 400, "targets": 90}
    batches = sent_batches([long], FORMAT, batch_size=1, seed=0, feature_lengths=limits)
    seen: dict[str, Batch] = {}
    for number in range(20):
        batch = batches[number]
        seen[str(batch["encoder_input_tokens"][0, :12])] = batch
    assert sum(int(batch["num_words"][0]) for batch in seen.values()) == 70
    for batch in seen.values():
        words = int(batch["num_words"][0])
        assert np.count_nonzero(batch["decoder_segment_ids"]) <= 90
        # Tags of the loss, of the score's prefix, and scores agree on what is legal.
        real = batch["decoder_segment_ids"][0] > 0
        parsed = FORMAT.parse_target(batch["decoder_target_tokens"][0][real].tolist(), words)
        assert not parsed.problems
        assert parsed.tags == [LABELS.tags[i] for i in batch["tags"][0, :words]]
        assert batch["teacher_scores"][0, 0, IN] == -np.inf


def test_a_window_inside_a_span_begins_with_its_label() -> None:
    tags = np.array([OUT, BC, IN, IN, OUT, A], np.int32)
    scores = np.log(np.random.default_rng(0).dirichlet(np.ones(4), 6)).astype(np.float32)
    whole = Target(tuple("abcdef"), tags, scores, 0.5)
    inside = whole.window(2, 5)
    assert (inside.words, inside.weight) == (("c", "d", "e"), 0.5)
    assert inside.tag_ids.tolist() == [BC, IN, OUT]
    assert inside.scores is not None
    p, q = np.exp(scores[2]), np.exp(inside.scores[0])
    np.testing.assert_allclose(q, [p[OUT], 0, p[A], p[BC] + p[IN]], rtol=1e-5)
    np.testing.assert_array_equal(inside.scores[1:], scores[3:5])
    # Behind a span's last word too, I would have meant that span.
    assert whole.window(4, 6).scores[0, IN] == -np.inf  # type: ignore[index]
    # After O, and at the start, nothing is to be done.
    for start, end in ((0, 6), (5, 6)):
        same = whole.window(start, end)
        np.testing.assert_array_equal(same.tag_ids, tags[start:end])
        np.testing.assert_array_equal(same.scores, scores[start:end])
    assert whole.tag_ids.tolist() == [OUT, BC, IN, IN, OUT, A]
    assert np.isfinite(whole.scores).all()  # type: ignore[arg-type]
    assert Target(whole.words, tags).window(2, 4).tag_ids.tolist() == [BC, IN]


@pytest.mark.parametrize("kind", ["word", "sent"])
def test_nothing_to_learn_from(kind: str) -> None:
    with pytest.raises(UserError, match="training set is empty"):
        batches_of(kind, [target(0, 0)])


@pytest.mark.parametrize("kind", ["word", "sent"])
def test_a_batch_of_nothing(kind: str) -> None:
    with pytest.raises(UserError, match="BATCH_SIZE is 0"):
        batches_of(kind, [target(2, 0)], size=0)
