"""The groups of parameters that are trained or left alone together, and the states between them."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict

from distill_jax.errors import UserError
from distill_jax.kinds.registry import kind_of
from tests.tiny import BERT_CONFIG, BILSTM_CONFIG, ENCODER_CONFIG, T5_CONFIG

IDS = jnp.ones((1, 2), jnp.int32)
FIRST = jnp.arange(2)[None]
TAGGERS = [
    (BILSTM_CONFIG.replace(num_layers=2), (IDS, IDS[..., None])),
    (ENCODER_CONFIG, (IDS, FIRST)),
    (ENCODER_CONFIG.replace(relative_bias_per_layer=True), (IDS, FIRST)),
    (BERT_CONFIG, (IDS, FIRST)),
    (BERT_CONFIG.replace(d_embedding=4), (IDS, FIRST)),
]


@pytest.mark.parametrize(("config", "inputs"), TAGGERS)
def test_groups_are_all_parameters_each_once_and_a_state_each(config: Any, inputs: Any) -> None:
    kind: Any = kind_of(config)
    module, groups = kind.module(config), kind.groups(config)
    params = nn.unbox(jax.eval_shape(module.initial, jax.random.key(0)))
    for path in flatten_dict(params, sep="/"):
        holders = [
            group.name
            for group in groups
            for below in group.paths
            if f"{path}/".startswith(f"{below}/")
        ]
        assert len(holders) == 1, path
    assert [group.name for group in groups] == ["output", "layer_2", "layer_1", "embeddings"]

    # A state depends on the groups that stand at it or behind it, last first, and on no other.
    def totals(params: Any) -> list[jax.Array]:
        states = module.apply({"params": params}, *inputs, method="word_states")
        return [jnp.square(state).sum() for state in states]

    @jax.jit
    def slopes() -> Any:
        start = jax.tree.map(lambda leaf: leaf + 0.1, nn.unbox(module.initial(jax.random.key(0))))
        return jax.jacrev(totals)(start)

    def moved(group: Any) -> list[bool]:
        """Whether each state depends on a group."""
        return [
            any(
                bool(jnp.any(leaf != 0))
                for path, leaf in flatten_dict(slope, sep="/").items()
                if any(f"{path}/".startswith(f"{below}/") for below in group.paths)
            )
            for slope in found
        ]

    found = slopes()
    assert [moved(group) for group in groups] == [
        [False, False, False],
        [False, False, True],
        [False, True, True],
        [True, True, True],
    ]


def test_a_t5_has_no_groups() -> None:
    with pytest.raises(UserError, match="a t5 cannot be distilled in stages"):
        kind_of(T5_CONFIG).groups(T5_CONFIG)
