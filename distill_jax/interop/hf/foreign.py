"""What was given in place of a checkpoint, and what to do about it."""

import re
from pathlib import Path
from typing import Any

from distill_jax.errors import UserError
from distill_jax.safetensors_io import TensorEntry

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_ADAPTER = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")


def check_is_checkpoint(directory: Path, config: str) -> None:
    """Refuses what is no directory with a `config.json`.

    Args:
        directory: what the user named.
        config: the name of the file that it must have.

    Raises:
        UserError: there is no such directory, or it holds an adapter alone.
    """
    if not directory.is_dir():
        # A path that leads somewhere is a mistyped path; one that does not may be a name of the hub.
        if not directory.exists() and _HUB_ID.fullmatch(str(directory)):
            raise UserError(
                f"{directory}: no such directory; if it is a model of the Hugging Face hub, download it "
                f"first (`hf download {directory} --local-dir DIR`) and give DIR"
            )
        raise UserError(f"{directory}: no such directory; give that of a checkpoint")
    if (directory / config).exists():
        return
    for name in _ADAPTER:
        if (directory / name).exists():
            raise UserError(_adapter(directory / name))


def check_weights_are_whole(directory: Path) -> None:
    """Says of a directory without weights what is there instead. Raises `UserError`, or returns."""
    for name in _ADAPTER:
        if (directory / name).exists():
            raise UserError(_adapter(directory / name))
    if shards := sorted(directory.glob("model-*-of-*.safetensors")):
        raise UserError(
            f"{directory}: has the shard {shards[0].name} but not the index that says which tensors "
            "the shards hold (model.safetensors.index.json); download that too"
        )


def check_not_quantised(fields: dict[str, Any], where: str) -> None:
    """Refuses a checkpoint that `quantization_config` says is quantised."""
    quantised = fields.get("quantization_config")
    if quantised is None:
        return
    method = quantised.get("quant_method") if isinstance(quantised, dict) else None
    raise UserError(
        f"{where}: quantization_config says that the weights are quantised"
        f"{f' ({method})' if method else ''}; give the checkpoint before it was quantised, or load it in "
        "transformers, call dequantize() and save_pretrained(directory)"
    )


def check_has_decoder(entries: dict[str, TensorEntry], where: str) -> None:
    """Refuses weights of an encoder alone."""
    if any(name.startswith("encoder.") for name in entries) and not any(
        name.startswith("decoder.block.") for name in entries
    ):
        raise UserError(
            f"{where}: holds an encoder alone (a T5EncoderModel: there is no tensor decoder.block.…); "
            "use a checkpoint that has the decoder too"
        )


def _adapter(file: Path) -> str:
    return (
        f"{file}: an adapter (LoRA, PEFT), which changes a model and is none; load both in peft, call "
        "merge_and_unload() and save_pretrained(directory), and give that directory"
    )
