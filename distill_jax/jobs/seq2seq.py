"""Runs that train a T5 on text: pre-training by span corruption and fine-tuning on SenT′.

Both are one function: each part of the mixture is learnt in the way its data allow, tagged
sentences in the SenT′ format and plain text by span corruption.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gin
import jax
import numpy as np
import optax
from jax.sharding import Mesh

from distill_jax.data.augmentation import swap_mentions
from distill_jax.data.prepared import PreparedDataset
from distill_jax.data.seq2seq import (
    Seq2SeqPart,
    packed_rows,
    span_corruption_part,
    tagging_part,
)
from distill_jax.distill.objectives import LanguageModel
from distill_jax.errors import UserError
from distill_jax.inference import SentPredictor
from distill_jax.interop.hf.checkpoint import write_hf
from distill_jax.jobs.common import (
    TaskNames,
    contents,
    dev_evaluation,
    prepared_data,
    single,
)
from distill_jax.jobs.t5_start import TrainingLayout, start_t5
from distill_jax.jobs.text_vectors import with_text_embedding
from distill_jax.model_dir.directory import save_model
from distill_jax.model_dir.settings import TaggerSettings
from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config, T5Execution
from distill_jax.parallel.mesh import make_mesh
from distill_jax.parallel.processes import is_first
from distill_jax.sent.format import SenTFormat, check_vocabulary_fits
from distill_jax.sentscore import DecoderSettings, Normaliser
from distill_jax.tagging import LabelSet, Sentence
from distill_jax.train.checkpoints import RunCheckpoints
from distill_jax.train.feed import RowBatches
from distill_jax.train.loop import Evaluate, Outcome, Schedule, fit
from distill_jax.vocab import Vocabulary


@gin.configurable
def train_t5(
    *,
    model_dir: str = gin.REQUIRED,
    mixture_or_task_name: TaskNames = gin.REQUIRED,
    task_feature_lengths: Mapping[str, int] = gin.REQUIRED,
    batch_size: int = gin.REQUIRED,
    optimizer: optax.GradientTransformation = gin.REQUIRED,
    schedule: Schedule = gin.REQUIRED,
    eval_task: str | None = None,
    initial_checkpoint_path: str | None = None,
    model: Callable[..., T5Config] | None = None,
    vocabulary: Vocabulary | None = None,
    initialiser: Callable[[Any, T5Config], Any] | None = None,
    embedding_text: TaskNames | None = None,
    mention_copies: int = 0,
    dropout_rate: float | None = None,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    logit_chunks: int = 1,
    execution: T5Execution | None = None,
    train_split: str = "train",
    eval_split: str = "valid",
    eval_examples: int | None = None,
    packing: bool = True,
    normaliser: Normaliser = "vocab",
    single_token_tags: bool = False,
    eval_batch_size: int = 32,
    mesh: Mesh | None = None,
    seed: int = 0,
) -> Outcome:
    """Trains a T5 on a task or mixture and leaves it in `MODEL_DIR/model`.

    Args:
        model_dir: the run's directory: checkpoints, metrics, prepared data, the model.
        mixture_or_task_name: a task or mixture, or several with their rates.
        task_feature_lengths: tokens of a packed row, `inputs` and `targets`.
        batch_size: rows of a step; a packed row holds several sentences.
        eval_task: the tagging task whose dev split selects the model, by F1 (None: the task itself
            if it is a single tagged one, else the loss on the dev split of the mixture).
        initial_checkpoint_path: a model directory to start from, with its vocabulary.
        model, vocabulary: for a start from random weights: a `T5Config` without `vocab_size`, and
            its vocabulary.
        initialiser: changes random initial weights (`point_at_equal_tokens`).
        embedding_text: tasks from whose training sentences the embedding of a T5 that starts from random
            weights is made: tokens that stand in the same places begin alike.
        mention_copies: variants of each labelled training sentence, mentions swapped (`swap_mentions`).
        dropout_rate: in this training; the model that leaves it keeps that of its configuration.
        logit_chunks: compute the loss over the vocabulary in so many parts, for less memory.
        execution: how the model is computed while it is trained.
        eval_examples: use only the first so many sentences of each dev split.
        single_token_tags: write each tag as one token of its own instead of its label's text (see
            `SenTFormat`), for a model that is to be small and fast; all tasks need the same labels.
    """
    parts = prepared_data(mixture_or_task_name, train_split)
    config, initial_params, vocabulary = start_t5(
        initial_checkpoint_path, model, vocabulary, initialiser, seed
    )
    if embedding_text is not None:
        if initial_checkpoint_path is not None:
            raise UserError(
                "EMBEDDING_TEXT is for a start from random weights, and INITIAL_CHECKPOINT_PATH has "
                "an embedding already; leave one of them out"
            )
        if not _goes_on(model_dir):
            initial_params = with_text_embedding(
                initial_params, config, vocabulary, embedding_text, seed
            )
    check_vocabulary_fits(vocabulary, config.vocab_size)
    # The model that leaves the run keeps its own: pre-training without dropout says nothing of tuning.
    dropout = config.dropout_rate if dropout_rate is None else dropout_rate
    layout = TrainingLayout(config.replace(dropout_rate=dropout), execution)
    objective = LanguageModel(
        T5(layout.config), label_smoothing=label_smoothing, z_loss=z_loss, logit_chunks=logit_chunks
    )
    lengths = dict(task_feature_lengths)
    labels = _labels(parts, eval_task, eval_split)
    if single_token_tags:
        _check_one_label_set(parts, labels)

    def format_of(tags: LabelSet) -> SenTFormat:
        return SenTFormat(
            vocabulary, tags, single_token_tags=single_token_tags, rows=config.vocab_size
        )

    def part(sentences: Sequence[Sentence], tags: LabelSet | None, rate: float) -> Seq2SeqPart:
        if tags is None:
            return span_corruption_part(sentences, vocabulary, lengths, rate=rate)
        return tagging_part(sentences, format_of(tags), lengths, rate=rate)

    def training_sentences(dataset: PreparedDataset) -> list[Sentence]:
        sentences = list(dataset)
        if dataset.labels is None or mention_copies == 0:
            return sentences
        return swap_mentions(sentences, mention_copies, seed=seed)

    rows = packed_rows(
        [part(training_sentences(dataset), dataset.labels, rate) for dataset, rate in parts],
        lengths,
        seed=seed,
        start_id=config.decoder_start_id,
        packing=packing,
    )
    if labels is None:
        dev_parts = prepared_data(mixture_or_task_name, eval_split)
        held_out = [
            part(_first(dataset, eval_examples), dataset.labels, rate)
            for dataset, rate in dev_parts
        ]
        evaluate = _loss_evaluation(objective, held_out, lengths, batch_size, config)
    else:
        dev_parts = prepared_data(eval_task or mixture_or_task_name, eval_split)
        dev = single(dev_parts, "eval_task")
        predictor = SentPredictor(
            T5(layout.unstacked),
            format_of(labels),
            decoder=DecoderSettings(normaliser=normaliser),
            batch_size=eval_batch_size,
        )
        evaluate = layout.evaluation(dev_evaluation(predictor, _first(dev, eval_examples)))
    outcome = fit(
        objective,
        RowBatches(rows, batch_size),
        evaluate,
        model_dir=model_dir,
        optimizer=optimizer,
        schedule=schedule,
        batch_size=batch_size,
        mesh=make_mesh() if mesh is None else mesh,
        seed=seed,
        initial_params=layout.initial(initial_params),
        inputs=contents(*(dataset for dataset, _ in [*parts, *dev_parts])),
    )
    if not is_first():
        return outcome
    params = layout.final(outcome.params)
    if labels is None:
        # Not a tagger of any one label set: a plain Hugging Face directory to start others from.
        write_hf(Path(model_dir) / "model", config, params)
        vocabulary.save(Path(model_dir) / "model")
        return outcome
    save_model(
        Path(model_dir) / "model",
        config=config,
        params=params,
        vocabulary=vocabulary,
        labels=labels,
        settings=TaggerSettings(normaliser=normaliser, single_token_tags=single_token_tags),
        role="teacher",
        metrics=outcome.metrics,
        training={
            "task": str(mixture_or_task_name),
            "steps": outcome.best_step,
            "seconds": outcome.seconds,
        },
    )
    return outcome


def _check_one_label_set(
    parts: Sequence[tuple[PreparedDataset, float]], labels: LabelSet | None
) -> None:
    """Tags of a single token mean what they mean for one label set only."""
    for dataset, _ in parts:
        if dataset.labels is not None and dataset.labels != labels:
            raise UserError(
                "single_token_tags needs one label set, and the tasks of the mixture have several; "
                "train on one task, or on tasks with the same labels and eval_task"
            )


def _goes_on(model_dir: str) -> bool:
    """Whether the run takes its state from a checkpoint, whatever a new one would start from."""
    directory = Path(model_dir) / "checkpoints"
    if not directory.is_dir():
        return False
    with RunCheckpoints(directory) as checkpoints:
        return checkpoints.latest_step() is not None


def _labels(
    parts: list[tuple[PreparedDataset, float]], eval_task: str | None, eval_split: str
) -> LabelSet | None:
    """The label set of the model that leaves the run, where it is a tagger."""
    if eval_task is not None:
        dataset = single(prepared_data(eval_task, eval_split), "eval_task")
        if dataset.labels is None:
            raise UserError(f"eval_task {eval_task!r} is plain text; name a tagging task")
        return dataset.labels
    return parts[0][0].labels if len(parts) == 1 else None


def _first(dataset: PreparedDataset, count: int | None) -> list[Sentence]:
    return [dataset[i] for i in range(min(len(dataset), count or len(dataset)))]


def _loss_evaluation(
    objective: LanguageModel,
    parts: list[Seq2SeqPart],
    lengths: Mapping[str, int],
    batch_size: int,
    config: T5Config,
) -> Evaluate:
    """The loss on held-out rows; span corruption is drawn once, the same for every evaluation."""
    rows = packed_rows(parts, lengths, seed=0, start_id=config.decoder_start_id, repeat=False)
    loss = jax.jit(lambda params, batch: objective.loss(params, batch, None))

    def score(params: Any) -> dict[str, float]:
        params = jax.device_put(params)
        totals: dict[str, np.ndarray] = {}
        for start in range(0, len(rows), batch_size):
            chosen = [rows[i] for i in range(start, min(start + batch_size, len(rows)))]
            empty = {name: np.zeros_like(array) for name, array in chosen[0].items()}
            chosen += [empty] * (batch_size - len(chosen))
            batch = {name: np.stack([row[name] for row in chosen]) for name in empty}
            for name, pair in jax.device_get(loss(params, batch)).items():
                totals[name] = totals.get(name, np.zeros(2)) + np.array(pair, np.float64)
        means = {name: float(s / max(w, 1.0)) for name, (s, w) in totals.items()}
        return {"selection": -means["loss"], **means}

    return score
