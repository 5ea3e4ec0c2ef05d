"""A small T5 inside a larger one computes what it computed."""

import jax
import numpy as np
import pytest

from benchmarks.common.workload import draw_weights
from benchmarks.decoding.grow import grow
from distill_jax.errors import UserError
from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config

_SMALL = T5Config(
    vocab_size=40,
    d_model=8,
    d_kv=4,
    d_ff=12,
    num_heads=2,
    num_encoder_layers=2,
    num_decoder_layers=1,
)
_LARGE = _SMALL.replace(
    vocab_size=64,
    d_model=24,
    d_kv=6,
    d_ff=20,
    num_heads=3,
    num_encoder_layers=3,
    num_decoder_layers=2,
)


@pytest.mark.slow
@pytest.mark.parametrize("tied", [False, True])
def test_logits_stay_and_new_rows_are_never_likely(tied: bool) -> None:
    small = _SMALL.replace(tied_embedding=tied)
    params = draw_weights(small, jax.random.key(0))
    grown = grow(params, small, _LARGE)
    rng = np.random.default_rng(0)
    source, target = rng.integers(1, 40, (2, 3, 9)).astype(np.int32)

    def logits(config: T5Config, params: object) -> np.ndarray:
        return np.asarray(
            jax.jit(T5(config).apply)({"params": params}, source, target, target, target > 0)
        )

    before, after = logits(small, params), logits(_LARGE, grown)
    np.testing.assert_allclose(after[..., :40], before, atol=2e-5)
    assert after[..., 40:].max() < before.min() - 50
    shapes = jax.tree.map(np.shape, draw_weights(_LARGE, jax.random.key(0)))
    assert jax.tree.map(np.shape, grown) == shapes


def test_a_size_cannot_shrink() -> None:
    params = draw_weights(_SMALL, jax.random.key(0))
    with pytest.raises(UserError, match="d_ff would shrink from 12"):
        grow(params, _SMALL, _LARGE.replace(d_ff=6))
