"""T5's span corruption (Raffel et al. 2020, section 3.1.4) as a pure function of a random stream.

The numbers of corrupted tokens and of spans depend on the length alone, so the lengths of inputs
and targets are known before anything is drawn: packing can be planned once for all epochs.

Deviation from T5's code, which always keeps a text's beginning and corrupts its end: here spans lie
anywhere. It matters for single sentences, which have but one span: it would be their last tokens in
every epoch. As in the paper, and unlike that code, a last sentinel closes the targets.
"""

from typing import NamedTuple

import numpy as np

from distill_jax.errors import UserError


class CorruptionLengths(NamedTuple):
    """What a text of some length becomes: all counts in tokens."""

    noise: int
    spans: int
    inputs: int
    targets: int


def corruption_lengths(
    length: int, *, noise_density: float = 0.15, mean_span_length: float = 3.0
) -> CorruptionLengths:
    """Lengths of inputs and targets, both with `</s>`, for a text of `length` >= 2 tokens."""
    noise = min(max(round(length * noise_density), 1), length - 1)
    spans = min(max(round(noise / mean_span_length), 1), noise, length - noise)
    return CorruptionLengths(
        noise=noise, spans=spans, inputs=length - noise + spans + 1, targets=noise + spans + 2
    )


def corrupt_spans(
    tokens: np.ndarray,
    *,
    sentinel_ids: np.ndarray,
    eos_id: int,
    rng: np.random.Generator,
    noise_density: float = 0.15,
    mean_span_length: float = 3.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Replaces random spans by sentinels; the targets hold each sentinel and what it stands for.

    `tokens` int32[n], n >= 2. Returns inputs `x s0 y s1 … z </s>` and targets
    `s0 span0 s1 span1 … s_k </s>`, int32, of the lengths `corruption_lengths` tells. Raises
    `UserError` if the text needs more sentinels than there are.
    """
    lengths = corruption_lengths(
        len(tokens), noise_density=noise_density, mean_span_length=mean_span_length
    )
    if lengths.spans + 1 > len(sentinel_ids):
        raise UserError(
            f"span corruption of {len(tokens)} tokens needs {lengths.spans + 1} sentinels but the "
            f"vocabulary has {len(sentinel_ids)}; use shorter texts or a vocabulary with more"
        )
    # Between two spans something is kept; before the first and behind the last there may be nothing.
    kept = _segment(len(tokens) - lengths.noise + 2, lengths.spans + 1, rng)
    kept[[0, -1]] -= 1
    dropped = _segment(lengths.noise, lengths.spans, rng)
    inputs: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    position = 0
    for span, (keep, drop) in enumerate(zip(kept[:-1], dropped, strict=True)):
        sentinel = sentinel_ids[span : span + 1]
        inputs += [tokens[position : position + keep], sentinel]
        targets += [sentinel, tokens[position + keep : position + keep + drop]]
        position += keep + drop
    eos = np.array([eos_id])
    last = sentinel_ids[lengths.spans : lengths.spans + 1]
    return (
        np.concatenate([*inputs, tokens[position:], eos]).astype(np.int32),
        np.concatenate([*targets, last, eos]).astype(np.int32),
    )


def _segment(items: int, segments: int, rng: np.random.Generator) -> np.ndarray:
    """Splits `items` into `segments` random positive parts, uniformly."""
    cuts = np.sort(rng.choice(items - 1, size=segments - 1, replace=False)) + 1
    return np.diff(np.concatenate([[0], cuts, [items]]))
