"""What a compiled program moves: bytes to and from memory, and collectives, read from its HLO text.

XLA's cost analysis takes the body of a loop once; here it counts as often as it runs.
"""

import dataclasses
import math
import re
from collections.abc import Sequence

import numpy as np

from distill_jax.integers import ceil_divide

_BITS = {
    "pred": 8,
    "token": 0,
    "opaque": 0,
    "s4": 4,
    "u4": 4,
    "s2": 2,
    "u2": 2,
    "c64": 64,
    "c128": 128,
}
_SHAPE = re.compile(r"([a-z]\w*)\[([\d,]*)\](?:\{([^}]*)\})?")
_COMPUTATION = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_INSTRUCTION = re.compile(r"\s+(ROOT )?%?([\w.\-]+) = ")
_OPCODE = re.compile(r"\s*([\w\-]+)\(")
_NAME = re.compile(r"%([\w.\-]+)")
_CALLED = re.compile(
    r"(?:calls|body|condition|to_apply|branch_computations|true_computation|false_computation)="
    r"(\{[^}]*\}|%?[\w.\-]+)"
)
_KNOWN_TRIPS = re.compile(r'known_trip_count"?:\s*\{\s*"?n"?:\s*"?(\d+)')
_CHAIN = re.compile(r'chain_id="(\d+)"')
_CHANNEL = re.compile(r"channel_id=(\d+)")
_BETWEEN_SLICES = re.compile(r'_xla_megascale_transfer_type="(\w+)"')

COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
_FREE = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional"),
    *("call", "after-all", "partition-id", "replica-id", "optimization-barrier", "domain"),
    *("async-start", "async-update", "async-done"),
}


@dataclasses.dataclass
class Collective:
    """The collectives of one kind in a run of the program, on one device.

    `bytes` is the larger of what goes in and what comes out; `sent` what a ring makes each device
    send, within a slice and between slices.
    """

    count: float = 0.0
    bytes: float = 0.0
    sent: float = 0.0
    sent_between_slices: float = 0.0


@dataclasses.dataclass
class Traffic:
    """What one device moves when the program runs once."""

    memory: float
    collectives: dict[str, Collective]


@dataclasses.dataclass(frozen=True)
class _Instruction:
    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    argument: str
    attributes: str
    root: bool

    @property
    def called(self) -> list[str]:
        return [
            name.strip().lstrip("%")
            for group in _CALLED.findall(self.attributes)
            for name in group.strip("{}").split(",")
        ]


_Computation = dict[str, _Instruction]


def traffic(text: str, *, devices: int, slices: int = 1, unknown_trips: int = 1) -> Traffic:
    """Reads the text of an optimised program (`jax.stages.Compiled.as_text()`).

    Bytes are those of the arrays that instructions outside of fusions read and write in the device's
    main memory (not in a TPU's VMEM): of a slice only the slice, of an update in place only the update.
    A loop counts as often as it runs, `unknown_trips` times where the program does not say. `devices`
    are numbered slice by slice.
    """
    return _Reader(text, devices, slices, unknown_trips).traffic()


def _parse(text: str) -> tuple[dict[str, _Computation], str]:
    computations: dict[str, _Computation] = {}
    entry, current = "", None
    for line in text.splitlines():
        if not line.startswith(" "):
            if found := _COMPUTATION.match(line):
                current = computations.setdefault(found[2], {})
                entry = found[2] if found[1] else entry
            elif line.startswith("}"):
                current = None
        elif current is not None and (instruction := _instruction(line)):
            current[instruction.name] = instruction
    return computations, entry


def _instruction(line: str) -> _Instruction | None:
    start = _INSTRUCTION.match(line)
    if not start:
        return None
    at = start.end()
    end = _closing(line, at) + 1 if line[at] == "(" else line.index(" ", at)
    opcode = _OPCODE.match(line, end)
    if not opcode:
        return None
    close = _closing(line, opcode.end() - 1)
    argument = line[opcode.end() : close]
    return _Instruction(
        start[2],
        line[at:end],
        opcode[1],
        tuple(_NAME.findall(argument)),
        argument,
        line[close + 1 :],
        bool(start[1]),
    )


def _closing(line: str, opening: int) -> int:
    depth = 0
    for at in range(opening, len(line)):
        depth += (line[at] == "(") - (line[at] == ")")
        if depth == 0:
            return at
    return len(line) - 1


def _sizes(shape: str, *, everywhere: bool = False) -> list[float]:
    """Bytes of each array of a shape, 0 for those that are not in main memory."""
    sizes = []
    for kind, dimensions, layout in _SHAPE.findall(shape):
        space = re.search(r"S\((\d+)\)", layout)
        bits = _BITS.get(kind)
        if bits is None:
            number = re.search(r"\d+", kind)
            bits = int(number[0]) if number else 8
        elements = math.prod(int(size) for size in dimensions.split(",") if size)
        away = space is not None and space[1] != "0" and not everywhere
        sizes.append(0.0 if away else elements * bits / 8)
    return sizes


def _integer(instruction: _Instruction) -> int | None:
    """The value of a scalar integer constant."""
    if instruction.opcode != "constant" or not re.match(r"[su]\d+\[\]", instruction.shape):
        return None
    return int(instruction.argument) if instruction.argument.isdigit() else None


class _Reader:
    def __init__(self, text: str, devices: int, slices: int, unknown_trips: int) -> None:
        self._computations, self._entry = _parse(text)
        self._devices, self._slices = devices, slices
        self._unknown_trips = unknown_trips
        self._memory = 0.0
        self._found: dict[str, Collective] = {}

    def traffic(self) -> Traffic:
        self._run(self._entry, 1.0)
        return Traffic(self._memory, self._found)

    def _run(self, name: str, times: float) -> None:
        """A computation whose instructions are executed one by one."""
        chains: set[tuple[str, str]] = set()
        computation = self._computations.get(name, {})
        for instruction in computation.values():
            self._memory += times * self._moved(instruction, computation)
            self._collect(instruction, computation, times, chains)
            if instruction.opcode == "while":
                trips = times * self._trips(instruction)
                for called in instruction.called:
                    self._run(called, trips)
            elif instruction.opcode in ("conditional", "call", "async-start"):
                for called in instruction.called:
                    self._run(called, times)
            elif instruction.opcode == "fusion":
                for called in instruction.called:
                    self._look_into(called, times, chains)

    def _look_into(self, name: str, times: float, chains: set[tuple[str, str]]) -> None:
        """The collectives of a fusion."""
        computation = self._computations.get(name, {})
        for instruction in computation.values():
            scatters = name.startswith("all-reduce-scatter")
            self._collect(instruction, computation, times, chains, scatters=scatters)
            if instruction.opcode == "fusion":
                for called in instruction.called:
                    self._look_into(called, times, chains)

    def _trips(self, loop: _Instruction) -> int:
        if known := _KNOWN_TRIPS.search(loop.attributes):
            return int(known[1])
        names = dict(re.findall(r"(condition|body)=%?([\w.\-]+)", loop.attributes))
        condition = self._computations.get(names.get("condition", ""), {})
        bounds = [bound for one in condition.values() if (bound := _integer(one)) is not None]
        if len(bounds) != 1:
            return self._unknown_trips
        counters = [
            int(found[1])
            for one in condition.values()
            if one.opcode == "get-tuple-element"
            and (found := re.search(r"index=(\d+)", one.attributes))
        ]
        body = self._computations.get(names.get("body", ""), {})
        # Where XLA has unrolled a loop its counter goes up by more than one.
        step = self._step(body, counters[0]) if len(counters) == 1 else 1
        return ceil_divide(bounds[0], step)

    def _step(self, body: _Computation, counter: int) -> int:
        """What a turn of a loop adds to one of the values that it carries; 1 if that is not clear."""
        root = next((one for one in body.values() if one.root), None)
        if root is None or root.opcode != "tuple" or counter >= len(root.operands):
            return 1
        result = body.get(root.operands[counter])
        values: _Computation = body
        given: dict[str, int] = {}
        if result is not None and result.opcode == "fusion" and result.called:
            values = self._computations.get(result.called[0], {})
            for one in values.values():
                if one.opcode == "parameter" and one.argument.isdigit():
                    outer = body.get(result.operands[int(one.argument)])
                    value = None if outer is None else _integer(outer)
                    if value is not None:
                        given[one.name] = value
            result = next((one for one in values.values() if one.root), None)
        if result is None or result.opcode != "add":
            return 1
        added = [
            value
            for name in result.operands
            if (value := given.get(name, _integer(values[name]) if name in values else None))
        ]
        return added[0] if len(added) == 1 and added[0] > 0 else 1

    # Collectives.

    def _collect(
        self,
        instruction: _Instruction,
        computation: _Computation,
        times: float,
        chains: set[tuple[str, str]],
        *,
        scatters: bool = False,
    ) -> None:
        kind = instruction.opcode.removesuffix("-start")
        if kind == "send":
            self._send_between_slices(instruction, computation, times)
        if kind not in COLLECTIVES:
            return
        chain, channel = (
            _CHAIN.search(instruction.attributes),
            _CHANNEL.search(instruction.attributes),
        )
        if chain and channel:
            # A collective that runs beside other work is in several fusions: one counts.
            if (chain[1], channel[1]) in chains:
                return
            chains.add((chain[1], channel[1]))
        put_in = sum(
            sum(_sizes(computation[name].shape, everywhere=True))
            for name in instruction.operands
            if name in computation
        )
        came_out = sum(_sizes(instruction.shape, everywhere=True))
        if instruction.opcode.endswith("-start"):
            came_out = max(came_out - put_in, 0.0)
        size, crosses = self._group(instruction.attributes)
        if scatters:
            kind, came_out = "reduce-scatter", put_in / size
        entry = self._found.setdefault(kind, Collective())
        most = max(put_in, came_out)
        entry.count += times
        entry.bytes += times * most
        ring = (size - 1) / size
        sent = most * (1.0 if kind == "collective-permute" else ring)
        if kind == "all-reduce":
            sent *= 2
        if crosses:
            # Within each slice first, so that what is left is shared by the devices of a slice.
            own = max(size // self._slices, 1)
            between = (self._slices - 1) / self._slices / own
            entry.sent_between_slices += times * most * between * (2 if kind == "all-reduce" else 1)
            sent = sent * ((own - 1) / own) / ring if ring else 0.0
        entry.sent += times * sent

    def _send_between_slices(
        self, instruction: _Instruction, computation: _Computation, times: float
    ) -> None:
        """What is left for the network between slices, once a TPU's compiler has cut a collective up.

        It comes out as collectives within each slice, and one `send` to the runtime that does the rest.
        """
        found = _BETWEEN_SLICES.search(instruction.attributes)
        if found is None or instruction.operands[0] not in computation:
            return
        kind = found[1].lower().replace("_", "-")
        size = sum(_sizes(computation[instruction.operands[0]].shape, everywhere=True))
        entry = self._found.setdefault(kind, Collective())
        entry.count += times
        entry.bytes += times * size
        others = self._slices - 1
        ring = {"all-reduce": 2 * others / self._slices, "all-gather": others}
        share = ring.get(kind, others / self._slices)
        entry.sent_between_slices += times * size * share

    def _group(self, attributes: str) -> tuple[int, bool]:
        """Devices that a collective joins, and whether they are in several slices."""
        groups = _groups(attributes, self._devices)
        if not groups:
            return max(self._devices, 1), self._slices > 1
        per_slice = max(self._devices // self._slices, 1)
        crosses = any(len({device // per_slice for device in group}) > 1 for group in groups)
        return max(map(len, groups)), crosses

    # Memory.

    def _moved(self, instruction: _Instruction, computation: _Computation) -> float:
        opcode = instruction.opcode
        if opcode in _FREE or opcode.endswith("-done"):
            return 0.0
        written = _sizes(instruction.shape)
        shapes = [computation[name].shape for name in instruction.operands if name in computation]
        read = [sum(_sizes(shape)) for shape in shapes]
        if opcode == "copy-start":
            return sum(written[:2])
        if opcode in ("slice-start", "dynamic-slice", "slice", "gather"):
            # Of slice-start's results (source, slice, context) the slice.
            place = 1 if opcode == "slice-start" and len(written) > 1 else 0
            taken = _sizes(instruction.shape, everywhere=True)[place]
            return written[place] + (taken if read and read[0] else 0.0)
        if opcode == "dynamic-update-slice":
            return 2 * read[1] if written[0] else read[1]
        if opcode == "fusion" and instruction.called:
            name = instruction.called[0]
            total = 0.0
            for index, size in enumerate(read):
                part = self._read_of(name, index)
                total += size if part is None else min(part, size)
            return total + self._written_by(name, written)
        if opcode.endswith("-start"):
            return sum(written)
        return sum(written) + sum(read)

    def _read_of(self, name: str, index: int) -> float | None:
        """How much of its operand number `index` a fusion reads; None: all."""
        computation = self._computations.get(name, {})
        parameter = next(
            (
                instruction.name
                for instruction in computation.values()
                if instruction.opcode == "parameter" and instruction.argument == str(index)
            ),
            None,
        )
        return None if parameter is None else self._used(parameter, computation)

    def _used(self, value: str, computation: _Computation) -> float | None:
        total = 0.0
        for user in computation.values():
            if value not in user.operands:
                continue
            places = [place for place, operand in enumerate(user.operands) if operand == value]
            part: float | None
            if user.opcode in ("dynamic-slice", "slice", "gather") and places == [0]:
                part = sum(_sizes(user.shape, everywhere=True))
            elif user.opcode == "dynamic-update-slice" and places == [0]:
                part = 0.0
            elif user.opcode == "bitcast":
                part = self._used(user.name, computation)
            elif user.opcode == "fusion" and user.called:
                parts = [self._read_of(user.called[0], place) for place in places]
                part = None if None in parts else sum(p for p in parts if p is not None)
            else:
                part = None
            if part is None:
                return None
            total += part
        return total

    def _written_by(self, name: str, written: Sequence[float]) -> float:
        computation = self._computations.get(name, {})
        root = next((one for one in computation.values() if one.root), None)
        if root is None:
            return sum(written)
        results = root.operands if root.opcode == "tuple" else (root.name,)
        if len(results) != len(written):
            return sum(written)
        total = 0.0
        for result, size in zip(results, written, strict=True):
            update = self._update(computation.get(result), computation)
            total += size if update is None else min(size, update)
        return total

    def _update(self, result: _Instruction | None, computation: _Computation) -> float | None:
        """The bytes of an update in place, if that is what a result is."""
        while result is not None and result.opcode == "bitcast" and result.operands:
            result = computation.get(result.operands[0])
        if result is None or result.opcode != "dynamic-update-slice":
            return None
        update = computation.get(result.operands[1]) if len(result.operands) > 1 else None
        return None if update is None else sum(_sizes(update.shape, everywhere=True))


def _groups(attributes: str, devices: int) -> list[list[int]]:
    """The groups of devices in any of the ways HLO writes them; empty if it says nothing."""
    if found := re.search(r"replica_groups=\{(\{[\d,{} ]*\})\}", attributes):
        return [
            [int(device) for device in group.split(",")]
            for group in re.findall(r"\{([\d, ]+)\}", found[1])
        ]
    if found := re.search(
        r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", attributes
    ):
        order = np.arange(devices).reshape(_integers(found[2]))
        if found[3]:
            order = order.transpose(_integers(found[3]))
        return order.reshape(_integers(found[1])).tolist()
    if found := re.search(r"replica_groups=mesh\[([^\]]*)\][^{]*\{([^}]*)\}", attributes):
        axes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", found[1])}
        joined = re.findall(r"'(\w+)'(?::\((\d+)\)(\d+))?", found[2])
        return _mesh_groups(axes, joined)
    if found := re.search(r"source_target_pairs=\{(\{[\d,{} ]*\})\}", attributes):
        return [
            [int(device) for device in pair.split(",")]
            for pair in re.findall(r"\{([\d, ]+)\}", found[1])
        ]
    return []


def _mesh_groups(axes: dict[str, int], joined: Sequence[tuple[str, str, str]]) -> list[list[int]]:
    """Groups along mesh axes; `'axis':(before)size` is a part of one."""
    shape: list[int] = []
    chosen: list[int] = []
    for name, size in axes.items():
        parts = [(int(before), int(part)) for axis, before, part in joined if axis == name and part]
        if any(axis == name and not part for axis, _, part in joined):
            chosen.append(len(shape))
            shape.append(size)
        elif parts:
            before, part = parts[0]
            chosen.append(len(shape) + 1)
            shape += [before, part, size // (before * part)]
        else:
            shape.append(size)
    order = np.arange(math.prod(shape)).reshape(shape)
    rest = [axis for axis in range(len(shape)) if axis not in chosen]
    width = math.prod(shape[axis] for axis in chosen)
    return order.transpose([*rest, *chosen]).reshape(-1, width).tolist()


def _integers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]
