"""What became of one model that was tuned, and how it is kept for whoever asks again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..backends.tvm.tuning.contract import CurvePoint, Task, TaskResult, TuneResult
from ..models.errors import CellError
from ..models.wire import decode_error, encode_error
from .plan import CellSpec
from .tuning_check import Look

__all__ = ["Outcome"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one model at one thread count."""

    cell: CellSpec
    database: Path
    result: TuneResult | None = None
    error: CellError | None = None
    look: Look | None = None

    def told(self) -> dict[str, Any]:
        """All but the cell and the database, as JSON values."""
        return {
            "result": None if self.result is None else _plain(asdict(self.result)),
            "error": None if self.error is None else encode_error(self.error),
            "look": None if self.look is None else asdict(self.look),
        }

    @classmethod
    def retold(cls, cell: CellSpec, database: Path, told: Mapping[str, Any]) -> Outcome:
        """The one that *told* was made of. Raises KeyError, TypeError and AttributeError for anything else."""
        error = None if told["error"] is None else decode_error(told["error"])
        assert error is None or isinstance(error, CellError)
        return cls(
            cell=cell,
            database=database,
            result=None if told["result"] is None else _result(told["result"]),
            error=error,
            look=None if told["look"] is None else Look(**told["look"]),
        )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _result(data: Mapping[str, Any]) -> TuneResult:
    tasks = tuple(TaskResult(**{**found, "task": Task(**found["task"])}) for found in data["tasks"])
    curve = tuple(CurvePoint(**point) for point in data["curve"])
    return TuneResult(**{**data, "tasks": tasks, "curve": curve})
