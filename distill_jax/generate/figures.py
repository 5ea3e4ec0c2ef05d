"""How various new sentences are, and what they share with sentences that nothing may learn from.

Distinct-n is the share of n-grams that differ (Li et al. 2016, arXiv 1510.03055); Self-BLEU the mean BLEU-4
of a sentence against all others (Zhu et al. 2018, "Texygen", arXiv 1802.01886; 1 is a pool of copies), with
the smoothing of Lin & Och 2004 (one is added above n = 1). Words are compared without case.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from distill_jax.generate.filters import exact

MOST = 10_000
"""Sentences, the first accepted, that figures are of: n-grams of a pool of millions fit no memory."""
SELF_BLEU = 200
"""Sentences, evenly chosen of these, for Self-BLEU, whose cost is quadratic."""
OVERLAP_N = 4
"""Words of the n-grams looked for in held-out sentences."""

Words = Sequence[str]


def diversity(sentences: Sequence[Words], gold: Iterable[Words]) -> dict[str, Any]:
    """Distinct-1 to -3, Self-BLEU, and the share of distinct n-grams that gold sentences lack.

    `sentences` are at most `MOST`; without any, what would divide by nothing is None.
    """
    sentences = [exact(words).split() for words in sentences[:MOST]]
    known = [exact(words).split() for words in gold]
    figures: dict[str, Any] = {"sentences": len(sentences)}
    for n in (1, 2, 3):
        grams = [gram for words in sentences for gram in ngrams(words, n)]
        different = set(grams)
        figures[f"distinct_{n}"] = _share(len(different), len(grams))
        of_gold = {gram for words in known for gram in ngrams(words, n)}
        figures[f"new_{n}grams"] = _share(len(different - of_gold), len(different))
    step = max(1, len(sentences) // SELF_BLEU)
    figures["self_bleu"] = self_bleu(sentences[::step][:SELF_BLEU])
    return figures


def overlap(sentences: Iterable[Words], held_out: Iterable[Words]) -> dict[str, Any]:
    """How many of the sentences are held-out ones, and the share of their 4-grams that occur in these."""
    texts = [exact(words) for words in held_out]
    whole = set(texts)
    grams = {gram for text in texts for gram in ngrams(text.split(), OVERLAP_N)}
    same = total = shared = 0
    for text in map(exact, sentences):
        same += text in whole
        found = [gram in grams for gram in ngrams(text.split(), OVERLAP_N)]
        total += len(found)
        shared += sum(found)
    return {"sentences": same, f"share_of_{OVERLAP_N}grams": _share(shared, total)}


def self_bleu(sentences: Sequence[Words]) -> float | None:
    """The mean BLEU-4 of each sentence against all the others; None of fewer than two."""
    if len(sentences) < 2:
        return None
    counts = [[Counter(ngrams(words, n)) for n in range(1, 5)] for words in sentences]
    # Of each n-gram the highest counts and whose they are: what the others' highest is follows.
    best: list[dict[tuple[str, ...], tuple[int, int, int]]] = [{} for _ in range(4)]
    for number, own in enumerate(counts):
        for n, of_n in enumerate(own):
            for gram, count in of_n.items():
                first, whose, second = best[n].get(gram, (0, -1, 0))
                if count > first:
                    best[n][gram] = count, number, first
                elif count > second:
                    best[n][gram] = first, whose, count
    lengths = [len(words) for words in sentences]
    scores = []
    for number, own in enumerate(counts):
        logs = []
        for n, of_n in enumerate(own):
            matched = sum(
                min(count, second if whose == number else first)
                for gram, count in of_n.items()
                for first, whose, second in [best[n][gram]]
            )
            total = sum(of_n.values())
            smooth = 1 if n else 0
            logs.append(
                math.log((matched + smooth) / (total + smooth)) if matched + smooth else -math.inf
            )
        length = lengths[number]
        others = (other for place, other in enumerate(lengths) if place != number)
        nearest = min(others, key=lambda other: (abs(other - length), other))
        brevity = min(0.0, 1 - nearest / length) if length else -math.inf
        scores.append(math.exp(brevity + sum(logs) / 4))
    return round(sum(scores) / len(scores), 4)


def ngrams(words: Words, n: int) -> list[tuple[str, ...]]:
    """All runs of n words."""
    return list(zip(*(itertools.islice(words, start, None) for start in range(n)), strict=False))


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
