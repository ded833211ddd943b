"""Which kernels a model consists of, in each variant: found by TVM once, and kept in the artifact cache.

What serves a model is looked up by them without lowering its graph: for the key of its artifact, and when it is
compiled, where then the chosen graph alone is lowered.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ....models.cache import hash_file, hash_mapping, lookup, publish
from ....models.child import call, serve
from ...host import code_digest, isa, package_versions
from .contract import Task

__all__ = ["ask_kernels", "find_kernels"]

_KIND = "tvm-kernels"
_FILE = "kernels.json"
_LIMIT_S = 150.0

# What decides on the hash of a kernel and on the facts of its task.
_CODE = (
    "tvm/channels.py",
    "tvm/lowering.py",
    "tvm/operators.py",
    "tvm/pipeline.py",
    "tvm/tuning/classify.py",
    "tvm/tuning/tasks.py",
    "tvm/tuning/templates",
)


def ask_kernels(model: Path, variants: Collection[str], cache: Path) -> tuple[Task, ...]:
    """As `find_kernels`; what is not in *cache* yet is found in a child process, which may crash or hang.

    Raises `StageError` for that, and the child's own error.
    """
    if _known(model, variants, cache) is None:
        request = {"model": str(model), "variants": sorted(variants), "cache": str(cache)}
        call(__name__, request, timeout_s=_LIMIT_S, stage="compile")
    return find_kernels(model, variants, cache)


def find_kernels(model: Path, variants: Collection[str], cache: Path) -> tuple[Task, ...]:
    """Kernels of the ONNX file *model* computed directly, and of its convolutions in the other *variants*.

    Each once, in the order in which extraction finds them. Raises what `tasks.Graph` raises.
    """
    known = _known(model, variants, cache)
    if known is None:
        _extract(model, variants, cache)
        known = _known(model, variants, cache)
        assert known is not None
    return known


def _known(model: Path, variants: Collection[str], cache: Path) -> tuple[Task, ...] | None:
    digest = hash_file(model)
    direct = _read(digest, "direct", cache)
    if direct is None:
        return None
    found = {task.hash: task for task in _tasks(direct)}
    for variant in sorted(variants) if direct["winograd"] else ():
        entry = _read(digest, variant, cache)
        if entry is None:
            return None
        for task in _tasks(entry):
            found.setdefault(task.hash, task)
    return tuple(found.values())


def _key(digest: str, variant: str) -> str:
    facts = {"model": digest, "variant": variant, "isa": isa(), "code": code_digest(*_CODE)}
    return hash_mapping({**facts, **package_versions("apache-tvm", "apache-tvm-ffi")})


def _read(digest: str, variant: str, cache: Path) -> dict[str, Any] | None:
    entry = lookup(cache, _KIND, _key(digest, variant))
    return None if entry is None else dict(json.loads((entry / _FILE).read_text(encoding="utf-8")))


def _tasks(entry: Mapping[str, Any]) -> list[Task]:
    return [Task(**task) for task in entry["tasks"]]


def _extract(model: Path, variants: Collection[str], cache: Path) -> None:
    from .. import pipeline
    from .targets import resolve
    from .tasks import Graph

    pipeline.import_tvm(1)
    digest = hash_file(model)
    graph = Graph(model, resolve(None, 1))
    tasks = [item.task for item in graph.items("direct")]
    _write(digest, "direct", {"winograd": graph.winograd, "tasks": tasks}, cache)
    for variant in sorted(variants) if graph.winograd else ():
        _write(digest, variant, {"tasks": [item.task for item in graph.items(variant)]}, cache)


def _write(digest: str, variant: str, facts: Mapping[str, Any], cache: Path) -> None:
    tasks = [{**asdict(task), "shape": dict(task.shape)} for task in facts["tasks"]]
    text = json.dumps({**facts, "tasks": tasks})
    publish(cache, _KIND, _key(digest, variant), lambda made: _save(made / _FILE, text))


def _save(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")


def work(request: Mapping[str, Any]) -> dict[str, Any]:
    """The child's part: find them and leave them in the cache."""
    find_kernels(Path(request["model"]), request["variants"], Path(request["cache"]))
    return {}


if __name__ == "__main__":
    sys.exit(serve(work, sys.argv))
