"""The runs that `distill-jax train` starts, from Gin files."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from distill_jax.errors import UserError
from distill_jax.jobs.building import build_run
from distill_jax.jobs.generator import GeneratorRun
from distill_jax.jobs.labelling import LabelRun
from distill_jax.jobs.matching import MatchStatesRun
from distill_jax.jobs.staged import StagedRun
from distill_jax.jobs.student import StudentRun
from distill_jax.jobs.teacher import PretrainRun, TeacherRun

JOBS = (
    TeacherRun,
    PretrainRun,
    MatchStatesRun,
    GeneratorRun,
    StudentRun,
    StagedRun,
    LabelRun,
)


def configured(
    gin_files: Sequence[str],
    bindings: Sequence[str] = (),
    *,
    profile_steps: tuple[int, int] | None = None,
) -> Any:
    """The run that Gin files describe; `run()` starts it.

    `profile_steps` are those to write a profiler trace of. Raises `UserError` as `building.build_run`.
    """
    run = build_run(gin_files, bindings, JOBS)
    if profile_steps is None:
        return run
    if not hasattr(run, "training"):
        raise UserError("--profile_steps is of a training run of one stage; leave it out")
    schedule = dataclasses.replace(run.training.schedule, profile_steps=profile_steps)
    training = dataclasses.replace(run.training, schedule=schedule)
    return dataclasses.replace(run, training=training)
