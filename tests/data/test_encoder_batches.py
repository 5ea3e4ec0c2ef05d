"""Batches of encoder taggers, and what a teacher within the step adds to any student's."""

from typing import Any

import numpy as np
import pytest

from distill_jax.data.distillation import BUCKETS, Target, encoder_batches, word_batches
from distill_jax.data.teacher_readers import SentReader, SubwordReader, WordReader
from distill_jax.sent.format import SenTFormat
from distill_jax.sent.subwords import SubwordFormat
from distill_jax.tagging import LabelSet
from distill_jax.vocab import ByteVocabulary, WordVocabulary

LABELS = LabelSet(("a",))
SUBWORDS = SubwordFormat(ByteVocabulary())
TEACHER = SenTFormat(ByteVocabulary(), LABELS)


def target(number: int, words: int, known: bool = True) -> Target:
    tags = np.zeros(words, np.int32)
    tags[0] = 2
    tags[1:] = 1  # one span
    scores = np.log(np.full((words, 3), 1 / 3, np.float32))
    return Target(
        tuple(f"{number}.{i}" for i in range(words)),
        tags,
        scores if known else None,
        1.0 if known else 0.5,
        known,
    )


def test_rows_are_whole_sentences() -> None:
    found = [target(n, words) for n, words in enumerate((2, 5, 8, 3))]
    [batch] = encoder_batches(found, SUBWORDS, 3, batch_size=4, seed=0)[0:1]
    assert batch["first"].shape == batch["tags"].shape == (4, BUCKETS[0])
    assert batch["tokens"].shape[1] % 8 == 0
    seen = set()
    for row in range(4):
        words = int((batch["first"][row] >= 0).sum())
        [one] = [t for t in found if len(t.words) == words]
        tokens, first = SUBWORDS.encode(one.words)
        np.testing.assert_array_equal(batch["tokens"][row, : len(tokens)], tokens)
        assert not batch["tokens"][row, len(tokens) :].any()
        np.testing.assert_array_equal(batch["first"][row, :words], first)
        assert (batch["first"][row, words:] == -1).all()
        np.testing.assert_array_equal(batch["tags"][row, :words], one.tag_ids)
        np.testing.assert_array_equal(batch["tag_weights"][row], [1] * words + [0] * (8 - words))
        seen.add(words)
    assert seen == {2, 5, 8, 3}


def test_words_beyond_the_limit_are_cut_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    long = Target(("x" * 40,), np.zeros(1, np.int32), np.zeros((1, 3), np.float32))
    [batch] = encoder_batches([long], SUBWORDS, 3, batch_size=1, seed=0, max_input_tokens=14)[0:1]
    assert (batch["tokens"] != 0).sum() == 13  # 12 of the word, and the end
    [batch] = word_batches(
        [Target(("y" * 600,), np.zeros(1, np.int32), known=False)],
        WordVocabulary.build([("y",)]),
        3,
        batch_size=1,
        seed=0,
        teacher=SentReader(TEACHER),
    )[0:1]
    assert (batch["teacher_tokens"] != 0).sum() == 512
    assert [": ".join(said.split(": ")[:2]) for said in caplog.messages] == [
        f"{what}: words too long for the model, which reads their beginning alone"
        for what in ("training", "the teacher")
    ]


def test_long_sentences_become_windows() -> None:
    [batch] = encoder_batches(
        [target(0, 8)], SUBWORDS, 3, batch_size=2, seed=0, max_input_tokens=14
    )[0:1]
    assert batch["tokens"].shape[1] == 16  # four words of three bytes, and the end
    assert ((batch["tokens"] != 0).sum(1) <= 14).all()
    # Both windows are tagged: the second continues a span, which begins anew there.
    assert (batch["tags"][:, 0] == 2).all() and (batch["tag_weights"].sum(1) == 4).all()


@pytest.mark.parametrize("kind", ["words", "subwords"])
def test_what_a_teacher_within_the_step_reads(kind: str) -> None:
    found = [target(0, 3), target(1, 5, known=False)]
    options = {"batch_size": 2, "seed": 0, "teacher": SentReader(TEACHER)}
    if kind == "words":
        vocabulary = WordVocabulary.build([t.words for t in found])
        [batch] = word_batches(found, vocabulary, 3, **options)[0:1]  # type: ignore[arg-type]
    else:
        [batch] = encoder_batches(found, SUBWORDS, 3, **options)[0:1]  # type: ignore[arg-type]
    for row, words in enumerate(batch["num_words"].tolist()):
        one = found[0 if words == 3 else 1]
        ids = TEACHER.encode_input(one.words)
        np.testing.assert_array_equal(batch["teacher_tokens"][row, : len(ids)], ids)
        assert not batch["teacher_tokens"][row, len(ids) :].any()
        assert batch["known_tags"][row] == one.known
        assert batch["tag_weights"][row, 0] == one.weight


def test_sentences_are_cut_to_what_the_teacher_can_read() -> None:
    found = [target(0, 150, known=False)]
    [batch] = encoder_batches(
        found, SUBWORDS, 3, batch_size=2, seed=0, max_input_tokens=4096, teacher=SentReader(TEACHER)
    )[0:1]
    assert (batch["num_words"] <= TEACHER.max_words).all()


def test_what_word_taggers_within_the_step_read() -> None:
    found = [target(0, 3), target(1, 5, known=False), target(0, 11, known=False)]
    vocabulary = WordVocabulary.build([t.words for t in found])
    readers = (SubwordReader(SUBWORDS), WordReader(vocabulary, max_chars=4))
    for reader in readers:
        options: dict[str, Any] = {"batch_size": 1, "seed": 0, "teacher": reader}
        batches = word_batches(found, vocabulary, 3, **options)
        seen = set()
        for number in range(12):
            batch = batches[number]
            words = int(batch["num_words"][0])
            seen.add(words)
            [one] = [each for each in found if len(each.words) == words]
            for name, values in reader.encode(one.words).items():
                row, feature = batch[name][0], reader.features[name]
                assert row.dtype == np.int32
                np.testing.assert_array_equal(row[: len(values)], values)
                assert (row[len(values) :] == feature.padding).all()
                assert len(row) == (8 if words <= 8 else 16) or not feature.of_words
        assert seen == {3, 5, 11}


def test_what_a_bert_within_the_step_cannot_read_at_once_becomes_windows(
    caplog: pytest.LogCaptureFixture,
) -> None:
    words = ("abc",) * 8
    long = Target((*words, "x" * 40), np.zeros(9, np.int32), known=False)
    reader = SubwordReader(SUBWORDS, max_tokens=14)
    vocabulary = WordVocabulary.build([long.words])
    batches = word_batches([long], vocabulary, 3, batch_size=3, seed=0, teacher=reader)
    batch = batches[0]
    assert sorted(batch["num_words"].tolist()) == [1, 4, 4]  # every word once, none lost
    assert ((batch["teacher_tokens"] != 0).sum(1) <= 14).all()
    [said] = caplog.messages
    assert "the teacher: words too long for the model" in said and "has 40 tokens" in said
