"""Runs a backend in child processes and keeps what came of it."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..base import Array
from .nets import NETS, feeds, write_nets
from .variants import VARIANTS, quantization

__all__ = ["Workbench"]

_FEED_SETS = 3


class Workbench:
    """One backend, the contract's nets, and the results of what children did with them, each done once.

    *path* is put in front of the children's PYTHONPATH; *timeout_s* is how long one child may take.
    """

    def __init__(self, backend: str, folder: Path, *, path: Sequence[Path] = (), timeout_s: float = 900) -> None:
        self.backend = backend
        self.folder = folder
        self.models = self._folder("models")
        self.scratch = self._folder("scratch")
        self._path = path
        self._timeout_s = timeout_s
        self._jobs = 0
        write_nets(self.models)

    def model(self, net: str) -> Path:
        """The ONNX file of *net*."""
        return self.models / f"{net}.onnx"

    def feeds(self, net: str) -> list[list[Array]]:
        """The sets of inputs that `run` infers, in its order."""
        return feeds(self.model(net), _FEED_SETS)

    def save_feeds(self, net: str) -> Path:
        """Write `feeds` into an .npz file, as "set/input", for a step to read."""
        path = self._folder("feeds") / f"{net}.npz"
        arrays = {f"{i}/{j}": array for i, items in enumerate(self.feeds(net)) for j, array in enumerate(items)}
        np.savez(path, **arrays)  # type: ignore[arg-type]
        return path

    def steps(self, *steps: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Do *steps* (see `child`) one after the other in one fresh process."""
        self._jobs += 1
        job = self._folder("jobs") / f"{self._jobs}.json"
        job.write_text(json.dumps({"backend": self.backend, "steps": steps}, default=str))
        self.python("-m", f"{__package__}.child", str(job))
        results: list[dict[str, Any]] = json.loads(job.with_suffix(".result.json").read_text())
        return results

    def python(self, *arguments: str) -> str:
        """Run a fresh interpreter in an empty folder and home; its stdout. Fails if it ends with an error."""
        entries = [*map(str, self._path), *filter(None, [os.environ.get("PYTHONPATH")])]
        home = {"HOME": str(self._folder("home")), "TMPDIR": str(self._folder("tmp"))}
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.scratch,
            env={**os.environ, **home, "PYTHONPATH": os.pathsep.join(entries), "PYTHONSAFEPATH": "1"},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=self._timeout_s,
            check=False,
        )
        assert done.returncode == 0, f"child of {self.backend} ended with {done.returncode}:\n{done.stderr[-4000:]}"
        return done.stdout

    def request(self, net: str, *, threads: int = 1) -> dict[str, Any]:
        """What a step needs to compile *net*, into a folder of its own, or to load it from there."""
        artifact = self._folder(f"artifacts/{net}-{threads}")
        given = quantization(self.models, net)
        extra = {"quantization": given} if given else {}
        return {"model": self.model(net), "artifact": artifact, "threads": threads, **extra}

    @functools.cached_property
    def compiled(self) -> dict[str, dict[str, Any]]:
        """By net: the results of compiling all `NETS` and `VARIANTS` for one thread, in one process."""
        nets = (*NETS, *VARIANTS)
        results = self.steps(*({"do": "compile", **self.request(net)} for net in nets))
        return dict(zip(nets, results, strict=True))

    @functools.cached_property
    def ran(self) -> dict[str, tuple[dict[str, Any], dict[str, list[Array]]]]:
        """For each net that was compiled: what its session said of itself, and its outputs call by call.

        All of them run in one process, another one than that of the compilation.
        """
        nets = [net for net, result in self.compiled.items() if "error" not in result]
        steps = []
        for net in nets:
            out = self._folder("outputs") / f"{net}.npz"
            steps.append({"do": "run", "feeds": self.save_feeds(net), "out": out, **self.request(net)})
        return {
            net: (facts, {} if "error" in facts else _outputs(step["out"]))
            for net, step, facts in zip(nets, steps, self.steps(*steps), strict=True)
        }

    def _folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def _outputs(path: Path) -> dict[str, list[Array]]:
    calls: dict[str, list[Array]] = {}
    with np.load(path, allow_pickle=False) as archive:
        for name in archive.files:
            calls.setdefault(name.split("/")[0], []).append(archive[name])
    return calls
