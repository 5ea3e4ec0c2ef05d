"""What `t5x.infer` writes with `gin/t5x/sent_infer.gin`: a JSON object a line, as labels."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from distill_jax.errors import UserError

_AGAIN = "run t5x.infer with gin/t5x/sent_infer.gin, whose aux has tags and log_likelihoods"


class Inferred(NamedTuple):
    """A sentence (a window of one, where it was too long for the task's lengths) as t5x labelled it."""

    place: str
    """File and line."""
    words: tuple[str, ...]
    tag_ids: np.ndarray
    """int32[L], sBIO ids."""
    scores: np.ndarray
    """float32[L, K]: uᵢ(t); −inf for tags that cannot stand there."""


def read_inferred(path: Path, num_tags: int) -> Iterator[Inferred]:
    """The labelled sentences of a file, in its order.

    Args:
        path: of the file, `…-00000-of-00001` or `….jsonl`.
        num_tags: K, of the label set.

    Raises:
        UserError: naming file and line, if it is no such file or of other labels.
    """
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _read(line, f"{path}:{number}", num_tags)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the file") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text; {_AGAIN}") from None


def _read(line: str, place: str, num_tags: int) -> Inferred:
    try:
        fields = json.loads(line)
        words = fields["inputs"]["words"]
        aux: dict[str, Any] = fields["aux"]
        length = int(aux["num_words"])
        tags = np.array(aux["tags"][:length], np.int64)
        scores = np.array(aux["log_likelihoods"][:length], np.float32)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise UserError(
            f"{place}: not what t5x.infer writes of SenTModel ({type(error).__name__}: {error}); {_AGAIN}"
        ) from None
    if not (isinstance(words, list) and all(isinstance(word, str) for word in words)):
        raise UserError(f"{place}: `inputs` has no list of words; {_AGAIN}")
    # t5x pads the sentences of a batch to the longest with empty words, which no sentence has.
    if not any(words[length:]):
        words = words[:length]
    if length != len(words) or tags.shape != (length,):
        raise UserError(
            f"{place}: {len(words)} words, of which {length} were labelled; give the task longer "
            "TASK_FEATURE_LENGTHS, by which it splits sentences"
        )
    if length and (scores.ndim != 2 or scores.shape[1] != num_tags):
        raise UserError(
            f"{place}: {scores[0].size} tags, and the labels have {num_tags}; give the labels of the "
            "task that was inferred"
        )
    if length and not 0 <= tags.min() <= tags.max() < num_tags:
        raise UserError(f"{place}: tag {tags.max()} of {num_tags}; {_AGAIN}")
    legal = np.where(scores > -1e29, scores, -np.inf).reshape(length, num_tags)
    return Inferred(place, tuple(words), tags.astype(np.int32), legal)
