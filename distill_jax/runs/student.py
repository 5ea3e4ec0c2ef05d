"""Runs that train a student from gold sentences and a teacher's labels."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gin
import jax
import numpy as np
import optax
from flax import linen as nn
from jax.sharding import Mesh

from distill_jax.data.distillation import Target, sent_batches, word_batches
from distill_jax.data.prepared import PreparedDataset
from distill_jax.distill.objectives import (
    DistillationWeights,
    SentDistillation,
    TaggerDistillation,
)
from distill_jax.distill.store import TeacherLabels
from distill_jax.errors import UserError
from distill_jax.inference import SentPredictor, WordPredictor
from distill_jax.interop.model_dir import save_model
from distill_jax.interop.settings import TaggerSettings
from distill_jax.models.bilstm import BiLSTMConfig, BiLSTMTagger, with_word_embeddings
from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config
from distill_jax.runs.common import dev_evaluation, prepared_data, single
from distill_jax.runs.t5_start import start_t5
from distill_jax.sent.format import SenTFormat
from distill_jax.sentscore import DecoderSettings, LabelTrie, Normaliser
from distill_jax.tagging import LabelSet, Sentence
from distill_jax.train.loop import Outcome, Schedule, fit
from distill_jax.train.mesh import make_mesh
from distill_jax.vocab import Vocabulary
from distill_jax.word_vocab import WordVocabulary, load_glove

gin.external_configurable(BiLSTMConfig, module="models")
gin.external_configurable(DistillationWeights, module="distill")


def student_targets(
    gold: Sequence[Sentence], labels: LabelSet, teacher_labels: TeacherLabels | None
) -> list[Target]:
    """Gold sentences with gold tags, the store's others with the teacher's tags.

    A gold sentence that the teacher labelled too keeps its gold tags and gets the teacher's scores
    (PAPERS, P1: y* is the gold tag on gold words, the KL term is on all words). Sentences without
    words are left out. Raises `UserError` if a gold sentence has no tags.
    """
    stored = {} if teacher_labels is None else {label.words: label for label in teacher_labels}
    targets = []
    for number, sentence in enumerate(gold):
        if sentence.tags is None:
            raise UserError(
                f"gold sentence {number} ({' '.join(sentence.words[:8])}…) has no tags; "
                "a student's task must have tags"
            )
        tags = labels.encode_iob2(sentence.tags)
        label = stored.get(sentence.words)
        scores = None if label is None else label.log_posteriors
        targets.append(Target(sentence.words, tags, scores))
    # Only now: a gold sentence may occur twice.
    labelled = {sentence.words for sentence in gold}
    targets += [
        Target(label.words, label.tag_ids, label.log_posteriors)
        for label in stored.values()
        if label.words not in labelled
    ]
    return [target for target in targets if target.words]


@gin.configurable
def train_tagger(
    *,
    model_dir: str = gin.REQUIRED,
    mixture_or_task_name: str = gin.REQUIRED,
    batch_size: int = gin.REQUIRED,
    optimizer: optax.GradientTransformation = gin.REQUIRED,
    schedule: Schedule = gin.REQUIRED,
    teacher_labels: str | None = None,
    model: Callable[..., BiLSTMConfig] = BiLSTMConfig,
    distillation: DistillationWeights | None = None,
    embedding_file: str | None = None,
    min_word_count: int = 1,
    train_split: str = "train",
    eval_split: str = "valid",
    eval_batch_size: int = 32,
    mesh: Mesh | None = None,
    seed: int = 0,
) -> Outcome:
    """Trains a BiLSTM tagger and leaves it in `MODEL_DIR/model`.

    Args:
        mixture_or_task_name: the tagging task whose `train_split` holds the gold sentences and whose
            `eval_split` selects the model by F1.
        teacher_labels: a store written by `distill-jax label`; None trains on gold alone.
        model: a `BiLSTMConfig` without the sizes that the data decide.
        distillation: λ, τ and their options; `kl_weight` 0 is training on pseudo-labels.
        embedding_file: word vectors in GloVe's text format; their width must be `word_dim`.
        min_word_count: rarer words share the unknown word's vector.
    """
    gold, dev, labels = _gold_and_dev(mixture_or_task_name, train_split, eval_split)
    store = _open_store(teacher_labels, labels, mixture_or_task_name)
    targets = student_targets(gold, labels, store)
    vocabulary = WordVocabulary.build(
        (target.words for target in targets), min_count=min_word_count
    )
    config = model(
        num_words=vocabulary.num_words, num_chars=vocabulary.num_chars, num_tags=labels.num_tags
    )
    module = BiLSTMTagger(config)
    objective = TaggerDistillation(module, distillation or DistillationWeights())
    initial_params = None
    if embedding_file is not None:
        initial_params = _with_embeddings(objective, config, vocabulary, embedding_file, seed)
    predictor = WordPredictor(module, vocabulary, labels, batch_size=eval_batch_size)
    outcome = fit(
        objective,
        word_batches(targets, vocabulary, labels.num_tags, batch_size=batch_size, seed=seed),
        dev_evaluation(predictor, dev),
        model_dir=model_dir,
        optimizer=optimizer,
        schedule=schedule,
        batch_size=batch_size,
        mesh=make_mesh() if mesh is None else mesh,
        seed=seed,
        initial_params=initial_params,
    )
    save_model(
        Path(model_dir) / "model",
        config=config,
        params=outcome.params,
        vocabulary=vocabulary,
        labels=labels,
        role="student",
        metrics=outcome.metrics,
        training=_facts(mixture_or_task_name, gold, targets, outcome, distillation, store),
    )
    return outcome


@gin.configurable
def distil_t5(
    *,
    model_dir: str = gin.REQUIRED,
    mixture_or_task_name: str = gin.REQUIRED,
    task_feature_lengths: Mapping[str, int] = gin.REQUIRED,
    batch_size: int = gin.REQUIRED,
    optimizer: optax.GradientTransformation = gin.REQUIRED,
    schedule: Schedule = gin.REQUIRED,
    teacher_labels: str | None = None,
    initial_checkpoint_path: str | None = None,
    model: Callable[..., T5Config] | None = None,
    vocabulary: Vocabulary | None = None,
    initialiser: Callable[[Any, T5Config], Any] | None = None,
    distillation: DistillationWeights | None = None,
    normaliser: Normaliser = "trie",
    single_token_tags: bool = False,
    train_split: str = "train",
    eval_split: str = "valid",
    eval_batch_size: int = 32,
    mesh: Mesh | None = None,
    seed: int = 0,
) -> Outcome:
    """Trains a T5 student from the same targets as `train_tagger`; leaves it in `MODEL_DIR/model`.

    The student may have another vocabulary than the teacher. `normaliser` is that of the student's
    scores in the KL term and of the model it leaves. The other arguments are as in `train_t5`.
    """
    gold, dev, labels = _gold_and_dev(mixture_or_task_name, train_split, eval_split)
    store = _open_store(teacher_labels, labels, mixture_or_task_name)
    targets = student_targets(gold, labels, store)
    config, initial_params, vocabulary = start_t5(
        initial_checkpoint_path, model, vocabulary, initialiser, seed
    )
    module = T5(config)
    sent_format = SenTFormat(
        vocabulary, labels, single_token_tags=single_token_tags, rows=config.vocab_size
    )
    objective = SentDistillation(
        module,
        LabelTrie.compile(sent_format.tag_token_ids),
        tuple(sent_format.sentinel_ids.tolist()),
        distillation or DistillationWeights(),
        normaliser,
    )
    predictor = SentPredictor(
        module,
        sent_format,
        decoder=DecoderSettings(normaliser=normaliser),
        batch_size=eval_batch_size,
    )
    outcome = fit(
        objective,
        sent_batches(
            targets,
            sent_format,
            batch_size=batch_size,
            seed=seed,
            feature_lengths=dict(task_feature_lengths),
            start_id=config.decoder_start_id,
        ),
        dev_evaluation(predictor, dev),
        model_dir=model_dir,
        optimizer=optimizer,
        schedule=schedule,
        batch_size=batch_size,
        mesh=make_mesh() if mesh is None else mesh,
        seed=seed,
        initial_params=initial_params,
    )
    save_model(
        Path(model_dir) / "model",
        config=config,
        params=outcome.params,
        vocabulary=vocabulary,
        labels=labels,
        settings=TaggerSettings(normaliser=normaliser, single_token_tags=single_token_tags),
        role="student",
        metrics=outcome.metrics,
        training=_facts(mixture_or_task_name, gold, targets, outcome, distillation, store),
    )
    return outcome


def _gold_and_dev(
    task: str, train_split: str, eval_split: str
) -> tuple[list[Sentence], list[Sentence], LabelSet]:
    gold: PreparedDataset = single(prepared_data(task, train_split), "MIXTURE_OR_TASK_NAME")
    dev = single(prepared_data(task, eval_split), "MIXTURE_OR_TASK_NAME")
    if gold.labels is None:
        raise UserError(f"{task!r} is plain text; a student's task must have tags")
    return list(gold), list(dev), gold.labels


def _open_store(path: str | None, labels: LabelSet, task: str) -> TeacherLabels | None:
    if path is None:
        return None
    store = TeacherLabels(path)
    store.check_labels(labels, f"task {task!r}")
    return store


def _with_embeddings(
    objective: TaggerDistillation,
    config: BiLSTMConfig,
    vocabulary: WordVocabulary,
    embedding_file: str,
    seed: int,
) -> Any:
    params = nn.unbox(objective.init(jax.random.key(seed)))
    rng = np.random.default_rng(seed)
    return with_word_embeddings(
        params, load_glove(embedding_file, vocabulary, config.word_dim, rng)
    )


def _facts(
    task: str,
    gold: Sequence[Sentence],
    targets: Sequence[Target],
    outcome: Outcome,
    distillation: DistillationWeights | None,
    store: TeacherLabels | None,
) -> dict[str, Any]:
    """How the student was trained, for its model card; choices the paper leaves open included."""
    weights = distillation or DistillationWeights()
    return {
        "task": task,
        "gold_sentences": len(gold),
        "silver_sentences": len(targets) - len(gold),
        "recipe": recipe_name(store is not None, weights),
        "distillation": None if store is None else dataclasses.asdict(weights),
        "steps": outcome.best_step,
        "seconds": outcome.seconds,
    }


def recipe_name(has_teacher: bool, distillation: DistillationWeights) -> str:
    """`gold`, `pseudo` or `kd`."""
    if not has_teacher:
        return "gold"
    return "kd" if distillation.kl_weight else "pseudo"
