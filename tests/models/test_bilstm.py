"""The BiLSTM tagger against PyTorch's stored results, and masks by gradients that must be zero."""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from distill_jax.errors import UserError
from distill_jax.models import bilstm, lstm
from distill_jax.models.bilstm import BiLSTMConfig, BiLSTMTagger, with_word_embeddings
from distill_jax.vocab import WordVocabulary

GOLDEN = Path(__file__).parents[1] / "golden" / "bilstm.npz"
SMALL = BiLSTMConfig(
    num_words=11,
    num_chars=7,
    num_tags=5,
    word_dim=6,
    char_dim=4,
    char_hidden=3,
    hidden=5,
    num_layers=2,
)


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as file:
        return dict(file)


@pytest.fixture(scope="module")
def params() -> Any:
    return nn.meta.unbox(initialise())


@functools.cache
def initialise() -> Any:
    """Boxed parameters of the small model."""
    words, chars = jnp.ones((1, 2), jnp.int32), jnp.ones((1, 2, 3), jnp.int32)
    return jax.jit(BiLSTMTagger(SMALL).init)(jax.random.key(0), words, chars)["params"]


@functools.partial(jax.jit, static_argnames=("config", "deterministic"))
def apply(
    params: Any,
    words: Any,
    chars: Any,
    *,
    config: BiLSTMConfig = SMALL,
    deterministic: bool = True,
    key: jax.Array | None = None,
) -> jax.Array:
    rngs = None if key is None else {"dropout": key}
    model = BiLSTMTagger(config)
    return model.apply({"params": params}, words, chars, deterministic=deterministic, rngs=rngs)


def from_torch(golden: dict[str, np.ndarray], kind: str) -> dict[str, Any]:
    """PyTorch's arrays under our names. A gradient of the bias is that of each of its two."""

    def layer(name: str, suffix: str) -> dict[str, np.ndarray]:
        both = [suffix, f"{suffix}_reverse"]
        bias = [golden[f"{kind}/{name}.bias_ih_{s}"] for s in both]
        if kind == "param":
            bias = [
                b + golden[f"{kind}/{name}.bias_hh_{s}"] for b, s in zip(bias, both, strict=True)
            ]
        return {
            "input_kernel": np.stack([golden[f"{kind}/{name}.weight_ih_{s}"].T for s in both]),
            "recurrent_kernel": np.stack([golden[f"{kind}/{name}.weight_hh_{s}"].T for s in both]),
            "bias": np.stack(bias),
        }

    return {
        "word_embedding": {"embedding": golden[f"{kind}/word_embedding.weight"]},
        "char_embedding": {"embedding": golden[f"{kind}/char_embedding.weight"]},
        "char_lstm": layer("char_lstm", "l0"),
        "word_lstm_0": layer("word_lstm", "l0"),
        "word_lstm_1": layer("word_lstm", "l1"),
        "output": {
            "kernel": golden[f"{kind}/output.weight"].T,
            "bias": golden[f"{kind}/output.bias"],
        },
    }


def test_logits_equal_pytorch(golden: dict[str, np.ndarray]) -> None:
    logits = apply(from_torch(golden, "param"), golden["word_ids"], golden["char_ids"])
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, golden["logits"], rtol=0, atol=1e-5)
    assert np.ptp(golden["logits"]) > 0.1


def test_gradients_equal_pytorch(golden: dict[str, np.ndarray]) -> None:
    def loss(params: Any) -> jax.Array:
        return jnp.sum(apply(params, golden["word_ids"], golden["char_ids"]) * golden["cotangent"])

    got = jax.jit(jax.grad(loss))(jax.tree.map(jnp.asarray, from_torch(golden, "param")))
    want = from_torch(golden, "gradient")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5), got, want)


@pytest.mark.parametrize(("more_words", "more_chars"), [(5, 2)])
def test_extra_padding_changes_nothing(
    golden: dict[str, np.ndarray], params: Any, more_words: int, more_chars: int
) -> None:
    words, chars = golden["word_ids"], golden["char_ids"]
    length = words.shape[1]
    wide_words = np.pad(words, ((0, 0), (0, more_words)))
    wide_chars = np.pad(chars, ((0, 0), (0, more_words), (0, more_chars)))
    got = apply(params, wide_words, wide_chars)
    np.testing.assert_allclose(got[:, :length], apply(params, words, chars), rtol=0, atol=1e-6)
    assert not np.asarray(got)[wide_words == 0].any()


def test_batch_mates_change_nothing(golden: dict[str, np.ndarray], params: Any) -> None:
    words, chars = golden["word_ids"], golden["char_ids"]
    together = apply(params, words, chars)
    row, length = 2, 4
    assert (words[row] != 0).sum() == length
    alone = apply(params, words[row : row + 1, :length], chars[row : row + 1, :length])
    np.testing.assert_allclose(together[row, :length], alone[0], rtol=0, atol=1e-6)


def test_characters_at_padded_words_are_ignored(golden: dict[str, np.ndarray], params: Any) -> None:
    words, chars = golden["word_ids"], golden["char_ids"]
    dirty = np.where((words == 0)[..., None], 3, chars)
    np.testing.assert_array_equal(apply(params, words, dirty), apply(params, words, chars))


def test_padding_gets_and_gives_no_gradient(params: Any) -> None:
    """Through the layer itself: inputs at padding have gradient zero, real ones do not."""
    layer = lstm.BidirectionalLSTM(4)
    rng = np.random.default_rng(0)
    inputs = jnp.asarray(rng.normal(size=(3, 6, 2)), jnp.float32)
    mask = jnp.arange(6) < jnp.array([6, 2, 0])[:, None]
    variables = jax.jit(layer.init)(jax.random.key(0), inputs, mask)
    cotangent = jnp.asarray(rng.normal(size=(3, 6, 8)), jnp.float32)

    def loss(inputs: jax.Array) -> jax.Array:
        states, last = layer.apply(variables, inputs, mask)
        return jnp.sum(states * cotangent) + jnp.sum(last)

    gradient = jax.jit(jax.grad(loss))(inputs)
    assert not np.asarray(gradient)[~np.asarray(mask)].any()
    assert (np.abs(np.asarray(gradient)[np.asarray(mask)]).sum(-1) > 0).all()
    # A loss on padded outputs only has no gradient at all.
    on_padding = jax.jit(
        jax.grad(lambda x: jnp.sum(layer.apply(variables, x, mask)[0] * ~mask[..., None]))
    )(inputs)
    assert not np.asarray(on_padding).any()


def test_members_of_a_vmap_share_the_longest_sequence_and_change_nothing() -> None:
    layer = lstm.BidirectionalLSTM(4)
    inputs = jnp.asarray(np.random.default_rng(2).normal(size=(3, 2, 6, 3)), jnp.float32)
    lengths = jnp.array([[2, 1], [6, 4], [0, 0]])
    masks = jnp.arange(6) < lengths[..., None]
    variables = jax.jit(layer.init)(jax.random.key(0), inputs[0], masks[0])

    def loss(inputs: jax.Array, mask: jax.Array) -> jax.Array:
        states, last = layer.apply(variables, inputs, mask)
        return jnp.sum(jnp.sin(states)) + jnp.sum(jnp.sin(last))

    gradient = jax.grad(loss)
    together = jax.jit(jax.vmap(gradient))(inputs, masks)
    for member, alone in enumerate(map(jax.jit(gradient), inputs, masks)):
        np.testing.assert_allclose(together[member], alone, rtol=0, atol=1e-6)
    # One number for all members: `out_axes=None` would refuse one for each.
    steps = jax.vmap(lstm.longest, out_axes=None)(jnp.swapaxes(masks, 1, 2))
    assert steps == 6


def test_embeddings_of_padding_get_no_gradient(golden: dict[str, np.ndarray], params: Any) -> None:
    gradient = jax.jit(
        jax.grad(lambda p: jnp.sum(jnp.square(apply(p, golden["word_ids"], golden["char_ids"]))))
    )(params)
    assert not np.asarray(gradient["word_embedding"]["embedding"][0]).any()
    assert not np.asarray(gradient["char_embedding"]["embedding"][0]).any()
    assert np.asarray(gradient["char_embedding"]["embedding"][2]).any()


def test_last_states_are_those_of_the_first_and_last_word() -> None:
    layer = lstm.BidirectionalLSTM(4)
    inputs = jnp.asarray(np.random.default_rng(1).normal(size=(2, 5, 3)), jnp.float32)
    mask = jnp.arange(5) < jnp.array([5, 3])[:, None]
    (states, last), _ = jax.jit(layer.init_with_output)(jax.random.key(0), inputs, mask)
    np.testing.assert_array_equal(last[:, 4:], states[:, 0, 4:])
    np.testing.assert_array_equal(last[0, :4], states[0, 4, :4])
    np.testing.assert_array_equal(last[1, :4], states[1, 2, :4])


def test_empty_sentences_and_words_without_characters_are_finite(params: Any) -> None:
    words = np.array([[0, 0], [1, 0]], np.int32)
    chars = np.zeros((2, 2, 3), np.int32)
    logits = np.asarray(apply(params, words, chars))
    assert np.isfinite(logits).all()
    assert not logits[0].any()


def test_training_draws_dropout_and_prediction_does_not(
    golden: dict[str, np.ndarray], params: Any
) -> None:
    words, chars = golden["word_ids"], golden["char_ids"]
    first, again, other = (
        apply(params, words, chars, deterministic=False, key=jax.random.key(seed))
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0
    assert not np.asarray(first)[words == 0].any()
    np.testing.assert_array_equal(apply(params, words, chars), apply(params, words, chars))


def test_word_dropout_puts_the_unknown_word(golden: dict[str, np.ndarray], params: Any) -> None:
    words, chars = golden["word_ids"], golden["char_ids"]
    config = SMALL.replace(dropout=0.0, word_dropout=0.999999)
    got = apply(params, words, chars, config=config, deterministic=False, key=jax.random.key(0))
    np.testing.assert_array_equal(got, apply(params, np.where(words == 0, 0, 1), chars))


def test_activations_in_bfloat16_give_float32_logits_nearby(
    golden: dict[str, np.ndarray], params: Any
) -> None:
    words, chars = golden["word_ids"], golden["char_ids"]
    logits = apply(params, words, chars, config=SMALL.replace(dtype="bfloat16"))
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, apply(params, words, chars), atol=0.03)


def test_parameters_carry_logical_axes_and_the_documented_values() -> None:
    boxed = initialise()
    axes = nn.get_partition_spec(boxed)
    assert axes["word_embedding"]["embedding"] == jax.sharding.PartitionSpec("vocab", "embed")
    plain = nn.meta.unbox(boxed)
    for name, spec in zip(
        jax.tree.leaves(jax.tree.map(jnp.ndim, plain)),
        jax.tree.leaves(axes, is_leaf=lambda leaf: isinstance(leaf, jax.sharding.PartitionSpec)),
        strict=True,
    ):
        assert len(spec) == name
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(plain))
    assert not plain["word_embedding"]["embedding"][:2].any()
    bias = plain["word_lstm_0"]["bias"].reshape(2, 4, SMALL.hidden)
    np.testing.assert_array_equal(bias.sum(-1), [[0, 5, 0, 0]] * 2)


def test_the_papers_student_has_about_a_million_parameters() -> None:
    config = BiLSTMConfig(num_words=5000, num_chars=80, num_tags=41)
    words, chars = jnp.ones((1, 2), jnp.int32), jnp.ones((1, 2, 3), jnp.int32)
    shapes = jax.eval_shape(BiLSTMTagger(config).init, jax.random.key(0), words, chars)
    assert 0.9e6 < sum(leaf.size for leaf in jax.tree.leaves(shapes)) < 1.2e6


def test_word_embeddings_can_be_put_in(params: Any) -> None:
    table = np.random.default_rng(0).normal(size=(11, 6))
    boxed = initialise()
    for tree in (params, boxed):
        changed = with_word_embeddings(tree, table)
        got = nn.meta.unbox(changed)["word_embedding"]["embedding"]
        np.testing.assert_array_equal(got, table.astype(np.float32))
        same = jax.tree.map(lambda old, new: old.shape == new.shape, dict(tree), changed)
        assert all(jax.tree.leaves(same))
    with pytest.raises(UserError, match=r"\(10, 6\).*\(11, 6\)"):
        with_word_embeddings(params, table[:10])


def test_ids_agree_with_the_vocabulary() -> None:
    assert (WordVocabulary.pad_id, WordVocabulary.unk_id) == (bilstm.PAD_ID, bilstm.UNK_ID)


def test_config_round_trips_through_a_dict() -> None:
    values = SMALL.to_dict()
    assert values["model_type"] == "bilstm_tagger"
    assert BiLSTMConfig.from_dict(values) == SMALL
    short = {"model_type": "bilstm_tagger", "num_words": 5, "num_chars": 4, "num_tags": 3}
    assert BiLSTMConfig.from_dict(short) == BiLSTMConfig(5, 4, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "t5"}, "model_type is 't5'"),
        ({"hiden": 3}, "unknown fields hiden"),
        ({"num_words": None}, "num_words is None"),
        ({"hidden": 1.5}, "hidden is 1.5"),
        ({"hidden": True}, "hidden is True"),
        ({"hidden": 0}, "hidden is 0"),
        ({"num_words": 1}, "num_words is 1"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"dtype": "float16"}, "float16.*bfloat16"),
    ],
)
def test_bad_configs_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        BiLSTMConfig.from_dict({**SMALL.to_dict(), **change})


def test_missing_fields_are_named() -> None:
    with pytest.raises(UserError, match="num_chars, num_tags are missing"):
        BiLSTMConfig.from_dict({"model_type": "bilstm_tagger", "num_words": 5})
