"""What a log line says of the steps it covers, and the profiler's trace."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from distill_jax.errors import UserError
from distill_jax.train import throughput
from distill_jax.train.optimizers import AdamW, Constant
from distill_jax.train.throughput import memory_in_use, peak_flops
from distill_jax.train.timed_step import TimedStep
from distill_jax.train.training import Schedule
from tests.train import toy
from tests.train.test_reporting import scalars
from tests.train.toy import run

SCHEDULE = Schedule(6, eval_period=6, checkpoint_period=4, log_period=3)


def train_lines(directory: Path) -> list[dict[str, Any]]:
    text = (directory / "metrics.jsonl").read_text()
    return [line for line in map(json.loads, text.splitlines()) if line["kind"] == "train"]


def test_a_line_has_times_rates_and_terms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(throughput.PEAK_FLOPS, jax.devices()[0].device_kind, 1e15)
    optimizer = AdamW(Constant(0.5, warmup_steps=10))

    def tagged(number: int, batch: Any) -> Any:
        return {**batch, "tag_weights": batch["weights"] + 1}

    schedule = dataclasses.replace(SCHEDULE, verbose=True)
    run(tmp_path, schedule=schedule, optimizer=optimizer, data=toy.make_data(tagged))
    first, second = train_lines(tmp_path)
    for line in (first, second):
        assert line["step_seconds"] * line["steps_per_second"] == pytest.approx(1)
        examples = line["examples_per_second"] * line["step_seconds"]
        assert examples == pytest.approx(toy.BATCH)
        # All weights of the batch count, as each is above 0.
        assert line["target_tokens_per_second"] == pytest.approx(line["examples_per_second"])
        assert 0 <= line["input_wait_seconds"] <= line["step_seconds"]
        assert line["mfu"] > 0
        assert {"loss", "size", "grad_norm"} <= line.keys()
    assert first["learning_rate"] == pytest.approx(0.1)  # of step 3, after two updates
    assert second["learning_rate"] == pytest.approx(0.25)
    assert first["compile_seconds"] > 0
    assert second["compile_seconds"] == 0
    assert ("train/learning_rate", 3, pytest.approx(0.1)) in scalars(tmp_path)
    shown = capsys.readouterr().err
    for part in ("grad ", "lr 0.1", "steps/s", "MFU ", "input ", "compiled "):
        assert part in shown


def test_what_is_not_known_is_left_out(tmp_path: Path) -> None:
    run(tmp_path, schedule=SCHEDULE)
    unknown = {"mfu", "memory_bytes", "target_tokens_per_second"}
    assert peak_flops(jax.devices()[0]) is None
    assert all(not unknown & line.keys() for line in train_lines(tmp_path))


def test_a_window_over_a_stop_counts_the_work_before_it(tmp_path: Path) -> None:
    one, two = (dataclasses.replace(SCHEDULE, train_steps=n, log_period=5) for n in (4, 6))
    run(tmp_path, schedule=one)
    run(tmp_path, schedule=two)
    (line,) = train_lines(tmp_path)
    assert line["examples_per_second"] * line["step_seconds"] == pytest.approx(toy.BATCH)


def test_flops_of_a_step_are_those_of_all_layers_on_one_device() -> None:
    devices = jax.devices()[:2]
    mesh = jax.sharding.Mesh(devices, ("data",))
    place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))

    @jax.jit
    def step(weights: Any, batch: Any, key: Any) -> Any:
        return weights, {"out": jax.lax.scan(lambda x, w: (x @ w, None), batch["x"], weights)[0]}

    @jax.jit
    def over_words(weights: Any, batch: Any, key: Any) -> Any:
        found = jax.lax.fori_loop(0, batch["n"], lambda _, x: x @ weights[0], batch["x"])
        return weights, {"out": found}

    weights = jnp.ones((24, 8, 8))
    rows = jax.device_put(jnp.ones((4, 8)), place)
    timed = TimedStep(step)
    timed(weights, {"x": rows}, jax.random.key(0))
    assert timed.flops == 24 * 2 * 4 * 8 * 8 / 2  # two devices
    # A loop as long as the data say counts once a word.
    timed = TimedStep(over_words)
    timed(weights, {"x": rows, "n": jnp.int32(3), "tags": jnp.zeros((4, 5))}, jax.random.key(0))
    assert timed.flops == 5 * 2 * 4 * 8 * 8 / 2


def test_a_step_is_compiled_once_a_shape() -> None:
    @jax.jit
    def step(state: Any, batch: Any, key: Any) -> Any:
        return state + batch["x"].sum(), {}

    timed = TimedStep(step)
    total: Any = jnp.float32(0)
    seconds = []
    for size in (2, 4, 2, 4):
        total, _ = timed(total, {"x": jnp.ones(size)}, jax.random.key(0))
        seconds.append(timed.compile_seconds)
    assert float(total) == 12
    assert 0 < seconds[0] < seconds[1] == seconds[2] == seconds[3]


@dataclasses.dataclass
class FakeDevice:
    stats: dict[str, int] | None

    def memory_stats(self) -> dict[str, int] | None:
        return self.stats


def test_memory_is_that_of_the_fullest_device() -> None:
    devices: Any = [
        FakeDevice({"bytes_in_use": 5, "peak_bytes_in_use": 9}),
        FakeDevice({"bytes_in_use": 7, "peak_bytes_in_use": 8}),
    ]
    assert memory_in_use(devices) == {"memory_bytes": 7, "peak_memory_bytes": 9}
    none: Any = [FakeDevice(None)]
    assert memory_in_use(none) == memory_in_use([]) == {}


@pytest.mark.slow
def test_a_profile_of_some_steps_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, schedule=dataclasses.replace(SCHEDULE, profile_steps=(2, 3)))
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))
    assert "profiler trace of steps 2 to 3" in capsys.readouterr().err


@pytest.mark.parametrize("steps", [(0, 3), (4, 3)])
def test_a_profile_of_no_steps_is_refused(steps: tuple[int, int]) -> None:
    with pytest.raises(UserError, match=r"^Schedule: profile_steps is "):
        Schedule(1, profile_steps=steps)
