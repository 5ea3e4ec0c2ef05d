"""The arrays of a training batch, by name: what batches hold and objectives read.

B counts rows, L words (padded), S source tokens, T target tokens, C characters and K tags. Batches are NumPy
arrays where they are made and JAX arrays in the step.
"""

from typing import Any, NotRequired, TypedDict

Array = Any
"""`np.ndarray` on the host, `jax.Array` in the step."""


class TagTargets(TypedDict):
    """What every student of tags learns from.

    `tags` int32[B, L] are gold or a teacher's; `tag_weights` and `kl_weights` float32[B, L] weigh
    the two terms of the loss, 0 at padding and, for the KL term, at words without a teacher;
    `teacher_scores` float32[B, L, K] are the teacher's u, not read at words of weight 0.
    """

    tags: Array
    tag_weights: Array
    kl_weights: Array
    teacher_scores: Array


class WordBatch(TagTargets):
    """A BiLSTM's: `word_ids` int32[B, L] and `char_ids` int32[B, L, C], 0 for padding.

    Where words may be too rare for rows of their own, `given_vectors` float32[B, L, E] has those of words
    whose id is -1.
    """

    word_ids: Array
    char_ids: Array
    given_vectors: NotRequired[Array]


class ReweightedBatch(WordBatch):
    """What learnt weights of silver sentences need besides: `is_silver` bool[B] marks those rows, and
    trusted sentences are there as a `WordBatch` of their own length whose names begin with `TRUSTED`."""

    is_silver: Array


TRUSTED = "trusted_"
"""Before the names of trusted sentences' features."""


class SubwordBatch(TagTargets):
    """An encoder tagger's or a BERT's: `tokens` int32[B, S], the vocabulary's padding behind, and each
    word's `first` int32[B, L], -1 behind."""

    tokens: Array
    first: Array


class Seq2SeqBatch(TypedDict):
    """An encoder-decoder's, rows of one or several examples; names are those of t5x.

    Tokens and segments are int32[B, S] and [B, T]; segments count from 1, 0 is padding. Without
    `decoder_loss_weights` float32[B, T] every token of a segment counts 1.
    """

    encoder_input_tokens: Array
    encoder_segment_ids: Array
    decoder_input_tokens: Array
    decoder_target_tokens: Array
    decoder_segment_ids: Array
    decoder_loss_weights: NotRequired[Array]


class SentBatch(Seq2SeqBatch, TagTargets):
    """A T5 student's: one sentence a row, of `num_words` int32[B]."""

    num_words: Array


class TeacherInputs(TypedDict):
    """What a teacher within the step reads besides, by `data.teacher_readers`.

    `num_words` int32[B], and `known_tags` bool[B] marks rows whose `tags` are to stay. A T5 reads its
    SenT′ input, `teacher_tokens` int32[B, S], a BERT or an encoder tagger `teacher_tokens` and
    `teacher_first` int32[B, L], as in `SubwordBatch`, and a BiLSTM `teacher_word_ids` and
    `teacher_char_ids`, as in `WordBatch`.
    """

    num_words: Array
    known_tags: Array
    teacher_tokens: NotRequired[Array]
    teacher_first: NotRequired[Array]
    teacher_word_ids: NotRequired[Array]
    teacher_char_ids: NotRequired[Array]
