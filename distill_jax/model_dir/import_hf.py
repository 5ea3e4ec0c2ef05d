"""`distill-jax import --from hf`: a Hugging Face checkpoint becomes a model directory."""

import os
from pathlib import Path

from distill_jax.errors import UserError
from distill_jax.files import read_json_object
from distill_jax.inference.settings import TaggerSettings
from distill_jax.interop.hf.checkpoint import HfCheckpoint, as_written
from distill_jax.kinds.base import Model
from distill_jax.model_dir.directory import write_model
from distill_jax.sent.format import SenTFormat
from distill_jax.tagging.labels import LabelSet
from distill_jax.vocab import (
    HUGGINGFACE_FILE,
    SENTENCEPIECE_FILE,
    VOCABULARY_FILE,
    ByteVocabulary,
    Vocabulary,
    load_vocabulary,
)

_BYTE_VOCABULARY_ROWS = 384  # of every ByT5
_VOCABULARY_FILES = (VOCABULARY_FILE, SENTENCEPIECE_FILE, HUGGINGFACE_FILE)


def import_hf(
    src: str | os.PathLike[str],
    dst: str | os.PathLike[str],
    labels: LabelSet,
    vocabulary: str | os.PathLike[str] | None = None,
    *,
    settings: TaggerSettings | None = None,
    name: str | None = None,
) -> dict[str, str]:
    """Writes the model directory of a T5 checkpoint, holding one tensor in memory at a time.

    Args:
        src: directory of a T5, Flan-T5, mT5, umT5 or ByT5 with safetensors weights.
        dst: the model directory to make, or to replace if it is one.
        labels: of the task.
        vocabulary: anything `load_vocabulary` takes; by default what `src` holds. ByT5 has no
            vocabulary file and is recognised by its tokenizer's name or its 384 rows.
        settings: how the model tags.
        name: of the model; by default that of `src`.

    Returns:
        The tensors of the checkpoint that the model has no use for, with the reason of each.

    Raises:
        UserError: in one line, naming file and remedy; `dst` is then as it was.
    """
    src, dst = Path(src), Path(dst)
    checkpoint = HfCheckpoint(src)
    if dst.resolve() == src.resolve():
        raise UserError(f"{dst}: is the checkpoint itself; give another place for the model")
    loaded = load_vocabulary(vocabulary) if vocabulary else _vocabulary_of(src, checkpoint)
    SenTFormat(loaded, labels)  # a label whose text cannot be written is found now, not later
    write_model(
        dst,
        Model(
            checkpoint.config,
            None,
            loaded,
            labels,
            settings,
            {
                "name": name or src.resolve().name,
                "training": {"imported_from": "a Hugging Face checkpoint, not trained further"},
            },
        ),
        [
            as_written(checkpoint.config, parameter, load)
            for parameter, load in checkpoint.parameters()
        ],
    )
    return checkpoint.unused


def _vocabulary_of(src: Path, checkpoint: HfCheckpoint) -> Vocabulary:
    fields = checkpoint.fields
    tokenizer = str(fields.get("tokenizer_class"))
    if (src / "tokenizer_config.json").exists():
        tokenizer += str(read_json_object(src / "tokenizer_config.json").get("tokenizer_class"))
    if fields.get("model_type") == "byt5" or "ByT5" in tokenizer:
        return ByteVocabulary()
    if any((src / file).exists() for file in _VOCABULARY_FILES):
        return load_vocabulary(src)
    if checkpoint.config.vocab_size == _BYTE_VOCABULARY_ROWS:
        return ByteVocabulary()
    raise UserError(
        f"{src}: has no vocabulary ({SENTENCEPIECE_FILE} or {HUGGINGFACE_FILE}); copy it there or "
        "name its place"
    )
