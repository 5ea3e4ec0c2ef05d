"""An encoder tagger as transformers has it: `T5ForTokenClassification`, of umT5 `UMT5ForTokenClassification`.

`AutoModelForTokenClassification` loads what is written, and its logits at a word's first subword are ours.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax.core import meta

from distill_jax.files import write_json
from distill_jax.interop.hf.config import hf_config_fields
from distill_jax.interop.hf.files import CONFIG, flatten
from distill_jax.interop.hf.layout import parameters_of
from distill_jax.interop.hf.weights import WEIGHTS
from distill_jax.models.encoder_tagger import EncoderTaggerConfig
from distill_jax.safetensors_io import TensorSource, write_safetensors


def write_token_classifier(
    directory: Path, config: EncoderTaggerConfig, params: Mapping[str, Any], tags: Sequence[str]
) -> None:
    """Writes `config.json` and `model.safetensors` (float32).

    Args:
        directory: in which the two are to be.
        config: of the tagger.
        params: its parameters, with or without boxes of logical axis names.
        tags: the names of its sBIO tags.
    """
    t5 = config.encoder
    names = {str(number): tag for number, tag in enumerate(tags)}
    fields = {
        **hf_config_fields(t5),
        "architectures": [
            "UMT5ForTokenClassification"
            if t5.relative_bias_per_layer
            else "T5ForTokenClassification"
        ],
        # Of an encoder alone it says that the token embedding has one place, `shared`.
        "tie_word_embeddings": True,
        "is_encoder_decoder": False,
        "use_cache": False,
        "classifier_dropout": config.dropout_rate,
        "id2label": names,
        "label2id": {tag: int(number) for number, tag in names.items()},
    }
    fields.pop("scale_decoder_outputs", None)
    write_json(directory / CONFIG, fields)
    write_safetensors(directory / WEIGHTS, _sources(config, params))


def _sources(config: EncoderTaggerConfig, params: Mapping[str, Any]) -> list[TensorSource]:
    flat = dict(flatten(meta.unbox(params)))

    def source(name: str, path: tuple[str, ...], transposed: bool) -> TensorSource:
        array = np.asarray(flat[path], np.float32)
        array = array.T if transposed else array
        return TensorSource(name, array.shape, lambda: array)

    encoder = [
        source(f"transformer.{parameter.hf_name}", parameter.path, parameter.transposed)
        for parameter in parameters_of(config.encoder)
        if parameter.path[0] != "decoder"
    ]
    head = [
        source("classifier.weight", ("output", "kernel"), True),
        source("classifier.bias", ("output", "bias"), False),
    ]
    return [*encoder, *head]
