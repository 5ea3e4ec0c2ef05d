"""gin/runs/gpu.gin behind every kind of run: it parses, wins, and leaves the rest alone."""

from pathlib import Path

import gin
import jax
import pytest
from flax import linen as nn

import distill_jax.study.run  # noqa: F401  # makes its names known to Gin
from distill_jax.distill.objectives import LanguageModel
from distill_jax.interop.hf.checkpoint import write_hf
from distill_jax.jobs.encoder_start import start_encoder_tagger
from distill_jax.jobs.launch import configure
from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config
from distill_jax.vocab import ByteVocabulary
from tests.tiny import T5_CONFIG

GPU = "gin/runs/gpu.gin"
SMALL = {"vocab_size": 128, "d_model": 8}


def bindings(**macros: str) -> list[str]:
    return [f"{name} = {value!r}" for name, value in macros.items()]


RUN = {"MODEL_DIR": "m", "MIXTURE_OR_TASK_NAME": "t"}
DISTIL = RUN | {"TEACHER_LABELS": "l"}
STUDY = {"STUDY_DIR": "s", "INITIAL_CHECKPOINT_PATH": "i"}


@pytest.mark.parametrize(
    ("file", "job"),
    [
        ("finetune", "train_t5"),
        ("distil", "train_tagger"),
        ("distil_encoder", "train_encoder_tagger"),
        ("distil_t5", "distil_t5"),
    ],
)
def test_behind_a_run(file: str, job: str) -> None:
    configure([f"gin/runs/{file}.gin", GPU], bindings(**(DISTIL if "distil" in file else RUN)))
    assert gin.query_parameter(f"{job}.eval_batch_size") == 256
    assert gin.query_parameter("BATCH_SIZE/macro.value") == 32
    if "t5" in job:
        execution = gin.get_bindings(job)["execution"]
        assert execution.apply(T5Config(**SMALL)) == T5Config(**SMALL, dtype="bfloat16")


def test_options_of_how_a_t5_is_computed_still_apply() -> None:
    more = ["SCAN_LAYERS = True", "REMAT = 'full'", "BATCH_SIZE = 8"]
    configure(["gin/runs/finetune.gin", GPU], [*bindings(**RUN), *more])
    execution = gin.get_bindings("train_t5")["execution"]
    assert (execution.scan_layers, execution.remat, execution.dtype) == (True, "full", "bfloat16")
    assert gin.query_parameter("BATCH_SIZE/macro.value") == 8


def test_another_dtype_may_still_be_asked_for() -> None:
    for file, run in (("finetune", RUN), ("distil_encoder", DISTIL)):
        configure([f"gin/runs/{file}.gin", GPU], [*bindings(**run), "DTYPE = 'float32'"])
        assert gin.query_parameter("DTYPE/macro.value") == "float32"
    assert gin.get_bindings("EncoderTaggerConfig")["dtype"] == "float32"


def test_an_encoder_from_a_checkpoint_computes_in_it_too(tmp_path: Path) -> None:
    boxed = LanguageModel(T5(T5_CONFIG)).init(jax.random.key(0))
    write_hf(tmp_path, T5_CONFIG, nn.unbox(boxed))
    configure(["gin/runs/distil_encoder.gin", GPU], bindings(**DISTIL))
    config, *_ = start_encoder_tagger(
        str(tmp_path), None, gin.get_configurable("EncoderTaggerConfig"), ByteVocabulary(), 4, 0
    )
    assert (config.dtype, config.d_model) == ("bfloat16", T5_CONFIG.d_model)


def test_behind_the_study() -> None:
    configure(["gin/runs/fewshot_study.gin"], bindings(**STUDY))
    before = gin.query_parameter("TEACHER_BATCH_SIZE/macro.value")
    configure(["gin/runs/fewshot_study.gin", GPU], bindings(**STUDY))
    with gin.config_scope("teacher"):
        teacher = gin.get_bindings("train_t5")
    assert teacher["execution"].apply(T5Config(**SMALL)).dtype == "bfloat16"
    assert teacher["batch_size"] == before
