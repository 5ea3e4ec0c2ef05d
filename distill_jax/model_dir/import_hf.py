"""`distill-jax import --from hf`: a Hugging Face checkpoint becomes a model directory.

A T5 becomes one with any labels: what it was fine-tuned to write are their texts. A BERT must be a
token classifier whose outputs are the labels' sBIO tags, in any order; one without such a head has
nothing yet that tags, and is what training starts from.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from distill_jax.errors import UserError
from distill_jax.files import read_json_object
from distill_jax.inference.settings import TaggerSettings
from distill_jax.interop.hf.bert import BertCheckpoint, written
from distill_jax.interop.hf.bert_config import BERT_TYPES, NOT_BERT
from distill_jax.interop.hf.bert_layout import HEAD
from distill_jax.interop.hf.checkpoint import CONFIG, HfCheckpoint, as_written
from distill_jax.interop.hf.layout import Parameter
from distill_jax.kinds.base import Model
from distill_jax.model_dir.directory import write_model
from distill_jax.safetensors_io import FloatArray, TensorSource
from distill_jax.sent.format import SenTFormat
from distill_jax.tagging.labels import LabelSet
from distill_jax.vocab import ByteVocabulary, Vocabulary, load_vocabulary, vocabulary_beside


def import_hf(
    src: str | os.PathLike[str],
    dst: str | os.PathLike[str],
    labels: LabelSet,
    vocabulary: str | os.PathLike[str] | None = None,
    *,
    settings: TaggerSettings | None = None,
    name: str | None = None,
) -> Mapping[str, str]:
    """Writes the model directory of a checkpoint, holding one tensor in memory at a time.

    Args:
        src: directory of a T5, Flan-T5, mT5, umT5 or ByT5, or of a BERT, ELECTRA, RoBERTa or XLM-R
            with a tag classifier, with safetensors weights.
        dst: the model directory to make, or to replace if it is one.
        labels: of the task.
        vocabulary: anything `load_vocabulary` takes; by default what `src` holds. ByT5 has no
            vocabulary file and is recognised by its tokenizer's name or its 384 rows.
        settings: how the model tags.
        name: of the model; by default that of `src`.

    Returns:
        The tensors of `src` that the model has no use for, with the reason of each.

    Raises:
        UserError: in one line, naming file and remedy; `dst` is then as it was.
    """
    src, dst = Path(src), Path(dst)
    found = (_bert if _looks_like_bert(src) else _t5)(src, labels, vocabulary)
    if dst.resolve() == src.resolve():
        raise UserError(f"{dst}: is the checkpoint itself; give another place for the model")
    training = {"imported_from": "a Hugging Face checkpoint, not trained further"}
    metadata = {"name": name or src.resolve().name, "training": training}
    model = Model(found.config, None, found.vocabulary, labels, settings, metadata)
    write_model(dst, model, found.sources)
    return found.unused


class _Found(NamedTuple):
    """A checkpoint, not yet read, as a model directory will have it."""

    config: Any
    sources: list[TensorSource]
    vocabulary: Vocabulary
    unused: Mapping[str, str]


_Place = str | os.PathLike[str] | None


def _looks_like_bert(src: Path) -> bool:
    if not (src / CONFIG).is_file():
        return False
    model_type = read_json_object(src / CONFIG).get("model_type")
    return model_type in (*BERT_TYPES, *NOT_BERT)


def _t5(src: Path, labels: LabelSet, vocabulary: _Place) -> _Found:
    checkpoint = HfCheckpoint(src)
    config = checkpoint.config
    loaded = load_vocabulary(vocabulary) if vocabulary else _vocabulary_of(src, checkpoint)
    SenTFormat(loaded, labels)  # a label whose text cannot be written is found now, not later
    sources = [as_written(config, parameter, load) for parameter, load in checkpoint.parameters()]
    return _Found(config, sources, loaded, checkpoint.unused)


def _bert(src: Path, labels: LabelSet, vocabulary: _Place) -> _Found:
    checkpoint = BertCheckpoint(src)
    loaded = load_vocabulary(vocabulary or src)
    order = _order_of_tags(checkpoint.tags, labels, src)

    def in_order(parameter: Parameter, load: Callable[[], FloatArray]) -> TensorSource:
        if parameter.hf_name.startswith(HEAD):
            return written(checkpoint.config, parameter, lambda: load()[order])
        return written(checkpoint.config, parameter, load)

    return _Found(
        checkpoint.config.padded_with(loaded.pad_id),
        [in_order(parameter, load) for parameter, load in checkpoint.parameters()],
        loaded,
        checkpoint.unused,
    )


def _order_of_tags(tags: Sequence[str], labels: LabelSet, src: Path) -> list[int]:
    """Where the head of a tag classifier has each sBIO tag of the labels.

    Tags of another scheme would have to be merged (I-a and I-b to I), which no linear layer does.
    """
    remedy = (
        "so it has to be trained: give it to gin/runs/bert_gold.gin or bert_distil.gin as "
        "INITIAL_CHECKPOINT_PATH"
    )
    if not tags:
        raise UserError(f"{src}: this BERT has no tag classifier, {remedy}")
    if sorted(tags) != sorted(labels.tags):
        shown = ", ".join(tags[:4]) + (", …" if len(tags) > 4 else "")
        raise UserError(
            f"{src}: the classifier predicts {shown}, and not O, I and the {len(labels.names)} labels, "
            f"{remedy} (its head is not used)"
        )
    return [tags.index(tag) for tag in labels.tags]


def _vocabulary_of(src: Path, checkpoint: HfCheckpoint) -> Vocabulary:
    fields = checkpoint.fields
    tokenizer = str(fields.get("tokenizer_class"))
    if (src / "tokenizer_config.json").exists():
        tokenizer += str(read_json_object(src / "tokenizer_config.json").get("tokenizer_class"))
    if fields.get("model_type") == "byt5" or "ByT5" in tokenizer:
        return ByteVocabulary()
    return vocabulary_beside(
        (src,), checkpoint.config.vocab_size, "copy it there or name its place"
    )
