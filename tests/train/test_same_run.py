"""A run goes on only with the settings it was started with."""

from pathlib import Path

import gin
import jax
import pytest

from distill_jax.errors import UserError
from distill_jax.parallel.mesh import make_mesh
from distill_jax.train.loop import Schedule
from distill_jax.train.optimizers import adamw, warmup_cosine
from distill_jax.train.same_run import check_same_config, version_notes, versions
from tests.train.toy import metrics, run

CONFIG = """
LEARNING_RATE = 1e-2
TRAIN_STEPS = 12
RATE = %LEARNING_RATE
warmup_cosine.peak = %RATE
warmup_cosine.steps = %TRAIN_STEPS
adamw.learning_rate = @warmup_cosine()
adamw.b2 = 0.99
Schedule.train_steps = %TRAIN_STEPS
Schedule.eval_period = 2
make_mesh.data = 2
"""


def operative(*bindings: str, config: str = CONFIG) -> str:
    """What Gin says was used, once everything has been."""
    gin.clear_config()
    gin.parse_config([config, *bindings])
    adamw()
    Schedule()
    make_mesh(devices=jax.devices()[: 8 if "make_mesh.data = 4" in bindings else 2])
    return str(gin.operative_config_str())


@pytest.mark.parametrize(
    ("binding", "named"),
    [
        ("LEARNING_RATE = 2e-2", "RATE = 0.01 and would go on with 0.02"),
        ("warmup_cosine.peak = 0.5", "warmup_cosine.peak = 0.01 and would go on with 0.5"),
        ("adamw.weight_decay = 0.1", "adamw.weight_decay = 0.0 and would go on with 0.1"),
        ("adamw.learning_rate = 0.5", "adamw.learning_rate = @warmup_cosine() and would go on"),
    ],
)
def test_the_first_binding_that_differs_is_named(binding: str, named: str) -> None:
    saved = operative()
    with pytest.raises(UserError) as error:
        check_same_config(saved, operative(binding), "runs/x")
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("runs/x: ") and named in str(error.value)


@pytest.mark.parametrize(
    "bindings",
    [
        ("TRAIN_STEPS = 100",),
        ("Schedule.eval_period = 5", "Schedule.patience = 3", "Schedule.log_period = 1"),
        ("Schedule.profile_steps = (2, 3)",),
        ("make_mesh.data = 4", "make_mesh.fsdp = 2"),
        ("warmup_cosine.peak = 1e-2", "LEARNING_RATE = 5"),  # the same, said otherwise
    ],
)
def test_some_may_differ(bindings: tuple[str, ...]) -> None:
    check_same_config(operative(), operative(*bindings), "runs/x")


def test_what_only_one_run_has_come_to_is_not_compared() -> None:
    check_same_config("", operative(), "runs/x")
    check_same_config(operative(), "", "runs/x")


def test_values_of_several_lines_are_compared() -> None:
    names = ", ".join(f"'a_long_name_of_a_feature_{number}': {number}" for number in range(8))
    one = operative(f"adamw.weight_decay = {{{names}}}")
    check_same_config(one, operative(f"adamw.weight_decay = {{{names}}}"), "runs/x")
    with pytest.raises(UserError, match=r"adamw\.weight_decay"):
        changed = names.replace("_7': 7", "_7': 8")
        check_same_config(one, operative(f"adamw.weight_decay = {{{changed}}}"), "runs/x")


def test_a_run_with_other_settings_is_refused_and_nothing_is_overwritten(tmp_path: Path) -> None:
    gin.parse_config("adamw.learning_rate = 0.05\nwarmup_cosine.steps = 3")
    run(tmp_path, optimizer=adamw())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    gin.clear_config()
    gin.parse_config("adamw.learning_rate = 0.1")
    warmup_cosine(1.0, 5)  # operative too, with other values
    with pytest.raises(UserError, match=r"adamw\.learning_rate = 0\.05 and would go on with 0\.1;"):
        run(tmp_path, optimizer=adamw(), schedule=Schedule(24))
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    gin.clear_config()
    gin.parse_config("adamw.learning_rate = 0.05")
    assert run(tmp_path, optimizer=adamw(), schedule=Schedule(14)).steps == 14
    assert metrics(tmp_path)[-1]["step"] == 14


def test_a_run_whose_data_changed_is_refused_and_nothing_is_overwritten(tmp_path: Path) -> None:
    inputs = {"snips (train)": "1a", "runs/labels": "2b"}
    run(tmp_path, inputs=inputs)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"checkpoints: runs/labels: no longer what this run was"):
        run(tmp_path, inputs={**inputs, "runs/labels": "3c"}, schedule=Schedule(24))
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert run(tmp_path, inputs=inputs, schedule=Schedule(14)).steps == 14


def test_other_versions_are_said() -> None:
    assert version_notes(versions()) == []
    assert version_notes({}) == []
    (note,) = version_notes({**versions(), "jax": "0.1"})
    assert f"jax 0.1, now {jax.__version__}" in note


def test_more_cells_may_be_added_to_a_study() -> None:
    before = "DATASETS = ('a',)\nstudy.datasets = %DATASETS\nteacher/adamw.b2 = 0.9\n"
    check_same_config(before, before.replace("('a',)", "('a', 'b')"), "cell")
    with pytest.raises(UserError, match="b2"):
        check_same_config(before, before.replace("0.9", "0.8"), "cell")
