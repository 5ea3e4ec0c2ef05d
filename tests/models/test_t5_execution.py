"""Ways to compute one T5: scanned layers, rematerialisation, attention by another kernel."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from distill_jax.errors import UserError
from distill_jax.models.stacking import stack_layers, unstack_layers
from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config

SMALL = T5Config(
    vocab_size=40,
    d_model=16,
    d_kv=4,
    d_ff=24,
    num_heads=2,
    num_encoder_layers=3,
    num_decoder_layers=2,
    relative_buckets=8,
    relative_max_distance=10,
)
CONFIGS = {
    "v1.0": SMALL.replace(tied_embedding=True, activation="relu", gated=False),
    "v1.1": SMALL,
    "umT5": SMALL.replace(relative_bias_per_layer=True),
}
# Between them the first and the last take every branch.
kinds = pytest.mark.parametrize(
    "kind", ["v1.0", pytest.param("v1.1", marks=pytest.mark.slow), "umT5"]
)


def example(length: int = 9) -> tuple[np.ndarray, ...]:
    """Two rows of source and target ids with their segments; both are packed, one has padding."""
    rng = np.random.default_rng(0)
    ids = rng.integers(3, 40, (2, 2, length))
    segments = np.array([[1] * 5 + [2] * (length - 5), [1] * 3 + [2] * 2 + [0] * (length - 5)])
    return ids[0], segments, ids[1], segments


@functools.cache
def params_of(kind: str) -> Any:
    """Random parameters, unstacked, with relative biases large enough to matter."""
    shapes = nn.unbox(
        jax.eval_shape(T5(CONFIGS[kind]).init, jax.random.key(0), *example())["params"]
    )
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda leaf: rng.normal(scale=0.3, size=leaf.shape).astype(np.float32), shapes
    )


@functools.cache
def compiled(config: T5Config, dropout: bool) -> Any:
    """The value and gradient of a number that every hidden state of the targets has a part in."""
    weights = np.random.default_rng(2).normal(size=(2, 9, config.d_model)).astype(np.float32)
    real = (example()[3] > 0)[..., None]

    def number(params: Any, key: jax.Array) -> jax.Array:
        hidden = T5(config).apply(
            {"params": params},
            *example(),
            method="hidden",
            deterministic=not dropout,
            rngs={"dropout": key},
        )
        return jnp.sum(jnp.where(real, hidden * weights, 0.0))

    return jax.jit(jax.value_and_grad(number))


def value_and_gradient(config: T5Config, params: Any, seed: int | None = None) -> tuple[Any, Any]:
    """Without dropout if there is no seed for it."""
    return compiled(config, seed is not None)(params, jax.random.key(seed or 0))


def assert_close(found: Any, expected: Any, tolerance: float = 1e-5) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True
    ):
        scale = max(1.0, float(np.abs(b).max()))
        np.testing.assert_allclose(
            a, b, rtol=tolerance, atol=tolerance * scale, err_msg=jax.tree_util.keystr(path)
        )


@kinds
@pytest.mark.parametrize("remat", ["none", "full"])
def test_scanned_layers_give_the_same_loss_and_gradients(kind: str, remat: Any) -> None:
    config, params = CONFIGS[kind], params_of(kind)
    loss, gradients = value_and_gradient(config, params)
    scanned = config.replace(scan_layers=True, remat=remat)
    found, found_gradients = value_and_gradient(scanned, stack_layers(params))
    np.testing.assert_allclose(found, loss, rtol=1e-5)
    assert_close(unstack_layers(found_gradients), gradients)


@pytest.mark.slow
@pytest.mark.parametrize("remat", ["full", "dots"])
def test_rematerialised_layers_give_the_same_loss_and_gradients(remat: Any) -> None:
    """Dropout included: what is computed again drops what was dropped."""
    config, params = CONFIGS["umT5"], params_of("umT5")
    for seed in (None, 3):
        loss, gradients = value_and_gradient(config, params, seed)
        found, found_gradients = value_and_gradient(config.replace(remat=remat), params, seed)
        np.testing.assert_allclose(found, loss, rtol=1e-5)
        assert_close(found_gradients, gradients)


@pytest.mark.slow
def test_scanned_layers_draw_dropout_for_each_layer() -> None:
    config = CONFIGS["v1.1"].replace(scan_layers=True, remat="full", dropout_rate=0.5)
    params = stack_layers(params_of("v1.1"))
    first, again, other = (value_and_gradient(config, params, seed) for seed in (0, 0, 1))
    assert first[0] == again[0] != other[0]
    # What the dropout behind the activation drops gets no gradient in `wo`.
    kernels = np.asarray(first[1]["encoder"]["layers"]["mlp"]["wo"]["kernel"])
    dropped = np.all(kernels == 0, axis=-1)
    assert dropped.any()
    assert not np.array_equal(dropped[0], dropped[1])


@kinds
def test_stacking_is_exact_both_ways(kind: str) -> None:
    params = params_of(kind)
    stacked = stack_layers(params)
    assert stacked["encoder"]["layers"]["mlp"]["wo"]["kernel"].shape == (3, 24, 16)
    assert stack_layers(stacked).keys() == stacked.keys()
    for tree in (unstack_layers(stacked), unstack_layers(params)):
        assert jax.tree.structure(tree) == jax.tree.structure(params)
        jax.tree.map(np.testing.assert_array_equal, tree, params)
    on_device = unstack_layers(stack_layers(jax.tree.map(jnp.asarray, params)))
    jax.tree.map(np.testing.assert_array_equal, on_device, params)


def test_ten_layers_are_stacked_in_the_order_of_their_numbers() -> None:
    params = {f"layers_{i}": {"scale": np.full(2, i)} for i in (10, 2, 0, 9, 1, 3, 4, 5, 6, 7, 8)}
    stacked = stack_layers(params)["layers"]["scale"]
    np.testing.assert_array_equal(stacked[:, 0], np.arange(11))


@pytest.mark.slow
@kinds
def test_a_scanned_model_is_initialised_in_the_stacked_layout(kind: str) -> None:
    config = CONFIGS[kind].replace(scan_layers=True)
    boxed = T5(config).init(jax.random.key(0), *example())["params"]
    params = nn.unbox(boxed)
    shapes = jax.tree.map(np.shape, stack_layers(params_of(kind)))
    assert jax.tree.map(np.shape, params) == shapes
    kernel = boxed["decoder"]["layers"]["mlp"]["wo"]["kernel"]
    assert kernel.names == ("layers", "mlp", "embed")
    first, second = params["decoder"]["layers"]["mlp"]["wo"]["kernel"]
    assert np.abs(first - second).max() > 0.01  # each layer its own numbers
    # Fan-in is a layer's, not the stack's: uniform in all layers, 1 / sqrt(24).
    assert np.std(first) == pytest.approx(24**-0.5, rel=0.2)


def test_a_scanned_model_decodes_as_an_unscanned_one() -> None:
    """With a cache: scoring during training runs whatever layout is trained."""
    source, source_segments, target, _ = example()
    results = []
    for scan in (False, True):
        model = T5(CONFIGS["umT5"].replace(scan_layers=scan))
        params = stack_layers(params_of("umT5")) if scan else params_of("umT5")

        def run(*args: Any, method: str, model: T5 = model, params: Any = params, **kw: Any) -> Any:
            return jax.jit(functools.partial(model.apply, method=method))(
                {"params": params}, *args, **kw
            )

        encoded = run(source, source_segments, method="encode")
        cross = run(encoded, method="cross_key_value")
        common = (cross, (source_segments > 0)[:, None, :])
        positions, causal = np.arange(9)[None], np.tri(9, dtype=bool)[None]
        block = functools.partial(run, method="decode_block")
        _, prefix = block(target[:, :4], positions[:, :4], causal[:, :4, :4], *common)
        results.append(
            block(
                target[:, 4:],
                positions[:, 4:],
                causal[:, 4:],
                *common,
                prefix=prefix,
                prefix_positions=positions[:, :4],
            )
        )
    assert_close(results[1], results[0])


def temporaries(config: T5Config) -> int:
    """Bytes of temporary memory of a compiled gradient."""
    shapes = jax.ShapeDtypeStruct((4, 64), jnp.int32)
    model = T5(config)
    params = jax.eval_shape(model.init, jax.random.key(0), *[shapes] * 4)["params"]

    def number(params: Any, *batch: Any) -> jax.Array:
        return model.apply({"params": params}, *batch, method="hidden").sum()

    compiled = jax.jit(jax.grad(number)).lower(nn.unbox(params), *[shapes] * 4).compile()
    analysis = compiled.memory_analysis()
    assert analysis is not None
    return analysis.temp_size_in_bytes


@pytest.mark.slow
def test_rematerialisation_needs_less_memory() -> None:
    config = SMALL.replace(scan_layers=True, num_encoder_layers=5, num_decoder_layers=5)
    none, dots, full = (temporaries(config.replace(remat=how)) for how in ("none", "dots", "full"))
    assert full < dots < none
    assert full < none / 2


@pytest.mark.slow
@kinds
def test_dot_product_attention_gives_the_same_loss_and_gradients(kind: str) -> None:
    config, params = CONFIGS[kind], params_of(kind)
    loss, gradients = value_and_gradient(config, params)
    found, found_gradients = value_and_gradient(
        config.replace(attention_implementation="xla"), params
    )
    np.testing.assert_allclose(found, loss, rtol=1e-5)
    assert_close(found_gradients, gradients)


@pytest.mark.slow
def test_dot_product_attention_leaves_dropout_to_einsum() -> None:
    params = params_of("v1.1")
    config = CONFIGS["v1.1"]
    expected = value_and_gradient(config, params, 3)[0]
    xla = config.replace(attention_implementation="xla")
    np.testing.assert_array_equal(value_and_gradient(xla, params, 3)[0], expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"remat": "some"}, "remat 'some' is unknown; use"),
        ({"attention_implementation": "flash"}, "'flash' is unknown; use"),
        ({"attention_implementation": "cudnn"}, "bfloat16"),
    ],
)
def test_unknown_ways_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SMALL.replace(**changes)
