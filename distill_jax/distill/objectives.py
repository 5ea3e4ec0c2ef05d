"""What a training step optimises: one class a kind of student and loss, all with one interface.

Losses are sums with their weights, never means of means: they add up over devices and steps.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from distill_jax.distill.losses import (
    WeightedSum,
    chunked_language_model_loss,
    kd_loss,
    language_model_loss,
    tag_cross_entropy,
)
from distill_jax.errors import UserError
from distill_jax.models.bilstm import BiLSTMTagger
from distill_jax.models.encoder_tagger import EncoderTagger
from distill_jax.models.t5 import T5
from distill_jax.sentscore import LabelTrie, Normaliser, SentScoreBatch, score

Batch = Mapping[str, jax.Array]
Sums = dict[str, tuple[jax.Array, jax.Array]]
"""Name → (sum, weight), float32 scalars. `loss` is what is minimised, as sum / weight."""


class Objective(Protocol):
    """A model with its loss."""

    def init(self, key: jax.Array) -> Any:
        """Random parameters, boxed with their logical axis names."""

    def loss(self, params: Any, batch: Batch, key: jax.Array | None) -> Sums:
        """The loss of a batch; without a key dropout is off."""


def _dropout(key: jax.Array | None) -> dict[str, Any]:
    if key is None:
        return {"deterministic": True}
    return {"deterministic": False, "rngs": {"dropout": key}}


def _init_t5(model: T5, key: jax.Array) -> Any:
    tokens = jnp.ones((1, 2), jnp.int32)
    return model.init(key, tokens, tokens, tokens, tokens)["params"]


@dataclasses.dataclass(frozen=True)
class LanguageModel:
    """The unchanged language-model loss, on SenT′ targets or on span corruption.

    `logit_chunks` above 1 computes the logits of so many parts of the positions one after the
    other, and never holds all: for large vocabularies.

    Batch: what `data.seq2seq.packed_rows` gives, and optionally `decoder_loss_weights`
    float32[B, T]; without them every token of a segment counts 1.
    """

    model: T5
    label_smoothing: float = 0.0
    z_loss: float = 0.0
    logit_chunks: int = 1

    def __post_init__(self) -> None:
        if self.logit_chunks < 1:
            raise UserError(f"logit_chunks is {self.logit_chunks}; it must be at least 1")

    def init(self, key: jax.Array) -> Any:
        return _init_t5(self.model, key)

    def loss(self, params: Any, batch: Batch, key: jax.Array | None) -> Sums:
        variables = {"params": params}
        hidden_BxTxD = self.model.apply(
            variables,
            batch["encoder_input_tokens"],
            batch["encoder_segment_ids"],
            batch["decoder_input_tokens"],
            batch["decoder_segment_ids"],
            method="hidden",
            **_dropout(key),
        )

        def logits_of(hidden_BxTxD: jax.Array) -> jax.Array:
            return self.model.apply(variables, hidden_BxTxD, method="logits")

        targets_BxT = batch["decoder_target_tokens"]
        weights_BxT = batch.get("decoder_loss_weights", batch["decoder_segment_ids"] > 0)
        options = {"label_smoothing": self.label_smoothing, "z_loss": self.z_loss}
        if self.logit_chunks == 1:
            sums = language_model_loss(logits_of(hidden_BxTxD), targets_BxT, weights_BxT, **options)
        else:
            sums = chunked_language_model_loss(
                logits_of,
                hidden_BxTxD,
                targets_BxT,
                weights_BxT,
                chunks=self.logit_chunks,
                **options,
            )
        return {"loss": sums["loss"], "nll": sums["nll"], "token_accuracy": sums["correct"]}


@dataclasses.dataclass(frozen=True)
class DistillationWeights:
    """The loss of Farina et al. 2023: CE(y*, q) + λ KL(p* ‖ q), and its options (PAPERS, P1).

    `kl_weight` (λ) and `temperature` (τ) may be traced scalars, for students trained together.
    """

    kl_weight: float | jax.Array = 1.0
    temperature: float | jax.Array = 10.0
    both_sides: bool = True
    square_scale: bool = True

    @property
    def has_kl(self) -> bool:
        """Whether there is a KL term to compute: always where λ is known only to the program."""
        return isinstance(self.kl_weight, jax.Array) or self.kl_weight != 0

    def kl(
        self, student_BxLxK: jax.Array, teacher_BxLxK: jax.Array, weights_BxL: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        return kd_loss(
            student_BxLxK,
            teacher_BxLxK,
            weights_BxL,
            temperature=self.temperature,
            both_sides=self.both_sides,
            square_scale=self.square_scale,
        )


@dataclasses.dataclass(frozen=True)
class TaggerDistillation:
    """A word tagger from gold tags, a teacher's tags, and a teacher's posteriors.

    Batch: `word_ids` int32[B, L], `char_ids` int32[B, L, C], `tags` int32[B, L], `tag_weights`
    and `kl_weights` float32[B, L], `teacher_scores` float32[B, L, K] (the teacher's u; rows of
    weight 0 are not read). Gold only is the case of no `kl_weights` above 0, pseudo-labels that of
    `distillation.kl_weight` 0.
    """

    model: BiLSTMTagger
    distillation: DistillationWeights

    def init(self, key: jax.Array) -> Any:
        word_ids, char_ids = jnp.ones((1, 2), jnp.int32), jnp.ones((1, 2, 2), jnp.int32)
        return self.model.init(key, word_ids, char_ids)["params"]

    def loss(self, params: Any, batch: Batch, key: jax.Array | None) -> Sums:
        logits_BxLxK = self.model.apply(
            {"params": params}, batch["word_ids"], batch["char_ids"], **_dropout(key)
        )
        return _combine(logits_BxLxK, batch, self.distillation)


@dataclasses.dataclass(frozen=True)
class EncoderDistillation:
    """An encoder tagger from the same targets and by the same loss as `TaggerDistillation`.

    Batch: `tokens` int32[B, S] and `first` int32[B, L] as `EncoderTagger` reads them in the place
    of `word_ids` and `char_ids`, the other features as there.
    """

    model: EncoderTagger
    distillation: DistillationWeights

    def init(self, key: jax.Array) -> Any:
        tokens, first = jnp.ones((1, 2), jnp.int32), jnp.zeros((1, 2), jnp.int32)
        return self.model.init(key, tokens, first)["params"]

    def loss(self, params: Any, batch: Batch, key: jax.Array | None) -> Sums:
        logits_BxLxK = self.model.apply(
            {"params": params}, batch["tokens"], batch["first"], **_dropout(key)
        )
        return _combine(logits_BxLxK, batch, self.distillation)


@dataclasses.dataclass(frozen=True)
class SentDistillation:
    """A T5 student from the same targets: language-model loss on the tags, KL between posteriors.

    q is the softmax over tags of the student's own SenTScores under the given tags, one decoder
    pass for all words (`sentscore.score`), so teacher and student may differ in vocabulary. The
    language-model loss takes the place of CE(y*, q): it is the loss that T5s are fine-tuned with,
    and it also teaches the student which texts are tags at all.

    Batch: the features of `LanguageModel` unpacked (one sentence a row), `num_words` int32[B],
    and `tags`, `tag_weights`, `kl_weights`, `teacher_scores` as above.

    The teacher scored its own tags' continuations. Where the given tags are others (a gold sentence
    that it got wrong), I may be illegal now that was legal for it: then its posterior is taken
    among the tags that are legal, or the KL would be infinite.
    """

    model: T5
    trie: LabelTrie
    sentinel_ids: tuple[int, ...]
    distillation: DistillationWeights
    normaliser: Normaliser = "trie"
    logit_chunks: int = 1
    """Of the language-model loss."""

    def init(self, key: jax.Array) -> Any:
        return _init_t5(self.model, key)

    def loss(self, params: Any, batch: Batch, key: jax.Array | None) -> Sums:
        keys = (None, None) if key is None else jax.random.split(key)
        sums = LanguageModel(self.model, logit_chunks=self.logit_chunks).loss(
            params, batch, keys[0]
        )
        if not self.distillation.has_kl:
            return sums
        tags_BxL = batch["tags"]
        scores_BxLxK = score(
            self.model,
            params,
            SentScoreBatch(
                batch["encoder_input_tokens"],
                batch["encoder_segment_ids"] > 0,
                batch["num_words"],
                jnp.asarray(self.sentinel_ids[: tags_BxL.shape[1] + 1], jnp.int32),
            ),
            tags_BxL,
            self.trie,
            normaliser=self.normaliser,
            **_dropout(keys[1]),
        )
        illegal_BxLxK = jnp.isneginf(scores_BxLxK)
        kl_sum, kl_count = self.distillation.kl(
            scores_BxLxK,
            jnp.where(illegal_BxLxK, -jnp.inf, batch["teacher_scores"]),
            batch["kl_weights"],
        )
        language_model = WeightedSum(*sums["loss"])
        # Both terms per word, as in the paper: the language-model loss spends several tokens a word.
        words = batch["tag_weights"].sum()
        total = language_model.mean() * words + self.distillation.kl_weight * kl_sum
        return sums | {
            "loss": (total, words),
            "language_model": language_model,
            "kl": (kl_sum, kl_count),
        }


def _combine(logits_BxLxK: jax.Array, batch: Batch, distillation: DistillationWeights) -> Sums:
    weights_BxL = batch["tag_weights"]
    ce_sum, ce_count = tag_cross_entropy(logits_BxLxK, batch["tags"], weights_BxL)
    correct = (logits_BxLxK.argmax(-1) == batch["tags"]) * weights_BxL
    sums = {
        "loss": (ce_sum, ce_count),
        "cross_entropy": (ce_sum, ce_count),
        "tag_accuracy": (correct.sum(), weights_BxL.sum()),
    }
    if distillation.has_kl:
        kl_sum, kl_count = distillation.kl(
            logits_BxLxK, batch["teacher_scores"], batch["kl_weights"]
        )
        sums["loss"] = (ce_sum + distillation.kl_weight * kl_sum, ce_count)
        sums["kl"] = (kl_sum, kl_count)
    return sums
