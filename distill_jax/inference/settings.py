"""How a model is used to tag, beyond the model itself."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

from distill_jax.errors import UserError
from distill_jax.sentscore import Normaliser
from distill_jax_runtime.text import TEXT_WORDS, TextWords

TaggerFormat = Literal["sent_prime", "word_tags"]


@dataclasses.dataclass(frozen=True)
class TaggerSettings:
    """How a model is used to tag.

    Attributes:
        format: `sent_prime` for an encoder-decoder that writes SenT', `word_tags` for a model that
            gives each word its tag scores.
        normaliser: of SenTScore; of no effect with `word_tags`.
        temperature: divides the log-likelihoods before they become posteriors.
        thresholds: for labels that have one, the score below which a span is dropped.
        max_chars: of a word, for a model that reads characters.
        max_input_tokens: of a window, for a tagger by its words' first subwords.
        single_token_tags: whether each tag is one token of its own instead of its label's text; of
            no effect with `word_tags`.
        text_words: how a text becomes words (`distill_jax_runtime.text`), as those of the training
            data did.

    Raises:
        UserError: a value is not one of those possible.
    """

    format: TaggerFormat = "sent_prime"
    normaliser: Normaliser = "vocab"
    temperature: float = 1.0
    thresholds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    max_chars: int = 20
    max_input_tokens: int = 512
    single_token_tags: bool = False
    text_words: TextWords = "blanks"

    def __post_init__(self) -> None:
        for name, known in (
            ("format", get_args(TaggerFormat)),
            ("normaliser", get_args(Normaliser)),
            ("text_words", TEXT_WORDS),
        ):
            if getattr(self, name) not in known:
                raise UserError(f"{name} is {getattr(self, name)!r}; use {' or '.join(known)}")
        if not _is_number(self.temperature) or not self.temperature > 0:
            raise UserError(f"temperature is {self.temperature!r}; use a number above 0")
        if not isinstance(self.thresholds, Mapping) or not all(
            _is_number(value) for value in self.thresholds.values()
        ):
            raise UserError(f"thresholds are {self.thresholds!r}; give each label a number")
        for name in ("max_chars", "max_input_tokens"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise UserError(f"{name} is {value!r}; use a whole number from 1")
        if not isinstance(self.single_token_tags, bool):
            raise UserError(f"single_token_tags is {self.single_token_tags!r}; use true or false")

    def to_fields(self) -> dict[str, Any]:
        """As they stand in `tagger.json`, where what older files did not say goes without saying."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name, usual in (("text_words", "blanks"), ("max_input_tokens", 512)):
            if fields[name] == usual:
                del fields[name]
        return {**fields, "thresholds": dict(self.thresholds)}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
