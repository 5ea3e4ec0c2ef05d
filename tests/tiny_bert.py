"""A tiny random BERT as Hugging Face has them, and its WordPiece tokenizer, for tests of what reads them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distill_jax.files import write_json
from distill_jax.interop.hf.bert_config import hf_bert_fields
from distill_jax.interop.hf.bert_layout import parameters_of_bert
from distill_jax.models.bert_config import BertConfig
from distill_jax.safetensors_io import TensorSource, write_safetensors

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
BERT = BertConfig(
    vocab_size=128, d_model=8, d_ff=8, num_heads=2, num_layers=3, max_positions=40, dropout_rate=0.0
)


def write_wordpieces(directory: Path, pieces: Sequence[str], **flags: Any) -> None:
    """A `vocab.txt` with its `tokenizer_config.json`."""
    directory.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{piece}\n" for piece in (*SPECIAL, *pieces))
    (directory / "vocab.txt").write_text(text, "utf-8")
    write_json(directory / "tokenizer_config.json", {"do_lower_case": True, **flags})


def random_tensors(config: BertConfig, seed: int = 0) -> dict[str, np.ndarray]:
    """Random values of every tensor, by its name in a checkpoint of a bare encoder."""
    rng = np.random.default_rng(seed)
    return {
        parameter.hf_name: rng.normal(size=parameter.hf_shape).astype(np.float32)
        for parameter in parameters_of_bert(config)
    }


def write_encoder(
    directory: Path,
    config: BertConfig = BERT,
    tensors: dict[str, np.ndarray] | None = None,
    **fields: Any,
) -> dict[str, np.ndarray]:
    """A checkpoint of a bare encoder, with more fields in its `config.json`; returns its tensors."""
    directory.mkdir(parents=True, exist_ok=True)
    tensors = random_tensors(config) if tensors is None else tensors
    described = {**hf_bert_fields(config, ()), "architectures": ["BertModel"], **fields}
    write_json(directory / "config.json", described)
    write_safetensors(
        directory / "model.safetensors",
        [TensorSource(name, value.shape, lambda v=value: v) for name, value in tensors.items()],
    )
    return tensors
