import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from distill_jax.errors import UserError
from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config
from distill_jax.sentscore import DecoderSettings, LabelTrie, SentScoreBatch, decode
from distill_jax.sentscore import memory as module
from distill_jax.sentscore.memory import check_memory, memory_needed

CONFIG = T5Config(
    vocab_size=1024,
    d_model=64,
    d_kv=16,
    d_ff=128,
    num_heads=4,
    num_encoder_layers=1,
    num_decoder_layers=2,
)


def random_trie(tags: int, longest: int) -> LabelTrie:
    rng = np.random.default_rng(0)
    texts = [
        tuple(rng.integers(5, 900, rng.integers(1, longest + 1)).tolist()) for _ in range(tags)
    ]
    return LabelTrie.compile([(3,), (4,), *dict.fromkeys(texts)])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tags", "rows", "settings"),
    [
        (60, 16, DecoderSettings()),
        (60, 16, DecoderSettings(normaliser="trie")),
        (8, 16, DecoderSettings(beam=3)),
        (200, 4, DecoderSettings(max_nodes=128)),
    ],
)
def test_the_formula_is_what_xla_allocates(tags: int, rows: int, settings: DecoderSettings) -> None:
    model, trie, words, source = T5(CONFIG), random_trie(tags, 4), 16, 40
    ids = jax.ShapeDtypeStruct((1, 2), jnp.int32)
    params = nn.unbox(jax.eval_shape(model.init, jax.random.key(0), ids, ids, ids, ids))["params"]
    batch = SentScoreBatch(
        *(
            jax.ShapeDtypeStruct(shape, dtype)
            for shape, dtype in (
                ((rows, source), jnp.int32),
                ((rows, source), jnp.bool_),
                ((rows,), jnp.int32),
                ((words + 1,), jnp.int32),
            )
        )
    )
    lowered = jax.jit(lambda p, b: decode(model, p, b, trie, settings)).lower(params, batch)
    found = lowered.compile(
        compiler_options={"xla_backend_optimization_level": 3}
    ).memory_analysis()
    measured = found.argument_size_in_bytes + found.temp_size_in_bytes + found.output_size_in_bytes
    needed = memory_needed(CONFIG, trie, settings, rows=rows, words=words, source=source)
    assert needed.parameters == pytest.approx(
        sum(4 * leaf.size for leaf in jax.tree.leaves(params)), rel=0.02
    )
    assert 0.9 * measured < needed.total < 1.4 * measured


def test_too_many_tags_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = memory_needed(
        CONFIG, random_trie(900, 16), DecoderSettings(), rows=32, words=100, source=512
    )
    monkeypatch.setattr(module, "device_memory", lambda: needed.total)
    check_memory(needed, "this")
    monkeypatch.setattr(module, "device_memory", lambda: needed.total - 1)
    with pytest.raises(UserError, match=r"^902 tags needs .* GiB .* use a smaller batch"):
        check_memory(needed, "902 tags")
    monkeypatch.setattr(module, "device_memory", lambda: None)
    check_memory(needed, "this")


def test_memory_grows_with_the_beam() -> None:
    trie = random_trie(20, 3)
    one, four = (
        memory_needed(CONFIG, trie, DecoderSettings(beam=beam), rows=2, words=8, source=32)
        for beam in (1, 4)
    )
    assert four.cache == 4 * one.cache and four.cross == 4 * one.cross
    half = memory_needed(
        dataclasses.replace(CONFIG, dtype="bfloat16"),
        trie,
        DecoderSettings(),
        rows=2,
        words=8,
        source=32,
    )
    assert half.cache * 2 == one.cache and half.parameters == one.parameters
    assert module.device_memory() is None or module.device_memory() > 2**20
