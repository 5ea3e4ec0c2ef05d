"""How runs score a model on sentences with tags."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from distill_jax.errors import UserError
from distill_jax.inference import Predictor, evaluate, scalars
from distill_jax.inference.evaluation import check_labels
from distill_jax.parallel.processes import is_first
from distill_jax.sent.truncation import log_truncated
from distill_jax.tagging import Sentence
from distill_jax.train.selection import Evaluate, Outcome


def say_left_behind(model_dir: str, outcome: Outcome) -> None:
    """Tells the person who watches what a run has left; of several processes the first does."""
    f1, loss = (outcome.metrics.get(name) for name in ("f1", "loss"))
    dev = "" if loss is None else f", dev loss {loss:.4f}"
    dev = dev if f1 is None else f", dev F1 {f1:.4f}"
    if is_first():
        line = f"{Path(model_dir) / 'model'}: the model of step {outcome.best_step}{dev}"
        print(line, file=sys.stderr, flush=True)


def dev_evaluation(predictor: Predictor, dev: Sequence[Sentence]) -> Evaluate:
    """Scores parameters on the dev split; selection is by micro-F1, as in the paper.

    Raises `UserError` if the split is empty, or has a label that the model will not have.
    """
    if not dev:
        raise UserError("the dev split is empty; check EVAL_SPLIT, its file and the few-shot sizes")
    check_labels(predictor.labels, dev, "the dev split")
    words = [sentence.words for sentence in dev]
    log_truncated(words, predictor.truncated_words, "the dev split")

    def score(params: Any) -> dict[str, float]:
        start = time.monotonic()
        predictions = predictor.predict(jax.device_put(params), words)
        scores = scalars(evaluate(predictor.labels, dev, predictions))
        return {"selection": scores["f1"], **scores, "seconds": time.monotonic() - start}

    return score
