"""What a child process of the contract suite does: `python -m bakeoff.backends.contract.child JOB.json`.

The job file holds {"backend": name, "steps": [...]}; for each step the result is written beside it. Every step is
done on the backend itself; what is to be thought of the results is the suite's affair.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ...models.errors import CellError
from .. import registry
from ..base import Array, AsyncSession, Backend, CompileRequest, LoadRequest, Quantization, Session

__all__ = ["main"]

CPU_SECONDS = 2.0


def main(job: Path) -> None:
    """Do all steps of the *job* in this process, in order."""
    content = json.loads(job.read_text())
    backend = registry.get(content["backend"])
    results = [_done(backend, step) for step in content["steps"]]
    job.with_suffix(".result.json").write_text(json.dumps(results))


def _done(backend: Backend, step: dict[str, Any]) -> dict[str, Any]:
    try:
        return _STEPS[step["do"]](backend, step)
    except CellError as error:
        kind = type(error).__name__
        return {"error": kind, "reason": error.reason, "blame": error.blame, "stage": error.stage}


def _probe(backend: Backend, step: dict[str, Any]) -> dict[str, Any]:
    return asdict(backend.probe())


def _key(backend: Backend, step: dict[str, Any]) -> dict[str, Any]:
    return {"key": dict(backend.cache_key(_compile_request(step)))}


def _compile(backend: Backend, step: dict[str, Any]) -> dict[str, Any]:
    return {"notes": list(backend.compile(_compile_request(step)))}


def _reproducer(backend: Backend, step: dict[str, Any]) -> dict[str, Any]:
    return {"script": backend.reproducer(_compile_request(step)), "adapter": type(backend).__module__}


def _run(backend: Backend, step: dict[str, Any]) -> dict[str, Any]:
    """Load, infer each set of feeds in turn, close, load and infer once more; outputs go to an .npz file."""
    session = backend.load(_load_request(step))
    sets = _feeds(Path(step["feeds"]))
    before = asdict(session.executed())
    kept = [[np.array(array) for array in feeds] for feeds in sets]
    outputs = {f"call{i}": [np.array(out) for out in session.infer(feeds)] for i, feeds in enumerate(sets)}
    outputs["awkward"] = [np.array(out) for out in session.infer([_awkward(array) for array in sets[0]])]
    unchanged = all(np.array_equal(a, b) for x, y in zip(kept, sets, strict=True) for a, b in zip(x, y, strict=True))
    outputs |= _in_flight(session, sets)
    facts = {
        "inputs": [asdict(spec) for spec in session.inputs],
        "outputs": [asdict(spec) for spec in session.outputs],
        "before": before,
        "after": asdict(session.executed()),
        "unchanged": unchanged,
        "async": isinstance(session, AsyncSession),
    }
    session.close()
    again = backend.load(_load_request(step))
    outputs["again"] = [np.array(out) for out in again.infer(sets[0])]
    again.close()
    arrays = {f"{call}/{i}": array for call, items in outputs.items() for i, array in enumerate(items)}
    np.savez(step["out"], **arrays)  # type: ignore[arg-type]
    return facts


def _threads(backend: Backend, step: dict[str, Any]) -> dict[str, Any]:
    """Infer until the process has burned `CPU_SECONDS`, and tell the share of each thread in them."""
    import time

    session = backend.load(_load_request(step))
    (feeds,) = _feeds(Path(step["feeds"]))[:1]
    for _ in range(3):
        session.infer(feeds)
    start, begun = _thread_times(), time.process_time()
    while time.process_time() - begun < CPU_SECONDS:
        session.infer(feeds)
    burned = {thread: seconds - start.get(thread, 0.0) for thread, seconds in _thread_times().items()}
    threads = session.executed().threads
    session.close()
    return {"threads": threads, "shares": sorted((s / sum(burned.values()) for s in burned.values()), reverse=True)}


def _thread_times() -> dict[int, float]:
    import psutil

    return {thread.id: thread.user_time + thread.system_time for thread in psutil.Process().threads()}


def _in_flight(session: Session, sets: Sequence[list[Array]]) -> dict[str, list[Array]]:
    """All sets at once, waited for in reverse order, and kept without copying: they must stay valid."""
    if not isinstance(session, AsyncSession):
        return {}
    handles = [session.submit(feeds) for feeds in sets]
    waited = {f"async{i}": list(session.wait(handles[i])) for i in reversed(range(len(sets)))}
    handle = session.submit(sets[-1])
    session.wait(handle)
    return waited


def _awkward(array: Array) -> Array:
    """The same values, C-contiguous but not aligned to more than an element, and read-only."""
    memory = np.empty(array.size + 1, array.dtype)[1:].reshape(array.shape)
    memory[...] = array
    memory.flags.writeable = False
    return memory


def _feeds(path: Path) -> list[list[Array]]:
    with np.load(path, allow_pickle=False) as archive:
        names = sorted(archive.files, key=lambda name: [int(part) for part in name.split("/")])
        sets: dict[str, list[Array]] = {}
        for name in names:
            sets.setdefault(name.split("/")[0], []).append(archive[name])
    return list(sets.values())


def _compile_request(step: dict[str, Any]) -> CompileRequest:
    settings = {key: step[key] for key in ("device", "threads", "options") if key in step}
    quantization = _quantization(step["quantization"]) if "quantization" in step else None
    return CompileRequest(model=Path(step["model"]), out=Path(step["artifact"]), quantization=quantization, **settings)


def _quantization(given: dict[str, Any]) -> Quantization:
    return Quantization(
        kind=given["kind"],
        float_model=Path(given["float_model"]),
        calibration=Path(given["calibration"]),
        keep=tuple(given["keep"]),
    )


def _load_request(step: dict[str, Any]) -> LoadRequest:
    settings = {key: step[key] for key in ("device", "threads", "options") if key in step}
    return LoadRequest(artifact=Path(step["artifact"]), **settings)


_STEPS: dict[str, Callable[[Backend, dict[str, Any]], dict[str, Any]]] = {
    "probe": _probe,
    "key": _key,
    "compile": _compile,
    "reproducer": _reproducer,
    "run": _run,
    "threads": _threads,
}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
