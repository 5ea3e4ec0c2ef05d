"""The SenT′ side of a SeqIO task: tokenised features, the reading of outputs, and span F1."""

import functools
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from distill_jax.data.seqio_import import import_seqio, texts
from distill_jax.sent.format import SenTFormat
from distill_jax.sent.windows import windows
from distill_jax.tagging import CalibrationCounts, LabelSet, SpanCounts, convert
from distill_jax.vocab import SENTINEL_PATTERN, Vocabulary, load_vocabulary


def sent_preprocessor(
    wrapped: Any, labels: Callable[[], LabelSet]
) -> Callable[[Any, Mapping[str, int] | None], Any]:
    """Adds `inputs` and `targets` (int32) to `words` and `tags`, one example for each window."""

    def tokenize(dataset: Any, sequence_length: Mapping[str, int] | None) -> Any:
        import tensorflow as tf

        sent_format = SenTFormat(wrapped.wrapped, labels())
        limits = _window_limits(sent_format, sequence_length or {})
        sent_format = sent_format.limited(limits["max_tokens"])

        def bounds(words: Any) -> Any:
            parts = windows(
                texts(words), **limits, token_length=sent_format.word_length, overlap_words=0
            )
            return np.array(parts, np.int32).reshape(-1, 2)

        def encode(words: Any, tags: Any) -> Any:
            inputs = sent_format.encode_input(texts(words))
            if len(tags) != len(words):  # unlabelled: there is no target
                return inputs, np.zeros(0, np.int32)
            ids = sent_format.labels.encode_iob2(texts(tags))
            return inputs, sent_format.encode_target(ids)

        def to_windows(example: Any) -> Any:
            pairs = tf.numpy_function(bounds, [example["words"]], tf.int32, stateful=False)
            pairs = tf.data.Dataset.from_tensor_slices(tf.ensure_shape(pairs, [None, 2]))
            return pairs.map(
                lambda pair: {key: example[key][pair[0] : pair[1]] for key in ("words", "tags")}
            )

        def add_tokens(example: Any) -> Any:
            inputs, targets = tf.numpy_function(
                encode, [example["words"], example["tags"]], (tf.int32, tf.int32), stateful=False
            )
            return example | {
                "inputs": tf.ensure_shape(inputs, [None]),
                "targets": tf.ensure_shape(targets, [None]),
            }

        return dataset.flat_map(to_windows).map(add_tokens)

    return tokenize


def _window_limits(sent_format: SenTFormat, lengths: Mapping[str, int]) -> dict[str, int]:
    longest_tag = max(map(len, sent_format.tag_token_ids))
    max_words = sent_format.max_words
    if lengths.get("targets"):
        max_words = min(max_words, (lengths["targets"] - 2) // (longest_tag + 1))
    return {"max_words": max_words, "max_tokens": lengths.get("inputs") or sys.maxsize}


def postprocessor(wrapped: Any, labels: Callable[[], LabelSet]) -> Callable[..., list[str]]:
    """SeqIO's `postprocess_fn`, which makes what `span_f1` compares."""

    def to_tags(output: Any, example: Any = None, is_target: bool = False) -> list[str]:
        """IOB2 tags: the example's own, or those read from a generated SenT′ target's text."""
        if is_target:
            return list(texts(example["tags"]))
        if not isinstance(output, str):
            return list(output)
        sent_format = SenTFormat(wrapped.wrapped, labels())
        tag_of_text = {
            wrapped.wrapped.decode(ids): tag
            for ids, tag in zip(sent_format.tag_token_ids, sent_format.labels.tags, strict=True)
        }
        segments = [segment.strip() for segment in SENTINEL_PATTERN.split(output)[1:-1]]
        return convert([tag_of_text.get(text, "O") for text in segments], "sbio", "iob2")

    return to_tags


def span_f1(targets: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]) -> Any:
    """SeqIO metric over IOB2 tags: span F1, precision and recall, strict F1, Perfect.

    A prediction of another length than its target is cut or filled with `O`.
    """
    counts = SpanCounts()
    for gold, predicted in zip(targets, predictions, strict=True):
        filled = [*predicted, *["O"] * len(gold)][: len(gold)]
        counts.update(gold, filled)
    result = counts.result()
    return {key: result[key] for key in ("f1", "precision", "recall", "f1_strict", "perfect")}


def posterior_metrics(labels: Callable[[], LabelSet]) -> Callable[..., Any]:
    """A SeqIO metric over the posteriors that t5x's `SenTModel` gives beside its predictions."""

    def calibration(
        targets: Sequence[Sequence[str]],
        predictions: Sequence[Sequence[str]],
        aux_values: Mapping[str, Sequence[Any]],
    ) -> Any:
        """Calibration error, Brier score and NLL of the posteriors; nothing where there are none."""
        del predictions
        counts = CalibrationCounts()
        for gold, posteriors in zip(targets, aux_values.get("posteriors", ()), strict=False):
            if gold and len(gold) <= len(posteriors):
                counts.update(np.asarray(posteriors)[: len(gold)], labels().encode_iob2(gold))
        if not counts.count.sum():
            return {}
        result = counts.result()
        return {key: result[key] for key in ("ece", "brier", "nll") if key in result}

    return calibration


def seqio_vocabulary(vocabulary: Vocabulary | str) -> Any:
    """A `seqio.Vocabulary` around a vocabulary, or around what `load_vocabulary` takes."""
    return _vocabulary_class()(vocabulary)


@functools.cache
def _vocabulary_class() -> Any:
    """The class that shows our vocabularies to SeqIO; made late because its base is SeqIO's."""
    seqio = import_seqio()
    import tensorflow as tf

    base: Any = seqio.Vocabulary

    class SeqioVocabulary(base):
        """A `distill_jax.vocab.Vocabulary`, loaded when first used, as a SeqIO vocabulary."""

        def __init__(self, vocabulary: Vocabulary | str) -> None:
            super().__init__()
            self._vocabulary = vocabulary

        @property
        def wrapped(self) -> Vocabulary:
            if isinstance(self._vocabulary, str):
                self._vocabulary = load_vocabulary(self._vocabulary)
            return self._vocabulary

        @property
        def extra_ids(self) -> int:
            return self.wrapped.num_sentinels

        @property
        def vocab_size(self) -> int:
            return self.wrapped.size

        @property
        def _base_vocab_size(self) -> int:
            return self.wrapped.size  # sentinels included, as in SeqIO's own SentencePiece class

        @property
        def bos_id(self) -> None:
            return None

        @property
        def eos_id(self) -> int:
            return self.wrapped.eos_id

        @property
        def pad_id(self) -> int:
            return self.wrapped.pad_id

        @property
        def unk_id(self) -> int:
            return self.wrapped.unk_id

        def _encode(self, s: str) -> list[int]:
            return self.wrapped.encode(s)

        def _decode(self, ids: Iterable[int]) -> str:
            return self.wrapped.decode(ids)

        def _encode_tf(self, s: Any) -> Any:
            def encode(value: Any) -> Any:
                [text] = texts([np.asarray(value, object).item()])  # bytes, or an array of them
                return np.array(self._encode(text), np.int32)

            text = tf.convert_to_tensor(s, tf.string)
            return tf.ensure_shape(tf.numpy_function(encode, [text], tf.int32), [None])

        def _decode_tf(self, ids: Any) -> Any:
            ids = tf.convert_to_tensor(ids)

            def decode(row: Any) -> bytes:
                return self._decode(row.tolist()).encode()

            if ids.shape.rank == 1:
                return tf.ensure_shape(tf.numpy_function(decode, [ids], tf.string), [])
            return tf.map_fn(self._decode_tf, ids, fn_output_signature=tf.string)

        def __eq__(self, other: object) -> bool:
            if not isinstance(other, SeqioVocabulary):
                return False
            return self.wrapped.content_hash() == other.wrapped.content_hash()

        def __hash__(self) -> int:
            return hash(self.wrapped.content_hash())

    return SeqioVocabulary
