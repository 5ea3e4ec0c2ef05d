"""Compiling plans: what a report says against what is known in closed form, and TPU slices."""

import contextlib
import dataclasses
import json

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from distill_jax.cli.compile import report_lines
from distill_jax.errors import UserError
from distill_jax.parallel.mesh import make_mesh
from distill_jax.planning import compilation
from distill_jax.planning.compilation import Plan, compile_plan, estimated_arguments
from distill_jax.planning.hardware import CHIPS, GIB
from distill_jax.planning.hlo import Collective, Traffic
from distill_jax.planning.topology import topology_devices
from distill_jax.train.throughput import PEAK_FLOPS

ROWS, WIDTH = 16, 64
FLOAT = 4


def _plan(devices=None, width=WIDTH, **mesh):
    """One step of gradient descent on a matrix that `fsdp` splits."""
    mesh = make_mesh(devices=devices or jax.devices()[:8], **mesh)

    def place(*axes):
        return NamedSharding(mesh, PartitionSpec(*axes))

    split = place("fsdp")
    w = jax.ShapeDtypeStruct((width, width), jnp.float32, sharding=split)
    x = jax.ShapeDtypeStruct((ROWS, width), jnp.float32, sharding=place(("data", "fsdp")))

    def step(w, x):
        return w - 0.1 * jax.grad(lambda w: jnp.sum(jnp.square(x @ w)))(w)

    jitted = jax.jit(step, in_shardings=(split, x.sharding), out_shardings=split, donate_argnums=0)
    parts = {"parameters": w, "optimizer state": (), "batch": x}
    options = {"remat": "none", "scan_layers": False, "accumulate": 1, "optimizer": "adamw"}
    return Plan("descend", jitted, (w, x), parts, ROWS, mesh, options=options)


def test_a_report_has_what_the_shardings_say():
    report = compile_plan(_plan(data=2, fsdp=4))
    held = (WIDTH * WIDTH // 4 + ROWS * WIDTH // 8) * FLOAT
    assert report.memory["arguments"] == held == estimated_arguments(_plan(data=2, fsdp=4))
    # The new matrix lies where the old one was.
    assert report.memory["output"] == report.memory["aliased"] == WIDTH * WIDTH // 4 * FLOAT
    assert report.memory["total"] == pytest.approx(
        held + report.memory["temporaries"] + report.memory["program"]
    )
    assert sum(report.contributors.values()) == pytest.approx(report.memory["total"])
    assert report.parameters == {"parameters": WIDTH * WIDTH}
    # x @ w and its gradient, a device's share.
    assert report.flops == report.model_flops == 2 * 2 * ROWS * WIDTH * WIDTH / 8
    assert report.traffic.collectives
    assert report.compile_seconds > 0


def test_what_is_not_known_of_a_cpu_is_not_made_up():
    report = compile_plan(_plan(data=2, fsdp=4))
    assert report.hbm is report.fits is report.mfu is report.step_seconds is None
    assert json.loads(json.dumps(report.as_json()))["mesh"]["fsdp"] == 4


def test_rematerialised_flops_are_not_the_model_s():
    plan = _plan(data=2, fsdp=4)
    plain = dataclasses.replace(plan, plain=lambda w, x: x @ w)
    assert compile_plan(plain).model_flops == 2 * ROWS * WIDTH * WIDTH / 8
    assert compile_plan(plain).flops == compile_plan(plan).flops


def test_the_roofline_in_closed_form():
    chip = next(chip for chip in CHIPS if chip.name == "v5e")
    moved = Traffic(8.2e11, {"all-reduce": Collective(1, 1, 4.5e10, 3.125e9)})
    found = compilation._roofline(chip, 197e12 / 4, moved)
    assert found == pytest.approx({"compute": 0.25, "memory": 1.0, "network": 0.5 + 1.0})


def test_every_chip_has_a_peak():
    assert all(kind in PEAK_FLOPS for chip in CHIPS for kind in chip.kinds)


def _out_of_memory(monkeypatch, plan, used="40.00G"):
    message = (
        f"RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used {used} of 15.75G hbm."
    )
    lowered = contextlib.nullcontext()

    def fail():
        raise jax.errors.JaxRuntimeError(message)

    lowered.compile = fail
    compile_ = compilation._compile
    monkeypatch.setattr(compilation, "_compile", lambda _, arguments: compile_(lowered, arguments))
    return compile_plan(plan)


def test_a_program_that_does_not_fit_is_a_report_too(monkeypatch):
    report = _out_of_memory(monkeypatch, _plan(data=2, fsdp=4))
    assert report.fits is False
    assert (report.memory["total"], report.hbm) == (40 * GIB, int(15.75 * GIB))
    # All of it but a few bytes is activations: what helps those comes first.
    assert report.advice[0].startswith("REMAT='full'")
    assert any(line.startswith("MESH_FSDP=8") for line in report.advice)


def test_where_the_state_is_the_most_it_is_to_be_spread_first(monkeypatch):
    report = _out_of_memory(monkeypatch, _plan(data=2, fsdp=4, width=2**18))
    assert report.contributors["parameters"] == 2**36
    assert report.advice[0].startswith("MESH_FSDP=8")


def test_a_program_that_cannot_be_read_back_has_its_memory_all_the_same(monkeypatch):
    def malformed(_):
        raise jax.errors.JaxRuntimeError("INTERNAL: RET_CHECK failure: async-update")

    monkeypatch.setattr(compilation, "chip_of", lambda device: CHIPS[0])
    monkeypatch.setattr(jax.stages.Compiled, "as_text", malformed)
    report = compile_plan(_plan(data=2, fsdp=4))
    assert report.fits and report.memory["arguments"] > 0
    assert report.traffic is report.mfu is None and set(report.seconds) == {"compute"}
    assert any("cannot read this program" in line for line in report_lines(report, "v4:2x2x2"))


def test_other_errors_of_the_compiler_are_not_hidden(monkeypatch):
    lowered = contextlib.nullcontext()

    def fail():
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    lowered.compile = fail
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        compilation._compile(lowered, 0.0)


@pytest.mark.parametrize(
    ("name", "slices", "message"),
    [
        ("v3:2x2", 1, "unknown"),
        ("4x4", 1, "unknown"),
        ("v5e:2x2x2", 1, "does not exist; v5e has 1x1, 2x2"),
        ("v5e:3x5", 1, "does not exist"),
        ("v5e:0x0", 1, "does not exist"),
        ("v6e:32x32", 1, "does not exist; v6e has .* 16x16$"),
        ("v5p:4x4", 1, "does not exist; v5p has 2x2x1"),
        ("v5p:1x1x1", 1, "does not exist"),
        ("v5p:4x4x6", 1, "does not exist"),
        ("v5p:0x4x4", 1, "does not exist"),
        ("v5p:8x4x4", 1, "ascending multiples of 4"),
        ("v4:16x16x20", 1, "up to 4096 chips"),
        ("cpu", 2, "--slices"),
        ("v5e:2x2", 0, "at least 1"),
    ],
)
def test_topologies_that_are_not(name, slices, message):
    with pytest.raises(UserError, match=message):
        topology_devices(name, slices)


def test_without_libtpu_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "libtpu", None)
    with pytest.raises(UserError, match=r"distill_jax\[tpu\]"):
        topology_devices("v5e:2x2")


@pytest.fixture
def libtpu():
    pytest.importorskip("libtpu", reason="needs libtpu, which compiles for TPUs: [tpu]")


@pytest.mark.usefixtures("libtpu")
@pytest.mark.parametrize(
    ("name", "slices", "count"),
    [("v4:4x4x4", 1, 64), ("v5e:1x1", 1, 1), ("v5p:2x2x1", 1, 4), ("v6e:2x4", 2, 16)],
)
def test_a_slice_has_a_device_for_every_chip(name, slices, count):
    devices = topology_devices(name, slices)
    assert len(devices) == count
    assert {chip.name for chip in CHIPS if devices[0].device_kind in chip.kinds} == {
        name.partition(":")[0]
    }


@pytest.mark.usefixtures("libtpu")
def test_a_tpu_program_fits_and_has_a_roofline():
    report = compile_plan(_plan(topology_devices("v5e:2x2"), 1024, fsdp=4))
    assert report.fits and report.hbm == 15.75 * GIB
    assert report.memory["arguments"] == (1024 * 1024 + ROWS * 1024) / 4 * FLOAT
    assert report.step_seconds == max(report.seconds.values()) > 0
    assert 0 < report.mfu < 1
    assert report.traffic.collectives


@pytest.mark.usefixtures("libtpu")
def test_a_tpu_program_that_does_not_fit():
    report = compile_plan(_plan(topology_devices("v5e:2x2"), 2**17, fsdp=4))
    assert report.fits is False
    assert report.memory["total"] >= 16 * GIB
    assert report.advice
