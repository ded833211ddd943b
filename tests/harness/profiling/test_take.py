"""Taking a profile in a real worker, and what travels to the parent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bakeoff.backends.profile import Claim, Profile, Row
from bakeoff.harness.profiling.take import decode_rows, encode_rows
from bakeoff.harness.protocol import Message
from bakeoff.models.errors import UnsupportedError

LIMIT_S = 120.0


def _load(lab: Any, worker: Any, backend: str = "numpy_reference") -> Message:
    request = {
        "op": "load_profiled",
        "backend": backend,
        "artifact": str(lab.artifact()),
        "model": str(lab.net.model),
        "device": "cpu",
        "threads": 1,
        "options": {},
    }
    answer: Message = worker.ask(request, limit_s=LIMIT_S)
    return answer


def test_rows_survive_the_way() -> None:
    """Tuples stay tuples, None stays None."""
    rows = (
        Row(
            name="a",
            kind="Conv",
            role="compute",
            times_ms=(1.0, 2.0),
            claims=(Claim(node="conv", evidence="weights"),),
            reads=(),
            weight_shape=(8, 3, 3, 3),
            precision="int8",
        ),
        Row(name="b", kind="Reorder", role="runtime", times_ms=(0.5, 0.5), output_shape=(1, 8)),
    )
    assert rows == decode_rows(encode_rows(rows))


def test_interruptions_within_rows_do_not_count_as_time_between_them() -> None:
    """Each inference has one row that was interrupted, always another: no row's median shows it."""
    times = ((5.0, 1.0, 1.0), (1.0, 5.0, 1.0), (1.0, 1.0, 5.0))
    rows = tuple(Row(name=f"r{place}", kind="Conv", role="compute", times_ms=each) for place, each in enumerate(times))
    assert 0.5 == Profile(rows=rows, inference_ms=(7.5, 7.25, 9.0)).between_ms
    assert 7.5 == Profile(rows=(), inference_ms=(7.5, 7.25, 9.0)).between_ms


@pytest.mark.slow
class TestWorker:
    def test_only_counted_calls_are_in_the_rows(self, lab: Any) -> None:
        """Checks, warm-up and settling calls leave no time behind; each block adds its own."""
        worker = lab.worker()
        _load(lab, worker)
        inputs = {"op": "inputs", "path": str(lab.net.io), "count": lab.net.inputs, "tolerance": 1e-3}
        worker.ask(inputs, limit_s=LIMIT_S)
        worker.ask({"op": "check"}, limit_s=LIMIT_S)
        block = worker.ask({"op": "profile", "settle": 2, "calls": 3}, limit_s=LIMIT_S)
        worker.ask({"op": "profile", "settle": 0, "calls": 2}, limit_s=LIMIT_S)
        assert 3 == len(block["times_ns"])
        rows = decode_rows(worker.ask({"op": "rows"}, limit_s=LIMIT_S)["rows"])
        assert rows
        assert {5} == {len(row.times_ms) for row in rows}
        assert sum(row.times_ms[0] for row in rows) <= block["times_ns"][0] / 1e6

    def test_a_backend_without_a_profiler_says_so(self, lab: Any) -> None:
        """As data, before anything is loaded."""
        with pytest.raises(UnsupportedError, match="eager has no profiler"):
            _load(lab, lab.worker(), "eager")

    def test_a_plain_session_has_no_rows(self, lab: Any, tmp_path: Path) -> None:
        """A session that is timed is never profiled."""
        worker = lab.ready({})
        with pytest.raises(Exception, match="no artifact was loaded to be profiled"):
            worker.ask({"op": "rows"}, limit_s=LIMIT_S)
