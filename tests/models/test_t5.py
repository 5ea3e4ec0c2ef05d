"""The T5 module against itself: caching, packing, masks, partial logits, sharding names, dtypes."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from distill_jax.errors import UserError
from distill_jax.models.attention import KeyValue
from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config

SMALL = T5Config(
    vocab_size=40,
    d_model=16,
    d_kv=4,
    d_ff=24,
    num_heads=2,
    num_encoder_layers=2,
    num_decoder_layers=2,
    relative_buckets=8,
    relative_max_distance=10,
)
# Between them these two take every branch; v1.1 lies between them.
CONFIGS = {
    "v1.0": SMALL.replace(tied_embedding=True, activation="relu", gated=False),
    "umT5": SMALL.replace(relative_bias_per_layer=True),
}
kinds = pytest.mark.parametrize("kind", list(CONFIGS))
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


@functools.cache
def model_and_variables(kind: str) -> tuple[T5, Any]:
    """A model with random parameters (relative biases large enough to matter)."""
    model = T5(CONFIGS[kind])
    ids = jnp.ones((1, 3), jnp.int32)
    shapes = nn.meta.unbox(jax.eval_shape(model.init, jax.random.key(0), ids, ids, ids, ids))
    rng = np.random.default_rng(1)
    return model, jax.tree.map(
        lambda leaf: jnp.array(rng.normal(scale=0.3, size=leaf.shape), jnp.float32), shapes
    )


@functools.cache
def compiled(kind: str, method: str) -> Any:
    return jax.jit(functools.partial(model_and_variables(kind)[0].apply, method=method))


def apply(kind: str, method: str, *args: Any, **kwargs: Any) -> Any:
    return compiled(kind, method)(model_and_variables(kind)[1], *args, **kwargs)


def example(seed: int = 0, source: int = 14, target: int = 12) -> tuple[np.ndarray, ...]:
    """Two rows of source ids and segments, target ids and segments; the second has padding."""
    rng = np.random.default_rng(seed)
    source_ids = rng.integers(3, 40, (2, source))
    target_ids = rng.integers(3, 40, (2, target))
    source_segments, target_segments = np.ones_like(source_ids), np.ones_like(target_ids)
    source_segments[1, source - 5 :] = 0
    target_segments[1, target - 4 :] = 0
    return (
        source_ids * source_segments,
        source_segments,
        target_ids * target_segments,
        target_segments,
    )


@kinds
def test_decoding_token_by_token_equals_teacher_forcing(kind: str) -> None:
    """With a cache of fixed size whose slots lie in any order: positions tell which is which."""
    source, source_segments, target, _ = example()
    batch, length = target.shape
    config = CONFIGS[kind]
    expected = apply(kind, "__call__", source, source_segments, target, np.ones_like(target))

    encoded = apply(kind, "encode", source, source_segments)
    cross = apply(kind, "cross_key_value", encoded)
    cross_mask = (source_segments > 0)[:, None, :]
    slots = np.random.default_rng(0).permutation(length)  # the slot of each position
    empty = jnp.full((batch, config.num_heads, length, config.d_kv), 7.0)  # must not be read
    cache = tuple(KeyValue(empty, empty) for _ in range(config.num_decoder_layers))
    slot_positions = np.argsort(slots)[None]

    @jax.jit
    def step(cache: Any, token: jax.Array, position: jax.Array, slot: jax.Array) -> Any:
        mask = jnp.concatenate([slot_positions[0] < position, jnp.array([True])])[None, None]
        hidden, block = apply(
            kind,
            "decode_block",
            token[:, None],
            position[None, None],
            mask,
            cross,
            cross_mask,
            prefix=cache,
            prefix_positions=slot_positions,
        )
        cache = jax.tree.map(lambda all_, new: all_.at[:, :, slot].set(new[:, :, 0]), cache, block)
        return cache, apply(kind, "logits", hidden)[:, 0]

    for position in range(length):
        cache, logits = step(
            cache, jnp.asarray(target[:, position]), jnp.array(position), slots[position]
        )
        np.testing.assert_allclose(logits, expected[:, position], **TOLERANCE)


@kinds
def test_a_block_behind_a_prefix_equals_teacher_forcing(kind: str) -> None:
    source, source_segments, target, _ = example()
    length, split = target.shape[1], 5
    expected = apply(kind, "hidden", source, source_segments, target, np.ones_like(target))
    cross = apply(kind, "cross_key_value", apply(kind, "encode", source, source_segments))
    positions, causal = np.arange(length)[None], np.tri(length, dtype=bool)[None]
    common = (cross, (source_segments > 0)[:, None, :])
    first, prefix = apply(
        kind,
        "decode_block",
        target[:, :split],
        positions[:, :split],
        causal[:, :split, :split],
        *common,
    )
    second, _ = apply(
        kind,
        "decode_block",
        target[:, split:],
        positions[:, split:],
        causal[:, split:],
        *common,
        prefix=prefix,
        prefix_positions=positions[:, :split],
    )
    np.testing.assert_allclose(np.concatenate([first, second], 1), expected, **TOLERANCE)


@kinds
def test_packing_two_examples_in_a_row_changes_nothing(kind: str) -> None:
    source, _, target, _ = example()
    first, second = np.array([[1] * 6 + [2] * 5 + [0] * 3]), np.array([[1] * 4 + [2] * 7 + [0]])
    alone = [np.zeros_like(array) for array in (source, source, target, target)]
    for row, segment in enumerate((1, 2)):
        for ids, segments, at in ((0, 1, first[0] == segment), (2, 3, second[0] == segment)):
            alone[ids][row, : at.sum()] = (source, target)[ids // 2][0, at]
            alone[segments][row, : at.sum()] = 1
    packed = [np.repeat(a, 2, axis=0) for a in (source[:1], first, target[:1], second)]

    separate = apply(kind, "__call__", *alone)
    expected = np.concatenate([separate[0, :4], separate[1, :7]])
    actual = apply(kind, "__call__", *packed)[0, : 4 + 7]
    np.testing.assert_allclose(actual, expected, **TOLERANCE)


@kinds
def test_padding_changes_nothing(kind: str) -> None:
    source, source_segments, target, target_segments = example()
    short = source[1:, :9], source_segments[1:, :9], target[1:, :8], target_segments[1:, :8]
    expected = apply(kind, "__call__", *short)
    actual = apply(kind, "__call__", source, source_segments, target, target_segments)
    np.testing.assert_allclose(actual[1:, :8], expected, **TOLERANCE)


class TestMasksByGradients:
    """The gradient by the embedding of a token that must not be seen is exactly zero."""

    # Each position has a token of its own, so rows of the embedding stand for positions.
    source = np.arange(1, 11)[None]
    target = np.arange(11, 21)[None]
    # Two examples, then padding.
    segments = np.array([[1, 1, 1, 1, 2, 2, 2, 2, 0, 0]])

    def seen(self, kind: str, method: str, positions: list[int]) -> list[set[int]]:
        """The tokens that the hidden state at each of the positions depends on."""
        model, variables = model_and_variables(kind)

        def value(embedding: jax.Array, position: int) -> jax.Array:
            params = {**variables["params"], "token_embedder": {"embedding": embedding}}
            args = [self.source, self.segments]
            if method == "hidden":
                args += [self.target, self.segments]
            hidden = model.apply({"params": params}, *args, method=method)
            return jnp.sum(hidden[0, position] * jnp.arange(1.0, 17.0))

        gradient = jax.jit(jax.grad(value))
        embedding = variables["params"]["token_embedder"]["embedding"]
        return [
            set(np.flatnonzero(np.any(np.asarray(gradient(embedding, p)) != 0, axis=1)).tolist())
            for p in positions
        ]

    @kinds
    def test_encoder(self, kind: str) -> None:
        assert self.seen(kind, "encode", [1, 7]) == [{1, 2, 3, 4}, {5, 6, 7, 8}]

    @kinds
    def test_decoder(self, kind: str) -> None:
        expected = [{1, 2, 3, 4, 11, 12}, {5, 6, 7, 8, 15, 16, 17}]
        assert self.seen(kind, "hidden", [1, 6]) == expected


@kinds
def test_products_with_output_rows_are_logits(kind: str) -> None:
    hidden = apply(kind, "hidden", *example())
    logits = apply(kind, "logits", hidden)
    ids = np.array([[3, 0], [39, 3]])
    rows = apply(kind, "output_rows", ids)
    assert rows.shape == (2, 2, hidden.shape[-1])
    np.testing.assert_allclose(
        jnp.einsum("bqd,ijd->bqij", hidden, rows), logits[..., ids], **TOLERANCE
    )


@kinds
def test_every_parameter_names_its_logical_axes(kind: str) -> None:
    model = T5(CONFIGS[kind])
    ids = jnp.ones((1, 3), jnp.int32)
    boxed = jax.eval_shape(model.init, jax.random.key(0), ids, ids, ids, ids)
    specs = jax.tree.leaves_with_path(
        nn.get_partition_spec(boxed), is_leaf=lambda x: isinstance(x, jax.sharding.PartitionSpec)
    )
    shapes = dict(jax.tree.leaves_with_path(nn.meta.unbox(boxed)))
    assert len(specs) == len(shapes)
    known = {"vocab", "embed", "joined_kv", "mlp", "heads", "relpos_buckets"}
    for path, spec in specs:
        assert len(spec) == shapes[path].ndim, path
        assert set(spec) <= known, path
        assert shapes[path].dtype == jnp.float32, path


@kinds
def test_bfloat16_activations_with_float32_logits(kind: str) -> None:
    _, variables = model_and_variables(kind)
    model = T5(CONFIGS[kind].replace(dtype="bfloat16"))

    @jax.jit
    def run(variables: Any) -> tuple[jax.Array, ...]:
        hidden = model.apply(variables, *example(), method="hidden")
        rows = model.apply(variables, np.array([1, 2]), method="output_rows")
        return hidden, model.apply(variables, hidden, method="logits"), rows

    hidden, logits, rows = run(variables)
    assert hidden.dtype == rows.dtype == jnp.bfloat16
    assert logits.dtype == jnp.float32
    expected = apply(kind, "__call__", *example())
    error = np.abs(np.asarray(logits - expected))
    assert error.mean() < 0.03 * np.abs(expected).mean()


def test_no_bias_between_output_rows_and_logits_in_bfloat16() -> None:
    """768^-½, T5-base's scale of a tied embedding, is 0.13% too large as a bfloat16."""
    config = T5Config(
        vocab_size=64,
        d_model=768,
        d_kv=4,
        d_ff=4,
        num_heads=1,
        num_encoder_layers=1,
        num_decoder_layers=1,
        tied_embedding=True,
        dtype="bfloat16",
    )
    model = T5(config)
    rng = np.random.default_rng(0)
    table = rng.normal(size=(64, 768)).astype(np.float32)
    variables = {"params": {"token_embedder": {"embedding": table}}}
    hidden = jnp.asarray(table[None], jnp.bfloat16)  # products far from zero
    logits = model.apply(variables, hidden, method="logits")[0]
    rows = model.apply(variables, np.arange(64), method="output_rows")
    own = jnp.einsum("qd,qd->q", hidden[0], rows, preferred_element_type=jnp.float32)
    ratio = jnp.diagonal(logits) / own
    assert abs(float(ratio.mean()) - 1) < 2e-4


def test_dropout_follows_its_random_stream() -> None:
    model, variables = model_and_variables("umT5")

    @jax.jit
    def run(key: jax.Array) -> jax.Array:
        return model.apply(variables, *example(), deterministic=False, rngs={"dropout": key})

    first, second = run(jax.random.key(0)), run(jax.random.key(1))
    np.testing.assert_array_equal(first, run(jax.random.key(0)))
    assert np.abs(first - second).max() > 0.01
    assert np.abs(first - apply("umT5", "__call__", *example())).max() > 0.01


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": "float16"}, "float16"),
        ({"activation": "tanh"}, "tanh"),
        ({"d_model": 0}, "d_model"),
        ({"vocab_size": -1}, "vocab_size"),
        ({"num_decoder_layers": 0}, "num_decoder_layers"),
        ({"relative_buckets": 2}, "relative_buckets"),
        ({"relative_buckets": 9}, "relative_buckets"),
        ({"relative_max_distance": 4}, "relative_max_distance"),
        ({"dropout_rate": 1.0}, "dropout_rate"),
    ],
)
def test_impossible_configurations_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SMALL.replace(**changes)
