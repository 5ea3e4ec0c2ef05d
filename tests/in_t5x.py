"""t5x's own modules and models for tests, which are skipped where t5x does not import."""

from typing import Any

import pytest

from distill_jax.models.t5_config import T5Config
from distill_jax.tagging import LabelSet


def needs_t5x() -> None:
    """Skips the module that calls it where there is no t5x."""
    pytest.importorskip("t5x.models", reason="needs t5x, which is not on PyPI (docs/t5x.md)")


def module_of(config: T5Config) -> Any:
    """t5x's module for a configuration."""
    from t5x.examples.scalable_t5 import network as scalable
    from t5x.examples.t5 import network

    used = scalable if config.relative_bias_per_layer else network
    activations = (config.activation, "linear") if config.gated else (config.activation,)
    return used.Transformer(
        used.T5Config(
            vocab_size=config.vocab_size,
            emb_dim=config.d_model,
            num_heads=config.num_heads,
            num_encoder_layers=config.num_encoder_layers,
            num_decoder_layers=config.num_decoder_layers,
            head_dim=config.d_kv,
            mlp_dim=config.d_ff,
            mlp_activations=activations,
            dropout_rate=0.0,
            logits_via_embedding=config.tied_embedding,
        )
    )


def sent_model(config: T5Config, labels: LabelSet, vocabulary: Any, **settings: Any) -> Any:
    """`SenTModel` with the optimizer of `gin/t5x/sent.gin`.

    Args:
        config: of the T5.
        labels: of the task.
        vocabulary: of inputs and targets, SeqIO's.
        settings: more of the model's, by name.
    """
    from t5x import adafactor

    from distill_jax.interop.t5x.model import SenTModel

    return SenTModel(
        labels=labels,
        module=module_of(config),
        optimizer_def=adafactor.Adafactor(
            decay_rate=0.8,
            step_offset=0,
            logical_factor_rules=adafactor.standard_logical_factor_rules(),
        ),
        **{"input_vocabulary": vocabulary, "output_vocabulary": vocabulary, **settings},
    )
