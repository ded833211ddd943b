"""Loops that nothing but the processor itself holds back, from C that ships as source (`native/peak_loops.c`).

The host's own C compiler makes a small library of each loop; TorchInductor and TVM need a compiler anyway, so where
models are compiled there mostly is one. Where there is none, or the compiler does not know an instruction, the loop is
left out with the reason.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["COMPUTE_LOOPS", "PRECISIONS", "BuiltLoops", "Loop", "build_loops", "memory_loop"]

SOURCE = Path(__file__).with_name("native") / "peak_loops.c"
PRECISIONS = ("fp32", "fp16", "bf16", "int8")
_COMPILERS = ("cc", "gcc", "clang", "c++", "g++", "clang++")
_LIMIT_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Loop:
    """One loop of the source."""

    name: str
    """The macro that chooses it, without "LOOP_"."""
    precision: str
    instruction: str
    needs: tuple[str, ...]
    """Features of the processor, by the names of `isa.FEATURES`."""
    flags: tuple[str, ...] = ()
    """For the compiler."""
    tested: bool = True
    """False: written by the documentation only."""


def _x86(name: str, precision: str, instruction: str, needs: str, flags: str = "") -> Loop:
    features = tuple(needs.split())
    return Loop(name=name, precision=precision, instruction=instruction, needs=features, flags=tuple(flags.split()))


def _arm(name: str, precision: str, instruction: str, needs: str, march: str) -> Loop:
    return Loop(
        name=name,
        precision=precision,
        instruction=instruction,
        needs=tuple(needs.split()),
        flags=(f"-march={march}",),
        tested=False,
    )


COMPUTE_LOOPS: tuple[Loop, ...] = (
    _x86("FMA_AVX2", "fp32", "AVX2 vfmadd231ps", "avx2 fma", "-mavx2"),
    _x86("FMA_AVX512", "fp32", "AVX-512 vfmadd231ps", "avx512f", "-mavx512f"),
    _x86("FP16_AVX512", "fp16", "AVX-512 vfmadd231ph", "avx512_fp16", "-mavx512f"),
    _x86("AMX_FP16", "fp16", "AMX tdpfp16ps", "amx_tile amx_fp16"),
    _x86("BF16_AVX512", "bf16", "AVX-512 vdpbf16ps", "avx512_bf16", "-mavx512f"),
    _x86("AMX_BF16", "bf16", "AMX tdpbf16ps", "amx_tile amx_bf16"),
    _x86("MADDUBS_AVX2", "int8", "AVX2 vpmaddubsw", "avx2", "-mavx2"),
    _x86("MADDUBS_AVX512", "int8", "AVX-512 vpmaddubsw", "avx512bw", "-mavx512bw"),
    _x86("VNNI_AVX2", "int8", "AVX-VNNI vpdpbusd", "avx_vnni", "-mavx2"),
    _x86("VNNI_AVX512", "int8", "AVX-512 VNNI vpdpbusd", "avx512_vnni", "-mavx512f"),
    _x86("AMX_INT8", "int8", "AMX tdpbusd", "amx_tile amx_int8"),
    _arm("FMA_NEON", "fp32", "NEON fmla", "neon", "armv8-a"),
    _arm("FP16_NEON", "fp16", "NEON fmla (half)", "neon asimdhp", "armv8.2-a+fp16"),
    _arm("BF16_NEON", "bf16", "NEON bfmmla", "neon bf16", "armv8.2-a+bf16"),
    _arm("INT8_NEON", "int8", "NEON smlal", "neon", "armv8-a"),
    _arm("DOT_NEON", "int8", "NEON sdot", "neon asimddp", "armv8.2-a+dotprod"),
    _arm("I8MM_NEON", "int8", "NEON smmla", "neon i8mm", "armv8.2-a+i8mm"),
)

_UNWRITTEN = {"sve": "SVE", "sme": "SME", "rvv": "the RISC-V vector extension", "avx_vnni_int8": "AVX-VNNI-INT8"}
"""Features that may be faster than all that a loop is written for. AVX-VNNI-INT8 is not: it has the same rate."""
_SAME_RATE = frozenset({"avx_vnni_int8"})


@dataclass(frozen=True, kw_only=True)
class BuiltLoops:
    """What the compiler made."""

    libraries: Mapping[str, Path]
    """By the loop's name; "MEMORY" reads and copies arrays."""
    failures: Mapping[str, str]
    """By the loop's name, why it has no library."""
    compiler: str = ""

    def reason(self, precision: str, isa: Collection[str]) -> str:
        """Why nothing can be measured for *precision*; "" if something can."""
        unwritten = next((words for name, words in _UNWRITTEN.items() if name in isa and name not in _SAME_RATE), "")
        if unwritten:
            return f"bakeoff has no loop for {unwritten}, which may be faster than those that it has"
        usable = [loop for loop in COMPUTE_LOOPS if loop.precision == precision and set(loop.needs) <= set(isa)]
        if not usable:
            return f"the processor has no instructions for {precision} that bakeoff knows"
        if any(loop.name in self.libraries for loop in usable):
            return ""
        return self.failures[usable[-1].name]


def memory_loop(isa: Collection[str]) -> Loop:
    """The loop over arrays, in the widest registers that *isa* has."""
    flags: tuple[str, ...] = ("-mavx512f",) if "avx512f" in isa else ("-mavx2",) if "avx2" in isa else ()
    return Loop(name="MEMORY", precision="", instruction="", needs=(), flags=flags)


def build_loops(isa: Collection[str], folder: Path) -> BuiltLoops:
    """Compile into *folder* every loop that a processor with the features *isa* can run."""
    wanted = [loop for loop in COMPUTE_LOOPS if set(loop.needs) <= set(isa)] + [memory_loop(isa)]
    compiler = _compiler()
    if not compiler:
        words = "no C compiler was found (CC, cc, gcc, clang); install one, then `bakeoff target --remeasure`"
        return BuiltLoops(libraries={}, failures={loop.name: words for loop in wanted})
    libraries: dict[str, Path] = {}
    failures: dict[str, str] = {}
    for loop in wanted:
        library = folder / f"{loop.name}.so"
        failure = _compile(compiler, loop, library)
        if failure:
            failures[loop.name] = failure
        else:
            libraries[loop.name] = library
    return BuiltLoops(libraries=libraries, failures=failures, compiler=" ".join(compiler))


def _compiler() -> list[str]:
    """The command of the compiler: that of the environment's CC, else the first one there is; empty for none."""
    chosen = shlex.split(os.environ.get("CC", ""))
    if chosen and shutil.which(chosen[0]):
        return chosen
    return next(([name] for name in _COMPILERS if shutil.which(name)), [])


def _compile(compiler: Sequence[str], loop: Loop, library: Path) -> str:
    """Make *library*; "" or why that failed, in one line."""
    # Without the last flag compilers make a call of memcpy of every loop that copies.
    how = ("-x", "c", "-O2", "-shared", "-fPIC", "-fno-builtin", f"-DLOOP_{loop.name}", *loop.flags)
    command = [*compiler, *how, str(SOURCE), "-o", str(library)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{compiler[0]} cannot compile its loop: {error}"
    if done.returncode == 0:
        return ""
    said = next((line for line in done.stderr.splitlines() if "rror" in line), f"it ended with {done.returncode}")
    return f"{compiler[0]} cannot compile its loop: {said.strip()[:200]}"
