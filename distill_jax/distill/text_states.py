"""A T5's objective on text, with its encoder's word states matched to another model's beside it.

    (Σ over target tokens of NLL + w Σ over words of the distance of `distill.states`) / target tokens

The two sums are of different sentences: the language model's are packed rows (SenT′ examples, span
corruption), while states are matched on plain sentences as SenT′ has the encoder read them, which is how they
will be read when the T5 is fine-tuned to tag. The decoder goes on to fit the encoder: every step trains it.
"""

import dataclasses
from typing import Any

import jax

from distill_jax.distill.language_model import LanguageModel
from distill_jax.distill.states import PROJECTIONS, STUDENT, StateDistillation
from distill_jax.distill.weighted import WeightedSum
from distill_jax.models.t5 import T5
from distill_jax.models.word_states import places_behind_sentinels, states_of_words

STATES = "states/"
"""What the names of the features of sentences whose states are matched begin with in a batch."""


@dataclasses.dataclass(frozen=True)
class SentWordStates:
    """A T5's encoder as a `distill.states.StateModel`, of SenT′ input and each sentence's number of words.

    `sentinel_ids` are those of the vocabulary; padding is 0.
    """

    model: T5
    sentinel_ids: tuple[int, ...]

    def initial(self, key: jax.Array) -> Any:
        """See `StateModel`."""
        return self.model.initial(key)

    def apply(
        self,
        variables: Any,
        tokens_BxS: jax.Array,
        num_words_B: jax.Array,
        tags_BxL: jax.Array,
        *,
        method: str,
        **options: Any,
    ) -> tuple[jax.Array, ...]:
        """See `StateModel`; of `tags_BxL` the length alone counts."""
        assert method == "word_states", "a T5's words have no scores of their own"
        at_BxL = places_behind_sentinels(
            tokens_BxS, self.sentinel_ids, num_words_B, tags_BxL.shape[1]
        )
        segments_BxS = (tokens_BxS != 0).astype("int32")
        states = self.model.apply(
            variables, tokens_BxS, segments_BxS, method="encoder_states", **options
        )
        return states_of_words(states, at_BxL)


INPUTS = ("encoder_input_tokens", "num_words", "tags")
"""The features that `SentWordStates` reads, in its order."""


@dataclasses.dataclass(frozen=True)
class TextWithStates:
    """See the head of this module.

    Attributes:
        language: on the rows of a batch.
        states: on its sentences, `[rows, sentences a row, …]` each, by names that begin with `STATES`.
        weight: w.

    The parameters are those of `states`: the T5's, and the projections'.
    """

    language: LanguageModel
    states: StateDistillation
    weight: float

    def init(self, key: jax.Array) -> Any:
        """See `train.objective.Objective`."""
        return self.states.init(key)

    def init_frozen(self, key: jax.Array) -> Any:
        """See `train.objective.Objective`: the model whose states they are to be."""
        return self.states.init_frozen(key)

    def loss(
        self, params: Any, frozen: Any, batch: Any, key: jax.Array | None
    ) -> dict[str, WeightedSum]:
        """See `train.objective.Objective`; those of both beside `loss`, and `states`, their mean distance."""
        keys = (None, None) if key is None else jax.random.split(key)
        rows: Any = {name: x for name, x in batch.items() if not name.startswith(STATES)}
        language = self.language.loss(params[STUDENT], None, rows, keys[0])
        matched = self.states.loss(params, frozen, sentences_of(batch), keys[1])
        distance = matched.pop("loss")
        total, weight = language["loss"]
        return {
            **matched,
            **language,
            "states": distance,
            "loss": WeightedSum(total + self.weight * distance.total, weight),
        }


def sentences_of(batch: Any) -> dict[str, jax.Array]:
    """The features of a batch's sentences, `[sentences, …]`."""
    return {
        name.removeprefix(STATES): array.reshape(-1, *array.shape[2:])
        for name, array in batch.items()
        if name.startswith(STATES)
    }


__all__ = ["INPUTS", "PROJECTIONS", "STATES", "STUDENT", "SentWordStates", "TextWithStates"]
