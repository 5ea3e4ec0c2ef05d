"""Objectives with the teacher in the step: its forward pass takes the place of a label store.

The teacher's parameters are the frozen ones of the objective: an argument of the step beside the student's
state, sharded as the teacher's own training would have them, never a constant of the program and never in a
checkpoint.
"""

import dataclasses
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from distill_jax.data.features import Seq2SeqBatch
from distill_jax.distill.language_model import language_model_loss
from distill_jax.distill.tags import DistillationWeights, dropout
from distill_jax.distill.weighted import WeightedSum
from distill_jax.models.partitioning import teacher_partitioning
from distill_jax.models.t5 import T5
from distill_jax.models.word_states import places_behind_sentinels, states_of_words
from distill_jax.sentscore import (
    DecoderSettings,
    LabelTrie,
    Normaliser,
    SentScoreBatch,
    decode,
)


class Student(Protocol):
    """An objective without a teacher: `train.objective.Objective`, whose frozen parameters are None."""

    def init(self, key: jax.Array) -> Any:
        """Random parameters."""

    def loss(self, params: Any, frozen: Any, batch: Any, key: jax.Array | None) -> Any:
        """Sums with their weights."""


class Teacher(Protocol):
    """A frozen model as pure functions of its parameters and a student's batch.

    The batch has `data.features.TeacherInputs`, by names that the teacher's reader gives them.
    """

    def init(self, key: jax.Array) -> Any:
        """Random parameters, boxed with their logical axis names."""

    def label(self, params: Any, batch: Any) -> dict[str, jax.Array]:
        """The batch with the teacher's scores, and its tags where none are known.

        Returns:
            The batch with `tags`, `teacher_scores` and `kl_weights` (those of the tags) replaced.
        """

    def states(self, params: Any, batch: Any) -> tuple[Float[Array, "batch length features"], ...]:
        """The hidden states at the words, each read at its first subword, zero behind the last word.

        Returns:
            float[B, L, D] of the embeddings, then of each layer (of an encoder-decoder, its encoder's);
            L is that of the batch's `tags`, and D may differ from one to the next.
        """

    def states_and_maps(
        self, params: Any, batch: Any
    ) -> tuple[tuple[Float[Array, "batch length features"], ...], list[jax.Array]]:
        """`states`, and the attention maps float[B, H, S, S] of the layers, over the tokens that the teacher
        reads; none if it reads words otherwise than the students that have such maps.
        """


@dataclasses.dataclass(frozen=True)
class OnlineTeacher:
    """A T5 that tags a batch by SenTScore, greedily, as `distill-jax label` does: a `Teacher`.

    `trie` is compiled with the teacher's `sentinel_ids`.
    """

    model: T5
    trie: LabelTrie
    sentinel_ids: tuple[int, ...]
    normaliser: Normaliser = "vocab"

    def init(self, key: jax.Array) -> Any:
        """See `Teacher`."""
        return self.model.initial(key)

    def label(self, params: Any, batch: Any) -> dict[str, jax.Array]:
        """See `Teacher`; scores are SenTScore's."""
        length = batch["tags"].shape[1]
        words = min(length, len(self.sentinel_ids) - 1)
        tokens_BxS = batch["teacher_tokens"]
        with teacher_partitioning():
            decoded = decode(
                self.model,
                params,
                SentScoreBatch(
                    tokens_BxS,
                    tokens_BxS != 0,
                    batch["num_words"],
                    jnp.asarray(self.sentinel_ids[: words + 1], jnp.int32),
                ),
                self.trie,
                DecoderSettings(normaliser=self.normaliser),
            )
        assert decoded.tags is not None and decoded.log_likelihoods is not None, (
            "sentscore gives both"
        )
        rest = (0, length - words)
        tags_BxL = jnp.pad(decoded.tags, ((0, 0), rest))
        scores_BxLxK = jnp.pad(decoded.log_likelihoods, ((0, 0), rest, (0, 0)))
        return {
            **batch,
            "tags": jnp.where(batch["known_tags"][:, None], batch["tags"], tags_BxL),
            "teacher_scores": lax.stop_gradient(scores_BxLxK),
            "kl_weights": batch["tag_weights"],
        }

    def states(self, params: Any, batch: Any) -> tuple[Float[Array, "batch length features"], ...]:
        """See `Teacher`; a word's first subword stands behind the sentinel of its number."""
        length, tokens_BxS = batch["tags"].shape[1], batch["teacher_tokens"]
        at_BxL = places_behind_sentinels(tokens_BxS, self.sentinel_ids, batch["num_words"], length)
        segments_BxS = (tokens_BxS != 0).astype(jnp.int32)
        with teacher_partitioning():
            states = self.model.apply(
                {"params": params}, tokens_BxS, segments_BxS, method="encoder_states"
            )
        return lax.stop_gradient(states_of_words(states, at_BxL))

    def states_and_maps(
        self, params: Any, batch: Any
    ) -> tuple[tuple[jax.Array, ...], list[jax.Array]]:
        """See `Teacher`; no student has the sentinels between its words."""
        return self.states(params, batch), []


@dataclasses.dataclass(frozen=True)
class TargetWriter:
    """Writes SenT′ targets of a T5 student from tags that only the step knows.

    `tag_token_ids` and `sentinel_ids` are those of the student's `SenTFormat`.
    """

    tag_token_ids: tuple[tuple[int, ...], ...]
    sentinel_ids: tuple[int, ...]
    eos_id: int
    start_id: int = 0

    def write(
        self, tags_BxL: Int[Array, "batch length"], num_words_B: Int[Array, " batch"]
    ) -> dict[str, jax.Array]:
        """`s₀ t₁ s₁ … t_L s_L </s>` of each row, as `data.seq2seq.join_pairs` lays out one pair.

        Returns:
            `decoder_input_tokens`, `decoder_target_tokens` and `decoder_segment_ids`, int32[B, T],
            with T what L words with the longest tag take.
        """
        batch, words = tags_BxL.shape
        longest = max(map(len, self.tag_token_ids))
        tokens_KxM = np.zeros((len(self.tag_token_ids), longest), np.int32)
        for row, ids in zip(tokens_KxM, self.tag_token_ids, strict=True):
            row[: len(ids)] = ids
        sizes_K = jnp.asarray([len(ids) for ids in self.tag_token_ids])
        there_BxL = jnp.arange(words) < num_words_B[:, None]
        sizes_BxL = jnp.where(there_BxL, sizes_K[tags_BxL], 0)
        # After s0 each word takes its tag's tokens and a sentinel.
        ends_BxL = jnp.cumsum(jnp.where(there_BxL, sizes_BxL + 1, 0), axis=1)
        starts_BxL = 1 + ends_BxL - jnp.where(there_BxL, sizes_BxL + 1, 0)
        length = words * (longest + 1) + 2
        within_BxLxM = (jnp.arange(longest) < sizes_BxL[..., None]) & there_BxL[..., None]
        at_BxLxM = jnp.where(within_BxLxM, starts_BxL[..., None] + jnp.arange(longest), length)
        rows = jnp.arange(batch)[:, None]
        end_B = 1 + ends_BxL[:, -1]
        sentinels = jnp.asarray(self.sentinel_ids[1 : words + 1], jnp.int32)
        # What is behind a sentence goes beyond the end, where it is dropped.
        targets = jnp.zeros((batch, length), jnp.int32).at[:, 0].set(self.sentinel_ids[0])
        targets = targets.at[rows[..., None], at_BxLxM].set(
            jnp.asarray(tokens_KxM)[tags_BxL], mode="drop"
        )
        targets = targets.at[rows, jnp.where(there_BxL, starts_BxL + sizes_BxL, length)].set(
            jnp.broadcast_to(sentinels, (batch, words)), mode="drop"
        )
        targets = targets.at[jnp.arange(batch), end_B].set(self.eos_id)
        segments = (jnp.arange(length) <= end_B[:, None]).astype(jnp.int32)
        shifted = jnp.pad(targets[:, :-1], ((0, 0), (1, 0)), constant_values=self.start_id)
        return {
            "decoder_input_tokens": jnp.where(segments > 0, shifted, 0),
            "decoder_target_tokens": targets,
            "decoder_segment_ids": segments,
        }


@dataclasses.dataclass(frozen=True)
class OnlineDistillation:
    """A student's objective whose tags and scores come from the teacher within the step.

    `student` is the objective of any kind of student; `writer` is needed for a T5 (`SentDistillation`), whose
    targets are written from the tags. The batch is the student's, with `data.features.TeacherInputs`.
    """

    student: Student
    teacher: Teacher
    writer: TargetWriter | None = None

    def init(self, key: jax.Array) -> Any:
        """The student's."""
        return self.student.init(key)

    def init_frozen(self, key: jax.Array) -> Any:
        """The teacher's."""
        return self.teacher.init(key)

    def loss(self, params: Any, frozen: Any, batch: Any, key: jax.Array | None) -> Any:
        """The student's loss on what the teacher, with the frozen parameters, makes of the batch."""
        labelled = self.teacher.label(frozen, batch)
        if self.writer is not None:
            words = len(self.writer.sentinel_ids) - 1
            labelled |= self.writer.write(labelled["tags"][:, :words], batch["num_words"])
            # A row's weight is that of its words, and it has at least one.
            row_weights = batch["tag_weights"][:, :1]
            labelled["decoder_loss_weights"] = row_weights * (labelled["decoder_segment_ids"] > 0)
        return self.student.loss(params, None, labelled, key)


@dataclasses.dataclass(frozen=True)
class TokenDistillation:
    """T5 → T5 token by token: `CE(y, q) + λ KL(p* ‖ q)` on the tokens of the SenT′ targets.

    `p*_t = softmax(z_t / τ)` with `z_t` the teacher's logits for token t of the target, given the tokens
    before it, and `q_t` the student's (Hinton et al. 2015, arXiv 1503.02531; word-level distillation of Kim &
    Rush 2016, arXiv 1606.07947). The two must share vocabulary, label texts and sentinels. Both terms are
    means over tokens; where one model has more embedding rows, rows that the other lacks are left
    out of the KL, and both distributions are over the rest.
    """

    model: T5
    teacher: T5
    distillation: DistillationWeights

    def init(self, key: jax.Array) -> Any:
        """The student's."""
        return self.model.initial(key)

    def init_frozen(self, key: jax.Array) -> Any:
        """The teacher's."""
        return self.teacher.initial(key)

    def loss(
        self, params: Any, frozen: Any, batch: Seq2SeqBatch, key: jax.Array | None
    ) -> dict[str, WeightedSum]:
        """See `train.objective.Objective`; `nll`, `token_accuracy` and `kl` beside `loss`."""
        rows = min(self.model.config.vocab_size, self.teacher.config.vocab_size)
        inputs = (
            batch["encoder_input_tokens"],
            batch["encoder_segment_ids"],
            batch["decoder_input_tokens"],
            batch["decoder_segment_ids"],
        )
        logits_BxTxV = self.model.apply({"params": params}, *inputs, **dropout(key))
        weights_BxT = batch.get("decoder_loss_weights", batch["decoder_segment_ids"] > 0)
        language = language_model_loss(logits_BxTxV, batch["decoder_target_tokens"], weights_BxT)
        sums = {
            "loss": language["loss"],
            "nll": language["nll"],
            "token_accuracy": language["correct"],
        }
        if not self.distillation.has_kl:
            return sums
        with teacher_partitioning():
            teacher_BxTxV = self.teacher.apply({"params": frozen}, *inputs)
        kl = self.distillation.kl(logits_BxTxV[..., :rows], teacher_BxTxV[..., :rows], weights_BxT)
        total, weight = language["loss"]
        total = total + self.distillation.kl_weight * kl.total
        return sums | {"loss": WeightedSum(total, weight), "kl": kl}
