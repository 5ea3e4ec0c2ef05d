"""`distill-jax export --to t5x`: a T5's model directory becomes a folder that t5x reads."""

import os
from pathlib import Path

from distill_jax.errors import UserError
from distill_jax.files import atomic_directory
from distill_jax.interop.hf.checkpoint import HfCheckpoint
from distill_jax.interop.t5x.config import GIN_FILE, gin_text
from distill_jax.interop.t5x.writing import write_checkpoint
from distill_jax.kinds.registry import kind_of
from distill_jax.model_dir.directory import open_model

LABELS = "labels.txt"


def export_t5x(src: str | os.PathLike[str], dst: str | os.PathLike[str], *, step: int = 0) -> None:
    """Writes `dst/checkpoint_<step>`, and beside it what t5x keeps elsewhere.

    That is the model's description for a Gin file (`config.gin`), the vocabulary, and the labels. One
    array is in memory at a time (of all layers together, where they are scanned).

    Args:
        src: the model directory of a T5.
        dst: a folder that is not there yet, or is empty.
        step: that the checkpoint says it is of.

    Raises:
        UserError: in one line, naming file and remedy; `dst` is then as it was.
    """
    src, dst = Path(src), Path(dst).absolute()
    model, _ = open_model(src)
    config = model.config
    if kind_of(config).name != "t5":
        raise UserError(f"{src}: is no T5, and t5x has no other models; export a T5")
    if config.relative_buckets != 32 or config.relative_max_distance != 128:
        raise UserError(
            f"{src}: has {config.relative_buckets} relative buckets up to a distance of "
            f"{config.relative_max_distance}, and t5x's T5 has 32 up to 128; it cannot be exported"
        )
    if config.layer_norm_epsilon != 1e-6 or config.decoder_start_id != 0:
        raise UserError(
            f"{src}: has layer_norm_epsilon {config.layer_norm_epsilon} and decoder_start_id "
            f"{config.decoder_start_id}, and t5x's T5 has 1e-06 and 0; it cannot be exported"
        )
    if dst.exists() and (not dst.is_dir() or any(dst.iterdir())):
        raise UserError(
            f"{dst}: exists and is not an empty folder; give another place or remove it"
        )
    with atomic_directory(dst) as temporary:
        folder = temporary / f"checkpoint_{step}"
        folder.mkdir()
        write_checkpoint(folder, config, HfCheckpoint(src).parameters(), step)
        (temporary / GIN_FILE).write_text(gin_text(config), "utf-8")
        model.vocabulary.save(temporary)
        model.labels.save(temporary / LABELS)
