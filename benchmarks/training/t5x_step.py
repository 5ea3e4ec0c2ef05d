"""A training step of t5x: its `EncoderDecoderModel`, its `train_with_lr`, its AdamW.

Importing this needs t5x, for which `pip install --no-deps git+https://github.com/google-research/t5x`
beside this project is enough: `airio` and `jestimator`, which t5x imports and a training step does
not use, are replaced by empty modules where they are missing or do not import.
"""

import functools
import importlib
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from distill_jax.models.t5_config import T5Config

_NOT_NEEDED = ("airio", "airio.core", "jestimator", "jestimator.amos", "jestimator.amos_helper")


class _Empty(types.ModuleType):
    """A module of which every name is an empty class."""

    __path__: ClassVar[list[str]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def _stand_in() -> None:
    for package in ("airio", "jestimator"):
        names = [name for name in _NOT_NEEDED if name.split(".")[0] == package]
        try:
            for name in names:
                importlib.import_module(name)
        except (ImportError, AttributeError):
            for name in names:
                parent, _, child = name.rpartition(".")
                sys.modules[name] = module = _Empty(name)
                if parent:
                    setattr(sys.modules[parent], child, module)


_stand_in()

from t5x import models, optimizers, train_state, trainer  # noqa: E402
from t5x.examples.t5 import layers, network  # noqa: E402


class _Gathered(network.Transformer):  # type: ignore[misc]
    """t5x's T5 with its own `Embed` told to gather rows instead of multiplying by one-hot ones."""

    def setup(self) -> None:
        config = self.config
        self.shared_embedding = layers.Embed(
            num_embeddings=config.vocab_size,
            features=config.emb_dim,
            dtype=config.dtype,
            attend_dtype=jnp.float32,
            embedding_init=nn.initializers.normal(stddev=1.0),
            one_hot=False,
            name="token_embedder",
        )
        self.encoder = network.Encoder(config=config, shared_embedding=self.shared_embedding)
        self.decoder = network.Decoder(config=config, shared_embedding=self.shared_embedding)


class T5xTraining:
    """A T5 v1.1 of t5x under training, with the given parameters (t5x's names are those here)."""

    def __init__(
        self, config: T5Config, params: Any, *, gathered: bool, learning_rate: float
    ) -> None:
        module = (_Gathered if gathered else network.Transformer)(
            network.T5Config(
                vocab_size=config.vocab_size,
                dtype=config.dtype,
                emb_dim=config.d_model,
                num_heads=config.num_heads,
                num_encoder_layers=config.num_encoder_layers,
                num_decoder_layers=config.num_decoder_layers,
                head_dim=config.d_kv,
                mlp_dim=config.d_ff,
                mlp_activations=("gelu", "linear"),
                dropout_rate=config.dropout_rate,
            )
        )
        optimizer = optimizers.adamw(learning_rate, weight_decay=0.0)
        self._model = models.EncoderDecoderModel(
            module, input_vocabulary=None, output_vocabulary=None, optimizer_def=optimizer
        )
        self._step = jax.jit(
            functools.partial(trainer.train_with_lr, model=self._model, num_microbatches=None),
            donate_argnums=0,
        )
        self._rate = jnp.float32(learning_rate)
        own = jax.tree.map(lambda x: jnp.array(x, jnp.float32), params)
        self._state = train_state.FlaxOptimTrainState.create(optimizer, {"params": own})
        self._count = 0

    @staticmethod
    def batch(batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """The features that t5x takes, on the device: of rows with one example each."""
        names = ("encoder_input_tokens", "decoder_input_tokens", "decoder_target_tokens")
        features = {name: jnp.asarray(batch[name]) for name in names}
        weights = np.asarray(batch["decoder_segment_ids"]) > 0
        return features | {"decoder_loss_weights": jnp.asarray(weights, jnp.float32)}

    def loss(self, batch: Mapping[str, np.ndarray]) -> float:
        """The mean loss of a target token, without dropout."""
        features = self.batch(batch)
        total, _ = jax.jit(functools.partial(self._model.loss_fn, dropout_rng=None))(
            self._state.params, features
        )
        return float(total) / float(features["decoder_loss_weights"].sum())

    def stepper(self, batch: Mapping[str, np.ndarray]) -> Callable[[], Any]:
        """What does one training step on the batch when called."""
        features = self.batch(batch)
        key = jax.random.key(0)

        def step() -> Any:
            self._count += 1
            self._state, metrics = self._step(
                self._state, features, self._rate, jax.random.fold_in(key, self._count)
            )
            return self._state.params, metrics["loss"]

        return step
