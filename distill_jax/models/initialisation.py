"""An initialisation for T5s that start from random weights and must learn SenT′ quickly.

A pre-trained T5 knows from span corruption that a sentinel in the decoder points at the same
sentinel in the encoder; a random one needs many epochs to find out, and learns next to nothing
about tags until it does. Two changes to the initial weights give it that much for free, without
touching the architecture:

* In cross-attention, queries start as a multiple of the keys (`query = scale * key`, per layer), so
  that attention goes to encoder positions that hold the same token as the decoder's.
* In the encoder, some heads start with a relative bias towards one neighbour each (+1, -1, +2 …),
  so that a sentinel's state holds the words around it from the first step on.

Either alone does not help; `docs/results/from_scratch.md` has the measurements.
"""

from typing import Any

import jax
import jax.numpy as jnp

from distill_jax.models.attention import relative_position_bucket
from distill_jax.models.t5_config import T5Config

OFFSETS = (1, -1, 2, -2, 3, 0)
"""Relative positions (key minus query) that the first heads of the encoder prefer."""


def point_at_equal_tokens(
    params: Any, config: T5Config, *, cross_scale: float = 0.5, neighbour_bias: float = 5.0
) -> Any:
    """Random T5 parameters (unboxed) with the two changes above; a new tree.

    At least a third of the encoder's heads keeps its random bias, and so sees everything (of a
    single head none does).
    """
    params = jax.tree.map(jnp.asarray, params)
    for number in range(config.num_decoder_layers):
        cross = params["decoder"][f"layers_{number}"]["encoder_decoder_attention"]
        cross["query"]["kernel"] = cross_scale * cross["key"]["kernel"]
    offsets = jnp.array(OFFSETS[: max(1, config.num_heads - (config.num_heads + 2) // 3)])
    buckets = relative_position_bucket(
        offsets,
        bidirectional=True,
        num_buckets=config.relative_buckets,
        max_distance=config.relative_max_distance,
    )
    encoder = params["encoder"]
    owners = (
        [encoder[f"layers_{number}"] for number in range(config.num_encoder_layers)]
        if config.relative_bias_per_layer
        else [encoder]
    )
    for owner in owners:
        table = owner["relpos_bias"]["rel_embedding"]
        owner["relpos_bias"]["rel_embedding"] = table.at[jnp.arange(len(buckets)), buckets].add(
            neighbour_bias
        )
    return params
