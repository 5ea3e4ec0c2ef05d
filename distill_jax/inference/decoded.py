"""From what a decoder returns for a batch to predictions, and from windows to sentences."""

from collections.abc import Sequence

import jax
import numpy as np

from distill_jax.inference.base import check_numbers, damaged
from distill_jax.inference.prediction import Prediction, Unexplored
from distill_jax.sent.format import SenTFormat
from distill_jax.sent.windows import Window, merge_tags, merge_windows, owned_ranges
from distill_jax.sentscore import Decoded, DecoderSettings
from distill_jax.tagging import BeamPart, cut_beam

_O, _I = 0, 1  # the first two tags of every sBIO tag set


def no_words(settings: DecoderSettings, num_tags: int) -> Prediction:
    """The prediction for a sentence without words, with everything that the decoder returns."""
    return Prediction(
        np.zeros(0, np.int32),
        np.zeros((0, num_tags), np.float32) if settings.has_posteriors else None,
        unexplored=Unexplored(np.zeros(0, np.float32), np.zeros((0, num_tags), bool))
        if settings.name == "pruned"
        else None,
        beam=() if settings.beam > 1 else None,
        malformed=() if settings.name == "free" else None,
    )


def read_batch(
    decoded: Decoded, sent_format: SenTFormat, lengths: Sequence[int]
) -> list[Prediction]:
    """The predictions of a batch's first rows, which have so many words each.

    Waits for the device. Raises `UserError` if a score is not a number.
    """
    if decoded.tokens is not None:
        tokens = np.asarray(decoded.tokens)
        return [_parsed(tokens[row], sent_format, length) for row, length in enumerate(lengths)]
    # The score vectors of the whole beam are large, and none but the best one's is looked at.
    beams = decoded.beams
    tags, scores, mass, beam = jax.device_get(
        (
            decoded.tags,
            decoded.log_likelihoods,
            decoded.unexplored,
            None if beams is None else (beams.tags, beams.scores),
        )
    )
    if scores is not None:
        check_numbers(scores[: len(lengths)])
    if mass is not None:
        # The search of `pruned` looks past NaN: then a word is left without any tag explored.
        for row, length in enumerate(lengths):
            if np.isneginf(scores[row, :length]).all(axis=-1).any():
                raise damaged("scores")
    return [
        _row(
            tags[row, :length],
            None if scores is None else scores[row, :length],
            None if mass is None else mass[row, :length],
            None if beam is None else (beam[0][row, :, :length], beam[1][row]),
        )
        for row, length in enumerate(lengths)
    ]


def merge(parts: Sequence[Window], pieces: Sequence[Prediction]) -> Prediction:
    """The prediction for a sentence from those for its windows, as `sent.windows` says.

    A sentence with a malformed window (`free`) counts as malformed: its tags are all O.
    """
    if len(parts) == 1:
        return pieces[0]
    tag_ids = merge_tags(parts, [piece.tag_ids for piece in pieces])
    malformed = None
    if pieces[0].malformed is not None:
        kinds = {kind for piece in pieces for kind in piece.malformed or ()}
        malformed = tuple(sorted(kinds))
        tag_ids = np.zeros_like(tag_ids) if kinds else tag_ids
    scores = _merged(parts, [piece.log_likelihoods for piece in pieces])
    unexplored = _merged_unexplored(parts, [piece.unexplored for piece in pieces])
    if scores is not None:
        owned = merge_windows(parts, [piece.tag_ids for piece in pieces])
        _settle_seams(parts, scores, unexplored, owned, tag_ids)
    return Prediction(
        tag_ids,
        scores,
        unexplored=unexplored,
        beam=_merged_beam(parts, pieces),
        malformed=malformed,
        windows=len(parts),
    )


def _row(
    tag_ids: np.ndarray,
    scores: np.ndarray | None,
    mass: np.ndarray | None,
    beam: tuple[np.ndarray, np.ndarray] | None,
) -> Prediction:
    prediction = Prediction(tag_ids, scores)
    if mass is not None and scores is not None:
        unexplored = np.isneginf(scores)
        before = np.concatenate([[_O], tag_ids[:-1]])[: len(tag_ids)]
        unexplored[before == _O, _I] = False  # I is illegal there, not unexplored
        prediction = prediction._replace(unexplored=Unexplored(mass, unexplored))
    if beam is not None:
        there = np.isfinite(beam[1])
        part = BeamPart(0, beam[0][there], beam[1][there])
        prediction = prediction._replace(beam=(part,))
    return prediction


def _parsed(tokens: np.ndarray, sent_format: SenTFormat, length: int) -> Prediction:
    """What the model wrote freely, up to its end-of-sequence; all O if anything is wrong with it."""
    parsed = sent_format.parse_target(tokens.tolist(), length)
    malformed = tuple(sorted({problem.kind for problem in parsed.problems}))
    tag_ids = np.zeros(length, np.int32)
    if not malformed and parsed.tags is not None:
        tag_ids[:] = [sent_format.labels.index(tag) for tag in parsed.tags]
    return Prediction(tag_ids, None, malformed=malformed)


def _merged(parts: Sequence[Window], arrays: Sequence[np.ndarray | None]) -> np.ndarray | None:
    there = [array for array in arrays if array is not None]
    return merge_windows(parts, there) if there else None


def _settle_seams(
    parts: Sequence[Window],
    scores: np.ndarray,
    unexplored: Unexplored | None,
    owned: np.ndarray,
    merged: np.ndarray,
) -> None:
    """Changes scores where a window begins to own words, and the tag before is another window's.

    Where the seam rule has a span begin with what was an I, going on was beginning there. After O an I is
    illegal, whatever the window had before it. Both are known then, whatever a search has looked at.
    """
    for word in np.flatnonzero((owned == _I) & (merged > _I)):
        label = merged[word]
        scores[word, label] = np.logaddexp(scores[word, label], scores[word, _I])
        scores[word, _I] = -np.inf
        if unexplored is not None:
            unexplored.tags[word, [label, _I]] = False
    for own in owned_ranges(parts):
        if own.length and own.start and merged[own.start - 1] == _O:
            scores[own.start, _I] = -np.inf
            if unexplored is not None:
                unexplored.tags[own.start, _I] = False


def _merged_unexplored(
    parts: Sequence[Window], pieces: Sequence[Unexplored | None]
) -> Unexplored | None:
    there = [piece for piece in pieces if piece is not None]
    if not there:
        return None
    return Unexplored(
        merge_windows(parts, [piece.mass for piece in there]),
        merge_windows(parts, [piece.tags for piece in there]),
    )


def _merged_beam(
    parts: Sequence[Window], pieces: Sequence[Prediction]
) -> tuple[BeamPart, ...] | None:
    """Each window's beam over the words it owns."""
    if pieces[0].beam is None:
        return None
    return tuple(
        BeamPart(
            own.start,
            cut_beam(piece.tags_SxL, own.start - window.start, own.end - window.start),
            piece.scores_S,
        )
        for window, own, prediction in zip(parts, owned_ranges(parts), pieces, strict=True)
        for piece in prediction.beam or ()
        if own.length
    )
