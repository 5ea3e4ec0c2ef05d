"""Tries mesh shapes and batch sizes for a run, and ranks those that fit by their roofline."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from distill_jax.errors import UserError
from distill_jax.planning.compilation import Plan, Report, compile_plan, estimated_arguments
from distill_jax.planning.hardware import chip_of
from distill_jax.planning.plan import Run, changed, placement_of, plan_run
from distill_jax.planning.synthetic import CompileShapes

Try = tuple[dict[str, int], int]
"""A mesh shape (`data`, `fsdp`, `model`) and a batch size."""


def candidates(devices: int, batch_sizes: Sequence[int], max_model: int = 8) -> list[Try]:
    """All mesh shapes of one slice with each batch size: little tensor parallelism first.

    Of equal tensor parallelism the shape that spreads parameters most comes first, for it is the one
    most likely to fit; larger batches come first.
    """
    shapes = [
        {"data": devices // (model * fsdp), "fsdp": fsdp, "model": model}
        for model in _divisors(devices)
        if model <= max_model
        for fsdp in reversed(_divisors(devices // model))
    ]
    # By turns, so that a bounded search sees several meshes and several batches.
    order = [
        (place + rank, place, rank)
        for place in range(len(shapes))
        for rank in range(len(batch_sizes))
    ]
    largest = sorted(batch_sizes, reverse=True)
    return [(shapes[place], largest[rank]) for _, place, rank in sorted(order)]


def search(
    run: Run,
    shapes: CompileShapes,
    devices: Sequence[Any],
    *,
    batch_sizes: Sequence[int] | None = None,
    max_tries: int = 12,
    say: Callable[[str], None] = lambda line: None,
) -> list[Report]:
    """Compiles up to `max_tries` configurations and returns those that fit, the fastest first.

    Batch sizes are half of the configured one, that one, and twice and four times it unless they are
    given. Where the arguments alone exceed the memory, or a batch does not divide, nothing is compiled
    and the try does not count. `say` gets a line for each.

    Raises `UserError` if the configuration cannot be compiled whatever the mesh, or if nothing fits.
    """
    placement = placement_of(run)
    slices = placement.num_slices

    def planned(shape: dict[str, int], size: int | None = None) -> Plan:
        there = dataclasses.replace(
            placement, data=shape["data"], fsdp=shape["fsdp"], model=shape["model"]
        )
        return plan_run(changed(run, there, size), shapes, devices)

    configured = planned(_whole(len(devices) // slices)).examples
    sizes = batch_sizes or sorted(
        {max(configured // 2, 1), configured, 2 * configured, 4 * configured}
    )
    fitting: list[Report] = []
    misses: list[tuple[float, str]] = []  # GiB a device, and what
    tried = 0
    for shape, size in candidates(len(devices) // slices, sizes):
        if tried == max_tries:
            say(f"stopped after {max_tries} tries; give --max_tries for more")
            break
        name = "  ".join(f"{axis} {count}" for axis, count in shape.items()) + f"  batch {size}"
        try:
            plan = planned(shape, size)
        except UserError as error:
            if "does not divide" not in str(error):
                raise
            say(f"-     {name}: the batch does not divide")
            continue
        chip = chip_of(plan.mesh.devices.flat[0])
        needed = estimated_arguments(plan)
        if chip is not None and needed > chip.hbm:
            miss = f"{needed / 2**30:.1f} GiB a device before any activation"
            misses.append((needed, f"{name}: {miss}"))
            say(f"-     {name}: {miss}")
            continue
        tried += 1
        report = compile_plan(plan)
        if report.fits is not False:
            fitting.append(report)
        else:
            what = "; would help: ".join([f"{name}: {report.misfit}", *report.advice[:1]])
            misses.append((report.memory["total"], what))
        say(f"{tried}/{max_tries}  {name}: {_summary(report)}")
    if not fitting:
        closest = f"; the closest was {min(misses)[1]}" if misses else ""
        raise UserError(f"nothing that was tried fits{closest}; use more chips, or --max_tries")
    return sorted(fitting, key=lambda report: -(report.examples_per_second or 0.0))


def _whole(devices: int) -> dict[str, int]:
    """The mesh over which the fewest batches fail to divide."""
    return {"data": 1, "fsdp": 1, "model": devices}


def _summary(report: Report) -> str:
    text = f"{report.memory['total'] / 2**30:.1f} GiB a device"
    if report.fits is False:
        return f"{text}, does not fit ({report.compile_seconds:.0f} s)"
    if report.examples_per_second is not None:
        text += f", {report.examples_per_second:.0f} examples/s at most"
    return f"{text} ({report.compile_seconds:.0f} s)"


def _divisors(number: int) -> list[int]:
    return [size for size in range(1, number + 1) if number % size == 0]
