"""BiLSTM students trained together (`train.many`): any number of seeds, λ, τ and training sets."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import gin
import jax
import numpy as np
import optax
from flax import linen as nn
from jax.sharding import Mesh

from distill_jax.data.distillation import MAX_CHARS, Target, word_batches
from distill_jax.distill.objectives import DistillationWeights, TaggerDistillation
from distill_jax.errors import UserError
from distill_jax.inference import Prediction, evaluate
from distill_jax.inference.base import check_numbers
from distill_jax.inference.batches import batches_by_length, padded_batch_size
from distill_jax.inference.words import WORD_BUCKETS
from distill_jax.integers import round_up
from distill_jax.jobs.common import TaskNames, scalars
from distill_jax.jobs.word_embeddings import initial_word_embeddings
from distill_jax.models.bilstm import BiLSTMConfig, BiLSTMTagger, with_word_embeddings
from distill_jax.parallel.mesh import batch_sharding, make_mesh
from distill_jax.tagging import LabelSet, Sentence
from distill_jax.tagging.legal import constrained_tags_batch
from distill_jax.train.loop import Outcome, Schedule
from distill_jax.train.many import Member, fit_many, map_members, members_on_mesh, stack_padded
from distill_jax.vocab import WordVocabulary

# Embeddings of the program have a multiple of so many rows: groups of students whose vocabularies
# differ little then share a compiled program.
WORD_ROWS, CHAR_ROWS = 1024, 32


@dataclasses.dataclass(frozen=True)
class Student:
    """What one student learns from, and how. `kl_weight` is λ, `temperature` τ."""

    name: str
    seed: int
    targets: Sequence[Target]
    kl_weight: float = 0.0
    temperature: float = 1.0


@dataclasses.dataclass(frozen=True)
class TrainedStudent:
    """A student with its own vocabulary; parameters are host arrays of the configuration's shapes."""

    student: Student
    config: BiLSTMConfig
    vocabulary: WordVocabulary
    outcome: Outcome

    @property
    def parameters(self) -> int:
        return sum(leaf.size for leaf in jax.tree.leaves(self.outcome.params))


class StudentEvaluation:
    """Tags the same sentences with all members of stacked parameters, in one program.

    Vocabularies are the members' own, in their order; the model's embeddings hold the largest.
    """

    def __init__(
        self,
        module: BiLSTMTagger,
        vocabularies: Sequence[WordVocabulary],
        labels: LabelSet,
        sentences: Sequence[Sentence],
        mesh: Mesh,
        *,
        batch_size: int = 32,
    ) -> None:
        self._labels = labels
        self._sentences = sentences
        self._members = len(vocabularies)
        self._batches: list[tuple[np.ndarray, jax.Array, jax.Array]] = []
        count = members_on_mesh(len(vocabularies), mesh)
        lengths = [len(sentence.words) for sentence in sentences]
        encoded = {
            id(vocabulary): [vocabulary.encode(s.words, max_chars=MAX_CHARS) for s in sentences]
            for vocabulary in vocabularies
        }
        for length, rows in batches_by_length(lengths, batch_size, WORD_BUCKETS):
            shape = (count, padded_batch_size(len(rows), batch_size), length)
            word_ids = np.zeros(shape, np.int32)
            char_ids = np.zeros((*shape, MAX_CHARS), np.int32)
            for member, vocabulary in enumerate(vocabularies):
                for row, index in enumerate(rows):
                    words, chars = encoded[id(vocabulary)][index]
                    word_ids[member, row, : len(words)] = words
                    char_ids[member, row, : len(words)] = chars
            placed = jax.device_put((word_ids, char_ids), batch_sharding(mesh))
            self._batches.append((rows, *placed))

        def log_probabilities(params: Any, word_ids: jax.Array, char_ids: jax.Array) -> jax.Array:
            return jax.nn.log_softmax(module.apply({"params": params}, word_ids, char_ids))

        self._log_probabilities = jax.jit(map_members(log_probabilities, mesh))

    def predict(self, params: Any) -> list[list[Prediction]]:
        """Each member's predictions for the sentences, as `WordPredictor` makes them of one."""
        empty = Prediction(np.zeros(0, np.int32), np.zeros((0, self._labels.num_tags), np.float32))
        found = [[empty] * len(self._sentences) for _ in range(self._members)]
        for rows, word_ids, char_ids in self._batches:
            scores = np.asarray(self._log_probabilities(params, word_ids, char_ids))
            scores = scores[: self._members, : len(rows)]
            check_numbers(scores)
            lengths = np.array([len(self._sentences[index].words) for index in rows])
            flat = scores.reshape(-1, *scores.shape[2:])
            tags = constrained_tags_batch(flat, np.tile(lengths, self._members))
            tags = tags.reshape(scores.shape[:3])
            for member in range(self._members):
                for row, index in enumerate(rows):
                    length = lengths[row]
                    found[member][index] = Prediction(
                        tags[member, row, :length], scores[member, row, :length]
                    )
        return found

    def score(self, params: Any) -> list[dict[str, float]]:
        """Each member's metrics; selection is by micro-F1."""
        results = (
            scalars(evaluate(self._labels, self._sentences, predictions))
            for predictions in self.predict(params)
        )
        return [{"selection": result["f1"], **result} for result in results]


@gin.configurable
def train_taggers(
    students: Sequence[Student],
    labels: LabelSet,
    dev: Sequence[Sentence],
    *,
    batch_size: int = gin.REQUIRED,
    optimizer: optax.GradientTransformation = gin.REQUIRED,
    schedule: Schedule = gin.REQUIRED,
    model: Callable[..., BiLSTMConfig] = BiLSTMConfig,
    both_sides: bool = True,
    square_scale: bool = True,
    embedding_file: str | None = None,
    teacher_embedding: str | None = None,
    embedding_text: TaskNames | None = None,
    min_word_count: int = 1,
    mesh: Mesh | None = None,
    say: Callable[[str], None] | None = None,
) -> list[TrainedStudent]:
    """Trains BiLSTM students together, each selected on `dev` by its F1.

    Each becomes what `train_tagger` would have made of its targets and seed, up to rounding. The
    arguments are those of `train_tagger`, and of all students.
    """
    if not dev:
        raise UserError("the dev split is empty; give the few-shot task dev sentences")
    vocabularies = [
        WordVocabulary.build((t.words for t in student.targets), min_count=min_word_count)
        for student in students
    ]
    program = model(
        num_words=round_up(max(v.num_words for v in vocabularies), WORD_ROWS),
        num_chars=round_up(max(v.num_chars for v in vocabularies), CHAR_ROWS),
        num_tags=labels.num_tags,
    )
    module = BiLSTMTagger(program)
    embeddings = [
        initial_word_embeddings(
            vocabulary,
            program.word_dim,
            embedding_file=embedding_file,
            teacher_embedding=teacher_embedding,
            embedding_text=embedding_text,
            seed=student.seed,
        )
        for student, vocabulary in zip(students, vocabularies, strict=True)
    ]
    mesh = make_mesh() if mesh is None else mesh
    members = [
        Member(
            student.name,
            student.seed,
            word_batches(
                student.targets,
                vocabulary,
                labels.num_tags,
                batch_size=batch_size,
                seed=student.seed,
            ),
            {"kl_weight": student.kl_weight, "temperature": student.temperature},
            None if table is None else _start(module, student.seed, table),
        )
        for student, vocabulary, table in zip(students, vocabularies, embeddings, strict=True)
    ]
    outcomes = fit_many(
        lambda settings: TaggerDistillation(
            module,
            DistillationWeights(**settings, both_sides=both_sides, square_scale=square_scale),
        ),
        members,
        StudentEvaluation(module, vocabularies, labels, dev, mesh).score,
        optimizer=optimizer,
        schedule=schedule,
        mesh=mesh,
        say=say,
    )
    trained = []
    for student, vocabulary, outcome in zip(students, vocabularies, outcomes, strict=True):
        config = program.replace(num_words=vocabulary.num_words, num_chars=vocabulary.num_chars)
        params = _own_rows(outcome.params, config)
        trained.append(
            TrainedStudent(student, config, vocabulary, dataclasses.replace(outcome, params=params))
        )
    return trained


def _start(module: BiLSTMTagger, seed: int, embeddings_VxE: np.ndarray) -> dict[str, Any]:
    """What `fit` draws from the seed, with these word embeddings in the first rows."""
    drawn = nn.unbox(TaggerDistillation(module, DistillationWeights()).init(jax.random.key(seed)))
    missing = module.config.num_words - len(embeddings_VxE)
    return with_word_embeddings(drawn, np.pad(embeddings_VxE, ((0, missing), (0, 0))))


def predict_together(
    trained: Sequence[TrainedStudent],
    labels: LabelSet,
    sentences: Sequence[Sentence],
    mesh: Mesh | None = None,
) -> list[list[Prediction]]:
    """The predictions of students of the same architecture for the same sentences."""
    mesh = make_mesh() if mesh is None else mesh
    config = trained[0].config.replace(
        num_words=round_up(max(one.config.num_words for one in trained), WORD_ROWS),
        num_chars=round_up(max(one.config.num_chars for one in trained), CHAR_ROWS),
    )
    stacked = stack_padded(
        [_with_rows(one.outcome.params, config) for one in trained],
        members_on_mesh(len(trained), mesh),
    )
    evaluation = StudentEvaluation(
        BiLSTMTagger(config), [one.vocabulary for one in trained], labels, sentences, mesh
    )
    return evaluation.predict(jax.device_put(stacked, batch_sharding(mesh)))


_EMBEDDINGS = {"word_embedding": "num_words", "char_embedding": "num_chars"}


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
