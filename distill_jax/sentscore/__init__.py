"""SenTScore (Farina et al. 2023): every tag's log-likelihood from one pass a word."""

from distill_jax.sentscore.decode import SentScoreResult, make_sentscore, sentscore
from distill_jax.sentscore.layout import SentScoreBatch, make_batch
from distill_jax.sentscore.likelihood import Normaliser, posteriors
from distill_jax.sentscore.score import score
from distill_jax.sentscore.trie import INSIDE, OUTSIDE, LabelTrie

__all__ = [
    "INSIDE",
    "OUTSIDE",
    "LabelTrie",
    "Normaliser",
    "SentScoreBatch",
    "SentScoreResult",
    "make_batch",
    "make_sentscore",
    "posteriors",
    "score",
    "sentscore",
]
