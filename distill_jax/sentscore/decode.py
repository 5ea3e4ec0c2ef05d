"""The one entry to all decoders: what to decode with, and what comes back."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from distill_jax.errors import UserError
from distill_jax.models.partitioning import Rules, partitioning
from distill_jax.models.t5 import T5
from distill_jax.sentscore.forward import DEFAULT_MAX_NODES, Bounds
from distill_jax.sentscore.free import free, longest_target
from distill_jax.sentscore.greedy import greedy
from distill_jax.sentscore.layout import SentScoreBatch
from distill_jax.sentscore.likelihood import (
    DEFAULT_MAX_LOGITS,
    Normaliser,
    check_model,
    check_normaliser,
)
from distill_jax.sentscore.pruned import pruned
from distill_jax.sentscore.trie import LabelTrie
from distill_jax.sentscore.word_beam import Beams, sentscore

DecoderName = Literal["sentscore", "greedy", "pruned", "free"]


@dataclasses.dataclass(frozen=True)
class DecoderSettings:
    """How tags are found.

    | name        | tags                                     | log-likelihoods                 |
    |-------------|------------------------------------------|---------------------------------|
    | `sentscore` | the best of all, word by word (or beam)  | of every tag, exact             |
    | `pruned`    | the same as `sentscore` with beam 1      | of the tags that could matter   |
    | `greedy`    | token by token, constrained to the trie  | none                            |
    | `free`      | whatever the model writes                | none                            |

    Attributes:
        beam: sequences kept by `sentscore`.
        normaliser: of `sentscore` and `pruned`.
        epsilon: by how much a posterior of `pruned` may be off at most.
        max_nodes, max_logits: bounds of memory, see `LabelTrie.blocks` and `likelihood.node_scores`.
        eos_id: the end of sequence that `free` stops at.

    Raises:
        UserError: a value is not one of those possible.
    """

    name: DecoderName = "sentscore"
    beam: int = 1
    normaliser: Normaliser = "vocab"
    epsilon: float = 1e-4
    max_nodes: int = DEFAULT_MAX_NODES
    max_logits: int = DEFAULT_MAX_LOGITS
    eos_id: int = 1

    def __post_init__(self) -> None:
        if self.name not in get_args(DecoderName):
            raise UserError(
                f"decoder {self.name!r} is unknown; use one of {', '.join(get_args(DecoderName))}"
            )
        check_normaliser(self.normaliser)
        if self.beam < 1:
            raise UserError(f"a beam of {self.beam} keeps nothing; use at least 1")
        if self.beam > 1 and self.name != "sentscore":
            raise UserError(f"decoder {self.name!r} has no beam; use sentscore for a beam above 1")
        if not 0 < self.epsilon < 1:
            raise UserError(f"epsilon is {self.epsilon}; use a probability above 0 and below 1")
        for name in ("max_nodes", "max_logits"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least 1")

    @property
    def has_posteriors(self) -> bool:
        """Whether it computes the tags' log-likelihoods."""
        return self.name in ("sentscore", "pruned")


class Decoded(NamedTuple):
    """What a decoder found. Beyond a sentence's words tags and log-likelihoods are 0."""

    tags: Int[Array, "batch words"] | None
    """int32: indices in the sBIO order, never an illegal sequence; None for `free`."""
    log_likelihoods: Float[Array, "batch words tags"] | None = None
    """float32: u_i(t), natural logarithm; -inf for I at the start and after O, and for tags that
    `pruned` did not need to look at."""
    unexplored: Float[Array, "batch words"] | None = None
    """float32, of `pruned`: the most that the posteriors of the tags not looked at can sum to."""
    beams: Beams | None = None
    """Of `sentscore` with a beam above 1; the first is what `tags` and `log_likelihoods` hold."""
    tokens: Int[Array, "batch target"] | None = None
    """int32, of `free`: what the model wrote, end-of-sequence included, then padding."""


def decode(
    model: T5,
    params: Any,
    batch: SentScoreBatch,
    trie: LabelTrie,
    settings: DecoderSettings = DecoderSettings(),
) -> Decoded:
    """Tags a batch with any of the decoders.

    Pure: `params` (the collection of that name) and `batch` are arguments, everything else is
    static, and the function may be jitted under any mesh. Raises UserError where a tag's token has
    no row in the model.
    """
    check_model(model, trie)
    if settings.name == "greedy":
        return Decoded(greedy(model, params, batch, trie))
    if settings.name == "free":
        length = longest_target(trie, batch.max_words)
        tokens = free(model, params, batch, max_length=length, eos_id=settings.eos_id)
        return Decoded(None, tokens=tokens)
    if settings.name == "pruned":
        tags, log_likelihoods, unexplored = pruned(
            model,
            params,
            batch,
            trie,
            normaliser=settings.normaliser,
            epsilon=settings.epsilon,
            bounds=Bounds(settings.max_nodes, settings.max_logits),
        )
        return Decoded(tags, log_likelihoods, unexplored)
    beams = sentscore(
        model,
        params,
        batch,
        trie,
        beam=settings.beam,
        normaliser=settings.normaliser,
        max_nodes=settings.max_nodes,
        max_logits=settings.max_logits,
    )
    return Decoded(
        beams.tags[:, 0],
        beams.log_likelihoods[:, 0],
        beams=beams if settings.beam > 1 else None,
    )


@functools.lru_cache(maxsize=64)
def make_decoder(
    model: T5,
    trie: LabelTrie,
    settings: DecoderSettings = DecoderSettings(),
    mesh: Mesh | None = None,
    rules: Rules = (),
) -> Callable[[Any, SentScoreBatch], Decoded]:
    """`decode` jitted: a function of (params, batch) that compiles once per batch shape.

    With a mesh activations are placed there by `rules`. Equal arguments give the same function, so
    its compiled programs are shared by all callers.
    """
    check_model(model, trie)

    @jax.jit
    def run(params: Any, batch: SentScoreBatch) -> Decoded:
        with partitioning(mesh, rules):
            return decode(model, params, batch, trie, settings)

    return run
