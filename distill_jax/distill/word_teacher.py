"""A teacher within the step that gives each word its scores: a BERT, an encoder tagger or a BiLSTM."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from distill_jax.distill.attention_maps import states_and_maps
from distill_jax.distill.legal import best_legal_tags, legal_log_marginals
from distill_jax.distill.tags import TagModel
from distill_jax.models.partitioning import teacher_partitioning


@dataclasses.dataclass(frozen=True)
class WordTeacher:
    """A tagger of words that tags a batch as `distill-jax label` does: no dropout, legal sequences alone.

    `inputs` are the features of the batch (`data.features.TeacherInputs`) that the model takes, in its
    order.
    """

    model: TagModel
    inputs: tuple[str, ...]

    def init(self, key: jax.Array) -> Any:
        """Random parameters, for shapes and places."""
        return self.model.initial(key)

    def label(self, params: Any, batch: Any) -> dict[str, jax.Array]:
        """See `distill.online.Teacher`; scores are the log-marginals of the legal sequences."""
        length = batch["tags"].shape[1]
        with teacher_partitioning():
            logits_BxLxK = self.model.apply({"params": params}, *self._inputs(batch))
        scores_BxLxK = lax.stop_gradient(jax.nn.log_softmax(logits_BxLxK[:, :length]))
        real_BxL = jnp.arange(length) < batch["num_words"][:, None]
        tags_BxL = best_legal_tags(scores_BxLxK, real_BxL)
        return {
            **batch,
            "tags": jnp.where(batch["known_tags"][:, None], batch["tags"], tags_BxL),
            "teacher_scores": legal_log_marginals(scores_BxLxK, real_BxL),
            "kl_weights": batch["tag_weights"],
        }

    def states(self, params: Any, batch: Any) -> tuple[Float[Array, "batch length features"], ...]:
        """See `distill.online.Teacher`: the model's `word_states`."""
        with teacher_partitioning():
            states = self.model.apply(
                {"params": params}, *self._inputs(batch), method="word_states"
            )
        return _cut(states, batch)

    def states_and_maps(
        self, params: Any, batch: Any
    ) -> tuple[tuple[jax.Array, ...], list[jax.Array]]:
        """See `distill.online.Teacher`; a BiLSTM has no maps."""
        with teacher_partitioning():
            states, maps = states_and_maps(self.model, params, self._inputs(batch))
        return _cut(states, batch), [lax.stop_gradient(each) for each in maps]

    def _inputs(self, batch: Any) -> tuple[jax.Array, ...]:
        return tuple(batch[name] for name in self.inputs)


def _cut(states: Any, batch: Any) -> tuple[jax.Array, ...]:
    length = batch["tags"].shape[1]
    return tuple(lax.stop_gradient(layer[:, :length]) for layer in states)
