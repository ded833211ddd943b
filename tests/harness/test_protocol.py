"""Messages and errors pass between parent and worker without loss."""

from __future__ import annotations

import json
from multiprocessing.connection import Pipe

import pytest
from bakeoff.harness.protocol import decode_error, encode_error, receive, send
from bakeoff.models.errors import CellError, MismatchError, StageError, UnsupportedError, WorkerError
from hypothesis import given
from hypothesis import strategies as st

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_messages_arrive_as_sent(message: dict[str, object]) -> None:
    """Whatever JSON can say goes over the channel unchanged, infinity too."""
    ours, theirs = Pipe()
    with ours, theirs:
        send(ours, {**message, "inf": float("inf")})
        assert {**message, "inf": float("inf")} == receive(theirs)


def test_the_other_side_is_gone() -> None:
    """End of file is an EOFError for who reads, and an OSError for who writes."""
    ours, theirs = Pipe()
    theirs.close()
    with ours:
        with pytest.raises(OSError, match="Broken pipe"):
            send(ours, {"op": "hello"})
        with pytest.raises(EOFError):
            receive(ours)


@pytest.mark.parametrize("kind", [CellError, MismatchError, StageError, UnsupportedError, WorkerError])
def test_errors_keep_their_kind(kind: type[CellError]) -> None:
    """A CellError raised in the worker is the same error in the parent: kind, status, reason, blame, stage."""
    error = kind("an operator is missing", blame="importer", stage="convert")
    answer = json.loads(json.dumps(encode_error(error, stage="compile")))
    found = decode_error(answer["error"])
    assert kind is type(found)
    assert ("an operator is missing", "importer", "convert", error.status) == (
        found.reason,
        found.blame,
        found.stage,
        found.status,
    )


@pytest.mark.parametrize(
    ("stage", "blame"),
    [("compile", "compiler"), ("load", "runtime"), ("first", "runtime"), ("block", "runtime"), ("probe", "unknown")],
)
def test_stage_tells_the_blame_where_the_error_does_not(stage: str, blame: str) -> None:
    """An error of a library itself is blamed by the operation that it happened in."""
    found = decode_error(encode_error(RuntimeError("bad\nmore words"), stage=stage)["error"])
    assert StageError is type(found)
    assert ("RuntimeError: bad", blame, stage) == (found.reason, found.blame, found.stage)


def test_a_mismatch_is_blamed_by_the_parent() -> None:
    """Whose fault wrong outputs are is told only from who else has them, so the worker leaves it open."""
    assert "unknown" == decode_error(encode_error(MismatchError("off"), stage="first")["error"]).blame


def test_errors_without_words() -> None:
    """An error without a text is called by its type, and a long one is cut."""
    assert "KeyError" == decode_error(encode_error(KeyError(), stage="load")["error"]).reason
    assert len(encode_error(RuntimeError("x" * 10_000), stage="load")["error"]["reason"]) < 600
