"""Where a T5 run starts: from a checkpoint, or from random weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gin
import jax
from flax import linen as nn

from distill_jax.distill.objectives import LanguageModel
from distill_jax.errors import UserError
from distill_jax.interop.hf import read_hf
from distill_jax.models.initialisation import point_at_equal_tokens
from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config
from distill_jax.vocab import Vocabulary, load_vocabulary

gin.external_configurable(T5Config, module="models")
gin.external_configurable(point_at_equal_tokens, module="models")

# Rows of the embedding are padded to a multiple of this, as T5's 32,100 are to 32,128: it keeps
# the vocabulary's axis divisible over a mesh.
ROW_MULTIPLE = 128


def start_t5(
    initial_checkpoint_path: str | None,
    model: Callable[..., T5Config] | None,
    vocabulary: Vocabulary | None,
    initialiser: Callable[[Any, T5Config], Any] | None,
    seed: int,
) -> tuple[T5Config, Any, Vocabulary]:
    """Configuration, initial parameters (None: random, made on the mesh) and vocabulary.

    Raises `UserError` if there is neither a checkpoint nor a model with its vocabulary.
    """
    if initial_checkpoint_path is not None:
        # A model directory of ours is a Hugging Face directory too; its labels do not matter here.
        directory = Path(initial_checkpoint_path)
        config, params = read_hf(directory)
        return config, params, vocabulary or load_vocabulary(directory)
    if model is None or vocabulary is None:
        raise UserError(
            "train_t5 needs INITIAL_CHECKPOINT_PATH, or train_t5.model and train_t5.vocabulary to "
            "start from random weights; see gin/runs/pretrain.gin"
        )
    config = model(vocab_size=-(-vocabulary.size // ROW_MULTIPLE) * ROW_MULTIPLE)
    if initialiser is None:
        return config, None, vocabulary
    boxed = LanguageModel(T5(config)).init(jax.random.key(seed))
    return config, initialiser(nn.unbox(boxed), config), vocabulary
