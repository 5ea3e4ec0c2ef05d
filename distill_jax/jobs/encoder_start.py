"""Where an encoder tagger starts: from a T5's encoder, or from random weights."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gin
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from distill_jax.errors import UserError
from distill_jax.integers import round_up
from distill_jax.interop.hf.checkpoint import read_hf
from distill_jax.jobs.t5_start import ROW_MULTIPLE
from distill_jax.models.encoder_tagger import EncoderTagger, EncoderTaggerConfig
from distill_jax.models.layer_choice import (
    check_layers,
    encoder_tagger_config,
    encoder_tagger_from_layers,
)
from distill_jax.vocab import Vocabulary, load_vocabulary

gin.external_configurable(EncoderTaggerConfig, module="models")


def start_encoder_tagger(
    initial_checkpoint_path: str | None,
    encoder_layers: Sequence[int] | None,
    model: Callable[..., EncoderTaggerConfig] | None,
    vocabulary: Vocabulary | None,
    num_tags: int,
    seed: int,
) -> tuple[EncoderTaggerConfig, Any, Vocabulary]:
    """Configuration, initial parameters (None: random, made on the mesh) and vocabulary.

    Raises `UserError` if there is neither a checkpoint nor a model with its vocabulary, or if layers are
    named that there are not.
    """
    if initial_checkpoint_path is not None:
        directory = Path(initial_checkpoint_path)
        teacher_config, teacher = read_hf(directory)
        available = teacher_config.num_encoder_layers
        layers = range(available) if encoder_layers is None else encoder_layers
        check_layers(layers, available, "encoder")
        config = encoder_tagger_config(teacher_config, len(layers), num_tags)
        if model is not None:  # of which the checkpoint decides all but how it is computed
            config = config.replace(
                dtype=model(vocab_size=config.vocab_size, num_tags=num_tags).dtype
            )
        ids = jnp.zeros((1, 1), jnp.int32)
        own = jax.jit(EncoderTagger(config).init)(jax.random.key(seed), ids, ids)
        params = encoder_tagger_from_layers(
            jax.tree.map(np.asarray, nn.unbox(own["params"])),
            teacher,
            teacher_config,
            config,
            encoder_layers=layers,
        )
        return config, params, vocabulary or load_vocabulary(directory)
    if encoder_layers is not None:
        raise UserError(
            "layers are chosen (ENCODER_LAYERS) but there is no checkpoint to take them from; give "
            "INITIAL_CHECKPOINT_PATH, or leave them out"
        )
    if model is None or vocabulary is None:
        raise UserError(
            "an encoder tagger needs INITIAL_CHECKPOINT_PATH, or VOCABULARY (a SentencePiece file, a "
            "tokenizer directory or 'byte') to start from random weights"
        )
    rows = round_up(vocabulary.size, ROW_MULTIPLE)
    return model(vocab_size=rows, num_tags=num_tags), None, vocabulary
