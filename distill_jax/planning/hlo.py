"""What a compiled program moves: bytes to and from memory, and collectives, read from its HLO text.

XLA's cost analysis takes the body of a loop once; here it counts as often as it runs.
"""

import dataclasses
import re
from collections.abc import Sequence

from distill_jax.integers import ceil_divide
from distill_jax.planning.hlo_groups import device_groups
from distill_jax.planning.hlo_text import (
    Computation,
    Instruction,
    array_bytes,
    parse_program,
    scalar_integer,
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


def traffic(text: str, *, devices: int, slices: int = 1, unknown_trips: int = 1) -> Traffic:
    """Reads the text of an optimised program (`jax.stages.Compiled.as_text()`).

    Bytes are those of the arrays that instructions outside of fusions read and write in the device's
    main memory (not in a TPU's VMEM): of a slice only the slice, of an update in place only the update.
    A loop counts as often as it runs, `unknown_trips` times where the program does not say. `devices`
    are numbered slice by slice.
    """
    return _Reader(text, devices, slices, unknown_trips).traffic()


class _Reader:
    """Walks through a program from its entry and adds up what its instructions move."""

    def __init__(self, text: str, devices: int, slices: int, unknown_trips: int) -> None:
        self._computations, self._entry = parse_program(text)
        self._devices, self._slices = devices, slices
        self._unknown_trips = unknown_trips
        self._memory = 0.0
        self._collectives: dict[str, Collective] = {}

    def traffic(self) -> Traffic:
        self._run(self._entry, 1.0)
        return Traffic(self._memory, self._collectives)

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

    def _trips(self, loop: Instruction) -> int:
        if known := _KNOWN_TRIPS.search(loop.attributes):
            return int(known[1])
        names = dict(re.findall(r"(condition|body)=%?([\w.\-]+)", loop.attributes))
        condition = self._computations.get(names.get("condition", ""), {})
        bounds = [bound for one in condition.values() if (bound := scalar_integer(one)) is not None]
        if len(bounds) != 1:
            return self._unknown_trips
        counters = [
            int(index[1])
            for one in condition.values()
            if one.opcode == "get-tuple-element"
            and (index := re.search(r"index=(\d+)", one.attributes))
        ]
        body = self._computations.get(names.get("body", ""), {})
        # Where XLA has unrolled a loop its counter goes up by more than one.
        step = self._step(body, counters[0]) if len(counters) == 1 else 1
        return ceil_divide(bounds[0], step)

    def _step(self, body: Computation, counter: int) -> int:
        """What a turn of a loop adds to one of the values that it carries; 1 if that is not clear."""
        root = next((one for one in body.values() if one.root), None)
        if root is None or root.opcode != "tuple" or counter >= len(root.operands):
            return 1
        result = body.get(root.operands[counter])
        values: Computation = body
        given: dict[str, int] = {}
        if result is not None and result.opcode == "fusion" and result.called:
            values = self._computations.get(result.called[0], {})
            for one in values.values():
                if one.opcode == "parameter" and one.argument.isdigit():
                    outer = body.get(result.operands[int(one.argument)])
                    value = None if outer is None else scalar_integer(outer)
                    if value is not None:
                        given[one.name] = value
            result = next((one for one in values.values() if one.root), None)
        if result is None or result.opcode != "add":
            return 1
        added = [
            value
            for name in result.operands
            if (value := given.get(name, scalar_integer(values[name]) if name in values else None))
        ]
        return added[0] if len(added) == 1 and added[0] > 0 else 1

    # Collectives.

    def _collect(
        self,
        instruction: Instruction,
        computation: Computation,
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
            sum(array_bytes(computation[name].shape, everywhere=True))
            for name in instruction.operands
            if name in computation
        )
        came_out = sum(array_bytes(instruction.shape, everywhere=True))
        if instruction.opcode.endswith("-start"):
            came_out = max(came_out - put_in, 0.0)
        size, crosses = self._group(instruction.attributes)
        if scatters:
            kind, came_out = "reduce-scatter", put_in / size
        entry = self._collectives.setdefault(kind, Collective())
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
        self, instruction: Instruction, computation: Computation, times: float
    ) -> None:
        """What is left for the network between slices, once a TPU's compiler has cut a collective up.

        It comes out as collectives within each slice, and one `send` to the runtime that does the rest.
        """
        transfer = _BETWEEN_SLICES.search(instruction.attributes)
        if transfer is None or instruction.operands[0] not in computation:
            return
        kind = transfer[1].lower().replace("_", "-")
        size = sum(array_bytes(computation[instruction.operands[0]].shape, everywhere=True))
        entry = self._collectives.setdefault(kind, Collective())
        entry.count += times
        entry.bytes += times * size
        others = self._slices - 1
        ring = {"all-reduce": 2 * others / self._slices, "all-gather": others}
        share = ring.get(kind, others / self._slices)
        entry.sent_between_slices += times * size * share

    def _group(self, attributes: str) -> tuple[int, bool]:
        """Devices that a collective joins, and whether they are in several slices."""
        groups = device_groups(attributes, self._devices)
        if not groups:
            return max(self._devices, 1), self._slices > 1
        per_slice = max(self._devices // self._slices, 1)
        crosses = any(len({device // per_slice for device in group}) > 1 for group in groups)
        return max(map(len, groups)), crosses

    # Memory.

    def _moved(self, instruction: Instruction, computation: Computation) -> float:
        opcode = instruction.opcode
        if opcode in _FREE or opcode.endswith("-done"):
            return 0.0
        written = array_bytes(instruction.shape)
        shapes = [computation[name].shape for name in instruction.operands if name in computation]
        read = [sum(array_bytes(shape)) for shape in shapes]
        if opcode == "copy-start":
            return sum(written[:2])
        if opcode in ("slice-start", "dynamic-slice", "slice", "gather"):
            # Of slice-start's results (source, slice, context) the slice.
            place = 1 if opcode == "slice-start" and len(written) > 1 else 0
            taken = array_bytes(instruction.shape, everywhere=True)[place]
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

    def _used(self, value: str, computation: Computation) -> float | None:
        total = 0.0
        for user in computation.values():
            if value not in user.operands:
                continue
            places = [place for place, operand in enumerate(user.operands) if operand == value]
            part: float | None
            if user.opcode in ("dynamic-slice", "slice", "gather") and places == [0]:
                part = sum(array_bytes(user.shape, everywhere=True))
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

    def _update(self, result: Instruction | None, computation: Computation) -> float | None:
        """The bytes of an update in place, if that is what a result is."""
        while result is not None and result.opcode == "bitcast" and result.operands:
            result = computation.get(result.operands[0])
        if result is None or result.opcode != "dynamic-update-slice":
            return None
        update = computation.get(result.operands[1]) if len(result.operands) > 1 else None
        return None if update is None else sum(array_bytes(update.shape, everywhere=True))
