"""SenTScore (Farina et al. 2023): every tag's log-likelihood from one pass a word."""

from distill_jax.sentscore.decode import Decoded, DecoderSettings, decode, make_decoder
from distill_jax.sentscore.layout import SentScoreBatch, make_batch
from distill_jax.sentscore.likelihood import Normaliser, posteriors
from distill_jax.sentscore.score import score
from distill_jax.sentscore.trie import INSIDE, OUTSIDE, LabelTrie
from distill_jax.sentscore.word_beam import Beams

__all__ = [
    "INSIDE",
    "OUTSIDE",
    "Beams",
    "Decoded",
    "DecoderSettings",
    "LabelTrie",
    "Normaliser",
    "SentScoreBatch",
    "decode",
    "make_batch",
    "make_decoder",
    "posteriors",
    "score",
]
