"""Compiles a step for devices that need not be there, and says what it would need and cost.

Nothing is allocated: all inputs are abstract. The time is a roofline's: the largest of arithmetic at the
chip's peak, of main memory at its bandwidth and of the network at its own, as if they overlapped
perfectly. A real step is slower.
"""

import dataclasses
import math
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.sharding import Mesh

from distill_jax.planning.hardware import Chip, chip_of
from distill_jax.planning.hlo import Traffic, traffic
from distill_jax.train.flops import matrix_flops

# As libtpu says it; the second is what temporaries alone would take.
_OUT_OF_MEMORY = (
    re.compile(r"[Uu]sed ([\d.]+)([KMGT]?) of ([\d.]+)([KMGT]?) hbm"),
    re.compile(r"\(([\d.]+)([KMGT]?)\) exceeds available HBM \(([\d.]+)([KMGT]?)\)"),
)
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclasses.dataclass(frozen=True)
class Plan:
    """A step with the shapes and places of all that it takes.

    Attributes:
        name: what it does, `fine-tune` say.
        step: jitted.
        arguments: of the step, `jax.ShapeDtypeStruct`s with shardings.
        parts: what the arguments hold, by name (`parameters`, `optimizer state`, …).
        examples: rows of a batch.
        mesh: where it runs.
        plain: the same computation without rematerialisation, whose FLOPs are those of the model; None
            where the step has none.
        options: the options of memory that are on, by name, for advice.
        unknown_trips: how often a loop runs that ends when the data say so, at most.
    """

    name: str
    step: Any
    arguments: tuple[Any, ...]
    parts: Mapping[str, Any]
    examples: int
    mesh: Mesh
    plain: Callable[..., Any] | None = None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    unknown_trips: int = 1


@dataclasses.dataclass(frozen=True)
class Report:
    """What a step needs and costs, of one device, in bytes, FLOPs and seconds.

    `memory` has `arguments`, `output`, `aliased` (output that takes the place of an argument),
    `temporaries`, `program` and `total`; where the compiler ran out of memory, `total` alone.
    `contributors` say what the total is made of. `hbm` is None where the chip is not known; then there
    is no roofline either. `traffic` is None where the program does not fit, or cannot be read.
    """

    name: str
    devices: int
    device_kind: str
    mesh: dict[str, int]
    examples: int
    hbm: int | None
    fits: bool | None
    memory: dict[str, float]
    contributors: dict[str, float]
    flops: float
    model_flops: float
    traffic: Traffic | None
    seconds: dict[str, float]
    mfu: float | None
    compile_seconds: float
    parameters: dict[str, int]
    advice: tuple[str, ...] = ()

    @property
    def step_seconds(self) -> float | None:
        """The roofline's, None if part of it is not known."""
        return max(self.seconds.values()) if self.seconds and self.traffic else None

    @property
    def misfit(self) -> str:
        """By how much it does not fit, and for what; empty where it may fit."""
        if self.fits is not False or self.hbm is None:
            return ""
        missing = (self.memory["total"] - self.hbm) / 2**30
        largest = max(self.contributors, key=lambda name: self.contributors[name])
        return f"does not fit: {missing:.1f} GiB a device too much; the most is {largest}"

    @property
    def examples_per_second(self) -> float | None:
        return self.examples / self.step_seconds if self.step_seconds else None

    def as_json(self) -> dict[str, Any]:
        return {
            **dataclasses.asdict(self),
            "step_seconds": self.step_seconds,
            "examples_per_second": self.examples_per_second,
        }


def compile_plan(plan: Plan) -> Report:
    """Compiles a plan and reads what the compiler says about it.

    A program that the chip has too little memory for gives a report like any other.
    """
    devices = plan.mesh.devices.size
    device = plan.mesh.devices.flat[0]
    chip = chip_of(device)
    traced = plan.step.trace(*plan.arguments)
    flops = matrix_flops(traced.jaxpr, unknown_trips=plan.unknown_trips) / devices
    model_flops = flops
    if plan.plain is not None:
        plain = jax.make_jaxpr(plan.plain)(*plan.arguments)
        model_flops = matrix_flops(plain, unknown_trips=plan.unknown_trips) / devices
    lowered = traced.lower()
    before = time.monotonic()
    compiled, used, limit = _compile(lowered, estimated_arguments(plan))
    compile_seconds = time.monotonic() - before
    held = {name: _bytes_a_device(tree) for name, tree in plan.parts.items()}
    hbm = chip.hbm if chip else None
    if compiled is None:
        memory, moved = {"total": used}, None
        hbm = int(limit)
    else:
        memory = _memory(compiled)
        moved = _traffic(compiled, plan)
    fits = None if hbm is None else compiled is not None and memory["total"] <= hbm
    contributors = {**held, **_rest(held, memory["total"])}
    seconds = _roofline(chip, flops, moved)
    slowest = max(seconds.values()) if seconds and moved else None
    return Report(
        name=plan.name,
        devices=devices,
        device_kind=device.device_kind,
        mesh={str(axis): int(size) for axis, size in plan.mesh.shape.items()},
        examples=plan.examples,
        hbm=hbm,
        fits=fits,
        memory=memory,
        contributors=contributors,
        flops=flops,
        model_flops=model_flops,
        traffic=moved,
        seconds=seconds,
        mfu=model_flops / slowest / chip.flops if slowest and chip else None,
        compile_seconds=compile_seconds,
        parameters={
            name: sum(leaf.size for leaf in jax.tree.leaves(tree))
            for name, tree in plan.parts.items()
            if "parameters" in name
        },
        advice=() if fits is not False else _advice(plan, contributors, hbm or 0),
    )


def estimated_arguments(plan: Plan) -> float:
    """Bytes a device of what the step takes, known without compiling."""
    return sum(_bytes_a_device(tree) for tree in plan.parts.values())


def _compile(lowered: Any, arguments: float) -> tuple[Any, float, float]:
    """The program, or None with the bytes that it would have used and those there are.

    `arguments` are the bytes of what the program takes.
    """
    try:
        return lowered.compile(), 0.0, 0.0
    except jax.errors.JaxRuntimeError as error:
        whole, temporaries = (pattern.search(str(error)) for pattern in _OUT_OF_MEMORY)
        message = whole or temporaries
        if not message:
            raise
        used, unit, limit, limit_unit = message.groups()
        size = float(used) * _UNITS[unit] + (0.0 if whole else arguments)
        return None, size, float(limit) * _UNITS[limit_unit]


def _memory(compiled: Any) -> dict[str, float]:
    stats = compiled.memory_analysis()
    memory = {
        "arguments": float(stats.argument_size_in_bytes),
        "output": float(stats.output_size_in_bytes),
        "aliased": float(stats.alias_size_in_bytes),
        "temporaries": float(stats.temp_size_in_bytes),
        "program": float(stats.generated_code_size_in_bytes),
    }
    memory["total"] = sum(memory.values()) - 2 * memory["aliased"]
    return memory


def _traffic(compiled: Any, plan: Plan) -> Traffic | None:
    """What the program moves; None where JAX cannot read it back.

    libtpu and jaxlib are released apart, and some asynchronous instructions of the one are malformed to
    the other's reader. Only the text is lost: the program's memory is known.
    """
    try:
        text = compiled.as_text()
    except jax.errors.JaxRuntimeError:
        return None
    return traffic(
        text,
        devices=plan.mesh.devices.size,
        slices=dict(plan.mesh.shape).get("slice", 1),
        unknown_trips=plan.unknown_trips,
    )


def _bytes_a_device(tree: Any) -> float:
    """Bytes that a tree of abstract, sharded arrays takes on each device."""
    total = 0.0
    for leaf in jax.tree.leaves(tree):
        shape = leaf.shape if leaf.sharding is None else leaf.sharding.shard_shape(leaf.shape)
        total += math.prod(shape) * _item_bytes(leaf.dtype)
    return total


def _item_bytes(dtype: Any) -> int:
    return 8 if jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key) else int(dtype.itemsize)


def _rest(held: Mapping[str, float], total: float) -> dict[str, float]:
    """What is not an argument: gradients, and activations with everything else."""
    rest = max(total - sum(held.values()), 0.0)
    if "optimizer state" not in held:
        return {"activations and other temporaries": rest}
    gradients = min(held.get("parameters", 0.0), rest)
    return {
        "gradients (at most)": gradients,
        "activations and other temporaries": rest - gradients,
    }


def _roofline(chip: Chip | None, flops: float, moved: Traffic | None) -> dict[str, float]:
    if chip is None:
        return {}
    seconds = {"compute": flops / chip.flops}
    if moved is not None:
        collectives = moved.collectives.values()
        seconds["memory"] = moved.memory / chip.hbm_bandwidth
        seconds["network"] = (
            sum(one.sent for one in collectives) / chip.ici
            + sum(one.sent_between_slices for one in collectives) / chip.dcn
        )
    return seconds


def _advice(plan: Plan, contributors: Mapping[str, float], hbm: float) -> tuple[str, ...]:
    """Options that would help, the one for the largest contributor first."""
    options, shape = plan.options, dict(plan.mesh.shape)
    spread = shape.get("fsdp", 1) * shape.get("model", 1)
    inner = plan.mesh.devices.size // shape.get("slice", 1)
    activations = contributors.get("activations and other temporaries", 0.0)
    state = sum(contributors.values()) - activations
    of_state, of_activations = [], []
    if spread < inner:
        of_state.append(
            f"MESH_FSDP={inner // shape.get('model', 1)}: parameters and optimizer state take "
            f"{spread * state / inner / 2**30:.1f} GiB in place of {state / 2**30:.1f}"
        )
    else:
        of_state.append(
            f"a slice of more chips: {state / 2**30:.1f} GiB are spread over all of them"
        )
    if options.get("optimizer", False):
        of_state.append("Adafactor in place of AdamW: its second moments are factored")
    if options.get("remat") == "none":
        of_activations.append("REMAT='full': activations are computed again")
    if options.get("scan_layers") is False:
        of_activations.append("SCAN_LAYERS=True: fewer buffers live at a time")
    if "accumulate" in options:
        of_activations.append(
            f"ACCUMULATE={2 * options['accumulate']}: micro-batches half as large, the same step"
        )
    else:
        of_activations.append("a smaller BATCH_SIZE")
    if options.get("logit_chunks") == 1:
        of_activations.append("LOGIT_CHUNKS=8: never all logits at a time")
    if state > hbm:
        return (*of_state, *of_activations)
    return (*of_activations, *of_state) if activations > state else (*of_state, *of_activations)
