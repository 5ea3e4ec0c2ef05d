"""What is decoded: models with random weights, random sentences, label sets, and real ones."""

import dataclasses
import functools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from distill_jax.data.readers import read_sentences
from distill_jax.errors import UserError
from distill_jax.integers import round_up
from distill_jax.model_dir.directory import load_model
from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config
from distill_jax.sent.format import SenTFormat
from distill_jax.sentscore import LabelTrie, SentScoreBatch, make_batch
from distill_jax.tagging import LabelSet, Sentence
from distill_jax.vocab import Vocabulary, load_vocabulary
from distill_jax_runtime.spans import spans_from_iob2

SIZES: dict[str, dict[str, int]] = {
    "tiny": {
        "vocab_size": 384,
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 48,
        "num_heads": 2,
        "num_encoder_layers": 1,
        "num_decoder_layers": 1,
    },
    "small": {},  # T5Config's own: 512 wide, 8 + 8 layers
    "base": {"d_model": 768, "d_ff": 2048, "num_heads": 12}
    | {"num_encoder_layers": 12, "num_decoder_layers": 12},
    "large": {"d_model": 1024, "d_ff": 2816, "num_heads": 16}
    | {"num_encoder_layers": 24, "num_decoder_layers": 24},
}
"""T5 v1.1's sizes; `tiny` is for tests."""

Tags = Sequence[Sequence[int]]
"""The token ids of every tag: O, I, labels."""

ROWS = 32_128  # 32,000 pieces and 100 sentinels, rounded up
_SPARE_ROWS = 28
_SENTINELS = 100
_FIRST_WORD = 3  # after pad, eos and unk
_LENGTHS_OF_TEN = (1, 1, 1, 2, 2, 2, 3, 3, 4, 4)


@dataclasses.dataclass(frozen=True)
class Labels:
    """A label set as token ids."""

    name: str
    tags: tuple[tuple[int, ...], ...]
    """Of O, I and the labels."""

    @property
    def trie(self) -> LabelTrie:
        """Compiled for the decoders here."""
        return LabelTrie.compile(self.tags)


@dataclasses.dataclass(frozen=True)
class Model:
    """A T5 with its parameters, in the dtype they are used in."""

    t5: T5
    params: Any

    @property
    def weight_size(self) -> int:
        """Bytes of a weight."""
        return int(jax.tree.leaves(self.params)[0].dtype.itemsize)

    @property
    def num_parameters(self) -> int:
        """How many numbers it has."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.params))


def random_model(size: str, dtype: str, seed: int = 0) -> Model:
    """A T5 v1.1 with t5x's random initialisation, its weights stored in `dtype`."""
    config = T5Config(**({"vocab_size": ROWS} | SIZES[size]), dtype=dtype)  # type: ignore[arg-type]
    return Model(T5(config), draw_weights(config, jax.random.key(seed), dtype))


def draw_weights(config: T5Config, key: jax.Array, dtype: str = "float32") -> Any:
    """t5x's random initialisation; float32 unless told otherwise."""
    return _initialiser(config, dtype)(key)


@functools.cache
def _initialiser(config: T5Config, dtype: str) -> Any:
    @jax.jit
    def draw(key: jax.Array) -> Any:
        boxed = T5(config).initial(key)
        return jax.tree.map(lambda x: x.astype(dtype), nn.unbox(boxed))

    return draw


def cast(params: Any, dtype: str) -> Any:
    """The parameters in another dtype, on the device."""
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), params)


def sentinels(vocab_size: int) -> np.ndarray:
    """int32 [100]: laid out as T5's, the first one last."""
    first = vocab_size - _SPARE_ROWS - 1
    return np.arange(first, first - _SENTINELS, -1, dtype=np.int32)


def random_batch(
    rng: np.random.Generator,
    vocab_size: int,
    num_words: Sequence[int],
    max_words: int,
    width: int = 0,
) -> SentScoreBatch:
    """Sentences of words of one or two random tokens, padded to a multiple of 16 tokens.

    All are as wide as the longest, or `width` if that is more.
    """
    marks = sentinels(vocab_size)
    rows = []
    for words in num_words:
        ids: list[int] = [int(marks[0])]
        for sentinel in marks[1 : words + 1]:
            length = rng.integers(1, 3)
            ids += [*rng.integers(_FIRST_WORD, marks[-1], length).tolist(), int(sentinel)]
        rows.append([*ids, 1] if words else [])
    return _batch(rows, num_words, marks, max_words, width)


def ten_labels(vocab_size: int, seed: int = 0) -> Labels:
    """O, I and 8 labels: 10 tags of 1 to 4 random tokens, two of which begin alike."""
    rng = np.random.default_rng(seed)
    ids = rng.permutation(np.arange(_FIRST_WORD, sentinels(vocab_size)[-1])).tolist()
    tags = [tuple(ids.pop() for _ in range(length)) for length in _LENGTHS_OF_TEN]
    tags[-1] = (tags[-2][0], *tags[-1][1:])
    return Labels("ten", tuple(tags))


def atis_like_labels(vocab_size: int, seed: int = 0) -> Labels:
    """81 tags as ATIS's are in T5's vocabulary: of 1 to 5 tokens, mostly 2 or 4, sharing beginnings."""
    rng = np.random.default_rng(seed)
    ids = rng.permutation(np.arange(_FIRST_WORD, sentinels(vocab_size)[-1])).tolist()
    endings = [ids.pop() for _ in range(10)]
    tags: list[tuple[int, ...]] = [(ids.pop(),) for _ in range(8)]
    for group in range(13):
        start = ids.pop()
        tags += [(start, endings[0]), (start, endings[1])]
        tags += [(start, endings[2], endings[3 + i], endings[i]) for i in range(3)]
        if group < 5:
            tags.append((start, endings[2], endings[6]))
        if group < 3:
            tags.append((start, endings[2], endings[3], endings[0], endings[1]))
    return Labels("atis-like", tuple(tags))


def data_labels(data_dir: str | Path, vocabulary: str | Path, name: str = "atis") -> Labels:
    """The tags of a data set's training split in a vocabulary's tokens."""
    sentences = read_sentences(Path(data_dir) / name / "train.conll")
    labels = LabelSet.from_sentences(sentences)
    return Labels(name, SenTFormat(load_vocabulary(vocabulary), labels).tag_token_ids)


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained teacher, its labels, and batches of real sentences of similar length."""

    model: Model
    vocabulary: Vocabulary
    labels: Labels
    most_frequent: Labels
    """O, I and the 8 most frequent labels."""
    label_set: LabelSet
    sentences: tuple[Sentence, ...]
    """From short to long, as they are in the batches."""
    batches: tuple[SentScoreBatch, ...]

    @property
    def num_sentences(self) -> int:
        """In all batches."""
        return len(self.sentences)


def load_trained(
    directory: str | Path, data: str | Path, *, sentences: int, batch_size: int, dtype: str
) -> Trained:
    """A model directory and sentences spread evenly over a file, sorted by length into batches.

    Raises UserError where the model is no T5, or a file is missing or malformed.
    """
    loaded = load_model(directory)
    if not isinstance(loaded.config, T5Config) or not isinstance(loaded.vocabulary, Vocabulary):
        raise UserError(f"{directory}: this model is no T5; give a teacher's directory")
    text = SenTFormat(loaded.vocabulary, loaded.labels)
    read = [s for s in read_sentences(data) if 0 < len(s.words) <= text.max_words]
    if not read:
        raise UserError(f"{data}: no sentence to decode; give a file with tagged sentences")
    counts = Counter(span.label for s in read for span in spans_from_iob2(s.tags or ()))
    frequent = [name for name, _ in counts.most_common() if name in loaded.labels.names][:8]
    places = np.linspace(0, len(read) - 1, min(sentences, len(read))).round().astype(int)
    chosen = sorted((read[place] for place in places), key=lambda s: len(s.words))
    batches = []
    for start in range(0, len(chosen), batch_size):
        group = chosen[start : start + batch_size]
        num_words = [len(s.words) for s in group]
        batches.append(
            _batch(
                [text.encode_input(s.words).tolist() for s in group],
                num_words,
                loaded.vocabulary.sentinel_ids,
                min(round_up(max(num_words), 4), text.max_words),
            )
        )
    model = Model(T5(loaded.config.replace(dtype=dtype)), cast(loaded.params, dtype))
    kept = [text.tag_token_ids[loaded.labels.index(tag)] for tag in ("O", "I", *frequent)]
    return Trained(
        model,
        loaded.vocabulary,
        Labels("teacher's", text.tag_token_ids),
        Labels("most frequent", tuple(kept)),
        loaded.labels,
        tuple(chosen),
        tuple(batches),
    )


def with_made_up_labels(trained: Trained, number: int) -> Labels:
    """The teacher's labels and made-up ones beside them, `number` tags in all.

    A made-up text crosses two labels: the first word of one before all words of another.
    """
    names, texts = trained.label_set.names, trained.label_set.texts
    taken = set(trained.labels.tags)
    tags = list(trained.labels.tags)
    crossed = (
        f"{first.split()[0]} {second}"
        for step in range(1, len(names))
        for first, second in zip(texts, texts[step:] + texts[:step], strict=True)
    )
    for text in crossed:
        if len(tags) >= number:
            break
        ids = tuple(trained.vocabulary.encode(text))
        if ids not in taken:
            taken.add(ids)
            tags.append(ids)
    if len(tags) < number:
        raise UserError(f"{len(names)} labels cannot be crossed to {number} tags; ask for fewer")
    return Labels(f"{number} tags", tuple(tags[:number]))


def _batch(
    rows: Sequence[Sequence[int]],
    num_words: Sequence[int],
    marks: np.ndarray,
    max_words: int,
    width: int = 0,
) -> SentScoreBatch:
    width = round_up(max(width, *map(len, rows)), 16)
    tokens = np.zeros((len(rows), width), np.int32)
    for row, ids in enumerate(rows):
        tokens[row, : len(ids)] = ids
    return make_batch(tokens, np.array(num_words), marks, max_words=max_words)
