"""The Gin files of `distill-jax fit`: what each run is, and the commands that repeat it by hand.

A run of `fit` is what its file says: it is built from it (`jobs.building`), so that the file is the whole
truth about it.
"""

import dataclasses
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distill_jax.jobs import fit_plan
from distill_jax.jobs.fit_data import FitData
from distill_jax.jobs.fit_plan import Extent, Teaching
from distill_jax.jobs.fit_teacher import TeacherSource
from distill_jax.jobs.gin_files import with_quotes

T5_DEV = 200
"""The most dev sentences that a T5 is chosen by: it takes long to tag them."""


FIXED = (
    *(
        "MODEL_DIR",
        "MIXTURE_OR_TASK_NAME",
        "MIXTURE_OR_TASK_MODULES",
        "DATA_DIR",
        "PREPARED_DATA_DIR",
    ),
    *("TRAIN_SPLIT", "EVAL_SPLIT", "TEXT_WORDS", "LABEL_TEXTS", "TEACHER_LABELS"),
)
"""Macros of a student's run that say where its data are."""


@dataclasses.dataclass(frozen=True)
class Places:
    """Where the parts of an output folder lie."""

    out: Path

    data = property(lambda self: self.out / "data")
    unlabelled = property(lambda self: self.out / "data" / "unlabelled.jsonl")
    prepared = property(lambda self: self.out / "prepared")
    teacher = property(lambda self: self.out / "teacher")
    labels = property(lambda self: self.out / "labels")
    student = property(lambda self: self.out / "student")
    model = property(lambda self: self.out / "model")
    onnx = property(lambda self: self.out / "onnx")
    metrics = property(lambda self: self.out / "metrics.json")
    page = property(lambda self: self.out / "report.html")

    def gin(self, run: str) -> Path:
        """The Gin file of a run, `teacher` or `student`."""
        return self.out / "fit" / f"{run}.gin"


@dataclasses.dataclass(frozen=True)
class StudentStart:
    """What a student is and starts from.

    Attributes:
        kind: `bilstm`, or `bert` with some of the teacher's layers.
        vectors: a file of word vectors, with their width.
        width: of those vectors.
        text: a task of plain text that they are made from.
        checkpoint: of a `bert`.
        layers: of that checkpoint.
    """

    kind: str = "bilstm"
    vectors: str | None = None
    width: int = 0
    text: str | None = None
    checkpoint: str | None = None
    layers: Sequence[int] | None = None


def teacher_gin(
    places: Places, data: FitData, source: TeacherSource, extent: Extent, seed: int
) -> str:
    """The Gin file of a teacher's fine-tuning."""
    train = len(data.train)
    bindings: dict[str, Any] = {
        "INITIAL_CHECKPOINT_PATH": str(source.path),
        "BATCH_SIZE": fit_plan.teacher_batch(source.kind, train),
        "TRAIN_STEPS": extent.steps,
        "EVAL_PERIOD": extent.eval_period,
    }
    if source.kind == "t5":
        length = fit_plan.t5_lengths(max(len(sentence.words) for sentence in data.train))
        bindings |= {
            "LEARNING_RATE": fit_plan.t5_learning_rate(source.width),
            "TASK_FEATURE_LENGTHS": {"inputs": length, "targets": length},
            "MENTION_COPIES": 40 if train < 1000 else 0,
            "EVAL_EXAMPLES": T5_DEV,
        }
    include = "finetune" if source.kind == "t5" else "bert_gold"
    about = f"The teacher: {source.path}, fine-tuned on {train:,} labelled sentences."
    return _file(
        about, include, _common(places, data, "teacher", seed) | bindings, places, "teacher"
    )


def student_gin(
    places: Places,
    data: FitData,
    start: StudentStart,
    extent: Extent,
    seed: int,
    *,
    teaching: Teaching | None,
    then_gold: bool = False,
    given: Sequence[str] = (),
) -> str:
    """The Gin file of a student.

    `teaching` None: there is no teacher; `then_gold`: it learns the gold tags alone at its end; `given` are
    the user's bindings, which win.
    """
    bindings: dict[str, Any] = {
        "TEACHER_LABELS": None if teaching is None else str(places.labels),
        "BATCH_SIZE": 16,
        "TRAIN_STEPS": extent.steps,
        "EVAL_PERIOD": extent.eval_period,
        "LEARNING_RATE": fit_plan.student_learning_rate(start.kind),
        "WARMUP_STEPS": 50 if start.kind == "bilstm" else 100,
    }
    if then_gold:
        steps = fit_plan.gold_steps(extent.steps)
        bindings |= {
            "TAGS_TRAIN_STEPS": steps,
            "TAGS_EVAL_PERIOD": math.ceil(steps / fit_plan.GOLD_EVALUATIONS),
            "TAGS_WARMUP_STEPS": min(50, steps // 10),
        }
    else:
        bindings["PATIENCE"] = None
    if teaching is not None:
        bindings |= {
            "KL_WEIGHT": teaching.kl_weight,
            "TEMPERATURE": teaching.temperature,
            "BOTH_SIDES": teaching.both_sides,
            "SQUARE_SCALE": teaching.both_sides,
        }
    if start.kind == "bert":
        bindings |= {"INITIAL_CHECKPOINT_PATH": start.checkpoint, "ENCODER_LAYERS": start.layers}
    elif start.vectors is not None:
        bindings |= {"EMBEDDING_FILE": start.vectors, "BiLSTMConfig.word_dim": start.width}
        if teaching is not None:
            # A word that silver sentences have once keeps its vector, which the frozen table has.
            bindings["MIN_WORD_COUNT"] = 2
    elif start.text is not None:
        bindings["EMBEDDING_TEXT"] = start.text
    what = (
        "the teacher's labels, then from gold tags"
        if then_gold
        else "the teacher's labels"
        if teaching is not None
        else f"{len(data.train):,} labelled sentences alone"
    )
    text = _file(
        f"The student: it learns from {what}.",
        "bert_distil" if start.kind == "bert" else "distil_then_gold" if then_gold else "distil",
        _common(places, data, "student", seed) | bindings,
        places,
        "student",
    )
    if given:
        text += "\n# Of the command line:\n" + "".join(f"{with_quotes(b)}\n" for b in given)
    return text


def steps_by_hand(
    places: Places, data: FitData, source: TeacherSource | None, labelled: int
) -> str:
    """The commands that do what `fit` did, in other folders, as a shell script; of the unlabelled sentences
    the first `labelled` ones are used."""
    again = places.out.with_name(f"{places.out.name}-by-hand")
    train, test = (places.data / data.name / f"{split}.jsonl" for split in ("train", "test"))
    model, commands = again / "student" / "model", []
    student = _train_command(places.gin("student"), again / "student")
    if source is not None:
        teacher = source.path if source.kind == "tagger" else again / "teacher" / "model"
        if source.kind != "tagger":
            commands.append(_train_command(places.gin("teacher"), again / "teacher"))
        pool = f"head -n {labelled} {_quoted(places.unlabelled)} | " if labelled else ""
        commands.append(
            f"{pool}distill-jax label --model {_quoted(teacher)} --input {_quoted(train)}"
            f"{' -' if pool else ''} --output {_quoted(again / 'labels')}"
        )
        student += f" --gin.TEACHER_LABELS={_quoted(again / 'labels')}"
    commands += [
        student,
        f"distill-jax evaluate --model {_quoted(model)} --fit_temperature "
        f"--data {_quoted(places.data / data.name / 'valid.jsonl')}",
    ]
    if data.test:
        commands.append(f"distill-jax evaluate --model {_quoted(model)} --data {_quoted(test)}")
    commands.append(f"distill-jax export --to onnx {_quoted(model)} {_quoted(again / 'onnx')}")
    lines = ["# What distill-jax fit did, step by step.", "set -e -o pipefail", *commands]
    return "\n".join(lines) + "\n"


def _quoted(path: Path) -> str:
    """For a shell."""
    return shlex.quote(str(path))


def _train_command(gin: Path, model_dir: Path) -> str:
    return f"distill-jax train --gin_file={_quoted(gin)} --gin.MODEL_DIR={_quoted(model_dir)}"


def _common(places: Places, data: FitData, run: str, seed: int) -> dict[str, Any]:
    return {
        "MODEL_DIR": str(places.out / run),
        "MIXTURE_OR_TASK_NAME": data.name,
        "DATA_DIR": str(places.data),
        "PREPARED_DATA_DIR": str(places.prepared),
        "TRAIN_SPLIT": "train",
        "EVAL_SPLIT": "valid",
        "TEXT_WORDS": data.text_words,
        "SEED": seed,
    }


def _file(about: str, include: str, bindings: Mapping[str, Any], places: Places, run: str) -> str:
    lines = [
        f"# {about} Written by distill-jax fit; by hand:",
        f"# {_train_command(places.gin(run), Path(f'{places.out}-by-hand', run))}",
        f"include 'gin/runs/{include}.gin'",
        "",
        *(f"{name} = {value!r}" for name, value in bindings.items()),
    ]
    return "\n".join(lines) + "\n"
