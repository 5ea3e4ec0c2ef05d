"""Matching hidden states: stage 1 of XtremeDistil (Mukherjee & Awadallah 2020, arXiv 2004.05686) and of
XtremeDistilTransformers (Mukherjee et al. 2021, arXiv 2106.04563).

For each pair of layers (m, n) the student's state h of a word in layer m is projected to the teacher's width
by a linear layer of the pair's own, W h + b, and compared with the teacher's state H of that word in layer n:

    mse      the mean over features of (W h + b − H)²  (2021; the default of 2020's code)
    kl       KL(softmax(H) ‖ softmax(W h + b)), over the features  (2020's paper)
    cosine   1 − cos(W h + b, H)

The loss is the mean over words and pairs. Deviations: states are matched at words (where a word has several
subwords, at its first), so that the two may tokenise differently; padding and special tokens, which the
authors' code counts, do not count. 2020 has a dense layer of the teacher's width within the student; here the
projections are the stage's, and are dropped after it. Attention maps (2021) may be matched as well
(`distill.attention_maps`); the loss is then the mean over words and pairs of both.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float, Shaped

from distill_jax.configuration import setting
from distill_jax.distill.attention_maps import HEADS, Heads, attention_loss, states_and_maps
from distill_jax.distill.online import Teacher
from distill_jax.distill.tags import dropout
from distill_jax.distill.weighted import WeightedSum, at_real_positions, fill, weighted_sum
from distill_jax.errors import UserError

Measure = Literal["mse", "kl", "cosine"]
_MEASURES = ("mse", "kl", "cosine")
STUDENT, PROJECTIONS = "student", "projections"
"""The parts of a state-matching objective's parameters."""


@dataclasses.dataclass(frozen=True)
class StateMatching:
    """Which states are compared, and how.

    Attributes:
        layers: pairs (of the student, of the teacher), 0 the embeddings' output, n that of layer n; None:
            all of the student's, with as many of the teacher's, the last.
        measure: see the head of this module.
        attention: pairs of layers, from 1, whose attention maps are compared, where both models read the same
            tokens; `last`: all of the student's, with as many of the teacher's, the last; None: no maps.
        heads: `equal` numbers of heads are compared one by one, of others the `mean`.

    Raises:
        UserError: a measure that there is not, or `layers` are no pairs of numbers from 0.
    """

    layers: Sequence[Sequence[int]] | None = setting(None, macro="STATE_LAYERS")
    measure: Measure = setting("mse", macro="STATE_MEASURE")
    attention: Sequence[Sequence[int]] | Literal["last"] | None = setting(
        None, macro="ATTENTION_LAYERS"
    )
    heads: Heads = setting("equal", macro="ATTENTION_HEADS")

    def __post_init__(self) -> None:
        if self.heads not in HEADS:
            raise UserError(
                f"ATTENTION_HEADS is {self.heads!r}; it must be one of {', '.join(HEADS)}"
            )
        if self.attention not in (None, "last") and (
            isinstance(self.attention, str)
            or not self.attention
            or any(len(pair) != 2 for pair in self.attention)
        ):
            raise UserError(
                f"ATTENTION_LAYERS is {self.attention!r}; give pairs of a student's and a teacher's layer, "
                "as ((1, 6),), counted from 1, or 'last'"
            )
        if self.measure not in _MEASURES:
            raise UserError(
                f"STATE_MEASURE is {self.measure!r}; it must be one of {', '.join(_MEASURES)}"
            )
        if self.layers is not None and (
            not self.layers or any(len(pair) != 2 or min(pair) < 0 for pair in self.layers)
        ):
            raise UserError(
                f"STATE_LAYERS is {self.layers!r}; give pairs of a student's and a teacher's layer, as "
                "((1, 6),), counted from the embeddings' output, 0"
            )

    def pairs(self, of_student: int, of_teacher: int) -> tuple[tuple[int, int], ...]:
        """The pairs of two models with so many states.

        Raises `UserError` if a layer is not there, or the teacher has too few.
        """
        if self.layers is None:
            if of_student > of_teacher:
                raise UserError(
                    f"the student has {of_student} layers of states and the teacher {of_teacher}, too few "
                    "to match all; choose some by STATE_LAYERS, as ((1, 6),)"
                )
            return tuple((n, of_teacher - of_student + n) for n in range(of_student))
        for student, teacher in self.layers:
            for whose, layer, count in (
                ("student", student, of_student),
                ("teacher", teacher, of_teacher),
            ):
                if layer >= count:
                    raise UserError(
                        f"STATE_LAYERS has layer {layer} of the {whose}, whose states are 0 (embeddings) to "
                        f"{count - 1}"
                    )
        return tuple((student, teacher) for student, teacher in self.layers)


class StateModel(Protocol):
    """A Flax module that gives each word its states."""

    def apply(self, variables: Any, *inputs: Any, **options: Any) -> Any:
        """With `method="word_states"`: inputs → each layer's states float32[B, L, D]."""

    def initial(self, key: jax.Array) -> Any:
        """Random parameters, boxed with their logical axis names."""


class Projections(nn.Module):
    """A linear layer for each pair, from the student's width to the teacher's."""

    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, states: Sequence[jax.Array]) -> list[jax.Array]:
        """float32[B, L, width] of each."""
        return [
            nn.Dense(
                width,
                dtype=jnp.float32,
                kernel_init=nn.with_logical_partitioning(
                    nn.initializers.lecun_normal(), (None, "embed")
                ),
                bias_init=nn.with_logical_partitioning(nn.initializers.zeros, ("embed",)),
                name=f"pair_{number}",
            )(state.astype(jnp.float32))
            for number, (width, state) in enumerate(zip(self.widths, states, strict=True))
        ]


@dataclasses.dataclass(frozen=True)
class StateDistillation:
    """A student's objective: its states, projected, are to be the teacher's.

    Attributes:
        model: the student.
        inputs: the features of the batch that it reads, in its order.
        teacher: whose parameters are the frozen ones.
        pairs: of layers.
        widths: of the two states of each pair.
        measure: how they are compared.
        maps: pairs of layers, from 0, whose attention maps are compared; the batch then has `first`.
        heads: how they are.

    The parameters are those of the student and of the projections.
    """

    model: StateModel
    inputs: tuple[str, ...]
    teacher: Teacher
    pairs: tuple[tuple[int, int], ...]
    widths: tuple[tuple[int, int], ...]
    measure: Measure
    maps: tuple[tuple[int, int], ...] = ()
    heads: Heads = "equal"

    def init(self, key: jax.Array) -> Any:
        """See `train.objective.Objective`; the student's part is what `initial` of it gives for the key."""
        examples = [jnp.zeros((1, 1, width)) for width, _ in self.widths]
        projections = self._projections.init(jax.random.fold_in(key, 1), examples)["params"]
        return {STUDENT: self.model.initial(key), PROJECTIONS: projections}

    def init_frozen(self, key: jax.Array) -> Any:
        """See `train.objective.Objective`."""
        return self.teacher.init(key)

    def loss(
        self, params: Any, frozen: Any, batch: Any, key: jax.Array | None
    ) -> dict[str, WeightedSum]:
        """See `train.objective.Objective`; `states_m_n` of each pair beside `loss`, by the words' weight."""
        inputs = [batch[name] for name in self.inputs]
        attended: list[WeightedSum] = []
        if self.maps:
            own, own_maps = states_and_maps(self.model, params[STUDENT], inputs, **dropout(key))
            theirs, their_maps = self.teacher.states_and_maps(frozen, batch)
            attended = [
                attention_loss(
                    own_maps[m], their_maps[n], batch["first"], batch["tag_weights"], self.heads
                )
                for m, n in self.maps
            ]
        else:
            own = self.model.apply(
                {"params": params[STUDENT]}, *inputs, method="word_states", **dropout(key)
            )
            theirs = self.teacher.states(frozen, batch)
        projected = self._projections.apply(
            {"params": params[PROJECTIONS]}, [own[layer] for layer, _ in self.pairs]
        )
        sums = {
            f"states_{m}_{n}": state_loss(given, theirs[n], batch["tag_weights"], self.measure)
            for (m, n), given in zip(self.pairs, projected, strict=True)
        }
        sums |= {
            f"attention_{m + 1}_{n + 1}": each
            for (m, n), each in zip(self.maps, attended, strict=True)
        }
        total = sum((each.total for each in sums.values()), jnp.float32(0)) / len(sums)
        return {"loss": WeightedSum(total, batch["tag_weights"].sum()), **sums}

    @property
    def _projections(self) -> Projections:
        return Projections(tuple(width for _, width in self.widths))


def state_loss(
    projected_BxLxD: Float[Array, "batch length embed"],
    teacher_BxLxD: Float[Array, "batch length embed"],
    weights_BxL: Shaped[Array, "batch length"],
    measure: Measure = "mse",
) -> WeightedSum:
    """How far states are from a teacher's, for each word; gradients do not flow to the teacher.

    `weights_BxL` are 0 at padding, where states may be anything.
    """
    own, real, weights = at_real_positions(projected_BxLxD, weights_BxL)
    theirs = fill(lax.stop_gradient(teacher_BxLxD), real)
    if measure == "mse":
        distance_BxL = jnp.square(own - theirs).mean(-1)
    elif measure == "kl":
        log_p, log_q = jax.nn.log_softmax(theirs), jax.nn.log_softmax(own)
        distance_BxL = (jnp.exp(log_p) * (log_p - log_q)).sum(-1)
    else:
        distance_BxL = 1 - (_unit(own) * _unit(theirs)).sum(-1)
    return weighted_sum(distance_BxL, weights)


def _unit(states_BxLxD: jax.Array) -> jax.Array:
    # Where a state is zero, as at padding, the root of its square alone would have no finite gradient.
    return states_BxLxD * lax.rsqrt(jnp.square(states_BxLxD).sum(-1, keepdims=True) + 1e-12)
