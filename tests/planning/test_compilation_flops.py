"""FLOPs counted from jaxprs: closed forms, and XLA's own count where it is right."""

import functools

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from distill_jax.distill.language_model import LanguageModel
from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config
from distill_jax.train.flops import matrix_flops

CONFIG = T5Config(
    vocab_size=64,
    d_model=32,
    d_kv=16,
    d_ff=64,
    num_heads=2,
    num_encoder_layers=3,
    num_decoder_layers=2,
)
M, K, N = 3, 5, 7


def test_a_product_takes_two_flops_a_multiply_add():
    jaxpr = jax.make_jaxpr(jnp.matmul)(jnp.ones((M, K)), jnp.ones((K, N)))
    assert matrix_flops(jaxpr) == 2 * M * K * N


def test_batch_axes_multiply():
    jaxpr = jax.make_jaxpr(functools.partial(jnp.einsum, "bmk,bkn->bmn"))(
        jnp.ones((4, M, K)), jnp.ones((4, K, N))
    )
    assert matrix_flops(jaxpr) == 4 * 2 * M * K * N


def test_a_scan_counts_as_often_as_it_is_long():
    def layers(x, w):
        return jax.lax.scan(lambda x, w: (x @ w, None), x, w)[0]

    jaxpr = jax.make_jaxpr(layers)(jnp.ones((M, K)), jnp.ones((6, K, K)))
    assert matrix_flops(jaxpr) == 6 * 2 * M * K * K


def test_a_while_counts_as_often_as_it_is_said_to_run():
    def grow(x, w):
        return jax.lax.while_loop(lambda x: x.sum() < 1e6, lambda x: x @ w, x)

    jaxpr = jax.make_jaxpr(grow)(jnp.ones((M, K)), jnp.ones((K, K)))
    assert matrix_flops(jaxpr, unknown_trips=9) == 9 * 2 * M * K * K


def test_a_cond_counts_its_dearest_branch():
    def either(flag, x, w):
        return jax.lax.cond(flag, lambda: x @ w @ w, lambda: x @ w)

    jaxpr = jax.make_jaxpr(either)(True, jnp.ones((M, K)), jnp.ones((K, K)))
    assert matrix_flops(jaxpr) == 2 * 2 * M * K * K


def _gradient(config):
    objective = LanguageModel(T5(config))
    params = nn.unbox(jax.eval_shape(objective.init, jax.random.key(0)))
    tokens = jax.ShapeDtypeStruct((4, 16), jnp.int32)
    batch = {
        f"{side}_{what}": tokens
        for side, what in [
            ("encoder", "input_tokens"),
            ("encoder", "segment_ids"),
            ("decoder", "input_tokens"),
            ("decoder", "target_tokens"),
            ("decoder", "segment_ids"),
        ]
    }
    return (
        jax.jit(jax.grad(lambda p, b: objective.loss(p, None, b, None)["loss"][0])),
        params,
        batch,
    )


def _flops(config):
    gradient, params, batch = _gradient(config)
    return matrix_flops(gradient.trace(params, batch).jaxpr)


def test_scanned_layers_take_as_many_as_layers_one_by_one():
    assert _flops(CONFIG.replace(scan_layers=True)) == _flops(CONFIG)


@pytest.mark.slow
def test_rematerialised_products_count_as_often_as_they_are_computed():
    once, full = _flops(CONFIG), _flops(CONFIG.replace(remat="full"))
    # Forward is a third; all of it but the logits is computed again, at most.
    assert once < full <= once * 4 / 3
    assert _flops(CONFIG.replace(remat="full", scan_layers=True)) == full


@pytest.mark.slow
def test_xla_counts_the_same_products_where_nothing_is_scanned():
    gradient, params, batch = _gradient(CONFIG)
    xla = gradient.lower(params, batch).compile().cost_analysis()["flops"]
    # XLA counts elementwise operations too.
    assert _flops(CONFIG) == pytest.approx(xla, rel=0.25)
    assert _flops(CONFIG) < xla


def test_xla_counts_the_body_of_a_scan_once():
    """Why there is a count of our own; if this fails, XLA has learnt to."""
    gradient, params, batch = _gradient(CONFIG.replace(scan_layers=True))
    xla = gradient.lower(params, batch).compile().cost_analysis()["flops"]
    assert xla < 0.75 * _flops(CONFIG)
