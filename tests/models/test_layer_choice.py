"""Students made of a teacher's layers."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from distill_jax.errors import UserError
from distill_jax.models.encoder_tagger import EncoderTagger
from distill_jax.models.layer_choice import (
    encoder_tagger_config,
    encoder_tagger_from_layers,
    t5_from_layers,
)
from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config
from tests.tiny import t5_params

TEACHER = T5Config(
    vocab_size=32,
    d_model=8,
    d_kv=4,
    d_ff=12,
    num_heads=2,
    num_encoder_layers=4,
    num_decoder_layers=3,
)
PARAMS = t5_params(TEACHER)
STUDENT = TEACHER.replace(num_encoder_layers=2, num_decoder_layers=1)
TOKENS = jnp.array([[5, 6, 7, 1]])


def chosen(config: T5Config = STUDENT, **changes: Any) -> dict[str, Any]:
    layers = {"encoder_layers": (0, 2), "decoder_layers": (2,), **changes}
    return t5_from_layers(PARAMS, TEACHER, config, **layers)


@pytest.mark.parametrize("per_layer", [False, True])
def test_all_layers_make_the_teacher(per_layer: bool) -> None:
    config = TEACHER.replace(relative_bias_per_layer=per_layer)
    params = t5_params(config)
    student = t5_from_layers(
        params, config, config, encoder_layers=range(4), decoder_layers=range(3)
    )
    jax.tree.map(np.testing.assert_array_equal, student, params)


def test_chosen_layers_are_the_teachers() -> None:
    student = chosen()
    for here, there in enumerate((0, 2)):
        jax.tree.map(
            np.testing.assert_array_equal,
            student["encoder"][f"layers_{here}"],
            PARAMS["encoder"][f"layers_{there}"],
        )
    jax.tree.map(
        np.testing.assert_array_equal,
        student["decoder"]["layers_0"],
        PARAMS["decoder"]["layers_2"],
    )
    for stack in ("encoder", "decoder"):
        rest = student[stack].keys() - {"layers_0", "layers_1"}
        assert rest == {name for name in PARAMS[stack] if not name.startswith("layers_")}
        for name in rest:
            jax.tree.map(np.testing.assert_array_equal, student[stack][name], PARAMS[stack][name])
    # It is a whole model: its tree is that of a T5 of its size, and it runs.
    expected = jax.eval_shape(T5(STUDENT).init, jax.random.key(0), TOKENS, TOKENS, TOKENS, TOKENS)
    assert jax.tree.structure(nn.unbox(expected)["params"]) == jax.tree.structure(student)
    logits = jax.jit(T5(STUDENT).apply)({"params": student}, TOKENS, TOKENS, TOKENS, TOKENS)
    assert np.isfinite(logits).all()


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (STUDENT.replace(d_model=16), {}, "the student's d_model is 16, the teacher's 8"),
        (STUDENT.replace(d_ff=16), {}, "d_ff is 16"),
        (STUDENT.replace(vocab_size=40), {}, "vocab_size is 40"),
        (STUDENT.replace(tied_embedding=True), {}, "tied_embedding is True"),
        (STUDENT, {"encoder_layers": (0, 4)}, "layer 4 of the encoder .* 0 to 3"),
        (STUDENT, {"encoder_layers": (0, -1)}, "layer -1 of the encoder"),
        (STUDENT, {"decoder_layers": ()}, "no layers of the decoder"),
        (STUDENT, {"encoder_layers": (0, 1, 2)}, "3 layers of the encoder .* student has 2"),
    ],
)
def test_what_does_not_fit(config: T5Config, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        chosen(config, **changes)


def test_dropout_may_differ() -> None:
    chosen(STUDENT.replace(dropout_rate=0.3))


def test_an_encoder_tagger_reads_as_the_teachers_encoder_does() -> None:
    config = encoder_tagger_config(TEACHER, 4, 5)
    model = EncoderTagger(config)
    own = nn.unbox(model.init(jax.random.key(1), TOKENS, TOKENS))["params"]
    params = encoder_tagger_from_layers(own, PARAMS, TEACHER, config, encoder_layers=range(4))
    assert jax.tree.structure(params) == jax.tree.structure(own)
    encode = jax.jit(functools.partial(T5(TEACHER).apply, method="encode"))
    states = encode({"params": PARAMS}, TOKENS, TOKENS > 0)
    first = jnp.array([[0, 2]])
    np.testing.assert_allclose(
        jax.jit(model.apply)({"params": params}, TOKENS, first),
        states[:, (0, 2)] @ own["output"]["kernel"] + own["output"]["bias"],
        rtol=1e-4,
        atol=1e-5,
    )
    with pytest.raises(UserError, match="2 layers of the encoder"):
        encoder_tagger_from_layers(own, PARAMS, TEACHER, config, encoder_layers=(0, 1))
