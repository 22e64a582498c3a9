"""Facts about a kernel from its machine code: registers, spills, tensor-core instructions, loads.

Works on Triton's cubins and on nvcc's files (cubins, objects, shared objects). ``cuobjdump`` and ``nvdisasm`` are
inside the triton wheel; a toolkit without them is enough to compile, not to look.
"""

import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

# Of a multiprocessor: the shared memory that blocks may use, bytes. Registers, warps and blocks are the same on all.
SHARED_BYTES = {80: 164 * 1024, 90: 228 * 1024, 100: 228 * 1024}
# The cost of a block's shared memory beyond its own, and the most that one block may have.
RESERVED_BYTES = 1024
BLOCK_BYTES = {arch: size - RESERVED_BYTES for arch, size in SHARED_BYTES.items()}
REGISTERS, WARPS, BLOCKS = 65536, 64, 32

_RESOURCES = re.compile(r"Function (\S+):\s+REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)")
_FUNCTION = re.compile(r"^\s*Function : (\S+)", re.MULTILINE)
_OPCODE = re.compile(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)", re.MULTILINE)
_TENSOR_CORE = re.compile(r"^(UTC)?[A-Z]*MMA")
# Not ATOMS and UTCATOMSWS, with which a block gets its tensor memory, nor REDUX, which adds up a warp.
_ATOMICS = {"ATOM", "ATOMG", "RED", "REDG", "UBLKRED", "UTMAREDG"}


@dataclass(frozen=True)
class Sass:
    """One kernel's machine code; ``opcodes`` counts names as HMMA.16816.F32.BF16; HGMMA.64 without its other sizes."""

    registers: int
    stack: int
    static_shared: int
    local: int
    opcodes: Counter[str]

    def count(self, *prefixes: str) -> int:
        """Instructions whose name begins with one of the prefixes."""
        return sum(number for name, number in self.opcodes.items() if name.startswith(prefixes))

    @property
    def spills(self) -> tuple[int, int]:
        """Loads and stores of local memory."""
        return self.count("LDL"), self.count("STL")

    def problems(self) -> list[str]:
        """What no kernel may do: spill registers, or add up in an order that does not repeat."""
        found = []
        if self.spills != (0, 0) or self.stack or self.local:
            found.append(f"spills: {self.spills} loads and stores of local memory, {self.stack} bytes of stack")
        if self.atomics:
            found.append(f"{self.atomics} atomic operations: results would not repeat")
        return found

    @property
    def loads_16_bytes(self) -> int:
        """16-byte reads of global memory, through registers or straight into shared memory."""
        return sum(n for name, n in self.opcodes.items() if name.startswith(("LDG", "LDGSTS")) and ".128" in name)

    @property
    def atomics(self) -> int:
        """Atomic operations on global memory, with and without a result."""
        return sum(n for name, n in self.opcodes.items() if name.split(".")[0] in _ATOMICS)

    @property
    def tensor_core(self) -> dict[str, int]:
        """Matrix instructions by name."""
        return {name: n for name, n in self.opcodes.items() if n and _TENSOR_CORE.match(name)}


def tool(name: str) -> str:
    """Path of a CUDA binary tool inside the triton wheel.

    Raises:
        RuntimeError: triton is not installed, or its wheel lacks the tool.
    """
    spec = find_spec("triton")
    if spec is None or spec.origin is None:
        raise RuntimeError(f"{name} comes with triton, which is not installed")
    path = Path(spec.origin).parent / "backends" / "nvidia" / "bin" / name
    if not path.is_file():
        raise RuntimeError(f"this triton has no {name} at {path}")
    return str(path)


def parse(resources: str, listing: str) -> dict[str, Sass]:
    """Kernels by name, from the texts of ``cuobjdump --dump-resource-usage`` and ``cuobjdump -sass``."""
    parts = _FUNCTION.split(listing)
    opcodes = {name: Counter(_OPCODE.findall(text)) for name, text in zip(parts[1::2], parts[2::2], strict=True)}
    return {
        name: Sass(*(int(number) for number in numbers), opcodes[name])  # type: ignore[call-arg]
        for name, *numbers in _RESOURCES.findall(resources)
        if name in opcodes
    }


def inspect(path: str | Path, arch: int | None = None) -> dict[str, Sass]:
    """Every kernel of a cubin, object or shared object, by its (mangled) name; of one architecture if it holds more.

    Raises:
        RuntimeError: the tools are missing, or they do not understand the file.
    """
    chosen = [] if arch is None else ["--gpu-architecture", f"sm_{arch}"]

    def said(option: str) -> str:
        done = subprocess.run([tool("cuobjdump"), option, *chosen, str(path)], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"cuobjdump {option} {path}: {done.stderr.strip()}")
        return done.stdout

    return parse(said("--dump-resource-usage"), said("-sass"))


def inspect_cubin(cubin: bytes) -> Sass:
    """The one kernel of a cubin in memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        (sass,) = inspect(path).values()
    return sass


def blocks_per_multiprocessor(arch: int, registers: int, shared: int, warps: int) -> int:
    """How many blocks of ``warps`` warps fit at once; registers are handed out in steps of 8 a thread."""
    by_registers = REGISTERS // ((registers + 7) // 8 * 8 * 32 * warps)
    return min(by_registers, SHARED_BYTES[arch] // (shared + RESERVED_BYTES), WARPS // warps, BLOCKS)
