"""Where a T5 starts (a checkpoint, or random weights), and how it is laid out while it is trained."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import numpy as np
from flax import linen as nn

from distill_jax.configuration import setting
from distill_jax.errors import UserError
from distill_jax.kinds.base import Resources, TaskNames
from distill_jax.kinds.subwords import rows_for
from distill_jax.kinds.t5_embedding import TokenVectors, with_token_vectors
from distill_jax.models.initialisation import point_at_equal_tokens
from distill_jax.models.layer_choice import check_layers, t5_from_layers
from distill_jax.models.stacking import stack_layers, unstack_layers
from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config, T5Execution
from distill_jax.train.selection import Evaluate
from distill_jax.vocab import Vocabulary

InitialParams = Callable[[], Any] | None
"""Gives arrays to start from; None: random parameters, made on the mesh, will do."""


@dataclasses.dataclass(frozen=True)
class NewVocabulary:
    """A SentencePiece vocabulary trained on a run's own data, label texts included; made once.

    Attributes:
        size: number of pieces.
        tasks: what it is trained on; None: the run's own.
        fold_case: whether it ignores case.
        split: of the tasks.
        max_sentences: the most that each task gives.
    """

    size: int = setting(2000, macro="VOCABULARY_SIZE")
    tasks: TaskNames | None = setting(None, macro="VOCABULARY_TASKS")
    fold_case: bool = setting(False)
    split: str = setting("train")
    max_sentences: int = setting(50_000)


@dataclasses.dataclass(frozen=True)
class T5Start:
    """Where a T5 starts.

    Attributes:
        initial_checkpoint_path: a model directory, any Hugging Face directory of a T5, or a
            checkpoint of t5x; None: random weights.
        encoder_layers, decoder_layers: of the checkpoint, counted from 0; None: all.
        model: for random weights: `vocab_size` 0 is as many rows as the vocabulary needs.
        vocabulary: a SentencePiece file, a tokenizer directory or `byte`; None: the checkpoint's.
        new_vocabulary: in place of it, one that is trained on the run's data.
        initialiser: changes random weights.
        embedding: what the embedding of random weights is made from.

    Raises:
        UserError: settings contradict each other.
    """

    initial_checkpoint_path: str | None = setting(None, macro="INITIAL_CHECKPOINT_PATH")
    encoder_layers: Sequence[int] | None = setting(None, macro="ENCODER_LAYERS")
    decoder_layers: Sequence[int] | None = setting(None, macro="DECODER_LAYERS")
    model: T5Config | None = setting(None)
    vocabulary: str | None = setting(None, macro="VOCABULARY")
    new_vocabulary: NewVocabulary | None = setting(None)
    initialiser: Literal["point_at_equal_tokens"] | None = setting(None, macro="INITIALISER")
    embedding: TokenVectors = setting(TokenVectors())

    def __post_init__(self) -> None:
        if self.embedding.source is not None and self.initial_checkpoint_path is not None:
            raise UserError(
                f"{self.embedding.source} is for a start from random weights, and INITIAL_CHECKPOINT_PATH "
                "has an embedding already; leave one of them out"
            )

    def begin(self, resources: Resources, seed: int) -> tuple[T5Config, InitialParams, Vocabulary]:
        """Configuration, initial parameters and vocabulary.

        Raises `UserError` if there is neither a checkpoint nor a model with its vocabulary, or if
        layers are named that there are not.
        """
        if self.initial_checkpoint_path is not None:
            return self._from_checkpoint(self.initial_checkpoint_path, resources)
        if self.encoder_layers is not None or self.decoder_layers is not None:
            raise UserError(
                "layers are chosen (ENCODER_LAYERS, DECODER_LAYERS) but there is no checkpoint to "
                "take them from; give INITIAL_CHECKPOINT_PATH, or leave them out"
            )
        rows = 0 if self.model is None else self.model.vocab_size
        if self.new_vocabulary is not None and self.vocabulary is None:
            vocabulary = resources.new_vocabulary(self.new_vocabulary)
        else:
            vocabulary = resources.vocabulary(self.vocabulary, rows)
        if self.model is None or vocabulary is None:
            raise UserError(
                "which T5 is not said: give INITIAL_CHECKPOINT_PATH, or to start from random weights a "
                "second --gin_file that describes one, as gin/models/t5_tiny.gin, and VOCABULARY"
            )
        config = self.model.replace(vocab_size=rows or rows_for(vocabulary))
        vectors = self.embedding.vectors(config, vocabulary, resources)
        if self.initialiser is None and vectors is None:
            return config, None, vocabulary

        def random() -> Any:
            params = nn.unbox(T5(config).initial(jax.random.key(seed)))
            if self.initialiser is not None:
                params = point_at_equal_tokens(params, config)
            return params if vectors is None else with_token_vectors(params, config, vectors())

        return config, random, vocabulary

    def _from_checkpoint(
        self, path: str, resources: Resources
    ) -> tuple[T5Config, InitialParams, Vocabulary]:
        checkpoint = resources.checkpoint(path)
        whole = checkpoint.config
        if not isinstance(whole, T5Config):
            raise UserError(f"{path}: is no T5; give the directory of one")
        vocabulary = resources.vocabulary(self.vocabulary, whole.vocab_size)
        vocabulary = vocabulary or checkpoint.vocabulary()
        if self.encoder_layers is None and self.decoder_layers is None:
            return whole, checkpoint.read, vocabulary
        encoder, decoder = (
            range(available) if chosen is None else chosen
            for chosen, available in (
                (self.encoder_layers, whole.num_encoder_layers),
                (self.decoder_layers, whole.num_decoder_layers),
            )
        )
        check_layers(encoder, whole.num_encoder_layers, "encoder")
        check_layers(decoder, whole.num_decoder_layers, "decoder")
        config = whole.replace(num_encoder_layers=len(encoder), num_decoder_layers=len(decoder))

        def from_layers() -> Any:
            return t5_from_layers(
                checkpoint.read(), whole, config, encoder_layers=encoder, decoder_layers=decoder
            )

        return config, from_layers, vocabulary


class TrainingLayout:
    """How a T5 is computed while it is trained, and the way back to how it is kept.

    With `T5Execution.scan_layers` the trained parameters are stacked; predictions, checkpoints to start
    from and model directories have a subtree for each layer.

    Attributes:
        config: of the model that is trained.
        unstacked: the same with a subtree for each layer, for predictions.
    """

    def __init__(self, config: T5Config, execution: T5Execution) -> None:
        self.config = execution.apply(config)
        self.unstacked = self.config.replace(scan_layers=False)

    def initial(self, params: InitialParams) -> InitialParams:
        """Initial parameters as the training wants them."""
        if params is None or not self.config.scan_layers:
            return params
        return lambda: stack_layers(params())

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
