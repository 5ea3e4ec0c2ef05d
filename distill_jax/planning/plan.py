"""The step of a run as `planning.compilation.Plan`: of the very objects that training it would make.

What the data of a run would decide is that of `synthetic.CompileShapes`; of a checkpoint the
configuration alone is read. Nothing is allocated.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from distill_jax.errors import UserError
from distill_jax.inference.settings import TaggerSettings
from distill_jax.jobs.building import build_run
from distill_jax.jobs.generator import GeneratorRun
from distill_jax.jobs.labelling import LabelRun
from distill_jax.jobs.launch import JOBS
from distill_jax.jobs.matching import MatchStatesRun
from distill_jax.jobs.staged import StagedRun
from distill_jax.jobs.student import StudentRun
from distill_jax.jobs.teacher import PretrainRun, TeacherRun
from distill_jax.kinds.base import Learner, PredictorOptions
from distill_jax.kinds.registry import kind_of
from distill_jax.models.partitioning import Place
from distill_jax.parallel.mesh import Placement, batch_sharding, check_batch_size
from distill_jax.planning.compilation import Plan
from distill_jax.planning.synthetic import (
    TEACHER_STAND_IN,
    CompileShapes,
    SyntheticResources,
    student_material,
    synthetic_model,
    text_material,
)
from distill_jax.train.feed import RowBatches
from distill_jax.train.objective import Objective
from distill_jax.train.optimizers import AdamW
from distill_jax.train.state import abstract_frozen, abstract_state, shardings_of
from distill_jax.train.step import compile_step, make_step
from distill_jax.train.training import Training

_STAND_INS: Mapping[str, Any] = {
    "MODEL_DIR": "compile",
    "MIXTURE_OR_TASK_NAME": "compile",
    "TEACHER_LABELS": None,
    "TEACHER_EMBEDDING": None,
    "INITIAL_CHECKPOINT_PATH": None,
    "ENCODER_LAYERS": None,
    "DECODER_LAYERS": None,
    "TEACHER": TEACHER_STAND_IN,
}
"""What a run needs and its step does not depend on, or what Gin files can stand in for."""

Run = TeacherRun | PretrainRun | StudentRun | LabelRun


def run_to_plan(gin_files: Sequence[str], bindings: Sequence[str]) -> tuple[Run, CompileShapes]:
    """The run that Gin files describe, which need not say where its data are, and the shapes of these.

    Raises `UserError` as `jobs.building.build_run`, or if the run is one in stages, matches states, or is of
    a generator.
    """
    run, shapes = build_run(
        gin_files, bindings, JOBS, stand_ins=_STAND_INS, beside=(CompileShapes,)
    )
    if isinstance(run, StagedRun):
        raise UserError(
            "a run in stages has a step for each phase, and a plan is of one step; plan a recipe of one "
            "stage (distil.gin, distil_online.gin) with this student, teacher and batch size"
        )
    if isinstance(run, MatchStatesRun):
        raise UserError(
            "a run that matches states is not planned: its step is that of pretrain.gin, which is, with the "
            "other model's forward pass and the encoder's once more for each of its sentences"
        )
    if isinstance(run, GeneratorRun):
        raise UserError(
            "a generator's step is that of fine-tuning on rows of the same lengths; plan finetune.gin with "
            "this T5, TASK_FEATURE_LENGTHS and batch size"
        )
    return run, shapes


def placement_of(run: Run) -> Placement:
    """Over which devices a run is configured to be spread."""
    return run.placement if isinstance(run, LabelRun) else run.training.placement


def changed(run: Run, placement: Placement, batch_size: int | None = None) -> Run:
    """The run over other devices, and with another batch size."""
    if isinstance(run, LabelRun):
        size = run.batch_size if batch_size is None else batch_size
        return dataclasses.replace(run, placement=placement, batch_size=size)
    size = run.training.batch_size if batch_size is None else batch_size
    training = dataclasses.replace(run.training, placement=placement, batch_size=size)
    return dataclasses.replace(run, training=training)


def plan_run(run: Run, shapes: CompileShapes, devices: Sequence[Any]) -> Plan:
    """The step of a run on these devices, which need not be there.

    Raises `UserError` if the run cannot be made, or its batch does not divide over the devices.
    """
    place = placement_of(run).place(devices)
    if isinstance(run, LabelRun):
        return _plan_labels(run, shapes, place)
    resources = SyntheticResources(shapes)
    if isinstance(run, StudentRun):
        learner = run.learner(student_material(shapes, run.data), resources)
        within = ", the teacher within the step" if run.data.teacher.path else ""
        return plan_step(f"distil{within}", learner, run.training, place)
    learner = run.learner(text_material(shapes), resources)
    name = "pre-train" if isinstance(run, PretrainRun) else "fine-tune"
    return plan_step(name, learner, run.training, place)


def plan_step(name: str, learner: Learner, training: Training, place: Place) -> Plan:
    """The training step of a learner, as `train.loop.fit` compiles it, for the shapes of its first batch."""
    mesh = place.mesh
    assert mesh is not None, "a plan is of a mesh"
    check_batch_size(training.batch_size, mesh, accumulate=training.accumulate, rules=place.rules)
    optimizer = training.optimizer.make()
    state = abstract_state(learner.objective, optimizer, mesh, place.rules)
    frozen = abstract_frozen(learner.objective, place)
    batch = _abstract_batch(learner, place)
    key = jax.eval_shape(lambda: jax.random.key(0))
    parts = {"parameters": state.params, "optimizer state": state.opt_state, "batch": batch}
    arguments: tuple[Any, ...] = (state, batch, key)
    if frozen is not None:
        parts["teacher parameters"] = frozen
        arguments = (*arguments, frozen)
    shardings = shardings_of(state)
    step = compile_step(
        learner.objective,
        optimizer,
        place,
        shardings,
        accumulate=training.accumulate,
        frozen_shardings=None if frozen is None else shardings_of(frozen),
    )

    def plain(objective: Objective) -> Any:
        return make_step(
            objective,
            optimizer,
            place,
            accumulate=training.accumulate,
            gradient_shardings=shardings.params,
        )

    options: dict[str, Any] = {"accumulate": training.accumulate, **learner.execution}
    if isinstance(training.optimizer, AdamW):
        options["optimizer"] = "adamw"
    return Plan(
        name,
        step,
        arguments,
        parts,
        training.batch_size,
        mesh,
        None if learner.plain is None else plain(learner.plain),
        options,
        # A loop that ends when the data say so goes over the words of a sentence.
        batch["tags"].shape[-1] if "tags" in batch else 1,
    )


def _abstract_batch(learner: Learner, place: Place) -> dict[str, Any]:
    """The shapes of a learner's first batch."""
    batches = learner.batches
    if isinstance(batches, RowBatches):
        batches = batches.part(0, batches.batch_size)
    assert place.mesh is not None
    sharding = batch_sharding(place.mesh, place.rules)
    return {
        name: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)
        for name, array in batches[0].items()
    }


def _plan_labels(run: LabelRun, shapes: CompileShapes, place: Place) -> Plan:
    assert place.mesh is not None
    check_batch_size(run.batch_size, place.mesh, rules=place.rules)
    whole, _, _ = run.model.begin(SyntheticResources(shapes), seed=0)
    config = run.execution.apply(whole)
    kind = kind_of(config)
    model = synthetic_model(shapes, config, TaggerSettings(normaliser=run.normaliser))
    options = PredictorOptions(batch_size=run.batch_size, place=place)
    predictor: Any = kind.predictor(model, options)
    sentences = [shapes.sentences[0].words] * run.batch_size
    step, batch = predictor.program(sentences)
    rows = batch_sharding(place.mesh, place.rules)

    def abstract(array: Any) -> Any:
        array = np.asarray(array)
        # Sentinels are the same for all rows.
        sharding = rows if array.shape[:1] == (run.batch_size,) else None
        return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)

    batch = jax.tree.map(abstract, batch)
    params = kind.abstract_params(config, place)
    return Plan(
        "label",
        step,
        (params, batch),
        {"parameters": params, "batch": batch},
        run.batch_size,
        place.mesh,
        None,
        {"scan_layers": config.scan_layers},
        shapes.words,
    )
