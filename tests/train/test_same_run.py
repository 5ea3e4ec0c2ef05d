"""A run goes on only with the settings it was started with, and alone."""

import dataclasses
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import pytest

from distill_jax.configuration import setting
from distill_jax.errors import UserError
from distill_jax.parallel import processes
from distill_jax.parallel.mesh import Placement
from distill_jax.parallel.processes import _Job
from distill_jax.train.checkpoints import RunCheckpoints
from distill_jax.train.optimizers import Adafactor, AdamW, Constant, WarmupCosine
from distill_jax.train.same_run import (
    NO_ORIGIN,
    Origin,
    alone_in,
    steps_notes,
    version_notes,
    versions,
)
from distill_jax.train.training import Schedule, Training
from tests.train import toy
from tests.train.processes import ended, start, wait_for_line
from tests.train.toy import SCHEDULE, failing_at, metrics, run, stop, training


@dataclasses.dataclass(frozen=True)
class Run:
    """A run as Gin files describe one."""

    training: Training
    rates: tuple[float, ...] = setting((0.5, 0.25))
    mixtures: tuple[str, ...] = setting(("snips", "atis"))
    data_dir: str = setting("/data", free=True)


OPTIMIZER = AdamW(WarmupCosine(peak=0.01, steps=12), b2=0.99)


def origin(given: Any = None, /, **changes: Any) -> Origin:
    """Of a run of the toy with these changes to its `Training`."""
    described = training(Path("runs/x"), **({"optimizer": OPTIMIZER} | changes))
    return Origin(Run(described, **(given or {})))


def saved(one: Origin) -> Any:
    """What a checkpoint would give back of it."""
    return json.loads(json.dumps(one.to_json()))


def refusal(before: Any, now: Origin) -> str:
    with pytest.raises(UserError) as error:
        now.check_same(before, "runs/x")
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("runs/x: ")
    return str(error.value)


def files(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("now", "named"),
    [
        (origin(seed=1), "training.seed = 5 and would go on with 1;"),
        (origin(batch_size=16), "training.batch_size = 8 and would go on with 16;"),
        (
            origin(optimizer=AdamW(WarmupCosine(peak=0.02, steps=12), b2=0.99)),
            "training.optimizer.learning_rate.peak = 0.01 and would go on with 0.02;",
        ),
        (
            origin(optimizer=dataclasses.replace(OPTIMIZER, weight_decay=0.1)),
            "training.optimizer.weight_decay = 0.0 and would go on with 0.1;",
        ),
        (
            origin(optimizer=dataclasses.replace(OPTIMIZER, learning_rate=0.5)),
            "training.optimizer.learning_rate = {'is': 'WarmupCosine', ",
        ),
        (
            origin(optimizer=dataclasses.replace(OPTIMIZER, learning_rate=Constant(0.01))),
            "training.optimizer.learning_rate = 'WarmupCosine' and would go on with 'Constant';",
        ),
        (
            origin(optimizer=Adafactor(OPTIMIZER.learning_rate)),
            "training.optimizer = 'AdamW' and would go on with 'Adafactor';",
        ),
        (
            origin({"rates": (0.5, 0.5)}),
            "rates = [0.5, 0.25] and would go on with [0.5, 0.5];",
        ),
        (
            origin({"mixtures": ("snips",)}),
            "mixtures = ['snips', 'atis'] and would go on with ['snips'];",
        ),
        # The first of several.
        (origin(seed=1, batch_size=16), "training.batch_size = 8 and would go on with 16;"),
    ],
)
def test_the_first_field_that_differs_is_named(now: Origin, named: str) -> None:
    said = refusal(saved(origin()), now)
    assert f"this run was started with {named}" in said
    assert said.count(" and would go on with ") == 1
    assert said.endswith("; use the settings it was started with, or another MODEL_DIR")


@pytest.mark.parametrize(
    "now",
    [
        origin(),
        origin(schedule=Schedule(100)),
        origin(schedule=Schedule(12, eval_period=5, patience=3, log_period=1)),
        origin(schedule=dataclasses.replace(SCHEDULE, checkpoint_period=None)),
        origin(schedule=dataclasses.replace(SCHEDULE, profile_steps=(2, 3))),
        origin(optimizer=AdamW(WarmupCosine(peak=0.01, steps=100), b2=0.99)),
        origin(placement=Placement(data=4, fsdp=2)),
        origin(placement=Placement(axis_rules={"embed": None}, teacher_axis_rules={})),
        origin(accumulate=2, eval_batch_size=4),
        Origin(Run(training(Path("moved"), optimizer=OPTIMIZER))),
        origin({"data_dir": "/elsewhere"}),
        origin({"rates": [0.5, 0.25]}),  # the same, said otherwise
    ],
)
def test_what_is_free_may_differ(now: Origin) -> None:
    now.check_same(saved(origin()), "runs/x")


def test_a_field_that_only_one_has_is_a_difference() -> None:
    more = saved(origin())
    more["settings"]["training"]["optimizer"]["momentum"] = 0.5
    assert "training.optimizer.momentum = 0.5 and would go on with absent;" in refusal(
        more, origin()
    )
    less = saved(origin())
    del less["settings"]["training"]["seed"]
    assert "training.seed = absent and would go on with 5;" in refusal(less, origin())
    renamed = saved(origin())
    renamed["settings"]["training"]["key"] = renamed["settings"]["training"].pop("seed")
    assert "training.key = 5 and would go on with absent;" in refusal(renamed, origin())


@pytest.mark.parametrize("before", [None, {}, saved(NO_ORIGIN)])
def test_a_checkpoint_that_says_nothing_is_of_another_run(before: Any) -> None:
    # The first field of all is that of the class.
    assert " = absent and would go on with 'Run';" in refusal(before, origin())
    assert "would go on with absent;" in refusal(saved(origin()), NO_ORIGIN)
    NO_ORIGIN.check_same(before, "runs/x")


INPUTS = {"snips (train)": "1a", "runs/labels": "2b"}


@pytest.mark.parametrize(
    ("now", "named"),
    [
        ({**INPUTS, "runs/labels": "3c"}, ": runs/labels: "),
        ({"snips (train)": "1a"}, ": runs/labels: "),
        ({**INPUTS, "atis (train)": "1a"}, ": atis (train): "),
        ({"snips (train)": "0", "other": "2b"}, ": snips (train), runs/labels, other: "),
    ],
)
def test_inputs_that_changed_or_that_only_one_has_are_named(
    now: dict[str, str], named: str
) -> None:
    before = saved(origin()._replace(inputs=INPUTS))
    origin()._replace(inputs=dict(reversed(INPUTS.items()))).check_same(before, "runs/x")
    said = refusal(before, origin()._replace(inputs=now))
    assert f"{named}no longer what this run was started with; " in said


def test_a_run_with_other_settings_is_refused_and_nothing_is_overwritten(tmp_path: Path) -> None:
    def train(rate: float, steps: int) -> Any:
        changes: dict[str, Any] = {
            "optimizer": AdamW(rate),
            "schedule": dataclasses.replace(SCHEDULE, train_steps=steps),
        }
        return run(tmp_path, origin=Origin(Run(training(tmp_path, **changes))), **changes)

    train(0.05, 12)
    with RunCheckpoints(tmp_path / "checkpoints") as checkpoints:
        facts = checkpoints.facts()
    assert facts is not None
    described = facts["origin"]["settings"]
    assert described["is"] == "Run"
    assert described["training"]["optimizer"]["learning_rate"] == 0.05
    before = files(tmp_path)
    expected = r"learning_rate = 0\.05 and would go on with 0\.1; use the settings"
    with pytest.raises(UserError, match=expected) as error:
        train(0.1, 24)
    assert str(error.value).startswith(f"{tmp_path / 'checkpoints'}: ")
    assert before == files(tmp_path)
    assert train(0.05, 14).steps == 14
    assert metrics(tmp_path)[-1]["step"] == 14


def test_a_run_whose_data_changed_is_refused_and_nothing_is_overwritten(tmp_path: Path) -> None:
    run(tmp_path, origin=Origin({}, INPUTS))
    before = files(tmp_path)
    for changed in ({**INPUTS, "runs/labels": "3c"}, {"snips (train)": "1a"}):
        with pytest.raises(UserError, match=r"checkpoints: runs/labels: no longer what this run"):
            run(tmp_path, origin=Origin({}, changed), schedule=Schedule(24))
    assert before == files(tmp_path)
    assert run(tmp_path, origin=Origin({}, INPUTS), schedule=Schedule(14)).steps == 14


def test_another_length_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(tmp_path)
    capfd.readouterr()
    run(tmp_path, schedule=dataclasses.replace(SCHEDULE, train_steps=14))
    said = capfd.readouterr().err
    assert "planned for 12 steps and now for 14: from step 12 on a learning rate" in said
    assert steps_notes(12, 12, 6) == steps_notes(None, 14, 6) == steps_notes(14, 12, 12) == []


def test_other_versions_are_said() -> None:
    assert version_notes(versions()) == []
    assert version_notes({}) == []
    (note,) = version_notes({**versions(), "jax": "0.1"})
    assert f"jax 0.1, now {jax.__version__}" in note


# --- alone ------------------------------------------------------------------------------------


REFUSED = "another run is training there; wait until it has ended, or give another MODEL_DIR"


@pytest.fixture
def running(compilation_cache_directory: str, tmp_path: Path) -> Iterator[Any]:
    """A process that trains in `tmp_path/run`, with checkpoints on disk."""
    options: dict[str, Any] = {"mesh": {}, "steps": 2000, "save": 2, "pause": 0.05}
    directory = tmp_path / "run"
    process = start(compilation_cache_directory, 2, directory=str(directory), **options)
    # The checkpoint of step 2 is complete when that of step 4 is begun.
    wait_for_line(directory / "metrics.jsonl", 5, process)
    yield process
    process.kill()
    ended(process)


def job_origin(directory: Path, **changes: Any) -> Origin:
    """That of `tests.train.job`."""
    return Origin({"training": training(directory, **changes)})


@pytest.mark.slow
def test_of_two_runs_in_a_folder_the_second_is_refused_while_the_first_lives(
    running: Any, tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    description = job_origin(directory)
    with pytest.raises(UserError) as error:
        run(directory, toy.never, data=toy.make_data(toy.never), origin=description)
    assert str(error.value) == f"{directory}: {REFUSED}"
    # It goes on undisturbed.
    step = metrics(directory)[-1]["step"]
    wait_for_line(directory / "metrics.jsonl", step + 2, running)
    assert [line["step"] for line in metrics(directory) if line["kind"] == "train"][:5] == [
        *range(1, 6)
    ]
    # Nobody tidies up behind a process that is killed.
    running.send_signal(signal.SIGKILL)
    assert ended(running)[0] == -signal.SIGKILL
    last = metrics(directory)[-1]["step"]
    schedule = Schedule(last + 4, 4, 2, 1)
    outcome = run(directory, schedule=schedule, origin=description)
    assert outcome.steps == last + 4
    steps = [line["step"] for line in metrics(directory) if line["kind"] == "train"]
    assert steps == [*range(1, last + 5)]


def test_a_folder_is_let_go_of_however_a_run_ends(tmp_path: Path) -> None:
    with alone_in(tmp_path):
        with pytest.raises(UserError, match=REFUSED):
            run(tmp_path, toy.never, data=toy.make_data(toy.never))
        with alone_in(tmp_path / "another"):
            pass
    assert not (tmp_path / "checkpoints").exists()
    with pytest.raises(toy.Stop):
        run(tmp_path, failing_at(2, stop))
    assert run(tmp_path).steps == 12
    assert run(tmp_path, toy.never).steps == 12


# --- several processes; real ones are in tests/parallel ----------------------------------------


def told(one: Origin, other: Origin, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is said to the first of two processes with these origins; empty if they agree."""
    given: list[list[str]] = []
    for each in (one, other):
        texts: list[str] = []
        monkeypatch.setattr(processes, "agree", lambda what, value, to=texts: to.append(value))
        each.agree_among_processes()
        given.append(texts)
    monkeypatch.undo()
    shared = iter(zip(*given, strict=True))
    monkeypatch.setattr(processes, "_job", _Job(None, 0, ("a", "b")))
    monkeypatch.setattr(processes, "_shared", lambda *_: list(next(shared)))
    try:
        one.agree_among_processes()
    except UserError as error:
        return str(error)
    finally:
        monkeypatch.undo()
    return ""


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (origin(), ""),
        (
            origin(seed=1),
            "another configuration than process 0 (a) ('training.seed = 1' instead of "
            "'training.seed = 5')",
        ),
        (
            origin(optimizer=dataclasses.replace(OPTIMIZER, learning_rate=Constant(0.01))),
            "(\"training.optimizer.learning_rate = 'Constant'\" instead of ",
        ),
        # A run may go on with these changed, but processes that differ in them would wait forever.
        (
            origin(schedule=dataclasses.replace(SCHEDULE, eval_period=3)),
            "('training.schedule.eval_period = 3' instead of 'training.schedule.eval_period = 2')",
        ),
        (
            origin(placement=Placement(first_devices=2, fsdp=2)),
            "('training.placement.fsdp = 2' instead of 'training.placement.fsdp = 1')",
        ),
        (
            origin({"mixtures": ("snips", "conll")}),
            "(\"mixtures = ['snips', 'conll']\" instead of \"mixtures = ['snips', 'atis']\")",
        ),
        (origin()._replace(inputs=INPUTS), "another data or version than process 0 (a) ("),
    ],
)
def test_processes_that_do_not_agree_are_told_where(
    other: Origin, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = told(origin(), other, monkeypatch)
    assert found.startswith("process 1 (b) has another " if said else "")
    assert bool(found) == bool(said)
    assert said in found
