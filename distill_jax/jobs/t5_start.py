"""Where a T5 run starts (a checkpoint, or random weights), and how it lays out what it trains."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gin
import jax
import numpy as np
from flax import linen as nn

from distill_jax.distill.objectives import LanguageModel
from distill_jax.errors import UserError
from distill_jax.integers import round_up
from distill_jax.interop.hf.checkpoint import read_hf
from distill_jax.models.initialisation import point_at_equal_tokens
from distill_jax.models.layer_choice import check_layers, t5_from_layers
from distill_jax.models.stacking import stack_layers, unstack_layers
from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config, T5Execution
from distill_jax.train.loop import Evaluate
from distill_jax.vocab import Vocabulary, load_vocabulary

gin.external_configurable(T5Config, module="models")
gin.external_configurable(T5Execution, module="models")
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
    *,
    encoder_layers: Sequence[int] | None = None,
    decoder_layers: Sequence[int] | None = None,
) -> tuple[T5Config, Any, Vocabulary]:
    """Configuration, initial parameters (None: random, made on the mesh) and vocabulary.

    Of a checkpoint only the layers named are taken (None: all), see `models.layer_choice`.

    Raises `UserError` if there is neither a checkpoint nor a model with its vocabulary, or if layers are
    named that there are not.
    """
    if initial_checkpoint_path is not None:
        # A model directory of ours is a Hugging Face directory too; its labels do not matter here.
        directory = Path(initial_checkpoint_path)
        config, params = read_hf(directory)
        if encoder_layers is not None or decoder_layers is not None:
            config, params = _with_layers(config, params, encoder_layers, decoder_layers)
        return config, params, vocabulary or load_vocabulary(directory)
    if encoder_layers is not None or decoder_layers is not None:
        raise UserError(
            "layers are chosen (ENCODER_LAYERS, DECODER_LAYERS) but there is no checkpoint to take "
            "them from; give INITIAL_CHECKPOINT_PATH, or leave them out"
        )
    if model is None or vocabulary is None:
        raise UserError(
            "train_t5 needs INITIAL_CHECKPOINT_PATH, or train_t5.model and train_t5.vocabulary to "
            "start from random weights; see gin/runs/pretrain.gin"
        )
    config = model(vocab_size=round_up(vocabulary.size, ROW_MULTIPLE))
    if initialiser is None:
        return config, None, vocabulary
    boxed = LanguageModel(T5(config)).init(jax.random.key(seed))
    return config, initialiser(nn.unbox(boxed), config), vocabulary


class TrainingLayout:
    """How a T5 is computed while it is trained, and the way back to how it is kept.

    With `T5Execution.scan_layers` the trained parameters are stacked; predictions, checkpoints to start
    from and model directories have a subtree for each layer.

    Attributes:
        config: of the model that is trained.
        unstacked: the same with a subtree for each layer, for predictions.
    """

    def __init__(self, config: T5Config, execution: T5Execution | None) -> None:
        self.config = (execution or T5Execution()).apply(config)
        self.unstacked = self.config.replace(scan_layers=False)

    def initial(self, params: Any) -> Any:
        """Initial parameters (None: random ones, which need no help) as the training wants them."""
        return stack_layers(params) if self.config.scan_layers and params is not None else params

    def final(self, params: Any) -> Any:
        """Trained parameters as they are kept."""
        return unstack_layers(params) if self.config.scan_layers else params

    def evaluation(self, evaluate: Evaluate) -> Evaluate:
        """An evaluation of unstacked parameters, for those that are trained."""
        if not self.config.scan_layers:
            return evaluate
        on_device = jax.jit(unstack_layers)

        def evaluate_unstacked(params: Any) -> dict[str, float]:
            # Views of host arrays: one device may not have the room for both layouts.
            on_host = isinstance(jax.tree.leaves(params)[0], np.ndarray)
            return evaluate((unstack_layers if on_host else on_device)(params))

        return evaluate_unstacked


def _with_layers(
    config: T5Config,
    params: Any,
    encoder_layers: Sequence[int] | None,
    decoder_layers: Sequence[int] | None,
) -> tuple[T5Config, Any]:
    encoder = range(config.num_encoder_layers) if encoder_layers is None else encoder_layers
    decoder = range(config.num_decoder_layers) if decoder_layers is None else decoder_layers
    check_layers(encoder, config.num_encoder_layers, "encoder")
    check_layers(decoder, config.num_decoder_layers, "decoder")
    student = config.replace(num_encoder_layers=len(encoder), num_decoder_layers=len(decoder))
    return student, t5_from_layers(
        params, config, student, encoder_layers=encoder, decoder_layers=decoder
    )
