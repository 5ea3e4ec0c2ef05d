"""Batches for the encoder-decoder: packed rows, in an order that is a pure function of seed and step.

Everything is a `grain.MapDataset` addressed by row number, so that a run resumes by starting at a
row, on any number of hosts. Names of the features are those of t5x.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grain
import numpy as np

from distill_jax.data.span_corruption import corrupt_spans, corruption_lengths
from distill_jax.errors import UserError
from distill_jax.integers import ceil_divide
from distill_jax.sent.format import SenTFormat
from distill_jax.sent.truncation import TruncatedWords
from distill_jax.sent.windows import windows
from distill_jax.tagging import Sentence
from distill_jax.vocab import Vocabulary

Row = dict[str, np.ndarray]
Pair = tuple[np.ndarray, np.ndarray]
"""Inputs and targets of one example, int32, each ending in `</s>`."""


@dataclasses.dataclass(frozen=True)
class Seq2SeqPart:
    """One data set of a mixture.

    `lengths` int32[n, 2] holds the lengths of inputs and targets of each example; `encode(i, rng)`
    makes example i, of those lengths; `rate` is the share of rows drawn from this part, relative to
    the other parts' rates.
    """

    lengths: np.ndarray
    encode: Callable[[int, np.random.Generator], Pair]
    rate: float = 1.0

    def __len__(self) -> int:
        return len(self.lengths)


def tagging_part(
    sentences: Sequence[Sentence],
    sent_format: SenTFormat,
    feature_lengths: Mapping[str, int],
    *,
    rate: float = 1.0,
) -> Seq2SeqPart:
    """SenT′ examples of labelled sentences; those too long for a row become several windows.

    Sentences without words are left out: they hold nothing to learn. A word that alone is too long is
    cut, and how many are is logged. Raises `UserError` if a
    sentence has no tags.
    """
    pairs: list[Pair] = []
    labels = sent_format.labels
    sent_format = sent_format.limited(feature_lengths["inputs"])
    truncated = TruncatedWords(sent_format.truncated_words)
    for number, sentence in enumerate(sentences):
        if sentence.tags is None:
            raise UserError(
                f"sentence {number} ({' '.join(sentence.words[:8])}…) has no tags; "
                "training a teacher needs labelled sentences"
            )
        truncated.add(sentence.words, f"sentence {number + 1}")
        for start, end in training_windows(sentence.words, sent_format, feature_lengths):
            tags = labels.encode_iob2(sentence.tags[start:end])
            pairs.append(
                (
                    sent_format.encode_input(sentence.words[start:end]),
                    sent_format.encode_target(tags),
                )
            )
    truncated.log("training")
    return fixed_part(pairs, rate)


def training_windows(
    words: Sequence[str], sent_format: SenTFormat, feature_lengths: Mapping[str, int]
) -> list[tuple[int, int]]:
    """Where to split a sentence so that inputs and targets fit; no overlap, so no word twice.

    `sent_format` is `limited` to the inputs' length.
    """
    if not words:
        return []
    longest_tag = max(map(len, sent_format.tag_token_ids))
    # Two tokens, s0 and </s>, belong to no word.
    max_words = min(sent_format.max_words, (feature_lengths["targets"] - 2) // (longest_tag + 1))
    if max_words < 1:
        raise UserError(
            f"TASK_FEATURE_LENGTHS: {feature_lengths['targets']} target tokens cannot hold one word "
            f"with a tag of {longest_tag} tokens; raise 'targets' to at least {longest_tag + 3}"
        )
    parts = windows(
        words,
        max_words=max_words,
        max_tokens=feature_lengths["inputs"],
        token_length=lambda word: len(sent_format.word_token_ids(word)),
        overlap_words=0,
    )
    return [(window.start, window.end) for window in parts]


def fixed_part(pairs: Sequence[Pair], rate: float = 1.0) -> Seq2SeqPart:
    """Examples that are the same in every epoch. Raises `UserError` if there are none."""
    if not pairs:
        raise UserError("a training set is empty; check the task's split and few-shot sizes")
    lengths = np.array([(len(inputs), len(targets)) for inputs, targets in pairs], np.int32)
    return Seq2SeqPart(lengths, lambda index, rng: pairs[index], rate)


def span_corruption_part(
    texts: Sequence[Sentence],
    vocabulary: Vocabulary,
    feature_lengths: Mapping[str, int],
    *,
    noise_density: float = 0.15,
    mean_span_length: float = 3.0,
    rate: float = 1.0,
) -> Seq2SeqPart:
    """Span corruption of plain text, drawn anew in every epoch; long texts are split into pieces.

    Pieces of fewer than two tokens are left out: nothing can be taken from them.
    """

    def fits(length: int) -> bool:
        lengths = corruption_lengths(
            length, noise_density=noise_density, mean_span_length=mean_span_length
        )
        return (
            lengths.inputs <= feature_lengths["inputs"]
            and lengths.targets <= feature_lengths["targets"]
            and lengths.spans < vocabulary.num_sentinels
        )

    longest = max((n for n in range(2, 2 * feature_lengths["inputs"]) if fits(n)), default=0)
    if longest == 0:
        least = corruption_lengths(2)
        raise UserError(
            f"TASK_FEATURE_LENGTHS: {feature_lengths['inputs']} input and "
            f"{feature_lengths['targets']} target tokens, with {vocabulary.num_sentinels} sentinels, "
            f"are too few for span corruption; allow at least {least.inputs}, {least.targets} and 2"
        )
    word_ids: dict[str, list[int]] = {}
    pieces: list[np.ndarray] = []
    for text in texts:
        ids: list[int] = []
        for word in text.words:
            if word not in word_ids:
                word_ids[word] = vocabulary.encode(word)
            ids += word_ids[word]
        tokens = np.array(ids, np.int32)
        chunks = np.array_split(tokens, ceil_divide(len(tokens), longest)) if len(tokens) else []
        pieces += [chunk for chunk in chunks if len(chunk) >= 2]
    if not pieces:
        raise UserError("the text to pre-train on is empty; check the task's files")
    lengths = [
        corruption_lengths(
            len(piece), noise_density=noise_density, mean_span_length=mean_span_length
        )
        for piece in pieces
    ]

    def encode(index: int, rng: np.random.Generator) -> Pair:
        return corrupt_spans(
            pieces[index],
            sentinel_ids=vocabulary.sentinel_ids,
            eos_id=vocabulary.eos_id,
            rng=rng,
            noise_density=noise_density,
            mean_span_length=mean_span_length,
        )

    return Seq2SeqPart(np.array([(n.inputs, n.targets) for n in lengths], np.int32), encode, rate)


def packed_rows(
    parts: Sequence[Seq2SeqPart],
    feature_lengths: Mapping[str, int],
    *,
    seed: int,
    pad_id: int = 0,
    start_id: int = 0,
    packing: bool = True,
    repeat: bool = True,
) -> grain.MapDataset[Row]:
    """Rows of several examples each, shuffled anew in every epoch, mixed by the parts' rates.

    A row holds int32 arrays: `encoder_input_tokens`, `encoder_segment_ids` [inputs];
    `decoder_input_tokens`, `decoder_target_tokens`, `decoder_segment_ids` [targets]. Segments count
    from 1; 0 is padding. Which examples share a row is fixed for a seed; the order of rows is not.
    `repeat=False` gives each row once, in a fixed order (for evaluation). Raises `UserError` if a
    rate is not a positive number or an example does not fit a row.
    """
    for number, part in enumerate(parts):
        if not (math.isfinite(part.rate) and part.rate > 0):
            raise UserError(
                f"mixing rate {part.rate} of data set {number + 1} is not a positive number; "
                "correct it, or leave that data set out"
            )

    def rows_of(number: int, part: Seq2SeqPart) -> grain.MapDataset[Row]:
        order = np.random.default_rng([seed, number]).permutation(len(part))
        bins = plan_bins(part.lengths, feature_lengths, order, packing=packing)

        def make_row(members: np.ndarray, rng: np.random.Generator) -> Row:
            pairs = [part.encode(int(index), rng) for index in members]
            return join_pairs(pairs, feature_lengths, pad_id=pad_id, start_id=start_id)

        dataset: Any = grain.MapDataset.source(bins).seed(seed + number)
        if repeat:
            dataset = dataset.shuffle().repeat(None)
        return dataset.random_map(make_row)

    datasets = [rows_of(number, part) for number, part in enumerate(parts)]
    if len(datasets) == 1:
        return datasets[0]
    if not repeat:
        return grain.MapDataset.concatenate(datasets)
    return grain.MapDataset.mix(datasets, weights=[part.rate for part in parts])


def plan_bins(
    lengths: np.ndarray,
    feature_lengths: Mapping[str, int],
    order: np.ndarray,
    *,
    packing: bool = True,
    open_bins: int = 16,
) -> list[np.ndarray]:
    """First-fit packing of examples, visited in `order`, into rows; returns each row's examples.

    The last `open_bins` rows are kept open for examples to come; looking at more packs hardly
    tighter. Raises `UserError` if an example does not fit an empty row.
    """
    limits = np.array([feature_lengths["inputs"], feature_lengths["targets"]])
    too_long = np.flatnonzero((lengths > limits).any(axis=1))
    if len(too_long):
        worst = lengths[too_long].max(axis=0)
        raise UserError(
            f"{len(too_long)} examples need up to {worst[0]} input and {worst[1]} target tokens but "
            f"TASK_FEATURE_LENGTHS allows {limits[0]} and {limits[1]}; raise it"
        )
    if not packing:
        return [np.array([index]) for index in order]
    done: list[list[int]] = []
    opened: list[tuple[list[int], np.ndarray]] = []
    for index in order:
        need = lengths[index]
        for members, room in opened:
            if (need <= room).all():
                members.append(int(index))
                room -= need
                break
        else:
            if len(opened) == open_bins:
                done.append(opened.pop(0)[0])
            opened.append(([int(index)], limits - need))
    return [np.array(members) for members in (*done, *(members for members, _ in opened))]


def join_pairs(
    pairs: Sequence[Pair], feature_lengths: Mapping[str, int], *, pad_id: int, start_id: int
) -> Row:
    """Lays examples side by side in one padded row; decoder inputs are shifted within each."""
    row = {
        "encoder_input_tokens": np.full(feature_lengths["inputs"], pad_id, np.int32),
        "encoder_segment_ids": np.zeros(feature_lengths["inputs"], np.int32),
        "decoder_input_tokens": np.full(feature_lengths["targets"], pad_id, np.int32),
        "decoder_target_tokens": np.full(feature_lengths["targets"], pad_id, np.int32),
        "decoder_segment_ids": np.zeros(feature_lengths["targets"], np.int32),
    }
    source = target = 0
    for segment, (inputs, targets) in enumerate(pairs, start=1):
        source_end, target_end = source + len(inputs), target + len(targets)
        row["encoder_input_tokens"][source:source_end] = inputs
        row["encoder_segment_ids"][source:source_end] = segment
        row["decoder_input_tokens"][target] = start_id
        row["decoder_input_tokens"][target + 1 : target_end] = targets[:-1]
        row["decoder_target_tokens"][target:target_end] = targets
        row["decoder_segment_ids"][target:target_end] = segment
        source, target = source_end, target_end
    return row
