"""Tiny random models of both kinds, for tests of what is done with a model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from distill_jax.data import demo
from distill_jax.interop.hf.checkpoint import write_hf
from distill_jax.interop.hf.layout import parameters_of
from distill_jax.kinds.base import Model
from distill_jax.model_dir.directory import save_model
from distill_jax.model_dir.settings import METADATA
from distill_jax.models.bert import BertTagger
from distill_jax.models.bert_config import BertConfig
from distill_jax.models.bilstm import BiLSTMConfig, BiLSTMTagger
from distill_jax.models.encoder_tagger import EncoderTagger, EncoderTaggerConfig
from distill_jax.models.t5_config import T5Config
from distill_jax.tagging import LabelSet
from distill_jax.vocab import ByteVocabulary, WordVocabulary, train_sentencepiece

# Texts of one byte: longer ones would hardly ever win in a random T5.
LABELS = LabelSet(("city", "date_time"), ("c", "d"))
T5_CONFIG = T5Config(
    vocab_size=384,
    d_model=8,
    d_kv=4,
    d_ff=8,
    num_heads=2,
    num_encoder_layers=1,
    num_decoder_layers=1,
)
WORDS = WordVocabulary(["to", "berlin", "on", "may", "4"], list("abeilmnorty4"))
BILSTM_CONFIG = BiLSTMConfig(
    num_words=WORDS.num_words,
    num_chars=WORDS.num_chars,
    num_tags=LABELS.num_tags,
    word_dim=6,
    char_dim=4,
    char_hidden=4,
    hidden=8,
)
ENCODER_CONFIG = EncoderTaggerConfig(
    vocab_size=384, num_tags=LABELS.num_tags, d_model=8, d_kv=4, d_ff=8, num_heads=2, num_layers=2
)
BERT_CONFIG = BertConfig(
    vocab_size=384,
    num_tags=LABELS.num_tags,
    d_model=8,
    d_ff=8,
    num_heads=2,
    num_layers=2,
    max_positions=40,
)
KINDS = ("t5", "bilstm")
SENTENCES: Sequence[tuple[str, ...]] = (
    ("to", "berlin"),
    (),
    ("on", "may", "4", "to", "rome", "now"),
    ("to",),
    ("berlin", "on", "monday"),
    ("x", "y", "z", "on", "may", "4", "a"),
)


def t5_params(config: T5Config = T5_CONFIG, seed: int = 0) -> dict[str, Any]:
    """Random parameters, large enough that tags vary from word to word."""
    rng = np.random.default_rng(seed)
    params: dict[str, Any] = {}
    for parameter in parameters_of(config):
        level = params
        for name in parameter.path[:-1]:
            level = level.setdefault(name, {})
        shape = parameter.hf_shape[:: -1 if parameter.transposed else 1]
        level[parameter.path[-1]] = rng.normal(size=shape).astype(np.float32)
    return params


def write_t5_start(directory: Path, config: T5Config = T5_CONFIG) -> None:
    """A Hugging Face directory of a random T5 whose vocabulary is of the embedded data's words."""
    vocabulary = train_sentencepiece(
        (" ".join(sentence.words) for sentence in demo.generate("train", 40)),
        120,
        directory.parent / "spiece.model",
        required=demo.LABELS.tag_texts,
    )
    config = config.replace(vocab_size=vocabulary.size)
    write_hf(directory, config, t5_params(config))
    vocabulary.save(directory)


def bilstm_params(config: BiLSTMConfig = BILSTM_CONFIG, seed: int = 3) -> Any:
    """Random parameters, as `t5_params`."""
    ids = jnp.zeros((1, 1), jnp.int32)
    variables = jax.eval_shape(BiLSTMTagger(config).init, jax.random.key(0), ids, ids[..., None])
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape).astype(np.float32),
        nn.meta.unbox(variables["params"]),
    )


def encoder_params(config: EncoderTaggerConfig = ENCODER_CONFIG, seed: int = 5) -> Any:
    """Random parameters, as `t5_params`."""
    ids = jnp.zeros((1, 1), jnp.int32)
    variables = jax.eval_shape(EncoderTagger(config).init, jax.random.key(0), ids, ids)
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape).astype(np.float32),
        nn.meta.unbox(variables["params"]),
    )


def bert_params(config: BertConfig = BERT_CONFIG, seed: int = 7) -> Any:
    """Random parameters, as `t5_params`."""
    variables = jax.eval_shape(BertTagger(config).initial, jax.random.key(0))
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), nn.meta.unbox(variables)
    )


def model_of(**fields: Any) -> Model:
    """A `Model`, of whose metadata each part may be given by its name."""
    metadata = {name: fields.pop(name) for name in METADATA if name in fields}
    return Model(**fields, metadata=metadata)


def save_tiny(directory: Path, kind: str, **changes: Any) -> Path:
    """A model directory of a kind; `changes` are fields of `Model`, or of its metadata."""
    if kind == "t5":
        arguments = {
            "config": T5_CONFIG,
            "params": t5_params(),
            "vocabulary": ByteVocabulary(),
        }
    elif kind == "encoder":
        arguments = {
            "config": ENCODER_CONFIG,
            "params": encoder_params(),
            "vocabulary": ByteVocabulary(),
        }
    elif kind == "bert":
        arguments = {
            "config": BERT_CONFIG,
            "params": bert_params(),
            "vocabulary": ByteVocabulary(),
        }
    else:
        arguments = {"config": BILSTM_CONFIG, "params": bilstm_params(), "vocabulary": WORDS}
    save_model(directory, model_of(**{**arguments, "labels": LABELS, **changes}))
    return directory


def is_legal(tag_ids: Sequence[int] | np.ndarray) -> bool:
    """Whether sBIO ids (O = 0, I = 1) have no I at the start or after O."""
    before = 0
    for tag in tag_ids:
        if tag == 1 and before == 0:
            return False
        before = int(tag)
    return True
