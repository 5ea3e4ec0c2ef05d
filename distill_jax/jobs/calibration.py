"""The temperature of a model, fitted to sentences with tags."""

from collections.abc import Sequence

from distill_jax.export.tagger import ExportedTagger
from distill_jax.inference import Prediction
from distill_jax.tagger import Tagger
from distill_jax.tagging import Sentence, fit_marginal_temperature, fit_temperature
from distill_jax.tagging.temperature import concatenated


def fitted_temperature(
    tagger: Tagger | ExportedTagger,
    sentences: Sequence[Sentence],
    predictions: Sequence[Prediction],
) -> float:
    """The temperature with the least NLL of the gold tags, under marginals where words are tagged alone.

    `predictions` are those of `Tagger.decode`. Raises `UserError` if nothing tells one temperature from
    another.
    """
    current = tagger.settings.temperature
    pairs = []
    for one, sentence in zip(predictions, sentences, strict=True):
        assert one.log_likelihoods is not None, "the decoder has been chosen for them"
        gold, _ = tagger.labels.encode_known_iob2(sentence.tags or ())
        pairs.append((one.log_likelihoods, gold))
    if any(one.words_alone for one in predictions):
        return fit_marginal_temperature(pairs, current=current)
    known = concatenated((scores[gold >= 0], gold[gold >= 0]) for scores, gold in pairs)
    return fit_temperature(*known, current=current)
