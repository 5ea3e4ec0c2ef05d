"""BiLSTM students trained together (`train.many`): any number of seeds, λ, τ and training sets.

No kind of its own: what leaves it are BiLSTMs as any others. The members of a group share labels,
architecture and schedule, and one compiled program.
"""

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from distill_jax.distill.tags import TagLoss
from distill_jax.errors import UserError
from distill_jax.inference import Prediction
from distill_jax.integers import round_up
from distill_jax.kinds.base import Lesson, Student
from distill_jax.kinds.bilstm import BiLSTMStudent, batches_of, objective_of, said_coverage
from distill_jax.kinds.bilstm_evaluation import StudentEvaluation
from distill_jax.kinds.word_vectors import NO_FROZEN_WORDS, FrozenWords
from distill_jax.models.bilstm import BiLSTMConfig, BiLSTMTagger, with_word_embeddings
from distill_jax.parallel.mesh import Placement, batch_sharding
from distill_jax.tagging import LabelSet, Sentence
from distill_jax.train.many import Member, fit_many, members_on_mesh, stack_padded
from distill_jax.train.selection import Outcome
from distill_jax.train.training import Training
from distill_jax.vocab import WordTable, WordVocabulary

WORD_ROWS, CHAR_ROWS = 1024, 32
"""Embeddings of the program have a multiple of so many rows: groups of students whose vocabularies
differ little then share a compiled program."""

VARIED = ("kl_weight", "temperature")
"""The fields of a loss, λ and τ, in which students trained together may differ."""

_EMBEDDINGS = {"word_embedding": "num_words", "char_embedding": "num_chars"}


@dataclasses.dataclass(frozen=True)
class TrainedStudent:
    """A student with its own vocabulary; parameters are host arrays of the configuration's shapes.

    `varied` are λ and τ of its loss, by the names of their fields. The parameters of `outcome` are those that
    were trained; students share their `frozen` words.
    """

    name: str
    seed: int
    varied: Mapping[str, float]
    config: BiLSTMConfig
    vocabulary: WordVocabulary
    outcome: Outcome
    frozen: FrozenWords = NO_FROZEN_WORDS

    @property
    def parameters(self) -> int:
        """How many numbers of it were trained."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.outcome.params))

    @property
    def params(self) -> Mapping[str, Any]:
        """Those of the model that predicts, its frozen words' vectors among them."""
        return self.frozen.added(self.outcome.params)


def as_bilstm(student: Student) -> BiLSTMStudent:
    """A student that can be trained together with others; raises `UserError` if it cannot."""
    if not isinstance(student, BiLSTMStudent):
        raise UserError(
            f"students trained together are BiLSTMs, and this one is of the kind {student.kind!r}; "
            "bind @BiLSTMStudent(), or train it alone"
        )
    if student.initial_checkpoint_path is not None:
        raise UserError(
            "students trained together start from random weights or word vectors, and this one from "
            f"{student.initial_checkpoint_path}; leave its INITIAL_CHECKPOINT_PATH out, or train it alone"
        )
    return student


def train_together(
    architecture: BiLSTMStudent,
    lessons: Mapping[str, Lesson],
    dev: Sequence[Sentence],
    training: Training,
    say: Callable[[str], None] | None = None,
) -> list[TrainedStudent]:
    """Trains BiLSTM students together, each selected on `dev` by its F1.

    Each becomes what `BiLSTMStudent.learner` and `train.loop.fit` would have made of its lesson, up to
    rounding.

    Args:
        architecture: of all students.
        lessons: by the students' names. They differ in targets, λ, τ and the seed of their training.
        dev: sentences with tags.
        training: of all students, but for its seed; nothing is kept in its `model_dir`.
        say: hears a line at every evaluation; None writes it to standard error.

    Raises:
        UserError: there are no dev sentences, or as `train.many.fit_many`.
        ValueError: the lessons have different labels or options of the KL term, learnt weights in part, or
            a teacher within the step.
    """
    if not dev:
        raise UserError("the dev split is empty; give the few-shot task dev sentences")
    labels, loss = _shared(list(lessons.values()))
    own = {name: architecture.vocabulary(lesson) for name, lesson in lessons.items()}
    first = next(iter(lessons.values()))
    table = architecture.vectors.table(
        list(own.values()), architecture.model.word_dim, first.resources
    )
    frozen = architecture.vectors.frozen(table)
    vocabularies = {name: each.with_frozen(frozen.rows) for name, each in own.items()}
    given = None if table is None else architecture.given(frozen)
    if table is not None:
        for name, each in vocabularies.items():
            (say or _to_stderr)(f"{name}: {said_coverage(table, each, dev)}")
    program = architecture.model.replace(
        num_words=round_up(max(v.num_words for v in vocabularies.values()), WORD_ROWS),
        num_chars=round_up(max(v.num_chars for v in vocabularies.values()), CHAR_ROWS),
        num_tags=labels.num_tags,
    )
    module = BiLSTMTagger(program)
    mesh = training.placement.mesh()
    members = [
        Member(
            name,
            lesson.training.seed,
            batches_of(lesson, vocabularies[name], given),
            _varied(lesson.loss),
            _start(architecture, module, lesson, own[name], table),
        )
        for name, lesson in lessons.items()
    ]
    evaluation = StudentEvaluation(
        program,
        list(vocabularies.values()),
        frozen,
        labels,
        dev,
        mesh,
        batch_size=training.eval_batch_size,
    )
    outcomes = fit_many(
        lambda varied: objective_of(module, _with(loss, varied), first, given),
        members,
        evaluation.score,
        optimizer=training.optimizer.make(),
        schedule=training.schedule,
        mesh=mesh,
        say=say,
    )
    trained = []
    for (name, lesson), outcome in zip(lessons.items(), outcomes, strict=True):
        vocabulary = vocabularies[name]
        config = program.replace(
            num_words=vocabulary.num_words,
            num_chars=vocabulary.num_chars,
            num_frozen_words=vocabulary.num_frozen_words,
        )
        kept = dataclasses.replace(outcome, params=_own_rows(outcome.params, config))
        trained.append(
            TrainedStudent(
                name,
                lesson.training.seed,
                _varied(lesson.loss),
                config,
                vocabulary,
                kept,
                frozen,
            )
        )
    return trained


def predict_together(
    trained: Sequence[TrainedStudent],
    labels: LabelSet,
    sentences: Sequence[Sentence],
    placement: Placement = Placement(),
) -> list[list[Prediction]]:
    """The predictions of students that were trained together for the same sentences, student by student."""
    mesh = placement.mesh()
    config = trained[0].config.replace(
        num_words=round_up(max(one.config.num_words for one in trained), WORD_ROWS),
        num_chars=round_up(max(one.config.num_chars for one in trained), CHAR_ROWS),
        num_frozen_words=0,
    )
    stacked = stack_padded(
        [_with_rows(one.outcome.params, config) for one in trained],
        members_on_mesh(len(trained), mesh),
    )
    vocabularies = [one.vocabulary for one in trained]
    evaluation = StudentEvaluation(config, vocabularies, trained[0].frozen, labels, sentences, mesh)
    return evaluation.predict(jax.device_put(stacked, batch_sharding(mesh)))


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _varied(loss: TagLoss) -> dict[str, float]:
    """λ and τ of a loss, which are numbers of the program: members have their own."""
    return {name: float(getattr(loss, name)) for name in VARIED if hasattr(loss, name)}


def _with(loss: Any, varied: Mapping[str, Any]) -> TagLoss:
    """A loss with another λ and τ."""
    changed: TagLoss = dataclasses.replace(loss, **varied)
    return changed


def _shared(lessons: Sequence[Lesson]) -> tuple[LabelSet, TagLoss]:
    """The labels of all lessons, and a loss whose options are those of all."""
    labels, loss = lessons[0].labels, lessons[0].loss
    for lesson in lessons:
        if lesson.labels != labels:
            raise ValueError("students trained together need the same labels")
        if bool(lesson.trusted) != bool(lessons[0].trusted):
            raise ValueError("the weights of all students trained together are learnt, or of none")
        if lesson.teacher is not None:
            raise ValueError("students trained together have no teacher within the step")
        if _with(lesson.loss, _varied(loss)) != loss:
            raise ValueError(
                "the losses of students trained together differ in λ and τ alone, not in how the KL term is "
                "computed"
            )
    return labels, loss


def _start(
    architecture: BiLSTMStudent,
    module: BiLSTMTagger,
    lesson: Lesson,
    vocabulary: WordVocabulary,
    table: WordTable | None,
) -> dict[str, Any] | None:
    """What the seed gives, with the student's word embeddings in the first rows; None without any."""
    seed = lesson.training.seed
    dim = module.config.word_dim
    make = architecture.vectors.start(vocabulary, dim, lesson.resources, seed, table)
    if make is None:
        return None
    embeddings_VxE = make()
    drawn = nn.unbox(module.initial(jax.random.key(seed)))
    missing = module.config.num_words - len(embeddings_VxE)
    return with_word_embeddings(drawn, np.pad(embeddings_VxE, ((0, missing), (0, 0))))


def _own_rows(params: Any, config: BiLSTMConfig) -> dict[str, Any]:
    """Without the rows of the embeddings that no word or character of the student has."""
    own = {
        name: {"embedding": params[name]["embedding"][: getattr(config, rows)].copy()}
        for name, rows in _EMBEDDINGS.items()
    }
    return {**params, **own}


def _with_rows(params: Any, config: BiLSTMConfig) -> dict[str, Any]:
    """With rows of zeros, up to those of the configuration."""
    padded = {}
    for name, rows in _EMBEDDINGS.items():
        embedding = params[name]["embedding"]
        missing = getattr(config, rows) - len(embedding)
        padded[name] = {"embedding": np.pad(embedding, ((0, missing), (0, 0)))}
    return {**params, **padded}
