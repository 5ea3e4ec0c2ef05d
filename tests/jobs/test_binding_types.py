"""What Gin binds is checked against annotations before anything runs."""

import pytest

from distill_jax.errors import UserError
from distill_jax.jobs.launch import configure

DISTIL, FINETUNE = "gin/runs/distil_gold.gin", "gin/runs/finetune.gin"
GIVEN = ["MODEL_DIR = 'm'", "MIXTURE_OR_TASK_NAME = 'demo'"]


@pytest.mark.parametrize(
    ("file", "binding", "message"),
    [
        (
            DISTIL,
            "TRAIN_STEPS = 'a'",
            "TRAIN_STEPS is 'a' and must be int for Schedule.train_steps",
        ),
        (DISTIL, "TRAIN_STEPS = 1e3", "TRAIN_STEPS is 1000.0 and must be int"),
        (DISTIL, "TRAIN_STEPS = True", "TRAIN_STEPS is True and must be int"),
        (DISTIL, "LEARNING_RATE = 'x'", "LEARNING_RATE is 'x' and must be float"),
        (DISTIL, "MESH_FSDP = None", "MESH_FSDP is None and must be int for make_mesh.fsdp"),
        (DISTIL, "PATIENCE = 'x'", r"must be int \| None"),
        (DISTIL, "MIXTURE_OR_TASK_MODULES = 'my_tasks'", r"must be Sequence\[str\]"),
        (DISTIL, "Schedule.profile_steps = (1, 'a')", r"must be tuple\[int, int\] \| None"),
        (DISTIL, "train_tagger.schedule = 3", "must be Schedule"),
        (DISTIL, "adamw.learning_rate = 'x'", "must be Callable.* float"),
        # Classes that Gin wraps, whose signature it hides.
        (DISTIL, "BiLSTMConfig.hidden = 'x'", "BiLSTMConfig.hidden is 'x' and must be int"),
        (FINETUNE, "DTYPE = 16", "DTYPE is 16 and must be .* for T5Execution.dtype"),
        (FINETUNE, "TASK_FEATURE_LENGTHS = {'inputs': 'a'}", r"must be Mapping\[str, int\]"),
    ],
)
def test_a_value_of_another_type_is_named(file: str, binding: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        configure([file], [*GIVEN, binding])


@pytest.mark.parametrize(
    "binding",
    [
        "LEARNING_RATE = 1",
        "LEARNING_RATE = @warmup_cosine()",
        "PATIENCE = None",
        "LOGICAL_AXIS_RULES = {'embed': None, 'batch': ['data', 'fsdp']}",
        "Schedule.profile_steps = [1, 2]",
        "TRAIN_STEPS = %SEED",
    ],
)
def test_what_is_as_good_passes(binding: str) -> None:
    configure([DISTIL], [*GIVEN, binding])
