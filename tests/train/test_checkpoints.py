"""A damaged checkpoint is passed over for the one before, with a line that says so; where none is
sound, or they do not fit, the run is refused in one line, never silently begun anew."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import optax
import pytest

from distill_jax.errors import UserError
from distill_jax.parallel.mesh import make_mesh
from distill_jax.train.checkpoints import RunCheckpoints
from distill_jax.train.optimizers import Adafactor, AdamW, Optimizer, adamw
from distill_jax.train.state import TrainState, abstract_state, create_state
from tests.train.toy import Made, Regression, assert_same, metrics, never, run

MESH = {"data": 2, "fsdp": 2, "model": 2}


def new_state(optimizer: optax.GradientTransformation | None = None) -> TrainState:
    return create_state(Regression(), optimizer or adamw(1e-3), make_mesh(**MESH), seed=1)


def places(mesh: dict[str, int] | None = None) -> TrainState:
    return abstract_state(Regression(), adamw(1e-3), make_mesh(**(mesh or MESH)))


def facts(best_step: int = 0) -> dict[str, Any]:
    return {"selection": {"best_step": best_step}}


def at(state: TrainState, step: int) -> TrainState:
    return state.replace(step=state.step + step)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("trained")
    run(directory)
    return directory


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def test_what_is_saved_comes_back_on_any_mesh(tmp_path: Path) -> None:
    state = new_state()
    with RunCheckpoints(tmp_path) as checkpoints:
        checkpoints.save(at(state, 7), facts() | {"text": "a\nb"})
    for mesh in (MESH, {"data": 8}, {"fsdp": 8}):
        with RunCheckpoints(tmp_path) as checkpoints:
            assert checkpoints.latest_step() == 7
            found, run_facts = checkpoints.restore(places(mesh))
        assert_same(found, at(state, 7))
        assert found.params["kernel"].sharding == places(mesh).params["kernel"].sharding
        assert run_facts == facts() | {"text": "a\nb"}


def test_the_newest_and_the_one_before_are_kept(tmp_path: Path) -> None:
    state = new_state()
    with RunCheckpoints(tmp_path) as checkpoints:
        for step in (1, 2, 2, 3):
            checkpoints.save(at(state, step), facts())
        checkpoints.wait()
        assert {path.name for path in (tmp_path / "latest").iterdir()} == {"2", "3"}


def test_best_parameters_are_kept_as_long_as_a_checkpoint_counts_on_them(tmp_path: Path) -> None:
    state = new_state()

    def there() -> set[int]:
        return {int(path.name) for path in (tmp_path / "best").iterdir()}

    with RunCheckpoints(tmp_path) as checkpoints:
        checkpoints.save_best(1, state.params, {"step": 1})
        checkpoints.save_best(2, state.params, {"step": 2})
        checkpoints.save(at(state, 2), facts(best_step=2))
        checkpoints.save_best(3, state.params, {"step": 3})
        checkpoints.save_best(4, state.params, {"step": 4})
        checkpoints.wait()
        assert there() == {2, 4}
    with RunCheckpoints(tmp_path) as checkpoints:
        checkpoints.restore(places())
        params, run_facts = checkpoints.restore_best(2, places().params)
        assert_same(params, state.params)
        assert run_facts == {"step": 2}
        # Step 4 comes again, with other parameters.
        other = create_state(Regression(), adamw(1e-3), make_mesh(**MESH), seed=2).params
        checkpoints.save_best(4, other, {"step": 4})
        checkpoints.save(at(state, 4), facts(best_step=4))
        checkpoints.prune()
        assert there() == {2, 4}  # the checkpoint before the newest counts on step 2
        checkpoints.save(at(state, 5), facts(best_step=4))
        checkpoints.prune(needed=4)
        assert there() == {4}
        assert_same(checkpoints.restore_best(4, places().params)[0], other)


def refused(directory: Path, match: str, **options: Any) -> None:
    """The run is refused in one line, and what is on disk stays as it was."""
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=match) as error:
        run(directory, never, **options)
    assert "\n" not in str(error.value)
    assert str(directory / "checkpoints") in str(error.value)
    assert "MODEL_DIR" in str(error.value)
    assert before == {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_checkpoint_of_another_model_is_refused(copy: Path) -> None:
    refused(
        copy,
        r"latest/12: .*\(params/kernel is float32\[8,16\] there and float32\[8,32\] here\)",
        objective=Regression(mlp=32),
    )


@pytest.mark.parametrize(
    "optimizer",
    [Adafactor(1e-3), AdamW(0.05, clip_norm=None), Made(optax.sgd(0.1, momentum=0.9))],
)
def test_a_checkpoint_of_another_optimizer_is_refused(optimizer: Optimizer, copy: Path) -> None:
    refused(copy, r"another model or optimizer \(opt_state/.* absent ", optimizer=optimizer)


# TensorStore reports some errors twice, the second time to an event loop that Orbax has closed.
late_report = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def empty(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


DAMAGED = ["state/d/*", "state/_METADATA", "run/metadata"]


def goes_on_from_step_9(copy: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The run ends as the undamaged one did, and says in one line why it went back."""
    best = {path.name for path in (trained / "checkpoints/best").iterdir()}
    capsys.readouterr()
    outcome = run(copy)
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if "checkpoint is " in line] == [lines[0]]
    assert "latest/12: this checkpoint is " in lines[0]
    assert lines[0].endswith("going on from the checkpoint before it, of step 9")
    assert "steps 9 to 12, resumed" in lines[1]
    assert (copy / "checkpoints/damaged/12").exists()
    assert (outcome.steps, str(outcome.best_step)) == (12, *best)
    assert metrics(copy) == metrics(trained)
    assert_same(restored(copy), restored(trained))


def restored(directory: Path) -> TrainState:
    mesh = make_mesh(devices=jax.devices()[:2])
    with RunCheckpoints(directory / "checkpoints") as checkpoints:
        assert checkpoints.latest_step() == 12
        return checkpoints.restore(abstract_state(Regression(), adamw(0.05), mesh))[0]


@late_report
@pytest.mark.parametrize("damage", [halve, flip_a_bit, Path.unlink])
@pytest.mark.parametrize("name", DAMAGED)
def test_the_one_before_a_damaged_checkpoint_is_used(
    damage: Callable[[Path], None],
    name: str,
    copy: Path,
    trained: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (path,) = (copy / "checkpoints/latest/12").glob(name)
    damage(path)
    goes_on_from_step_9(copy, trained, capsys)


@late_report
@pytest.mark.parametrize("name", ["", "state", "state/d", "run"])
def test_the_one_before_an_empty_checkpoint_is_used(
    name: str, copy: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty(copy / "checkpoints/latest/12" / name)
    goes_on_from_step_9(copy, trained, capsys)


@late_report
@pytest.mark.parametrize("damage", [halve, flip_a_bit, Path.unlink])
@pytest.mark.parametrize("name", DAMAGED)
def test_without_a_sound_checkpoint_the_run_is_refused(
    damage: Callable[[Path], None], name: str, copy: Path
) -> None:
    for path in (copy / "checkpoints/latest").glob(f"*/{name}"):
        damage(path)
    refused(copy, r"latest/12: this checkpoint is ")


@late_report
def test_values_that_changed_are_noticed(tmp_path: Path) -> None:
    """Orbax itself reads changed bytes of larger arrays without complaint."""
    state = new_state()
    values = jax.device_put(jax.random.normal(jax.random.key(0), (1000, 1000)), state.step.sharding)
    large = state.replace(params=state.params | {"large": values})
    with RunCheckpoints(tmp_path) as checkpoints:
        checkpoints.save(large, facts())
    path = max((tmp_path / "latest/0/state").rglob("*"), key=lambda path: path.stat().st_size)
    flip_a_bit(path)
    with RunCheckpoints(tmp_path) as checkpoints, pytest.raises(UserError, match="is damaged"):
        checkpoints.restore(large)


def test_missing_best_parameters_are_noticed(copy: Path) -> None:
    (best,) = (copy / "checkpoints/best").iterdir()
    shutil.rmtree(best)
    with pytest.raises(UserError, match=rf"best/{best.name}: the best parameters .* are missing"):
        run(copy, never)


@late_report
def test_damaged_best_parameters_are_refused(copy: Path) -> None:
    (path,) = (copy / "checkpoints/best").glob("*/params/d/*")
    halve(path)
    with pytest.raises(UserError, match=r"best/\d+: this checkpoint is damaged"):
        run(copy, never)


def test_half_a_checkpoint_is_not_taken_for_one(copy: Path) -> None:
    """What a kill leaves of an unfinished save has another name, and the one before is used."""
    latest = copy / "checkpoints/latest"
    unfinished = latest / "15.orbax-checkpoint-tmp-0"
    shutil.copytree(latest / "12", unfinished)
    shutil.rmtree(unfinished / "run")
    assert run(copy, never).steps == 12


def test_closing_does_not_hide_what_stopped_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: RunCheckpoints) -> None:
        raise OSError("disk full")

    checkpoints = RunCheckpoints(tmp_path)
    close = checkpoints.close
    monkeypatch.setattr(RunCheckpoints, "close", fail)
    with pytest.raises(KeyError), checkpoints:
        raise KeyError
    with pytest.raises(OSError, match="disk full"), checkpoints:
        pass
    close()
