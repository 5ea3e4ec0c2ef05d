"""TensorFlow Datasets as a source of SeqIO tagging tasks."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from distill_jax.data.seqio_import import sentences_of
from distill_jax.tagging import LabelSet, Sentence, convert


@dataclass(frozen=True)
class TfdsSource:
    """A TensorFlow Datasets set whose features hold the words and, as class labels, their tags."""

    name: str
    tokens: str = "tokens"
    tags: str = "tags"
    splits: Mapping[str, str] = field(
        default_factory=lambda: {"train": "train", "valid": "validation", "test": "test"}
    )


def tfds_preprocessor(seqio_source: Any, source: TfdsSource) -> Callable[[Any], Any]:
    """From the set's own features to `words` and `tags` (IOB2, read as conlleval does)."""

    def to_words_and_tags(dataset: Any) -> Any:
        import numpy as np
        import tensorflow as tf

        names = _class_names(seqio_source, source)

        def repaired(ids: Any) -> Any:
            tags = [names[i] for i in ids]
            scheme = "bioes" if any(tag[0] in "ES" for tag in tags) else "iob2"
            return np.array(convert(tags, scheme, "iob2"), dtype=object)

        def convert_example(example: Any) -> Any:
            tags = tf.numpy_function(repaired, [example[source.tags]], tf.string, stateful=False)
            return {"words": example[source.tokens], "tags": tf.ensure_shape(tags, [None])}

        return dataset.map(convert_example)

    return to_words_and_tags


def _class_names(seqio_source: Any, source: TfdsSource) -> list[str]:
    feature = seqio_source.tfds_dataset.info.features[source.tags]
    return list(feature.feature.names)


def tfds_labels(seqio_source: Any, source: TfdsSource) -> LabelSet:
    """The labels among the classes of the tags, sorted."""
    names = {tag[2:] for tag in _class_names(seqio_source, source) if tag != "O"}
    return LabelSet(tuple(sorted(names)))


def tfds_sentences(
    seqio_source: Any, preprocessor: Callable[[Any], Any], name: str, split: str
) -> Iterator[Sentence]:
    """The sentences of a split, read from the SeqIO source."""
    dataset = preprocessor(seqio_source.get_dataset(split, shuffle=False))
    return sentences_of(dataset, name)
