"""From sentences to predictions, in batches: what training, labelling and the tagger share."""

from distill_jax.inference.base import Predictor
from distill_jax.inference.encoder import EncoderPredictor
from distill_jax.inference.evaluation import evaluate, scalars
from distill_jax.inference.prediction import Prediction, Unexplored
from distill_jax.inference.sent import SentPredictor
from distill_jax.inference.words import WordPredictor

__all__ = [
    "EncoderPredictor",
    "Prediction",
    "Predictor",
    "SentPredictor",
    "Unexplored",
    "WordPredictor",
    "evaluate",
    "scalars",
]
