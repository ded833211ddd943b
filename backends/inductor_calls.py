"""The calls of kernels in the code that Inductor generates: what the profiler calls them, and who reads of whom."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Call", "find_calls", "read_calls"]

_HANDLE = re.compile(r"^\s*// \[Provenance debug handles\] (\S+:\d+)\s*$")
"""In front of a call; the text is the key in `kernel_information.json`."""

_EVENT = re.compile(r'RAIIAtenRecordFunctionHandle record_\w+\("(\w+)", nullptr\)')
"""What the profiler will call the next call of torch's own kernels, or the kernel whose body this is in."""

_DEFINITION = re.compile(r'extern "C"[^(;{]*\bvoid\b[^(;{]*?(\w+)\(([^)]*)\)\s*\{')
"""Of a kernel of Inductor's own, with its parameters."""

_OWN_CALL = re.compile(r"^\s*(\w+)\((.*)\);\s*$")
_TORCH_CALL = re.compile(r"\b(aoti_torch_\w+)\((.*)\)\);\s*$")

_PROXY_CALL = re.compile(
    r"\baoti_torch_proxy_executor_call_function\(proxy_executor, (\d+), .*\{([^{}]*)\}\.data\(\)\)\);"
)
"""Of an operator that has no entry in C: its place among those in the file `*.wrapper.json`, and its tensors."""

_MADE = re.compile(r"^\s*(?:auto|AtenTensorHandle|RAIIAtenTensorHandle|ConstantHandle)&?\s+(\w+)\s*[=(](.*)$")
"""A variable that is made of others: another view of a tensor, or its new owner."""

_INFORMATION = "kernel_information.json"
_OPERATORS = ".wrapper.json"


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of a kernel."""

    event: str
    """What the profiler calls it."""
    own: bool
    """Whether Inductor generated the kernel; else it is one of torch's."""
    words: tuple[str, ...]
    """In its arguments, in order: names of variables and of constants, among others."""
    nodes: tuple[str, ...]
    """What it runs of the graph that Inductor generated code for. Torch's kernels may be named for a neighbour, too."""
    reads: tuple[int, ...]
    """Places of the calls whose results it takes."""


@dataclass(frozen=True, kw_only=True)
class _Kernel:
    """A kernel of Inductor's own."""

    event: str
    parameters: tuple[str, ...]
    """"in_ptr0", "in_out_ptr0", "out_ptr0", ..."""


def read_calls(package: Path) -> list[Call]:
    """The calls in an AOTInductor *package* that is compiled to be profiled, in order.

    Raises ValueError where it is not.
    """
    with zipfile.ZipFile(package) as archive:
        names = archive.namelist()
        sources = [archive.read(name).decode() for name in names if name.endswith(".cpp")]
        found = [json.loads(archive.read(name)) for name in names if name.endswith(_INFORMATION)]
        operators = [json.loads(archive.read(name))["nodes"] for name in names if name.endswith(_OPERATORS)]
    if len(found) != 1:
        raise ValueError(f"its package has {len(found)} files {_INFORMATION}")
    nodes = {key: facts["post_grad_nodes"] for key, facts in found[0].items()}
    targets = [(str(item["node"]["target"]), str(item["name"])) for item in (operators[0] if operators else ())]
    return find_calls(sources, nodes, targets)


def find_calls(
    sources: Sequence[str], nodes: Mapping[str, Sequence[str]], operators: Sequence[tuple[str, str]] = ()
) -> list[Call]:
    """The calls in the C++ *sources*; *nodes* of the graph by the text of the comment in front of a call.

    *operators*: those without an entry in C, "quantized::max_pool2d", each with the variable that holds its result.
    """
    kernels: dict[str, _Kernel] = {}
    for source in sources:
        kernels.update(_own_kernels(source))
    finder = _Finder(kernels, nodes, operators)
    for source in sources:
        if "::run_impl(" in source:
            for line in source.partition("::run_impl(")[2].splitlines():
                finder.read(line)
    return finder.calls


def _own_kernels(source: str) -> Iterator[tuple[str, _Kernel]]:
    for found in _DEFINITION.finditer(source):
        event = _EVENT.search(source, found.end())
        if event is not None:
            parameters = tuple(text.split()[-1].lstrip("*") for text in found[2].split(",") if text.strip())
            yield found[1], _Kernel(event=event[1], parameters=parameters)


class _Finder:
    """Reads code line by line."""

    def __init__(
        self, kernels: Mapping[str, _Kernel], nodes: Mapping[str, Sequence[str]], operators: Sequence[tuple[str, str]]
    ) -> None:
        self.calls: list[Call] = []
        self._operators = operators
        self._kernels = kernels
        self._nodes = nodes
        self._makers: dict[str, frozenset[int]] = {}
        """By variable: the calls whose results it holds."""
        self._handle = ""
        self._event = ""

    def read(self, line: str) -> None:
        """Take the next *line*."""
        if handle := _HANDLE.match(line):
            self._handle = handle[1]
        elif event := _EVENT.search(line):
            self._event = event[1]
        elif (own := _OWN_CALL.match(line)) and own[1] in self._kernels:
            self._call_own(self._kernels[own[1]], own[2])
        elif proxy := _PROXY_CALL.search(line):
            operator, result = self._operators[int(proxy[1])]
            words = re.findall(r"\w+", proxy[2])
            self._add(operator, False, [word for word in words if word != result], [result])
        elif self._event and (call := _TORCH_CALL.search(line)):
            self._call_torch(self._event, call[2])
        elif made := _MADE.match(line):
            self._makers[made[1]] = self._held(made[2])

    def _call_own(self, kernel: _Kernel, text: str) -> None:
        arguments = [re.findall(r"\w+", argument) for argument in _arguments(text)]
        pairs = list(zip(kernel.parameters, arguments, strict=False))
        reads = [word for name, words in pairs if name.startswith("in_") for word in words]
        writes = [word for name, words in pairs if "out_" in name for word in words]
        self._add(kernel.event, True, reads, writes)

    def _call_torch(self, event: str, text: str) -> None:
        words = re.findall(r"&?\w+", text)
        writes = [word for word in words if word.startswith("&") and word.endswith("_handle")]
        reads = [word.removeprefix("&") for word in words if word not in writes]
        # "..._binary_" adds into its first argument, and returns it.
        self._add(event, False, reads, [*(word[1:] for word in writes), *(reads[:1] if event.endswith("_") else [])])
        self._event = ""

    def _add(self, event: str, own: bool, reads: Sequence[str], writes: Sequence[str]) -> None:
        place = len(self.calls)
        self.calls.append(
            Call(
                event=event,
                own=own,
                words=tuple(dict.fromkeys(reads)),
                nodes=tuple(self._nodes.get(self._handle, ())),
                reads=tuple(sorted(frozenset[int]().union(*(self._makers.get(word, frozenset()) for word in reads)))),
            )
        )
        self._handle = ""
        for word in writes:
            if word in self._makers or word.endswith("_handle"):
                self._makers[word] = frozenset({place})

    def _held(self, text: str) -> frozenset[int]:
        """The calls whose results are in the variables of *text*."""
        words = re.findall(r"\w+", text)
        return frozenset[int]().union(*(self._makers.get(word, frozenset()) for word in words))


def _arguments(text: str) -> Iterator[str]:
    """*text* between its outermost commas."""
    depth, start = 0, 0
    for place, letter in enumerate(text):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            yield text[start:place]
            start = place + 1
    yield text[start:]
