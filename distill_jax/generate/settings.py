"""How sentences are sampled, and what is asked of the settings."""

import dataclasses
import math

from distill_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class SamplingSettings:
    """What a token is drawn from: softmax(logits / temperature), cut as follows, in this order.

    The guard against repetition is a ban on repeated n-grams rather than a penalty on repeated tokens: a
    penalty changes the probability of every function word of a sentence, by an amount that depends on
    the scale of the logits, whereas a ban changes nothing until a model has begun to loop.

    Attributes:
        temperature: above 0.
        top_k: keep the k most likely tokens, of equal ones the lower ids (0: all).
        top_p: keep the most likely tokens, as few as have this mass together (Holtzman et al. 2020, "The
            Curious Case of Neural Text Degeneration"), and those as likely as the last of them.
        min_p: keep tokens of at least this share of the most likely one's probability (Nguyen et al.
            2024, "Turning Up the Heat"; 0: all).
        no_repeat_ngram: no n tokens in a row occur twice in a sample (0: they may).
        max_tokens: a sample that has not ended then is cut off.

    Raises:
        UserError: a value outside its range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    no_repeat_ngram: int = 0
    max_tokens: int = 64

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise UserError(
                f"temperature is {self.temperature}; use a number above 0 (near 0, the likeliest tokens)"
            )
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p is {self.top_p}; use a probability above 0 and at most 1")
        if not 0 <= self.min_p <= 1:
            raise UserError(f"min_p is {self.min_p}; use a probability from 0 to 1")
        for name, least in (("top_k", 0), ("no_repeat_ngram", 0), ("max_tokens", 1)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}; use a whole number from {least}")
