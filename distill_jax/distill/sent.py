"""A T5 student of a teacher's tags and posteriors: the language-model loss, and KL between posteriors."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from distill_jax.data.features import SentBatch
from distill_jax.distill.language_model import LanguageModel, LanguageModelLoss
from distill_jax.distill.tags import DistillationWeights
from distill_jax.distill.weighted import WeightedSum
from distill_jax.models.t5 import T5
from distill_jax.sentscore import LabelTrie, Normaliser, SentScoreBatch, score


@dataclasses.dataclass(frozen=True)
class SentDistillation:
    """A T5 student from the same targets: language-model loss on the tags, KL between posteriors.

    q is the softmax over tags of the student's own SenTScores under the given tags, one decoder
    pass for all words (`sentscore.score`), so teacher and student may differ in vocabulary. The
    language-model loss takes the place of `CE(y*, q)`: it is the loss that T5s are fine-tuned with,
    and it also teaches the student which texts are tags at all.

    The teacher scored its own tags' continuations. Where the given tags are others (a gold sentence
    that it got wrong), I may be illegal now that was legal for it: then its posterior is taken
    among the tags that are legal, or the KL would be infinite.
    """

    model: T5
    trie: LabelTrie
    sentinel_ids: tuple[int, ...]
    distillation: DistillationWeights
    normaliser: Normaliser = "trie"
    language_model: LanguageModelLoss = LanguageModelLoss()

    def init(self, key: jax.Array) -> Any:
        """See `train.objective.Objective`."""
        return self.model.initial(key)

    def init_frozen(self, key: jax.Array) -> None:
        """There is no teacher within the step."""

    def loss(
        self, params: Any, frozen: Any, batch: SentBatch, key: jax.Array | None
    ) -> dict[str, WeightedSum]:
        """See `train.objective.Objective`; `language_model` and `kl` beside `loss`."""
        keys = (None, None) if key is None else jax.random.split(key)
        sums = LanguageModel(self.model, self.language_model).loss(params, None, batch, keys[0])
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
            dropout_key=keys[1],
        )
        illegal_BxLxK = jnp.isneginf(scores_BxLxK)
        kl = self.distillation.kl(
            scores_BxLxK,
            jnp.where(illegal_BxLxK, -jnp.inf, batch["teacher_scores"]),
            batch["kl_weights"],
        )
        language_model = sums["loss"]
        # Both terms per word, as in the paper: the language-model loss spends several tokens a word. A mean
        # of the batch's tokens is no sum over its sentences: micro-batches average theirs each.
        words = batch["tag_weights"].sum()
        total = language_model.mean() * words + self.distillation.kl_weight * kl.total
        return sums | {
            "loss": WeightedSum(total, words),
            "language_model": language_model,
            "kl": kl,
        }
