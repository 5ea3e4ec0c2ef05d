"""Tagging tasks as t5x reads them: the features of a model, though tasks have words and tags as well."""

from typing import Any

import numpy as np
import pytest
import seqio

from distill_jax.data.seqio_converter import SenTFeatureConverter
from distill_jax.data.seqio_lookup import task_vocabulary
from distill_jax.data.seqio_tasks import register_tagging_task
from distill_jax.errors import UserError
from distill_jax.sent.format import SenTFormat
from distill_jax.tagging import LabelSet, Sentence
from distill_jax.vocab import ByteVocabulary

LABELS = LabelSet(("city",), ("c",))
SENTENCES = [Sentence(("to", "rome"), ("O", "B-city")), Sentence(("hi",), ("O",))]
LENGTHS = {"inputs": 40, "targets": 30}


@pytest.fixture(scope="module")
def task() -> Any:
    name = "converted_by_t5x"
    register_tagging_task(
        name, source=lambda split: SENTENCES, splits=("train",), labels=LABELS, vocabulary="byte"
    )
    yield seqio.get_mixture_or_task(name)
    seqio.TaskRegistry.remove(name)


def test_a_task_is_converted(task: Any) -> None:
    dataset = task.get_dataset(LENGTHS, split="train", shuffle=False)
    first, second = SenTFeatureConverter(pack=False)(dataset, LENGTHS).as_numpy_iterator()
    sent = SenTFormat(ByteVocabulary(), LABELS)
    source, target = sent.encode_input(("to", "rome")), sent.encode_target([0, 2])
    np.testing.assert_array_equal(first["encoder_input_tokens"][: len(source)], source)
    np.testing.assert_array_equal(first["decoder_target_tokens"][: len(target)], target)
    assert {len(array) for array in second.values()} == {40, 30}


def test_sentences_are_packed(task: Any) -> None:
    dataset = task.get_dataset(LENGTHS, split="train", shuffle=False)
    lengths = {**LENGTHS, "words": 9, "tags": 9}  # as SeqIO's evaluator computes them
    [row] = SenTFeatureConverter(pack=True)(dataset, lengths).as_numpy_iterator()
    assert row["decoder_segment_ids"].max() == 2


def test_the_vocabulary_of_a_task(task: Any) -> None:
    vocabulary = task_vocabulary(task.name)
    assert vocabulary == task.output_features["targets"].vocabulary
    assert isinstance(vocabulary.wrapped, ByteVocabulary)
    register_tagging_task(
        "without_targets", source=lambda split: SENTENCES, splits=("train",), labels=LABELS
    )
    with pytest.raises(UserError, match="'without_targets' has no SenT′ targets"):
        task_vocabulary("without_targets")
    seqio.TaskRegistry.remove("without_targets")
