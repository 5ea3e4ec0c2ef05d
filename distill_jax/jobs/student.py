"""Runs that train a student from gold sentences and a teacher's labels."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gin
import jax
import optax
from flax import linen as nn
from jax.sharding import Mesh

from distill_jax.data.distillation import encoder_batches, sent_batches, word_batches
from distill_jax.distill.objectives import (
    DistillationWeights,
    EncoderDistillation,
    Objective,
    SentDistillation,
    TaggerDistillation,
)
from distill_jax.errors import UserError
from distill_jax.inference import EncoderPredictor, Predictor, SentPredictor, WordPredictor
from distill_jax.jobs.common import TaskNames, dev_evaluation
from distill_jax.jobs.encoder_start import start_encoder_tagger
from distill_jax.jobs.t5_start import TrainingLayout, start_t5
from distill_jax.jobs.targets import StudentData, recipe_name, student_data, student_targets
from distill_jax.jobs.word_embeddings import initial_word_embeddings
from distill_jax.labels.confidence import Weighting
from distill_jax.model_dir.directory import AnyVocabulary, ModelConfig, save_model
from distill_jax.model_dir.settings import TaggerSettings
from distill_jax.models.bilstm import BiLSTMConfig, BiLSTMTagger, with_word_embeddings
from distill_jax.models.encoder_tagger import EncoderTagger, EncoderTaggerConfig
from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config, T5Execution
from distill_jax.parallel.mesh import make_mesh
from distill_jax.parallel.processes import is_first
from distill_jax.sent.format import SenTFormat
from distill_jax.sent.subwords import SubwordFormat
from distill_jax.sentscore import DecoderSettings, LabelTrie, Normaliser
from distill_jax.train.feed import Batches
from distill_jax.train.loop import Outcome, Schedule, fit
from distill_jax.vocab import Vocabulary, WordVocabulary

__all__ = [
    "distil_t5",
    "recipe_name",
    "student_targets",
    "train_encoder_tagger",
    "train_tagger",
]

gin.external_configurable(BiLSTMConfig, module="models")
gin.external_configurable(DistillationWeights, module="distill")


@gin.configurable
def train_tagger(
    *,
    model_dir: str = gin.REQUIRED,
    mixture_or_task_name: str = gin.REQUIRED,
    batch_size: int = gin.REQUIRED,
    optimizer: optax.GradientTransformation = gin.REQUIRED,
    schedule: Schedule = gin.REQUIRED,
    teacher_labels: str | Sequence[str] | None = None,
    confidence_weighting: Weighting = "none",
    teacher: str | None = None,
    silver_split: str | None = "silver",
    model: Callable[..., BiLSTMConfig] = BiLSTMConfig,
    distillation: DistillationWeights | None = None,
    embedding_file: str | None = None,
    teacher_embedding: str | None = None,
    embedding_text: TaskNames | None = None,
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
        teacher_labels: a store written by `distill-jax label`; several of the same sentences by
            different teachers, whose posteriors are averaged; None trains on gold alone.
        confidence_weighting: how silver sentences are weighted by the teacher's confidence: `none`,
            `top_posterior`, `entropy` or `sequence` (`distill.confidence`).
        teacher: in place of a store, the model directory of a T5 that tags the task's `silver_split`
            and scores all sentences within the step (`distill.online`).
        model: a `BiLSTMConfig` without the sizes that the data decide.
        distillation: λ, τ and their options; `kl_weight` 0 is training on pseudo-labels.
        embedding_file: word vectors in GloVe's text format; their width must be `word_dim`.
        teacher_embedding: in place of it, a T5's directory, whose token embedding is reduced to
            `word_dim` dimensions by SVD (`jobs.word_embeddings`).
        embedding_text: or tasks from whose training sentences the vectors are made: words that stand in
            the same places begin alike (`data.cooccurrence`).
        min_word_count: rarer words share the unknown word's vector.
    """
    data = student_data(
        mixture_or_task_name,
        train_split,
        eval_split,
        teacher_labels,
        confidence_weighting,
        teacher=teacher,
        silver_split=silver_split if teacher is not None else None,
    )
    labels = data.labels
    vocabulary = WordVocabulary.build(
        (target.words for target in data.targets), min_count=min_word_count
    )
    config = model(
        num_words=vocabulary.num_words, num_chars=vocabulary.num_chars, num_tags=labels.num_tags
    )
    module = BiLSTMTagger(config)
    objective: Objective = TaggerDistillation(module, distillation or DistillationWeights())
    if data.teacher is not None:
        objective = data.teacher.online(objective)
    initial_params = None
    embeddings = initial_word_embeddings(
        vocabulary,
        config.word_dim,
        embedding_file=embedding_file,
        teacher_embedding=teacher_embedding,
        embedding_text=embedding_text,
        seed=seed,
    )
    if embeddings is not None:
        params = nn.unbox(objective.init(jax.random.key(seed)))
        initial_params = with_word_embeddings(params, embeddings)
    predictor = WordPredictor(module, vocabulary, labels, batch_size=eval_batch_size)
    return _train(
        data,
        objective,
        word_batches(
            data.targets,
            vocabulary,
            labels.num_tags,
            batch_size=batch_size,
            seed=seed,
            teacher=None if data.teacher is None else data.teacher.sent_format,
        ),
        predictor,
        config=config,
        vocabulary=vocabulary,
        distillation=distillation,
        initial_params=initial_params,
        model_dir=model_dir,
        optimizer=optimizer,
        schedule=schedule,
        batch_size=batch_size,
        mesh=mesh,
        seed=seed,
    )


@gin.configurable
def train_encoder_tagger(
    *,
    model_dir: str = gin.REQUIRED,
    mixture_or_task_name: str = gin.REQUIRED,
    batch_size: int = gin.REQUIRED,
    optimizer: optax.GradientTransformation = gin.REQUIRED,
    schedule: Schedule = gin.REQUIRED,
    teacher_labels: str | Sequence[str] | None = None,
    confidence_weighting: Weighting = "none",
    teacher: str | None = None,
    silver_split: str | None = "silver",
    initial_checkpoint_path: str | None = None,
    encoder_layers: Sequence[int] | None = None,
    model: Callable[..., EncoderTaggerConfig] | None = None,
    vocabulary: Vocabulary | None = None,
    max_input_tokens: int = 512,
    distillation: DistillationWeights | None = None,
    train_split: str = "train",
    eval_split: str = "valid",
    eval_batch_size: int = 32,
    mesh: Mesh | None = None,
    seed: int = 0,
) -> Outcome:
    """Trains an encoder tagger from the targets of `train_tagger`; leaves it in `MODEL_DIR/model`.

    Args:
        initial_checkpoint_path: a T5's directory (a teacher's, say), whose embedding, encoder and
            vocabulary the student starts from; None: random weights.
        encoder_layers: the layers it takes from there, counted from 0; None: all.
        model: without a checkpoint, an `EncoderTaggerConfig` without the sizes that the data decide.
        vocabulary: the student's subwords; None: the checkpoint's.
        max_input_tokens: longer sentences are split into windows, in training as in prediction.

    The other arguments are as in `train_tagger`.
    """
    data = student_data(
        mixture_or_task_name,
        train_split,
        eval_split,
        teacher_labels,
        confidence_weighting,
        teacher=teacher,
        silver_split=silver_split if teacher is not None else None,
    )
    labels = data.labels
    config, initial_params, vocabulary = start_encoder_tagger(
        initial_checkpoint_path, encoder_layers, model, vocabulary, labels.num_tags, seed
    )
    module = EncoderTagger(config)
    predictor = EncoderPredictor(
        module,
        vocabulary,
        labels,
        batch_size=eval_batch_size,
        max_input_tokens=max_input_tokens,
    )
    objective: Objective = EncoderDistillation(module, distillation or DistillationWeights())
    if data.teacher is not None:
        objective = data.teacher.online(objective)
    return _train(
        data,
        objective,
        encoder_batches(
            data.targets,
            SubwordFormat(vocabulary),
            labels.num_tags,
            batch_size=batch_size,
            seed=seed,
            max_input_tokens=max_input_tokens,
            teacher=None if data.teacher is None else data.teacher.sent_format,
        ),
        predictor,
        config=config,
        vocabulary=vocabulary,
        distillation=distillation,
        initial_params=initial_params,
        model_dir=model_dir,
        optimizer=optimizer,
        schedule=schedule,
        batch_size=batch_size,
        mesh=mesh,
        seed=seed,
    )


@gin.configurable
def distil_t5(
    *,
    model_dir: str = gin.REQUIRED,
    mixture_or_task_name: str = gin.REQUIRED,
    task_feature_lengths: Mapping[str, int] = gin.REQUIRED,
    batch_size: int = gin.REQUIRED,
    optimizer: optax.GradientTransformation = gin.REQUIRED,
    schedule: Schedule = gin.REQUIRED,
    teacher_labels: str | Sequence[str] | None = None,
    confidence_weighting: Weighting = "none",
    teacher: str | None = None,
    silver_split: str | None = "silver",
    initial_checkpoint_path: str | None = None,
    encoder_layers: Sequence[int] | None = None,
    decoder_layers: Sequence[int] | None = None,
    model: Callable[..., T5Config] | None = None,
    vocabulary: Vocabulary | None = None,
    initialiser: Callable[[Any, T5Config], Any] | None = None,
    distillation: DistillationWeights | None = None,
    normaliser: Normaliser = "trie",
    single_token_tags: bool = False,
    token_level: bool = False,
    logit_chunks: int = 1,
    execution: T5Execution | None = None,
    train_split: str = "train",
    eval_split: str = "valid",
    eval_batch_size: int = 32,
    mesh: Mesh | None = None,
    seed: int = 0,
) -> Outcome:
    """Trains a T5 student from the same targets as `train_tagger`; leaves it in `MODEL_DIR/model`.

    The student may have another vocabulary than the teacher. `normaliser` is that of the student's
    scores in the KL term and of the model it leaves. With `encoder_layers` or `decoder_layers` the
    student has only those layers of the checkpoint, counted from 0 (None: all). With `token_level` the
    KL term is that between the next-token distributions of student and `teacher`, which must have the
    same vocabulary, on gold tags and those of `teacher_labels`. The other arguments are as in
    `train_tagger` and `train_t5`.
    """
    if token_level and teacher is None:
        raise UserError("token-level distillation needs the teacher itself; give TEACHER")
    if token_level and logit_chunks != 1:
        raise UserError(
            f"LOGIT_CHUNKS is {logit_chunks}, but token-level distillation compares all logits at once; "
            "leave it at 1"
        )
    data = student_data(
        mixture_or_task_name,
        train_split,
        eval_split,
        teacher_labels,
        confidence_weighting,
        teacher=teacher,
        silver_split=silver_split if teacher is not None and not token_level else None,
    )
    labels = data.labels
    config, initial_params, vocabulary = start_t5(
        initial_checkpoint_path,
        model,
        vocabulary,
        initialiser,
        seed,
        encoder_layers=encoder_layers,
        decoder_layers=decoder_layers,
    )
    layout = TrainingLayout(config, execution)
    module = T5(layout.config)
    sent_format = SenTFormat(
        vocabulary, labels, single_token_tags=single_token_tags, rows=config.vocab_size
    )
    weights = distillation or DistillationWeights()
    objective: Objective = SentDistillation(
        module,
        LabelTrie.compile(sent_format.tag_token_ids),
        tuple(sent_format.sentinel_ids.tolist()),
        weights,
        normaliser,
        logit_chunks,
    )
    if data.teacher is not None and token_level:
        objective = data.teacher.token_by_token(
            module, vocabulary, weights, single_token_tags=single_token_tags
        )
    elif data.teacher is not None:
        objective = data.teacher.online(objective, sent_format, start_id=config.decoder_start_id)
    predictor = SentPredictor(
        T5(layout.unstacked),
        sent_format,
        decoder=DecoderSettings(normaliser=normaliser),
        batch_size=eval_batch_size,
    )
    return _train(
        data,
        objective,
        sent_batches(
            data.targets,
            sent_format,
            batch_size=batch_size,
            seed=seed,
            feature_lengths=dict(task_feature_lengths),
            start_id=config.decoder_start_id,
            teacher=None if data.teacher is None or token_level else data.teacher.sent_format,
        ),
        predictor,
        config=config,
        vocabulary=vocabulary,
        settings=TaggerSettings(normaliser=normaliser, single_token_tags=single_token_tags),
        layout=layout,
        distillation=distillation,
        initial_params=initial_params,
        model_dir=model_dir,
        optimizer=optimizer,
        schedule=schedule,
        batch_size=batch_size,
        mesh=mesh,
        seed=seed,
    )


def _train(
    data: StudentData,
    objective: Objective,
    batches: Batches,
    predictor: Predictor,
    *,
    config: ModelConfig,
    vocabulary: AnyVocabulary,
    settings: TaggerSettings | None = None,
    layout: TrainingLayout | None = None,
    distillation: DistillationWeights | None,
    initial_params: Any,
    model_dir: str,
    optimizer: optax.GradientTransformation,
    schedule: Schedule,
    batch_size: int,
    mesh: Mesh | None,
    seed: int,
) -> Outcome:
    """Trains a student of any kind, selected on the dev split, and leaves it in `MODEL_DIR/model`."""
    evaluate = dev_evaluation(predictor, data.dev)
    if layout is not None:
        evaluate, initial_params = layout.evaluation(evaluate), layout.initial(initial_params)
    outcome = fit(
        objective,
        batches,
        evaluate,
        model_dir=model_dir,
        optimizer=optimizer,
        schedule=schedule,
        batch_size=batch_size,
        mesh=make_mesh() if mesh is None else mesh,
        seed=seed,
        initial_params=initial_params,
        frozen=data.frozen,
        inputs=data.inputs,
    )
    if is_first():
        save_model(
            Path(model_dir) / "model",
            config=config,
            params=outcome.params if layout is None else layout.final(outcome.params),
            vocabulary=vocabulary,
            labels=data.labels,
            settings=settings,
            role="student",
            metrics=outcome.metrics,
            training=data.facts(outcome, distillation),
        )
    return outcome
