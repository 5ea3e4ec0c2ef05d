"""What `distill-jax fit --teacher DIR` may be: looked at before anything heavy is imported; no JAX."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

from distill_jax.errors import UserError
from distill_jax.files import read_json_object
from distill_jax.interop.hf.bert_config import BERT_TYPES, NOT_BERT
from distill_jax.interop.hf.config import NOT_T5, T5_TYPES
from distill_jax.interop.hf.foreign import check_is_checkpoint, check_weights_are_whole
from distill_jax.interop.hf.weights import INDEX, WEIGHTS, find_entries
from distill_jax.tagging import LabelSet
from distill_jax.vocab.loading import load_vocabulary
from distill_jax_runtime.directory import is_exported

CONFIG, TAGGER = "config.json", "tagger.json"


@dataclasses.dataclass(frozen=True)
class TeacherSource:
    """A directory to make a teacher of.

    Attributes:
        path: the directory with its `config.json`.
        kind: `bert` and `t5` are fine-tuned; a `tagger` labels as it is.
        labels: of a tagger.
        width: of a `t5`, d_model.
    """

    path: Path
    kind: Literal["bert", "t5", "tagger"]
    labels: LabelSet | None = None
    width: int = 0


def teacher_source(directory: str, wanted: LabelSet) -> TeacherSource:
    """What is in a directory.

    A tagger of the wanted labels labels as it is; one of other labels is fine-tuned, if it is a BERT or a T5.

    Raises:
        UserError: it is no checkpoint, lacks a file, or is of a kind that cannot be a teacher.
    """
    path = Path(directory)
    if not (path / CONFIG).exists() and (path / "model" / CONFIG).is_file():
        path /= "model"  # the directory of a run was given
    check_is_checkpoint(path, CONFIG)
    if is_exported(path) and not (path / CONFIG).exists():
        raise UserError(
            f"{path}: an export, of which no teacher is made; give the model directory that it was made of"
        )
    fields = read_json_object(path / CONFIG, absent="give the directory of a checkpoint")
    if not any((path / name).is_file() for name in (WEIGHTS, INDEX)):
        check_weights_are_whole(path)
        raise UserError(
            f"{path}: has no {WEIGHTS}; download the safetensors file, or load the model in transformers "
            "and save_pretrained(DIR)"
        )
    # Raises if a file is damaged; which tensors are used, and of what type, is looked at where they are read.
    find_entries(path, skip=lambda name: True)
    model_type = str(fields.get("model_type"))
    labels = _labels(path / TAGGER) if (path / TAGGER).is_file() else None
    if labels is not None and set(labels.names) >= set(wanted.names):
        return TeacherSource(path, "tagger", labels)
    if model_type in (*BERT_TYPES, *T5_TYPES):
        load_vocabulary(path)  # raises if there is none, or it cannot be read
    if model_type in BERT_TYPES:
        return TeacherSource(path, "bert")
    if model_type in T5_TYPES:
        return TeacherSource(path, "t5", width=int(fields.get("d_model", 512)))
    if labels is not None:
        missing = sorted(set(wanted.names) - set(labels.names))
        raise UserError(
            f"{path}: this tagger does not know the label {missing[0]!r} of the data, and a model of its "
            "kind is not fine-tuned to new labels; give a BERT or a T5"
        )
    known = f"of which no teacher can be made; use one of {', '.join((*BERT_TYPES, *T5_TYPES))}"
    reason = {**NOT_BERT, **NOT_T5}.get(model_type, known)
    raise UserError(f"{path / CONFIG}: model_type is {model_type!r}, {reason}")


def _labels(path: Path) -> LabelSet:
    fields: dict[str, Any] = read_json_object(path)
    try:
        names, texts = zip(
            *((each["name"], each["text"]) for each in fields["labels"]), strict=True
        )
        return LabelSet(tuple(names), tuple(texts))
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path}: `labels` is missing or malformed; copy the file again") from None
