"""Matching attention maps, beside states, in stage 1 of XtremeDistilTransformers (Mukherjee et al. 2021,
arXiv 2106.04563):

    mean over heads h and tokens k of (a_hik − A_hik)²

for each word i, with a_hik how much its first subword attends to token k by head h of layer m, and A that of
the teacher's layer n. Maps are not projected, so both models must read the same tokens and have equally many
heads; or the heads' mean is compared (`heads="mean"`). Deviation: rows of words alone are compared, as states
are, not those of padding, of special tokens and of words' other subwords.
"""

import re
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from jax import lax
from jaxtyping import Array, Float, Int, Shaped

from distill_jax.distill.weighted import WeightedSum, weighted_sum
from distill_jax.errors import UserError
from distill_jax.models.attention import MAPS
from distill_jax.models.word_states import rows_at

Heads = Literal["equal", "mean"]
HEADS = ("equal", "mean")


def states_and_maps(
    model: Any, params: Any, inputs: Sequence[Any], **options: Any
) -> tuple[Any, list[jax.Array]]:
    """A model's `word_states`, and the attention maps float[B, H, S, S] of its layers, in one pass.

    Maps are those before dropout; none if attention is computed in one piece (`ATTENTION` is not `einsum`).
    """
    states, kept = model.apply(
        {"params": params}, *inputs, method="word_states", mutable=[MAPS], **options
    )
    by_layer = {}
    for path, [weights] in flatten_dict(kept.get(MAPS, {}), sep="/").items():
        match = re.search(r"layers_(\d+)/", path)
        assert match is not None, "attention is a part of layers"
        by_layer[int(match[1])] = weights
    return states, [by_layer[number] for number in sorted(by_layer)]


def map_pairs(
    wanted: Sequence[Sequence[int]] | Literal["last"] | None, of_student: int, of_teacher: int
) -> tuple[tuple[int, int], ...]:
    """Pairs of layers, from 0, of two models with so many maps.

    `wanted` are pairs of layers from 1; `"last"`: all of the student's, with as many of the teacher's, the
    last; None: none. Raises `UserError` if a layer is not there, or the teacher has too few.
    """
    if wanted is None:
        return ()
    for whose, count in (("student", of_student), ("teacher", of_teacher)):
        if count == 0:
            raise UserError(
                f"ATTENTION_LAYERS matches attention maps, and the {whose} has none: it must be a BERT or an "
                "encoder tagger, with ATTENTION 'einsum'"
            )
    if wanted == "last":
        if of_student > of_teacher:
            raise UserError(
                f"the student has {of_student} attention maps and the teacher {of_teacher}, too few to match "
                "all; choose some by ATTENTION_LAYERS, as ((1, 6),)"
            )
        return tuple((n, of_teacher - of_student + n) for n in range(of_student))
    pairs = []
    for student, teacher in wanted:
        for whose, layer, count in (
            ("student", int(student), of_student),
            ("teacher", int(teacher), of_teacher),
        ):
            if not 1 <= layer <= count:
                raise UserError(
                    f"ATTENTION_LAYERS has layer {layer} of the {whose}, whose maps are 1 to {count}"
                )
        pairs.append((int(student) - 1, int(teacher) - 1))
    return tuple(pairs)


def check_heads(own: int, theirs: int, heads: Heads) -> None:
    """Raises `UserError` if maps of so many heads cannot be compared."""
    if heads == "equal" and own != theirs:
        raise UserError(
            f"the student has {own} attention heads a layer and the teacher {theirs}; give it as many, or "
            "compare the heads' mean (ATTENTION_HEADS='mean')"
        )


def attention_loss(
    own_BxHxSxS: Float[Array, "batch heads source source"],
    theirs_BxGxSxS: Float[Array, "batch others source source"],
    first_BxL: Int[Array, "batch length"],
    weights_BxL: Shaped[Array, "batch length"],
    heads: Heads = "equal",
) -> WeightedSum:
    """How far words' attention is from a teacher's; gradients do not flow to the teacher.

    `first_BxL` is where each word's first subword stands, -1 behind the last word, where weights are 0.
    Padding, to which no word attends in either map, does not count.
    """
    theirs_BxGxSxS = lax.stop_gradient(theirs_BxGxSxS)
    if heads == "mean":
        own_BxHxSxS = own_BxHxSxS.mean(1, keepdims=True)
        theirs_BxGxSxS = theirs_BxGxSxS.mean(1, keepdims=True)

    def of_words(maps_BxHxSxS: jax.Array) -> jax.Array:
        rows_BxSxHxS = jnp.swapaxes(maps_BxHxSxS.astype(jnp.float32), 1, 2)
        flat_BxSxE = rows_BxSxHxS.reshape(*rows_BxSxHxS.shape[:2], -1)
        words = rows_at(flat_BxSxE, first_BxL)
        return words.reshape(*first_BxL.shape, *rows_BxSxHxS.shape[2:])

    theirs_BxLxHxS = of_words(theirs_BxGxSxS)
    # A softmax gives every token that is there something, however little.
    tokens_BxL = (theirs_BxLxHxS.mean(2) > 0).sum(-1)
    squared_BxL = jnp.square(of_words(own_BxHxSxS) - theirs_BxLxHxS).mean(2).sum(-1)
    return weighted_sum(squared_BxL / jnp.maximum(tokens_BxL, 1), weights_BxL.astype(jnp.float32))
