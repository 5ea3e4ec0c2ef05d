"""`distill-jax import --from t5x`: a checkpoint of t5x becomes a model directory."""

import os

from distill_jax.interop.hf.checkpoint import as_written
from distill_jax.interop.t5x.checkpoint import T5xCheckpoint
from distill_jax.kinds.base import Model
from distill_jax.model_dir.directory import write_model
from distill_jax.sent.format import SenTFormat
from distill_jax.tagging import LabelSet
from distill_jax.vocab import load_vocabulary


def import_t5x(
    checkpoint: T5xCheckpoint,
    dst: str | os.PathLike[str],
    labels: LabelSet,
    vocabulary: str | os.PathLike[str] | None = None,
) -> None:
    """Writes the model directory of a checkpoint, holding one of its arrays in memory at a time.

    Args:
        checkpoint: of t5x.
        dst: the model directory to make, or to replace if it is one.
        labels: of the task.
        vocabulary: anything `load_vocabulary` takes; by default what lies beside the checkpoint,
            or bytes if the model has ByT5's number of rows.

    Raises:
        UserError: in one line, naming file and remedy; `dst` is then as it was.
    """
    loaded = load_vocabulary(vocabulary) if vocabulary else checkpoint.vocabulary()
    SenTFormat(loaded, labels)  # a label whose text cannot be written is found now, not later
    config = checkpoint.config
    sources = [as_written(config, parameter, load) for parameter, load in checkpoint.parameters()]
    training = {"imported_from": "a checkpoint of t5x, not trained further"}
    metadata = {"name": checkpoint.path.resolve().parent.name, "training": training}
    write_model(dst, Model(config, None, loaded, labels, None, metadata), sources)
