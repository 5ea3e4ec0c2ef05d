"""gin/runs/gpu.gin behind every kind of run: it parses, wins, and leaves the rest alone."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import linen as nn

from distill_jax.data.distillation import Target
from distill_jax.distill.tags import DistillationWeights
from distill_jax.interop.hf.checkpoint import write_hf
from distill_jax.jobs.building import build_run
from distill_jax.jobs.launch import configured
from distill_jax.jobs.resources import RunResources
from distill_jax.kinds.base import Lesson
from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config
from distill_jax.study.run import StudyRun
from distill_jax.vocab import ByteVocabulary
from tests.tiny import LABELS, T5_CONFIG

GPU = "gin/runs/gpu.gin"
SMALL = {"vocab_size": 128, "d_model": 8}


def bindings(**macros: str) -> list[str]:
    return [f"{name} = {value!r}" for name, value in macros.items()]


RUN = {"MODEL_DIR": "m", "MIXTURE_OR_TASK_NAME": "t"}
DISTIL = RUN | {"TEACHER_LABELS": "l"}
STUDY = {"STUDY_DIR": "s", "INITIAL_CHECKPOINT_PATH": "i"}


def execution(run: Any) -> Any:
    return run.teacher.execution if hasattr(run, "teacher") else run.student.execution


@pytest.mark.parametrize("file", ["finetune", "distil", "distil_encoder", "distil_t5"])
def test_behind_a_run(file: str) -> None:
    given = bindings(**(DISTIL if "distil" in file else RUN))
    run = configured([f"gin/runs/{file}.gin", GPU], given)
    assert (run.training.eval_batch_size, run.training.batch_size) == (256, 32)
    if file in ("finetune", "distil_t5"):
        assert execution(run).apply(T5Config(**SMALL)) == T5Config(**SMALL, dtype="bfloat16")


def test_options_of_how_a_t5_is_computed_still_apply() -> None:
    more = ["SCAN_LAYERS = True", "REMAT = 'full'", "BATCH_SIZE = 8"]
    run = configured(["gin/runs/finetune.gin", GPU], [*bindings(**RUN), *more])
    how = execution(run)
    assert (how.scan_layers, how.remat, how.dtype) == (True, "full", "bfloat16")
    assert run.training.batch_size == 8


def test_another_dtype_may_still_be_asked_for() -> None:
    more = ["DTYPE = 'float32'"]
    run = configured(["gin/runs/finetune.gin", GPU], [*bindings(**RUN), *more])
    assert execution(run).dtype == "float32"
    run = configured(["gin/runs/distil_encoder.gin", GPU], [*bindings(**DISTIL), *more])
    assert run.student.model.dtype == "float32"


def test_an_encoder_from_a_checkpoint_computes_in_it_too(tmp_path: Path) -> None:
    write_hf(tmp_path, T5_CONFIG, nn.unbox(T5(T5_CONFIG).initial(jax.random.key(0))))
    ByteVocabulary().save(tmp_path)
    given = bindings(**DISTIL, INITIAL_CHECKPOINT_PATH=str(tmp_path))
    run = configured(["gin/runs/distil_encoder.gin", GPU], given)
    resources = RunResources(run.data.sources, "t")
    target = Target(("to", "berlin"), np.zeros(2, np.int32))
    lesson = Lesson(LABELS, [target], DistillationWeights(), run.training, resources)
    config = run.student.learner(lesson).config
    assert (config.dtype, config.d_model) == ("bfloat16", T5_CONFIG.d_model)


def test_behind_the_study() -> None:
    study = "gin/runs/fewshot_study.gin"
    before = build_run([study], bindings(**STUDY), (StudyRun,))
    run = build_run([study, GPU], bindings(**STUDY), (StudyRun,))
    assert run.teacher.teacher.execution.apply(T5Config(**SMALL)).dtype == "bfloat16"
    assert run.teacher.training.batch_size == before.teacher.training.batch_size
