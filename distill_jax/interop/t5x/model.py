"""`SenTModel`: t5x's encoder-decoder, whose predictions are SenTScore's. Imported only with t5x.

    from distill_jax.interop.t5x import model as sent_model

in a Gin file of t5x; `gin/t5x/` has those that use it.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from t5x import models

from distill_jax.data.seqio_converter import SenTFeatureConverter
from distill_jax.errors import UserError
from distill_jax.interop.t5x.config import activation_of
from distill_jax.interop.t5x.tagging import BatchTagger, model_of_params
from distill_jax.sent.format import SenTFormat
from distill_jax.sentscore import DecoderSettings, Normaliser
from distill_jax.sentscore.decode import DecoderName
from distill_jax.tagging import LabelSet


class SenTModel(models.EncoderDecoderModel):
    """A T5 of t5x, trained as t5x trains it, that tags with SenTScore in `eval` and `infer`.

    `predict_batch_with_aux` gives the SenT′ targets of the tags, which SeqIO decodes and scores, and
    beside them `posteriors` and more (`tagging.BatchTagger`).
    """

    FEATURE_CONVERTER_CLS = SenTFeatureConverter

    def __init__(
        self,
        *,
        labels: LabelSet | str,
        decoder: DecoderName = "sentscore",
        beam: int = 1,
        normaliser: Normaliser = "vocab",
        epsilon: float = 1e-4,
        **settings: Any,
    ) -> None:
        """Args:
            labels: of the task, or a file of them.
            decoder, beam, normaliser, epsilon: see `sentscore.DecoderSettings`.
            settings: of `EncoderDecoderModel`, by name.

        Raises:
            UserError: a value is not one of those possible, or the vocabulary is not this project's.
        """
        super().__init__(**settings)
        self._labels = labels
        self._decoder = DecoderSettings(
            name=decoder, beam=beam, normaliser=normaliser, epsilon=epsilon
        )
        if not hasattr(self.output_vocabulary, "wrapped"):
            raise UserError(
                f"SenTModel: the vocabulary is a {type(self.output_vocabulary).__name__}; use that of "
                "the task (@seqio_sent.seqio_vocabulary(), as gin/t5x/sent.gin)"
            )

    @functools.cached_property
    def _tagger(self) -> BatchTagger:
        labels = LabelSet.load(self._labels) if isinstance(self._labels, str) else self._labels
        return BatchTagger(SenTFormat(self.output_vocabulary.wrapped, labels), self._decoder)

    def predict_batch_with_aux(
        self,
        params: Any,
        batch: Mapping[str, jax.Array],
        rng: jax.Array | None = None,
        **ignored: Any,
    ) -> tuple[jax.Array, Mapping[str, jax.Array]]:
        """int32[batch, decoder length], SenT′ targets; and the tags' posteriors, batch first."""
        del rng, ignored  # nothing is drawn, and there is one answer
        config = self.module.config
        own, own_params = model_of_params(
            params,
            activation=activation_of(config.mlp_activations, "T5Config"),
            dropout_rate=config.dropout_rate,
            dtype=jnp.dtype(config.dtype).name,
        )
        length = batch["decoder_input_tokens"].shape[1]
        return self._tagger(own, own_params, batch["encoder_input_tokens"], length)
