"""`distill-jax fit`: from labelled sentences to a calibrated, exported student.

Here all is checked that can be before anything heavy is imported; the steps are in `jobs.fit_steps`, the
rules in `jobs.fit_plan`.

There is no teacher from random weights: a T5 trained on some thousand sentences reached F1 0.891 on SNIPS,
a BiLSTM taught by it 0.883, and one that learnt from those sentences directly 0.950 (docs/recipes.md).
"""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

from distill_jax.data.readers import ReadOptions
from distill_jax.errors import UserError
from distill_jax.files import only_one, read_json_object
from distill_jax.jobs import fit_plan
from distill_jax.jobs.fit_data import FitData, read_fit_data, with_swapped
from distill_jax.jobs.fit_options import FitOptions, Screen
from distill_jax.jobs.fit_recipes import FIXED, StudentStart
from distill_jax.jobs.fit_stages import Stages
from distill_jax.jobs.fit_steps import TEXT_SENTENCES, Fitting
from distill_jax.jobs.fit_teacher import CONFIG, TeacherSource, teacher_source
from distill_jax.vocab.vector_files import vector_width

__all__ = ["FitOptions", "Screen", "fit_tagger"]


def fit_tagger(options: FitOptions, screen: Screen, reading: ReadOptions | None = None) -> None:
    """Does all of it, or what is not done yet.

    Raises:
        UserError: the data, the teacher or the options are of no use (before anything is computed), or the
            folder is of another `fit`.
    """
    began = time.monotonic()
    out = Path(options.out)
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: is a file; give a folder")
    fit_plan.check_minutes(options.minutes)
    data = read_fit_data(
        options.data, options.unlabelled, reading=reading, dev=options.dev, seed=options.seed
    )
    source = None if options.teacher is None else teacher_source(options.teacher, data.labels)
    if source is not None and source.labels is not None:
        data = dataclasses.replace(data, labels=source.labels)
    if source is not None:
        data = with_swapped(data, seed=options.seed)
    start = _student_start(options, source)
    _check_bindings(options.bindings)
    for line in data.said:
        screen.say(line)
    screen.say(f"labels: {len(data.labels.names)} ({_some(data.labels.names)})")
    for line in _advice(options, data, source):
        screen.say(line)
    out.mkdir(parents=True, exist_ok=True)
    with only_one(out) as alone:
        if not alone:
            raise UserError(
                f"{out}: another fit is at work there; wait for it, or give another --out"
            )
        stages = Stages(out)
        stages.begin()
        Fitting(options, data, source, start, stages, screen, began).run()


def _student_start(options: FitOptions, source: TeacherSource | None) -> StudentStart:
    """What can be said of the student before anything is trained."""
    for name in ("steps", "teacher_steps"):
        if (getattr(options, name) or 1) < 1:
            raise UserError(f"--{name} is {getattr(options, name)}; give 1 or more")
    if options.student == "bert":
        fields = {} if source is None else read_json_object(source.path / CONFIG)
        layers = fields.get("num_hidden_layers")
        if source is None or source.kind == "t5" or not isinstance(layers, int):
            raise UserError("--student bert takes layers of a BERT that is its --teacher; give one")
        if options.vectors is not None:
            raise UserError("--vectors are a BiLSTM's; leave them out, or take --student bilstm")
        return StudentStart("bert", layers=tuple(range(0, layers, 2)))
    if options.vectors is None:
        return StudentStart()
    return StudentStart(vectors=options.vectors, width=vector_width(options.vectors))


_BY_OPTION = {"TRAIN_STEPS": "--steps", "SEED": "--seed", "EMBEDDING_FILE": "--vectors"}


def _check_bindings(bindings: Sequence[str]) -> None:
    """Refuses bindings of what `fit` has other options for, or must know itself."""
    for binding in bindings:
        name = binding.partition("=")[0].strip()
        if name in _BY_OPTION:
            raise UserError(f"--gin.{name}: is said by {_BY_OPTION[name]} here")
        if name in FIXED:
            raise UserError(
                f"--gin.{name}: is what fit itself sets; leave it out, or run the Gin file by hand"
            )


def _advice(options: FitOptions, data: FitData, source: TeacherSource | None) -> list[str]:
    """What would help, in few words."""
    if source is not None:
        if data.swapped:
            return [
                f"no --unlabelled text: the teacher labels {len(data.unlabelled):,} variants of train, "
                "mentions swapped"
            ]
        if data.unlabelled:
            return []
        return ["no unlabelled text: the student learns from the labelled sentences alone; some thousand"
                " more (--unlabelled) would help most"]  # fmt: skip
    use = (
        "word vectors are made of it"
        if len(data.unlabelled) >= TEXT_SENTENCES
        else "it is not used"
    )
    lines = (
        [f"no teacher: the unlabelled text is labelled by nobody; {use}"] if data.unlabelled else []
    )
    if options.vectors is None:
        return [
            *lines,
            "what would help: --teacher DIR of a BERT (all-MiniLM-L6-v2), --vectors FILE (GloVe)",
        ]
    return [*lines, "what would help: --teacher DIR of a BERT (all-MiniLM-L6-v2)"]


def _some(names: Sequence[str], most: int = 60) -> str:
    text = ", ".join(names)
    return text if len(text) <= most else f"{text[: most - 1]}…"
