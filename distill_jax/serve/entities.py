"""Tagged sentences as Hugging Face's token classification writes them.

A word is never cut into pieces here, and the sequence of tags is always a legal one, so that no strategy
has to mend anything: all but `none` find the same spans and differ in the score alone.

| `aggregation_strategy` | an entry is | its score |
|---|---|---|
| `none` | a word that is not `O`, with its IOB2 tag (`entity`) | the posterior of its tag |
| `simple` (default) | a span (`entity_group`) | how probable the whole span is, as `predict` has it |
| `first` | a span | the posterior of its first word's tag |
| `average` | a span | the mean of its words' posteriors |
| `max` | a span | the highest of its words' posteriors |
"""

from typing import Any

import numpy as np

from distill_jax.serve.errors import wrong
from distill_jax.serve.loading import Tagged
from distill_jax.serve.schemas import Aggregation, Parameters, Text

_DIGITS = 6
"""Of probabilities, which are float32."""


def answer(text: Text, tagged: Tagged, parameters: Parameters) -> Any:
    """The entities of a text; with `top_k` or `posteriors` an object that has them beside its words.

    Raises `RequestError` 422 if posteriors are asked for and the model's decoder computes none.
    """
    entities = entities_of(text, tagged, parameters.aggregation)
    if parameters.top_k is None and not parameters.posteriors:
        return entities
    if tagged.posteriors is None:
        field = "top_k" if parameters.top_k is not None else "posteriors"
        raise wrong(f"parameters.{field}", "the decoder of this model computes no posteriors")
    words = [
        {"word": word, "tag": tag, "start": start, "end": end}
        for word, tag, (start, end) in zip(text.words, tagged.tags, text.offsets, strict=True)
    ]
    found: dict[str, Any] = {"entities": entities, "words": words}
    if parameters.posteriors:
        found["labels"] = list(tagged.labels)
        found["posteriors"] = _rounded(tagged.posteriors)
    if parameters.top_k is not None:
        found |= _top(tagged, tagged.posteriors.astype(np.float64), parameters.top_k)
    if truncated := getattr(tagged, "truncated_words", ()):
        found["truncated_words"] = list(truncated)
    if (windows := getattr(tagged, "windows", 1)) > 1:
        found["windows"] = windows
    return found


def _top(tagged: Tagged, posteriors: np.ndarray, top_k: int) -> dict[str, Any]:
    """For each word its most probable tags, best first, and the mass of all others."""
    order = np.argsort(-posteriors, axis=-1, kind="stable")[:, :top_k]
    best = np.take_along_axis(posteriors, order, axis=-1)
    rest = posteriors.copy()
    np.put_along_axis(rest, order, 0.0, axis=-1)
    tail = rest.sum(axis=-1)
    unexplored = getattr(tagged, "unexplored", None)
    if unexplored is not None:  # what the decoder `pruned` has not looked at
        tail = tail + unexplored
    return {
        "top_k": [
            [[tagged.labels[tag], score] for tag, score in zip(tags, scores, strict=True) if score]
            for tags, scores in zip(order, best.round(_DIGITS).tolist(), strict=True)
        ],
        "tail": tail.round(_DIGITS).tolist(),
    }


def entities_of(text: Text, tagged: Tagged, aggregation: Aggregation) -> list[dict[str, Any]]:
    """The entities of a text alone."""
    if aggregation == "none":
        return [
            {
                "entity": tag,
                "score": _score(_of_words(tagged, position, position + 1)),
                "index": position + 1,
                "word": text.words[position],
                "start": text.offsets[position][0],
                "end": text.offsets[position][1],
            }
            for position, tag in enumerate(tagged.tags)
            if tag != "O"
        ]
    return [_group(text, tagged, span, aggregation) for span in tagged.spans]


def _group(text: Text, tagged: Tagged, span: Any, aggregation: Aggregation) -> dict[str, Any]:
    start, end = text.offsets[span.start][0], text.offsets[span.end - 1][1]
    if aggregation == "simple":
        score = span.score
    else:
        of_words = _of_words(tagged, span.start, span.end)
        if of_words is None:
            score = None
        elif aggregation == "first":
            score = float(of_words[0])
        else:
            score = float(of_words.mean() if aggregation == "average" else of_words.max())
    return {
        "entity_group": span.label,
        "score": None if score is None else round(float(score), _DIGITS),
        "word": text.text[start:end],
        "start": start,
        "end": end,
    }


def _of_words(tagged: Tagged, start: int, end: int) -> np.ndarray | None:
    """float64[end - start]: the posterior of each word's own sBIO tag."""
    if tagged.posteriors is None:
        return None
    columns = [
        tagged.labels.index("I" if tag.startswith("I-") else tag.removeprefix("B-"))
        for tag in tagged.tags[start:end]
    ]
    return tagged.posteriors[np.arange(start, end), columns].astype(np.float64)


def _score(of_words: np.ndarray | None) -> float | None:
    return None if of_words is None else round(float(of_words[0]), _DIGITS)


def _rounded(posteriors: np.ndarray) -> list[list[float]]:
    rows: list[list[float]] = posteriors.astype(np.float64).round(_DIGITS).tolist()
    return rows
