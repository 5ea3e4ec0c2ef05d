"""What all runs share: their data, their dev score, the model directory they leave."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gin
import jax

from distill_jax.data.prepare import TASK_MODULES, prepare
from distill_jax.data.prepared import PreparedDataset
from distill_jax.errors import UserError
from distill_jax.inference import Predictor, evaluate
from distill_jax.parallel.processes import first_goes_ahead
from distill_jax.tagging import LabelSet, Sentence
from distill_jax.train.loop import Evaluate
from distill_jax.vocab import Vocabulary, load_vocabulary, train_sentencepiece

TaskNames = str | Mapping[str, float]
"""A task or mixture, or several with the share of rows each gets."""

SCALARS = ("f1", "f1_strict", "precision", "recall", "perfect", "illegal", "ece", "nll", "brier")


@gin.configurable
def prepared_data(
    names: TaskNames,
    split: str,
    *,
    model_dir: str = gin.REQUIRED,
    directory: str | None = None,
    data_dir: str | None = None,
    modules: Sequence[str] = TASK_MODULES,
    label_texts: str | Mapping[str, str] | None = None,
) -> list[tuple[PreparedDataset, float]]:
    """The prepared examples of a split with their mixing rates, prepared now if they are not yet.

    They are kept in `directory` (None: `MODEL_DIR/prepared`). `data_dir` is where tasks that read
    files look (else the environment's `DISTILL_JAX_DATA`); `modules` are imported for the tasks they
    register. `label_texts`, a label file or a dictionary from name to text, replaces what the tasks'
    labels are verbalised as; labels it does not name keep their texts. Prepared data stay as they
    are: the texts are those of this run's model.

    Raises `UserError` if `label_texts` names a label that none of the tasks has.
    """
    rates = {names: 1.0} if isinstance(names, str) else dict(names)
    directory = directory or str(Path(model_dir) / "prepared")
    with first_goes_ahead("prepared data"):
        parts = [
            (part.dataset, rate * part.rate)
            for name, rate in rates.items()
            for part in prepare(name, split, directory, data_dir=data_dir, modules=modules)
        ]
    if label_texts is not None:
        _verbalise([dataset for dataset, _ in parts], label_texts)
    return parts


def _verbalise(datasets: Sequence[PreparedDataset], label_texts: str | Mapping[str, str]) -> None:
    """Gives the data sets' labels other texts, in memory."""
    if isinstance(label_texts, str):
        loaded = LabelSet.load(label_texts)
        label_texts = dict(zip(loaded.names, loaded.texts, strict=True))
    tagged = [dataset for dataset in datasets if dataset.labels is not None]
    known = {name for dataset in tagged if dataset.labels for name in dataset.labels.names}
    for name in label_texts:
        if name not in known:
            raise UserError(
                f"LABEL_TEXTS gives a text for {name!r}, which is no label of the tasks "
                f"({', '.join(sorted(known)[:5])}, …); correct the name or leave it out"
            )
    for dataset in tagged:
        assert dataset.labels is not None
        own = {name: text for name, text in label_texts.items() if name in dataset.labels.names}
        try:
            dataset.labels = dataset.labels.with_texts(own)
        except UserError as error:
            raise UserError(f"LABEL_TEXTS: {error}") from None


def contents(*datasets: PreparedDataset) -> dict[str, str]:
    """What a run reads, by name, with hashes of the sentences: for `train.loop.fit`."""
    return {f"{each.task} ({each.split})": each.content_hash() for each in datasets}


def single(parts: Sequence[tuple[PreparedDataset, float]], what: str) -> PreparedDataset:
    """The one data set of a list. Raises `UserError` if there are several."""
    if len(parts) != 1:
        raise UserError(f"{what} must be one task, not a mixture of {len(parts)}; name one task")
    return parts[0][0]


@gin.configurable
def vocabulary_file(path: str | None = None) -> Vocabulary | None:
    """An existing vocabulary: a SentencePiece file, a tokenizer directory, or `byte`."""
    return None if path is None else load_vocabulary(path)


@gin.configurable
def new_vocabulary(
    model_dir: str = gin.REQUIRED,
    mixture_or_task_name: TaskNames = gin.REQUIRED,
    size: int = 2000,
    split: str = "train",
    fold_case: bool = False,
    max_sentences: int = 50_000,
) -> Vocabulary:
    """A SentencePiece vocabulary trained on the run's own data, label texts included; made once.

    Tags occur in the targets as often as words do in the inputs, so their texts are part of the
    corpus as often as the tags occur: `O`, `I` and frequent labels become single pieces. Each task
    gives at most `max_sentences`. `fold_case` makes a vocabulary that ignores case.
    """
    directory = Path(model_dir) / "vocabulary"
    parts = prepared_data(mixture_or_task_name, split)
    with first_goes_ahead("vocabulary"):
        if not (directory / "spiece.model").exists():
            texts, required = _vocabulary_texts(parts, max_sentences)
            train_sentencepiece(
                texts,
                size,
                directory / "spiece.model",
                required=sorted(required),
                fold_case=fold_case,
            )
    return load_vocabulary(directory)


def _vocabulary_texts(
    parts: Sequence[tuple[PreparedDataset, float]], max_sentences: int
) -> tuple[list[str], set[str]]:
    """What a vocabulary is trained on, and what must be single pieces."""
    texts: list[str] = []
    required: set[str] = {"O", "I"}
    for dataset, _ in parts:
        sentences = [dataset[i] for i in range(min(len(dataset), max_sentences))]
        texts += [" ".join(sentence.words) for sentence in sentences]
        if dataset.labels is not None:
            required |= set(dataset.labels.texts)
            texts += [
                " ".join(dataset.labels.tag_texts[tag] for tag in _tag_ids(dataset, sentence))
                for sentence in sentences
                if sentence.tags
            ]
    return texts, required


def _tag_ids(dataset: PreparedDataset, sentence: Sentence) -> Any:
    assert dataset.labels is not None and sentence.tags is not None
    return dataset.labels.encode_iob2(sentence.tags)


def dev_evaluation(predictor: Predictor, dev: Sequence[Sentence]) -> Evaluate:
    """Scores parameters on the dev split; selection is by micro-F1, as in the paper.

    Raises `UserError` if the split is empty.
    """
    if not dev:
        raise UserError("the dev split is empty; check EVAL_SPLIT, its file and the few-shot sizes")
    words = [sentence.words for sentence in dev]

    def score(params: Any) -> dict[str, float]:
        start = time.monotonic()
        predictions = predictor.predict(jax.device_put(params), words)
        found = evaluate(predictor.labels, dev, predictions)
        scores = {name: float(found[name]) for name in SCALARS}
        return {"selection": scores["f1"], **scores, "seconds": time.monotonic() - start}

    return score


def scalars(result: Mapping[str, Any]) -> dict[str, float]:
    """The headline figures of an evaluation, without per-label and per-bin details."""
    return {name: float(result[name]) for name in SCALARS}
