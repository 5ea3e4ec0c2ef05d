"""Batches for students: words, tags and a teacher's scores, one sentence a row, by length.

As in `seq2seq`, everything is a `grain.MapDataset` addressed by batch number.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import grain
import numpy as np

from distill_jax.data.features import TRUSTED
from distill_jax.data.seq2seq import join_pairs, training_windows
from distill_jax.data.teacher_readers import TeacherReader, subword_windows, teacher_features
from distill_jax.errors import UserError
from distill_jax.integers import round_up
from distill_jax.sent.format import SenTFormat
from distill_jax.sent.subwords import SubwordFormat
from distill_jax.sent.truncation import log_truncated
from distill_jax.vocab import WordVocabulary

BUCKETS = (8, 16, 24, 32, 48, 64, 100)
"""The numbers of words that sentences are padded to; longer ones to a multiple of `STEP`."""
STEP = 32
MAX_CHARS = 20

GIVEN_ID = -1
"""In place of a frozen word's id, where its vector is given."""

_Collate = Callable[[Sequence[int], int], dict[str, np.ndarray]]
"""Numbers of sentences, and the length that they are padded to → a batch."""

_OUTSIDE, _INSIDE = 0, 1  # the first two tags of every sBIO tag set


@dataclasses.dataclass(frozen=True)
class Target:
    """One sentence for a student to learn from.

    `tag_ids` int32[L] are gold or the teacher's; `scores` float32[L, K] are the teacher's u, or a
    function that gives them, so that those of a large store stay on disk; None where there is no
    teacher (a gold sentence it did not label): such words get no KL term. `weight` multiplies both
    terms of the loss. Tag id 1 is I, as in every sBIO tag set. `known` is False where the
    tags are yet to come from a teacher within the step. `gold` is True where a person wrote the tags.
    """

    words: tuple[str, ...]
    tag_ids: np.ndarray
    scores: np.ndarray | Callable[[], np.ndarray] | None = None
    weight: float = 1.0
    known: bool = True
    gold: bool = False

    def teacher_scores(self) -> np.ndarray | None:
        """The teacher's u float32[L, K]; None where there is no teacher."""
        return self.scores() if callable(self.scores) else self.scores

    def window(self, start: int, end: int) -> "Target":
        """The words `start` to `end` alone.

        If a span is open where the window begins, its label takes the place of I there, in the
        tags as in the scores: an I would be illegal, and a gold sentence's window reads the same.
        """
        tag_ids = self.tag_ids[start:end].copy()
        label = next((tag for tag in self.tag_ids[:start][::-1] if tag != _INSIDE), _OUTSIDE)
        within_span = label != _OUTSIDE and len(tag_ids)
        if within_span and tag_ids[0] == _INSIDE:
            tag_ids[0] = label

        def cut(whole: np.ndarray) -> np.ndarray:
            scores = whole[start:end].copy()
            if within_span:
                scores[0, label] = np.logaddexp(scores[0, label], scores[0, _INSIDE])
                scores[0, _INSIDE] = -np.inf
            return scores

        scores = self.scores
        if callable(scores):
            read = scores
            scores = lambda: cut(read())  # noqa: E731
        elif scores is not None:
            scores = cut(scores)
        return dataclasses.replace(
            self, words=self.words[start:end], tag_ids=tag_ids, scores=scores
        )


def word_batches(
    targets: Sequence[Target],
    vocabulary: WordVocabulary,
    num_tags: int,
    *,
    batch_size: int,
    seed: int,
    teacher: TeacherReader | None = None,
    trusted: Sequence[Target] = (),
    frozen_vectors: np.ndarray | None = None,
) -> grain.MapDataset[dict[str, np.ndarray]]:
    """Batches of `distill.tags.TaggerDistillation`, shuffled anew in every epoch.

    With the reader of a `teacher` they hold what `distill.online` needs as well, and sentences that
    the teacher cannot read in one piece become windows. With `trusted` sentences they hold what
    `distill.reweighting` needs, as many of these, drawn anew for every batch. With `frozen_vectors`
    [rows, E], those of the vocabulary's frozen words, a frozen word's vector is given.
    """
    targets = _for_teacher(targets, teacher)
    collate = _word_collate(targets, vocabulary, num_tags, frozen_vectors)
    trusted = [target for target in trusted if target.words]
    if not trusted:
        return _bucketed(targets, collate, batch_size=batch_size, seed=seed, teacher=teacher)

    def marked(members: Sequence[int], length: int) -> dict[str, np.ndarray]:
        is_silver = np.array([not targets[index].gold for index in members])
        return {**collate(members, length), "is_silver": is_silver}

    of_trusted = _word_collate(trusted, vocabulary, num_tags, frozen_vectors)
    length = bucket_of(max(len(target.words) for target in trusted))  # one shape, one compile

    def with_trusted(number: int, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        rng = np.random.default_rng((seed, number))
        few = batch_size > len(trusted)
        chosen = rng.choice(len(trusted), batch_size, replace=few).tolist()
        added = of_trusted(chosen, length)
        return batch | {f"{TRUSTED}{name}": array for name, array in added.items()}

    batches = _bucketed(targets, marked, batch_size=batch_size, seed=seed, teacher=teacher)
    return batches.map_with_index(with_trusted)


def _word_collate(
    targets: Sequence[Target],
    vocabulary: WordVocabulary,
    num_tags: int,
    frozen_vectors: np.ndarray | None,
) -> _Collate:
    """Makes batches of sentences by their numbers and the length that they are padded to."""
    encoded = [vocabulary.encode(target.words, max_chars=MAX_CHARS) for target in targets]

    def collate(members: Sequence[int], length: int) -> dict[str, np.ndarray]:
        batch = _targets([targets[i] for i in members], length, num_tags)
        batch["word_ids"] = np.zeros((len(members), length), np.int32)
        batch["char_ids"] = np.zeros((len(members), length, MAX_CHARS), np.int32)
        for row, index in enumerate(members):
            word_ids, char_ids = encoded[index]
            batch["word_ids"][row, : len(word_ids)] = word_ids
            batch["char_ids"][row, : len(word_ids)] = char_ids
        if frozen_vectors is not None:
            rows = batch["word_ids"] - vocabulary.num_words
            given = np.zeros((*rows.shape, frozen_vectors.shape[1]), np.float32)
            given[rows >= 0] = frozen_vectors[rows[rows >= 0]]
            batch["given_vectors"] = given
            batch["word_ids"][rows >= 0] = GIVEN_ID
        return batch

    return collate


def encoder_batches(
    targets: Sequence[Target],
    subwords: SubwordFormat,
    num_tags: int,
    *,
    batch_size: int,
    seed: int,
    max_input_tokens: int = 512,
    teacher: TeacherReader | None = None,
) -> grain.MapDataset[dict[str, np.ndarray]]:
    """Batches of `distill.objectives.EncoderDistillation`; long sentences become windows.

    `teacher` is as in `word_batches`.
    """
    targets = _for_teacher(targets, teacher)
    subwords = subwords.limited(max_input_tokens)
    log_truncated((target.words for target in targets), subwords.truncated_words, "training")
    targets = [
        target.window(start, end)
        for target in targets
        for start, end in subword_windows(target.words, subwords, max_input_tokens)
    ]
    encoded = [subwords.encode(target.words) for target in targets]

    # One shape a bucket, so one compile.
    widths: dict[int, int] = {}
    for target, (tokens, _) in zip(targets, encoded, strict=True):
        bucket = bucket_of(len(target.words))
        widths[bucket] = max(widths.get(bucket, 0), round_up(len(tokens), 8))

    def collate(members: Sequence[int], length: int) -> dict[str, np.ndarray]:
        batch = _targets([targets[i] for i in members], length, num_tags)
        batch["tokens"] = np.full((len(members), widths[length]), subwords.pad_id, np.int32)
        batch["first"] = np.full((len(members), length), -1, np.int32)
        for row, index in enumerate(members):
            tokens, first = encoded[index]
            batch["tokens"][row, : len(tokens)] = tokens
            batch["first"][row, : len(first)] = first
        return batch

    return _bucketed(targets, collate, batch_size=batch_size, seed=seed, teacher=teacher)


def sent_batches(
    targets: Sequence[Target],
    sent_format: SenTFormat,
    *,
    batch_size: int,
    seed: int,
    feature_lengths: dict[str, int],
    start_id: int = 0,
    teacher: TeacherReader | None = None,
) -> grain.MapDataset[dict[str, np.ndarray]]:
    """Batches of `distill.objectives.SentDistillation`; long sentences become windows.

    `teacher` is as in `word_batches`.
    """
    targets = _for_teacher(targets, teacher)
    sent_format = sent_format.limited(feature_lengths["inputs"])
    log_truncated((target.words for target in targets), sent_format.truncated_words, "training")
    targets = [
        target.window(start, end)
        for target in targets
        for start, end in training_windows(target.words, sent_format, feature_lengths)
    ]
    pairs = [
        (
            sent_format.encode_input(target.words),
            sent_format.encode_target(target.tag_ids),
        )
        for target in targets
    ]

    # One shape a bucket, so one compile: that of this step takes long.
    shapes: dict[int, dict[str, int]] = {}
    for target, (inputs, tags) in zip(targets, pairs, strict=True):
        shape = shapes.setdefault(bucket_of(len(target.words)), {"inputs": 0, "targets": 0})
        shape["inputs"] = max(shape["inputs"], round_up(len(inputs), 8))
        shape["targets"] = max(shape["targets"], round_up(len(tags), 8))

    def collate(members: Sequence[int], length: int) -> dict[str, np.ndarray]:
        shape = shapes[length]
        length = min(length, sent_format.max_words)
        pad_id = sent_format.vocabulary.pad_id
        rows = [join_pairs([pairs[i]], shape, pad_id=pad_id, start_id=start_id) for i in members]
        batch = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        members_of = [targets[i] for i in members]
        weights = np.array([target.weight for target in members_of], np.float32)
        batch["decoder_loss_weights"] = weights[:, None] * (batch["decoder_segment_ids"] > 0)
        batch["num_words"] = np.array([len(target.words) for target in members_of], np.int32)
        return batch | _targets(members_of, length, sent_format.labels.num_tags)

    return _bucketed(targets, collate, batch_size=batch_size, seed=seed, teacher=teacher)


def _for_teacher(targets: Sequence[Target], teacher: TeacherReader | None) -> Sequence[Target]:
    """Cut into windows that a teacher can read."""
    if teacher is None:
        return targets
    log_truncated((target.words for target in targets), teacher.truncated_words, "the teacher")
    return [
        target.window(start, end)
        for target in targets
        for start, end in teacher.windows(target.words)
    ]


def _targets(targets: Sequence[Target], length: int, num_tags: int) -> dict[str, np.ndarray]:
    rows = len(targets)
    batch = {
        "tags": np.zeros((rows, length), np.int32),
        "tag_weights": np.zeros((rows, length), np.float32),
        "kl_weights": np.zeros((rows, length), np.float32),
        "teacher_scores": np.zeros((rows, length, num_tags), np.float32),
    }
    for row, target in enumerate(targets):
        words = len(target.words)
        batch["tags"][row, :words] = target.tag_ids
        batch["tag_weights"][row, :words] = target.weight
        scores = target.teacher_scores()
        if scores is not None:
            batch["kl_weights"][row, :words] = target.weight
            batch["teacher_scores"][row, :words] = scores
    return batch


def bucket_of(words: int) -> int:
    """The number of words that a sentence of so many is padded to."""
    return next((b for b in BUCKETS if words <= b), round_up(words, STEP))


def _bucketed(
    targets: Sequence[Target],
    collate: _Collate,
    *,
    batch_size: int,
    seed: int,
    teacher: TeacherReader | None = None,
) -> grain.MapDataset[dict[str, np.ndarray]]:
    """Shuffles and batches within each length bucket; buckets are drawn by their sizes."""
    if batch_size < 1:
        raise UserError(f"BATCH_SIZE is {batch_size}; it must be at least 1")
    if teacher is not None:
        collate = _with_teacher_inputs(targets, collate, teacher)
    members: dict[int, list[int]] = {}
    for index, target in enumerate(targets):
        if target.words:
            members.setdefault(bucket_of(len(target.words)), []).append(index)
    if not members:
        raise UserError("a training set is empty; check the task's split and few-shot sizes")

    def batches(bucket: int, indices: list[int]) -> Any:
        shuffled = grain.MapDataset.source(indices).seed(seed + bucket).shuffle().repeat(None)
        # Endless: there is no remainder, and Grain cannot count the batches of one with it.
        return shuffled.batch(
            batch_size, drop_remainder=True, batch_fn=lambda chosen: collate(chosen, bucket)
        )

    datasets = [batches(bucket, indices) for bucket, indices in sorted(members.items())]
    if len(datasets) == 1:
        return datasets[0]
    weights = [float(len(indices)) for _, indices in sorted(members.items())]
    return grain.MapDataset.mix(datasets, weights=weights)


def _with_teacher_inputs(
    targets: Sequence[Target],
    collate: _Collate,
    teacher: TeacherReader,
) -> _Collate:
    features = teacher_features(teacher, [target.words for target in targets], bucket_of)

    def with_inputs(members: Sequence[int], length: int) -> dict[str, np.ndarray]:
        of = [targets[index] for index in members]
        return {
            **collate(members, length),
            **features(members, length),
            "num_words": np.array([len(target.words) for target in of], np.int32),
            "known_tags": np.array([target.known for target in of]),
        }

    return with_inputs
