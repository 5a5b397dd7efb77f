"""A compiled program as XLA's text shows it: its instructions, and how often each one runs.

`cost_analysis()` counts the body of a loop once; here it counts as often as the loop runs.
"""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

BITS = {"pred": 8, "token": 0, "opaque": 0}  # the names of other types end in their bits
ARRAY = re.compile(r"([a-z]\w*)\[([\d,<=]*)\](\{[^}]*\})?")
SPACE = re.compile(r"S\((\d+)\)")  # the memory space of an array; without one it lies in HBM
HOST_SPACE = 5
NAME = re.compile(r"%([\w.\-]+)")
CALLED = re.compile(r"(?:body|to_apply|calls|true_computation|false_computation)=%([\w.\-]+)")
CONDITION = re.compile(r"condition=%([\w.\-]+)")
BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
ATTENTION = re.compile(r"fmha|splash_mha")  # in the label of a kernel
LABEL = re.compile(r'(?:custom_call_target|op_name)="([^"]*)"')
CLOSED = re.compile(r"\}(, .*)?")  # the end of a computation
TRIPS = re.compile(r'"known_trip_count":\s*\{"n":"(\d+)"')


class Array(NamedTuple):
    """The type and place of an array that an instruction makes."""

    dtype: str
    dims: tuple[int, ...]
    space: int = 0  # memory space: 0 is HBM, HOST_SPACE the host's, any other the chip's own

    @property
    def bytes(self) -> float:
        """Its size."""
        digits = re.search(r"\d+", self.dtype)
        bits = BITS.get(self.dtype, int(digits[0]) if digits else 32)
        return math.prod(self.dims) * bits / 8

    @property
    def hbm_bytes(self) -> float:
        """Its size in HBM; 0 if it lies elsewhere."""
        return 0.0 if self.space else self.bytes

    @property
    def host_bytes(self) -> float:
        """Its size in the memory of the host; 0 if it lies elsewhere."""
        return self.bytes if self.space == HOST_SPACE else 0.0


class Instruction(NamedTuple):
    """One line of a computation."""

    name: str
    opcode: str
    outputs: tuple[Array, ...]
    operands: tuple[str, ...]
    arguments: str  # what stands in the parentheses
    attributes: str  # what stands behind them
    root: bool


Computation = dict[str, Instruction]


class Program(NamedTuple):
    """All computations by name."""

    computations: dict[str, Computation]
    entry: str

    def instructions(self, seen: float = 1.0) -> Iterator[tuple[Instruction, Computation, float]]:
        """Every instruction that runs, the computation that holds it, and how often it runs.

        seen: the share of its iterations that a loop runs if its bounds are data, because loops of
        attention skip blocks. The largest branch of a conditional always runs. A fusion is one
        instruction.
        """
        yield from self._walk(self.entry, 1.0, seen)

    def _walk(
        self, name: str, times: float, seen: float
    ) -> Iterator[tuple[Instruction, Computation, float]]:
        computation = self.computations[name]
        for x in computation.values():
            if x.opcode == "while":
                yield from self._walk(_called(x)[0], times * self._trips(x, seen), seen)
            elif x.opcode == "conditional":
                yield from self._walk(self._branch(x), times, seen)
            elif x.opcode in ("call", "async-start"):
                for called in _called(x):
                    yield from self._walk(called, times, seen)
            else:
                yield x, computation, times

    def _branch(self, conditional: Instruction) -> str:
        """The branch that counts as run: one with an attention kernel, else the largest."""
        branches = _called(conditional)
        for name in branches:
            if any(is_attention(x) for x, _, _ in self._walk(name, 1.0, 1.0)):
                return name
        return max(branches, key=lambda name: len(self.computations[name]))

    def _trips(self, loop: Instruction, seen: float) -> float:
        """How often a loop runs: as XLA found out, else the bound of its counter.

        A loop whose bounds are data goes from the first to the last block that attention sees: a
        share `seen` of the n blocks of its mask pred[n].
        """
        if found := TRIPS.search(loop.attributes):
            return int(found[1])
        condition = match(CONDITION, loop.attributes)[1]
        constants = [
            int(x.arguments)
            for x in self.computations[condition].values()
            if x.opcode == "constant" and x.arguments.isdigit()
        ]
        if constants:
            return max(constants)
        masks = [x.dims[0] for x in loop.outputs if x.dtype == "pred" and len(x.dims) == 1]
        return seen * max(masks) if masks else 1

    def fused(self, instruction: Instruction) -> Computation:
        """What a fusion runs, with the fusions inside of it unfolded; empty for anything else."""
        if instruction.opcode != "fusion":
            return {}
        found: Computation = {}
        for x in self.computations[_called(instruction)[0]].values():
            found |= _unfolded(x, self.fused(x)) or {x.name: x}
        return found


def _unfolded(fusion: Instruction, fused: Computation) -> Computation:
    """The instructions of a fusion, to stand in its place: its result keeps the fusion's name, and
    its parameters are bitcasts of the fusion's operands.
    """
    names = {x.name: fusion.name if x.root else f"{fusion.name}/{x.name}" for x in fused.values()}
    found = {}
    for x in fused.values():
        operands = tuple(names[name] for name in x.operands)
        if x.opcode == "parameter":
            operands = (fusion.operands[int(x.arguments)],)
            x = x._replace(opcode="bitcast")
        root = x.root and fusion.root
        found[names[x.name]] = x._replace(name=names[x.name], operands=operands, root=root)
    return found


def is_attention(x: Instruction) -> bool:
    """Whether the instruction is an attention kernel: cuDNN's, or splash."""
    return x.opcode == "custom-call" and bool(ATTENTION.search(label(x)))


def label(x: Instruction) -> str:
    """What a kernel is called: by XLA, by its library, and by the function that asks for it.

    Other attributes are left out: they may hold the kernel's code, in which any word may occur.
    """
    return " ".join((x.name, *LABEL.findall(x.attributes)))


def match(pattern: re.Pattern[str], text: str) -> re.Match[str]:
    """The first match of the pattern. Raises ValueError if XLA's text has another form."""
    found = pattern.search(text)
    if found is None:
        raise ValueError(f"XLA's text has no {pattern.pattern!r}: {text[:200]!r}")
    return found


def parse(text: str) -> Program:
    """`compiled.as_text()` as a Program."""
    computations: dict[str, Computation] = {}
    entry, current, last = "", None, ""
    for line in text.splitlines():
        if line.startswith(("%", "ENTRY")) and line.endswith("{"):
            name = match(NAME, line)[1]
            entry = name if line.startswith("ENTRY") else entry
            current = computations[name] = {}
        elif line.startswith(" ") and " = " in line and current is not None:
            instruction = _parse_line(line)
            last = instruction.name
            current[last] = instruction
        elif CLOSED.fullmatch(line):
            current = None
        elif current:  # attributes of a TPU's kernel go over several lines
            joined = current[last].attributes + line
            current[last] = current[last]._replace(attributes=joined)
    return Program(computations, entry)


def _parse_line(line: str) -> Instruction:
    left, right = line.split(" = ", 1)
    shape_end = _closing(right) if right.startswith("(") else right.index(" ")
    shape, rest = right[:shape_end], right[shape_end:].lstrip()
    opcode, _, rest = rest.partition("(")
    end = _closing("(" + rest) - 2
    return Instruction(
        name=match(NAME, left)[1],
        opcode=opcode,
        outputs=tuple(map(_array, ARRAY.finditer(shape))),
        operands=tuple(NAME.findall(rest[:end])),
        arguments=rest[:end],
        attributes=rest[end + 1 :],
        root=left.lstrip().startswith("ROOT"),
    )


def _array(found: re.Match[str]) -> Array:
    dtype, dims, layout = found.groups()
    sizes = tuple(int(size.lstrip("<=")) for size in dims.split(",") if size)
    space = SPACE.search(layout or "")
    return Array(dtype, sizes, int(space[1]) if space else 0)


def _closing(text: str) -> int:
    """The index behind the parenthesis that closes the one at the beginning of `text`."""
    depth = 0
    for found in re.finditer(r"[()]", text):
        depth += 1 if found[0] == "(" else -1
        if depth == 0:
            return found.end()
    return len(text)


def _called(instruction: Instruction) -> list[str]:
    if branches := BRANCHES.search(instruction.attributes):
        return NAME.findall(branches[1])
    return CALLED.findall(instruction.attributes)
