"""From what decoders return to predictions: with arrays made by hand in place of a decoder."""

from typing import Any

import numpy as np
import pytest

from distill_jax.errors import UserError
from distill_jax.inference import Prediction
from distill_jax.inference.decoded import merge, no_words, read_batch
from distill_jax.inference.prediction import Unexplored
from distill_jax.sent.format import SenTFormat
from distill_jax.sent.windows import Window
from distill_jax.sentscore import Beams, Decoded, DecoderSettings
from distill_jax.tagging import BeamPart
from distill_jax.vocab import ByteVocabulary
from tests.tiny import LABELS

FORM = SenTFormat(ByteVocabulary(), LABELS)
O, I, CITY, DATE = range(4)  # noqa: E741


def read(lengths: list[int], **arrays: Any) -> list[Prediction]:
    return read_batch(Decoded(**{"tags": None, **arrays}), FORM, lengths)


def test_rows_are_cut_to_their_words() -> None:
    tags = np.array([[O, CITY, I], [DATE, O, O], [O, O, O]], np.int32)
    scores = np.random.default_rng(0).normal(size=(3, 3, 4)).astype(np.float32)
    found = read([3, 1], tags=tags, log_likelihoods=scores)
    assert [one.tag_ids.tolist() for one in found] == [[O, CITY, I], [DATE]]
    np.testing.assert_array_equal(found[1].log_likelihoods, scores[1, :1])
    for one in found:
        assert (one.unexplored, one.beam, one.malformed) == (None, None, None)
    scores[1, 0, 0] = np.nan
    with pytest.raises(UserError, match="not numbers"):
        read([3, 1], tags=tags, log_likelihoods=scores)
    scores[1, 0, 0], scores[2, 0, 0] = 0, np.nan  # a row of padding
    read([3, 1], tags=tags, log_likelihoods=scores)


def test_greedy_has_tags_alone() -> None:
    [found] = read([2], tags=np.array([[CITY, I, O]], np.int32))
    assert found.tag_ids.tolist() == [CITY, I]
    assert found.log_likelihoods is None


def test_what_pruned_did_not_look_at() -> None:
    scores = np.zeros((1, 4, 4), np.float32)
    scores[0, :, DATE] = -np.inf
    scores[0, :, I] = -np.inf
    tags = np.array([[O, CITY, CITY, O]], np.int32)
    mass = np.array([[0.1, 0.2, 0.3, 0.4]], np.float32)
    [found] = read([3], tags=tags, log_likelihoods=scores, unexplored=mass)
    assert found.unexplored is not None
    np.testing.assert_array_equal(found.unexplored.mass, mass[0, :3])
    # At the start and after O there is no I to look at.
    assert found.unexplored.tags[:, I].tolist() == [False, False, True]
    assert found.unexplored.tags[:, DATE].all()
    assert not found.unexplored.tags[:, [O, CITY]].any()


def test_a_beam_is_kept_without_what_is_no_sequence() -> None:
    tags = np.array([[[CITY, I, O], [CITY, O, O], [O, O, O]]], np.int32)
    totals = np.array([[-1.0, -2.0, -np.inf]], np.float32)
    scores = np.zeros((1, 3, 3, 4), np.float32)
    [found] = read(
        [2],
        tags=tags[:, 0],
        log_likelihoods=scores[:, 0],
        beams=Beams(tags, scores, totals),
    )
    assert found.beam is not None
    [part] = found.beam
    assert part.start == 0
    assert part.tags_SxL.tolist() == [[CITY, I], [CITY, O]]
    assert part.scores_S.tolist() == [-1, -2]


def test_free_outputs_are_parsed_and_malformed_ones_count_as_o() -> None:
    def written(*tag_ids: int) -> list[int]:
        ids = FORM.encode_target(tag_ids).tolist()
        return ids + [0] * (12 - len(ids))

    good, illegal = written(CITY, I), written(O, I)
    short, cut = written(CITY), written(CITY, O)[:5]
    tokens = np.array([good, illegal, short, cut + cut[:5] + [0, 0]], np.int32)
    found = read([2, 2, 2, 2], tokens=tokens)
    assert [one.tag_ids.tolist() for one in found] == [[CITY, I], [O, O], [O, O], [O, O]]
    assert found[0].malformed == ()
    assert found[1].malformed == ("illegal_tag",)
    assert found[2].malformed == ("word_count",)
    assert "no_end" in (found[3].malformed or ())
    assert all(one.log_likelihoods is None for one in found)


@pytest.mark.parametrize(
    "settings",
    [
        DecoderSettings(),
        DecoderSettings(beam=3),
        DecoderSettings("greedy"),
        DecoderSettings("free"),
        DecoderSettings("pruned"),
    ],
    ids=str,
)
def test_no_words_have_what_words_have(settings: DecoderSettings) -> None:
    found = no_words(settings, 4)
    assert found.tag_ids.shape == (0,)
    assert (found.log_likelihoods is not None) == settings.has_posteriors
    assert (found.beam is not None) == (settings.beam > 1)
    assert (found.malformed is not None) == (settings.name == "free")
    assert (found.unexplored is not None) == (settings.name == "pruned")
    if settings.has_posteriors:
        assert found.posteriors.shape == found.distributions.shape == (0, 4)
        mass = found.unexplored_mass
        assert mass is None or mass.shape == (0,)


# ---- windows -----------------------------------------------------------------------------------

PARTS = [Window(0, 4), Window(2, 6)]  # words 0 to 2 belong to the first, 3 to 5 to the second


def test_windows_of_a_beam() -> None:
    first = BeamPart(0, np.array([[O, CITY, I, I], [O, CITY, O, O]]), np.log([0.7, 0.3]))
    second = BeamPart(0, np.array([[CITY, I, O, O], [O, DATE, I, O]]), np.log([0.6, 0.4]))
    scores = np.zeros((4, 4), np.float32)
    found = merge(
        PARTS,
        [
            Prediction(first.tags_SxL[0], scores, beam=(first,)),
            Prediction(second.tags_SxL[0], scores, beam=(second,)),
        ],
    )
    assert found.tag_ids.tolist() == [O, CITY, I, I, O, O]
    assert found.beam is not None
    assert [part.start for part in found.beam] == [0, 3]
    assert found.beam[0].tags_SxL.tolist() == [[O, CITY, I], [O, CITY, O]]
    # The span that is open at the seam begins there.
    assert found.beam[1].tags_SxL.tolist() == [[CITY, O, O], [DATE, I, O]]


def test_a_span_that_begins_at_a_seam_has_the_score_of_going_on() -> None:
    first, second = np.array([O, O, O, O], np.int32), np.array([DATE, I, I, O], np.int32)
    scores = np.full((4, 4), -8, np.float32)
    sure = scores.copy()
    sure[np.arange(4), second] = 0
    found = merge(PARTS, [Prediction(first, scores), Prediction(second, sure)])
    assert found.tag_ids.tolist() == [O, O, O, DATE, I, O]
    assert found.posteriors[3, DATE] > 0.99 and found.posteriors[3, I] == 0
    np.testing.assert_allclose(found.posteriors.sum(-1), 1, rtol=1e-6)


def test_what_a_search_had_not_looked_at_is_known_where_a_span_begins_at_a_seam() -> None:
    first, second = np.array([O, O, O, O], np.int32), np.array([DATE, I, I, O], np.int32)
    looked_at = np.full((4, 4), -np.inf, np.float32)
    sure = looked_at.copy()
    looked_at[np.arange(4), first] = sure[np.arange(4), second] = -1e-5
    found = merge(
        PARTS,
        [
            Prediction(first, looked_at, unexplored=unexplored_but(first)),
            Prediction(second, sure, unexplored=unexplored_but(second)),
        ],
    )
    assert found.distributions[3, DATE] > 0.99 and found.distributions[3, I] == 0
    np.testing.assert_allclose(found.distributions.sum(-1), 1, rtol=1e-4)


def unexplored_but(tags: np.ndarray) -> Unexplored:
    mask = np.ones((4, 4), bool)
    mask[np.arange(4), tags] = False
    before = np.concatenate([[O], tags[:-1]])
    mask[before == O, I] = False
    return Unexplored(np.full(4, 1e-5, np.float32), mask)


def test_i_is_illegal_after_the_o_of_another_window() -> None:
    first, second = np.array([O, O, O, O], np.int32), np.array([CITY, O, O, O], np.int32)
    scores = np.zeros((4, 4), np.float32)
    found = merge(PARTS, [Prediction(first, scores), Prediction(second, scores.copy())])
    assert found.tag_ids.tolist() == [O] * 6
    assert found.posteriors[3, I] == 0  # the second window had a city before it
    np.testing.assert_allclose(found.posteriors[3], [1 / 3, 0, 1 / 3, 1 / 3], rtol=1e-6)
    assert found.posteriors[4, I] == 0.25  # not at a seam: as its window has it


def test_a_word_without_any_score_is_no_prediction() -> None:
    scores = np.full((1, 2, 4), -np.inf, np.float32)
    scores[0, 0] = -1
    arrays = {"tags": np.zeros((1, 2), np.int32), "log_likelihoods": scores}
    mass = np.zeros((1, 2), np.float32)
    assert len(read([1], unexplored=mass, **arrays)) == 1
    with pytest.raises(UserError, match="not numbers"):
        read([2], unexplored=mass, **arrays)


def test_a_malformed_window_makes_its_sentence_malformed() -> None:
    good = Prediction(np.array([CITY, I, O, O], np.int32), None, malformed=())
    bad = Prediction(np.zeros(4, np.int32), None, malformed=("no_end", "empty_tag"))
    found = merge(PARTS, [good, good])
    assert found.malformed == () and found.tag_ids.any()
    found = merge(PARTS, [good, bad])
    assert found.malformed == ("empty_tag", "no_end")
    assert not found.tag_ids.any() and found.log_likelihoods is None
