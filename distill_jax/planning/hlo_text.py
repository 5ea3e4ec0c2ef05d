"""The text of a compiled program (HLO) as instructions, with their shapes in bytes."""

import dataclasses
import math
import re

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


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation: `name = shape opcode(argument), attributes`."""

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    argument: str
    attributes: str
    root: bool

    @property
    def called(self) -> list[str]:
        """The computations that it runs: a loop's body and condition, a fusion's content."""
        return [
            name.strip().lstrip("%")
            for group in _CALLED.findall(self.attributes)
            for name in group.strip("{}").split(",")
        ]


Computation = dict[str, Instruction]
"""Instructions by name, in the order in which they stand."""


def parse_program(text: str) -> tuple[dict[str, Computation], str]:
    """The computations of a program by name, and the name of the one that is run first."""
    computations: dict[str, Computation] = {}
    entry, current = "", None
    for line in text.splitlines():
        if not line.startswith(" "):
            if header := _COMPUTATION.match(line):
                current = computations.setdefault(header[2], {})
                entry = header[2] if header[1] else entry
            elif line.startswith("}"):
                current = None
        elif current is not None and (instruction := _instruction(line)):
            current[instruction.name] = instruction
    return computations, entry


def _instruction(line: str) -> Instruction | None:
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
    return Instruction(
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


def array_bytes(shape: str, *, everywhere: bool = False) -> list[float]:
    """Bytes of each array of a shape, 0 for those that are not in main memory."""
    sizes_in_bytes = []
    for kind, dimensions, layout in _SHAPE.findall(shape):
        space = re.search(r"S\((\d+)\)", layout)
        bits = _BITS.get(kind)
        if bits is None:
            number = re.search(r"\d+", kind)
            bits = int(number[0]) if number else 8
        elements = math.prod(int(size) for size in dimensions.split(",") if size)
        away = space is not None and space[1] != "0" and not everywhere
        sizes_in_bytes.append(0.0 if away else elements * bits / 8)
    return sizes_in_bytes


def scalar_integer(instruction: Instruction) -> int | None:
    """The value of a scalar integer constant."""
    if instruction.opcode != "constant" or not re.match(r"[su]\d+\[\]", instruction.shape):
        return None
    return int(instruction.argument) if instruction.argument.isdigit() else None
