"""Makes the golden T5 checkpoints, hidden states and logits that the tests compare with.

    python tests/golden/make_t5_golden.py

needs PyTorch and transformers (versions are written to each `provenance.json`), takes seconds on a
CPU and replaces `tests/golden/t5_*`. Weights are random, from a fixed seed, scaled so that
attention is neither flat nor one-hot and logits are of the order of 1 to 10. Distances go far past
`relative_attention_max_distance`; some rows are padded on the right, one on the left.

What transformers 5 makes of the two embeddings (see `distill_jax/interop/hf_config.py`):

* `t5_v1_0`: tied, scaled.
* `t5_v1_1`: untied, not scaled; its config.json is in the form in which v1.1 was published.
* `t5_umt5`: untied, and scaled nonetheless.
"""

import hashlib
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import transformers
from transformers import (
    T5Config,
    T5ForConditionalGeneration,
    UMT5Config,
    UMT5ForConditionalGeneration,
)

HERE = Path(__file__).resolve().parent
SEED = 20230215
COMMON = {
    "vocab_size": 96,
    "d_model": 32,
    "d_kv": 6,  # num_heads * d_kv differs from d_model
    "d_ff": 40,
    "num_heads": 4,
    "decoder_start_token_id": 0,
    "attn_implementation": "eager",
}
MODELS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "t5_v1_0": (
        T5ForConditionalGeneration,
        T5Config,
        {
            "num_layers": 2,
            "num_decoder_layers": 2,
            "feed_forward_proj": "relu",
            "relative_attention_num_buckets": 32,
            "relative_attention_max_distance": 20,
        },
    ),
    "t5_v1_1": (
        T5ForConditionalGeneration,
        T5Config,
        {
            "num_layers": 2,
            "num_decoder_layers": 3,
            "feed_forward_proj": "gated-gelu",
            "tie_word_embeddings": False,
            "relative_attention_num_buckets": 8,
            "relative_attention_max_distance": 20,
        },
    ),
    "t5_umt5": (
        UMT5ForConditionalGeneration,
        UMT5Config,
        {
            "num_layers": 3,
            "num_decoder_layers": 2,
            "feed_forward_proj": "gated-gelu",
            "relative_attention_num_buckets": 16,
            "relative_attention_max_distance": 24,
        },
    ),
}
SOURCE_LENGTH = 72
TARGET_LENGTH = 64


def randomise(model: Any, untied: bool, generator: torch.Generator) -> None:
    """Draws every parameter anew; transformers' own scales leave biases and norms untested."""
    if untied:
        model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.shared.weight))
    scaled_logits = not untied or isinstance(model, UMT5ForConditionalGeneration)
    for name, parameter in model.named_parameters():
        values = torch.randn(parameter.shape, generator=generator)
        if "layer_norm" in name:
            values = 1 + 0.2 * values
        elif "relative_attention_bias" in name:
            pass
        elif name in ("shared.weight", "lm_head.weight"):
            values = values * (4 if scaled_logits else 1)
        elif ".q." in name or ".k." in name:
            values = values * (0.7 * parameter.shape[1] ** -0.5)
        else:
            values = values * parameter.shape[1] ** -0.5
        parameter.data.copy_(values)


def make(name: str) -> None:
    """Writes one checkpoint with its inputs and outputs."""
    model_class, config_class, fields = MODELS[name]
    generator = torch.Generator().manual_seed(SEED)
    model = model_class(config_class(**COMMON, **fields)).eval()
    randomise(model, untied=name != "t5_v1_0", generator=generator)

    directory = HERE / name
    directory.mkdir(exist_ok=True)
    state = {key: value.clone().contiguous() for key, value in model.state_dict().items()}
    duplicates = ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"]
    duplicates += ["lm_head.weight"] if name == "t5_v1_0" else []
    for key in duplicates:
        del state[key]
    safetensors.torch.save_file(state, directory / "model.safetensors", {"format": "pt"})
    config = json.loads(model.config.to_json_string())
    config["architectures"] = [model_class.__name__]
    if name == "t5_v1_1":
        config["tie_word_embeddings"] = False
        config.pop("scale_decoder_outputs")
        config.pop("transformers_version")
    write_json(directory / "config.json", config)

    reloaded = model_class.from_pretrained(directory, attn_implementation="eager").eval()
    rng = np.random.default_rng(SEED)
    vocab = COMMON["vocab_size"]
    encoder_ids = rng.integers(1, vocab, (4, SOURCE_LENGTH))
    decoder_ids = rng.integers(1, vocab, (4, TARGET_LENGTH))
    decoder_ids[:, 0] = 0
    encoder_mask = np.ones_like(encoder_ids)
    decoder_mask = np.ones_like(decoder_ids)
    encoder_mask[1, 41:] = 0
    encoder_mask[2, 1:] = 0
    encoder_mask[3, :9] = 0  # padded on the left
    decoder_mask[1, 50:] = 0
    decoder_mask[2, 3:] = 0
    encoder_ids[encoder_mask == 0] = 0
    decoder_ids[decoder_mask == 0] = 0
    with torch.no_grad():
        outputs = [
            m(
                input_ids=torch.tensor(encoder_ids),
                attention_mask=torch.tensor(encoder_mask),
                decoder_input_ids=torch.tensor(decoder_ids),
                decoder_attention_mask=torch.tensor(decoder_mask),
                output_hidden_states=True,
            )
            for m in (model, reloaded)
        ]
    if not torch.equal(outputs[0].logits, outputs[1].logits):
        raise RuntimeError(f"{name}: the stored checkpoint is not the model that ran")
    logits = outputs[0].logits.numpy()
    scale = float(np.sqrt(np.mean(logits[decoder_mask == 1] ** 2)))
    if not 1 <= scale <= 10:
        raise RuntimeError(f"{name}: logits have a root mean square of {scale:.2f}")
    np.savez_compressed(
        directory / "outputs.npz",
        encoder_ids=encoder_ids.astype(np.int32),
        encoder_mask=encoder_mask.astype(np.int32),
        decoder_ids=decoder_ids.astype(np.int32),
        decoder_mask=decoder_mask.astype(np.int32),
        encoder_hidden=outputs[0].encoder_last_hidden_state.numpy(),
        decoder_hidden=outputs[0].decoder_hidden_states[-1].numpy(),
        logits=logits,
    )
    write_json(
        directory / "provenance.json",
        {
            "script": "tests/golden/make_t5_golden.py",
            "seed": SEED,
            "class": model_class.__name__,
            "attention": "eager",
            "dtype": "float32",
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "numpy": np.__version__,
            "logits_root_mean_square": round(scale, 3),
            "sha256": {
                file: hashlib.sha256((directory / file).read_bytes()).hexdigest()
                for file in ("model.safetensors", "outputs.npz")
            },
        },
    )


def write_json(path: Path, value: Any) -> None:
    """Indented, with a newline at the end."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for model_name in MODELS:
        make(model_name)
