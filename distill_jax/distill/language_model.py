"""The language-model loss of encoder-decoders, as t5x computes it, and the objective that has it alone.

Cross-entropy, label smoothing from which the entropy of the smoothed target is subtracted (a
perfect prediction costs 0), and the z-loss that keeps log Z near 0. Pure functions; everything in
float32.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Shaped

from distill_jax.configuration import setting
from distill_jax.data.features import Seq2SeqBatch
from distill_jax.distill.tags import dropout
from distill_jax.distill.weighted import WeightedSum, at_real_positions, weighted_sum
from distill_jax.errors import UserError
from distill_jax.integers import ceil_divide
from distill_jax.models.t5 import T5


@dataclasses.dataclass(frozen=True)
class LanguageModelLoss:
    """The options of `language_model_loss`.

    `logit_chunks` above 1 computes the logits of so many parts of the positions one after the
    other, and never holds all: for large vocabularies. Raises `UserError` if it is below 1.
    """

    label_smoothing: float = setting(0.0, macro="LABEL_SMOOTHING")
    z_loss: float = setting(0.0, macro="Z_LOSS")
    logit_chunks: int = setting(1, macro="LOGIT_CHUNKS", free=True)

    def __post_init__(self) -> None:
        if self.logit_chunks < 1:
            raise UserError(f"logit_chunks is {self.logit_chunks}; it must be at least 1")


@dataclasses.dataclass(frozen=True)
class LanguageModel:
    """The unchanged language-model loss, on SenT′ targets or on span corruption."""

    model: T5
    options: LanguageModelLoss = LanguageModelLoss()

    def init(self, key: jax.Array) -> Any:
        """See `train.objective.Objective`."""
        return self.model.initial(key)

    def init_frozen(self, key: jax.Array) -> None:
        """There is no teacher within the step."""

    def loss(
        self, params: Any, frozen: Any, batch: Seq2SeqBatch, key: jax.Array | None
    ) -> dict[str, WeightedSum]:
        """See `train.objective.Objective`; `nll` and `token_accuracy` beside `loss`."""
        variables = {"params": params}
        hidden_BxTxD = self.model.apply(
            variables,
            batch["encoder_input_tokens"],
            batch["encoder_segment_ids"],
            batch["decoder_input_tokens"],
            batch["decoder_segment_ids"],
            method="hidden",
            **dropout(key),
        )

        def logits_of(hidden_BxTxD: jax.Array) -> jax.Array:
            return self.model.apply(variables, hidden_BxTxD, method="logits")

        targets_BxT = batch["decoder_target_tokens"]
        weights_BxT = batch.get("decoder_loss_weights", batch["decoder_segment_ids"] > 0)
        smoothing, z_loss = self.options.label_smoothing, self.options.z_loss
        if self.options.logit_chunks == 1:
            sums = language_model_loss(
                logits_of(hidden_BxTxD), targets_BxT, weights_BxT, smoothing, z_loss
            )
        else:
            sums = chunked_language_model_loss(
                logits_of,
                hidden_BxTxD,
                targets_BxT,
                weights_BxT,
                chunks=self.options.logit_chunks,
                label_smoothing=smoothing,
                z_loss=z_loss,
            )
        return {"loss": sums["loss"], "nll": sums["nll"], "token_accuracy": sums["correct"]}


def language_model_loss(
    logits_BxTxV: Float[Array, "batch length vocab"],
    targets_BxT: Int[Array, "batch length"],
    weights_BxT: Shaped[Array, "batch length"],
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
) -> dict[str, WeightedSum]:
    """Cross-entropy of target tokens, in nats.

    Args:
        logits_BxTxV: the decoder's, of any float type.
        targets_BxT: the token to predict at each position.
        weights_BxT: 0 (or False) at padding.
        label_smoothing: probability mass spread evenly over the tokens that are not the target.
        z_loss: the factor of (log Z)².

    Returns:
        `loss` (what to minimise: cross-entropy plus z-loss), `z_loss` (that part of it), `nll` (without
        label smoothing and z-loss) and `correct` (positions where the target has the highest logit).
    """
    logits, real, weights = at_real_positions(logits_BxTxV, weights_BxT)
    targets = jnp.where(real, targets_BxT, 0)
    log_z = jax.nn.logsumexp(logits, axis=-1)
    of_target = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    nll = log_z - of_target
    loss = nll
    if label_smoothing:
        # Σ_v p_v (log Z - logit_v) - H(p), p being 1 - ε at the target and ε / (V - 1) elsewhere;
        # sums in place of a smoothed one-hot array, which would be as large as the logits.
        vocab = logits.shape[-1]
        confidence, low = 1 - label_smoothing, label_smoothing / (vocab - 1)
        entropy = -(_xlogx(confidence) + (vocab - 1) * _xlogx(low))
        nll_of_all = vocab * log_z - logits.sum(axis=-1)
        loss = (confidence - low) * nll + low * nll_of_all - entropy
    z_term = z_loss * jnp.square(log_z)
    # An arg max would do, but XLA on a CPU takes longer for it than for everything else here.
    correct = of_target >= logits.max(axis=-1)
    return {
        "loss": weighted_sum(loss + z_term, weights),
        "z_loss": weighted_sum(z_term, weights),
        "nll": weighted_sum(nll, weights),
        "correct": weighted_sum(correct.astype(jnp.float32), weights),
    }


def chunked_language_model_loss(
    logits_of: Callable[[jax.Array], jax.Array],
    hidden_BxTxD: Float[Array, "batch length embed"],
    targets_BxT: Int[Array, "batch length"],
    weights_BxT: Shaped[Array, "batch length"],
    *,
    chunks: int,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
) -> dict[str, WeightedSum]:
    """`language_model_loss` of the logits `logits_of(hidden)`, of which few exist at a time.

    Positions are cut into `chunks` runs (at most one a position), and the logits of a run are
    computed, used and forgotten, once more for the gradient: memory for logits falls to a
    `chunks`-th, for one more product of hidden states and output embedding.

    Args:
        logits_of: hidden states `[batch, positions, embed]` → logits `[batch, positions, vocab]`, of
            each position alone; it may close over parameters.
        hidden_BxTxD: the decoder's states.
        targets_BxT, weights_BxT, label_smoothing, z_loss: as in `language_model_loss`.
        chunks: at least 1.
    """
    length = targets_BxT.shape[1]
    positions = ceil_divide(length, min(chunks, length))
    chunks = ceil_divide(length, positions)

    def split(values: jax.Array) -> jax.Array:
        """`[batch, length, …]` as `[chunks, batch, positions, …]`; what is added weighs nothing."""
        rest = [(0, 0)] * (values.ndim - 2)
        padded = jnp.pad(values, [(0, 0), (0, chunks * positions - length), *rest])
        parts = padded.reshape(padded.shape[0], chunks, positions, *padded.shape[2:])
        return jnp.moveaxis(parts, 1, 0)

    @jax.checkpoint
    def loss_of(
        hidden: jax.Array, targets: jax.Array, weights: jax.Array
    ) -> dict[str, WeightedSum]:
        return language_model_loss(logits_of(hidden), targets, weights, label_smoothing, z_loss)

    def add(
        so_far: dict[str, WeightedSum], chunk: tuple[jax.Array, jax.Array, jax.Array]
    ) -> tuple[dict[str, WeightedSum], None]:
        return jax.tree.map(jnp.add, so_far, loss_of(*chunk)), None

    zero = jnp.zeros((), jnp.float32)
    start = {name: WeightedSum(zero, zero) for name in ("loss", "z_loss", "nll", "correct")}
    return lax.scan(add, start, (split(hidden_BxTxD), split(targets_BxT), split(weights_BxT)))[0]


def _xlogx(p: float) -> float:
    return p * math.log(p) if p > 0 else 0.0
