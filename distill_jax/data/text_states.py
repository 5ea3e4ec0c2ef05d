"""Batches of packed rows with sentences beside them, whose states are matched."""

from collections.abc import Mapping, Sequence

import grain
import numpy as np

from distill_jax.data.distillation import Target, sent_batches
from distill_jax.data.teacher_readers import TeacherReader
from distill_jax.sent.format import SenTFormat

_READ = ("encoder_input_tokens", "num_words", "tags", "tag_weights")


def sentence_batches(
    targets: Sequence[Target],
    sent_format: SenTFormat,
    teacher: TeacherReader,
    *,
    batch_size: int,
    seed: int,
    lengths: Mapping[str, int],
) -> grain.MapDataset[dict[str, np.ndarray]]:
    """Batches of sentences by length, as SenT′ and a teacher read them, shuffled anew in every epoch.

    They hold `encoder_input_tokens`, `num_words`, `tags` (no more than a length), `tag_weights` and the
    features of the teacher. Long sentences become windows.
    """
    batches = sent_batches(
        targets,
        sent_format,
        batch_size=batch_size,
        seed=seed,
        feature_lengths={**lengths, "targets": 1 << 30},  # nothing is written
        teacher=teacher,
    )
    names = (*_READ, *teacher.features)
    return batches.map(lambda batch: {name: batch[name] for name in names})


def beside_rows(
    rows: grain.MapDataset[Mapping[str, np.ndarray]],
    sentences: grain.MapDataset[dict[str, np.ndarray]],
    batch_size: int,
    prefix: str,
) -> grain.MapDataset[dict[str, np.ndarray]]:
    """Batches of `batch_size` rows, each with an equal share of a batch of sentences.

    The names of the sentences' features get the prefix, and their arrays are `[batch_size, share, …]`.
    """

    def make(number: int) -> dict[str, np.ndarray]:
        chosen = [rows[number * batch_size + row] for row in range(batch_size)]
        batch = {name: np.stack([row[name] for row in chosen]) for name in chosen[0]}
        for name, array in sentences[number].items():
            batch[prefix + name] = array.reshape(batch_size, -1, *array.shape[1:])
        return batch

    return grain.MapDataset.range(len(rows) // batch_size).map(make)
