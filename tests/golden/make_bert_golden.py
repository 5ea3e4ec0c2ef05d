"""Makes the golden BERT checkpoints and hidden states that the tests compare with.

    python tests/golden/make_bert_golden.py

needs PyTorch and transformers (versions are written to each `provenance.json`), takes seconds on a
CPU and replaces `tests/golden/{bert,electra,roberta,xlm_roberta}`. Weights are random, from a fixed
seed, scaled so that attention is neither flat nor one-hot and no bias is zero. Some rows are padded on
the right, one on the left; RoBERTa and XLM-R count positions without padding, and pad with 1.

* `bert`: a bare encoder with its pooler, tensors named without a prefix; two token types.
* `electra`: a token classifier; embeddings of another width, ReLU.
* `roberta`: a token classifier, another epsilon, one token type.
* `xlm_roberta`: a masked language model, whose head is not used; the approximate GELU.
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
    BertConfig,
    BertModel,
    ElectraConfig,
    ElectraForTokenClassification,
    RobertaConfig,
    RobertaForTokenClassification,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)

HERE = Path(__file__).resolve().parent
SEED = 20230215
LENGTH = 24
TAGS = {0: "O", 1: "I", 2: "city", 3: "date_time"}
COMMON = {
    "vocab_size": 80,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "attn_implementation": "eager",
    "id2label": TAGS,
}
MODELS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "bert": (BertModel, BertConfig, {"max_position_embeddings": 26}),
    "electra": (
        ElectraForTokenClassification,
        ElectraConfig,
        {"max_position_embeddings": 24, "embedding_size": 20, "hidden_act": "relu"},
    ),
    "roberta": (
        RobertaForTokenClassification,
        RobertaConfig,
        {
            "max_position_embeddings": 26,
            "type_vocab_size": 1,
            "layer_norm_eps": 1e-5,
            "pad_token_id": 1,
        },
    ),
    "xlm_roberta": (
        XLMRobertaForMaskedLM,
        XLMRobertaConfig,
        {
            "max_position_embeddings": 30,
            "type_vocab_size": 1,
            "layer_norm_eps": 1e-5,
            "pad_token_id": 1,
            "hidden_act": "gelu_new",
        },
    ),
}


def randomise(model: Any, generator: torch.Generator) -> None:
    """Draws every parameter anew; transformers' own scales leave biases and norms untested."""
    for name, parameter in model.named_parameters():
        values = torch.randn(parameter.shape, generator=generator)
        if name.lower().endswith(("layernorm.weight", "layer_norm.weight")):
            values = 1 + 0.2 * values
        elif name.endswith("bias"):
            values = 0.2 * values
        elif "embeddings." not in name:
            values = values * (1.5 * parameter.shape[1] ** -0.5)
        parameter.data.copy_(values)


def make(name: str) -> None:
    """Writes one checkpoint with its inputs and outputs."""
    model_class, config_class, fields = MODELS[name]
    model = model_class(config_class(**COMMON, **fields)).eval()
    randomise(model, torch.Generator().manual_seed(SEED))

    directory = HERE / name
    directory.mkdir(exist_ok=True)
    state = {key: value.clone().contiguous() for key, value in model.state_dict().items()}
    state.pop("lm_head.decoder.weight", None)  # tied, as are the bias's two names
    state.pop("lm_head.decoder.bias", None)
    safetensors.torch.save_file(state, directory / "model.safetensors", {"format": "pt"})
    config = json.loads(model.config.to_json_string())
    config["architectures"] = [model_class.__name__]
    write_json(directory / "config.json", config)

    reloaded = model_class.from_pretrained(directory, attn_implementation="eager").eval()
    pad = model.config.pad_token_id
    tokens = np.random.default_rng(SEED).integers(2, COMMON["vocab_size"], (4, LENGTH))
    tokens[1, 17:] = pad
    tokens[2, 2:] = pad
    tokens[3, :5] = pad  # on the left
    mask = (tokens != pad).astype(np.int64)
    with torch.no_grad():
        outputs = [
            m(
                input_ids=torch.tensor(tokens),
                attention_mask=torch.tensor(mask),
                output_hidden_states=True,
            )
            for m in (model, reloaded)
        ]
    if not torch.equal(outputs[0].hidden_states[-1], outputs[1].hidden_states[-1]):
        raise RuntimeError(f"{name}: the stored checkpoint is not the model that ran")
    arrays = {
        "tokens": tokens.astype(np.int32),
        "hidden_states": torch.stack(outputs[0].hidden_states).numpy(),
    }
    if "TokenClassification" in model_class.__name__:
        arrays["logits"] = outputs[0].logits.numpy()
    np.savez_compressed(directory / "outputs.npz", **arrays)
    write_json(
        directory / "provenance.json",
        {
            "script": "tests/golden/make_bert_golden.py",
            "seed": SEED,
            "class": model_class.__name__,
            "attention": "eager",
            "dtype": "float32",
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "numpy": np.__version__,
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
