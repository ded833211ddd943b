"""Records as MetaSchedule writes them. Only its C++ side can: traces hold objects that Python's `as_json` cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["RecordWriter"]


class RecordWriter:
    """Passes records through a JSONDatabase in the empty folder *scratch* and reads its lines back."""

    def __init__(self, scratch: Path) -> None:
        from tvm.s_tir import meta_schedule as ms

        self._path = scratch / "records.json"
        self._database = ms.database.JSONDatabase(str(scratch / "workloads.json"), str(self._path))
        self._read = 0

    def write(self, record: Any) -> Any:
        """JSON values of *record*: [trace, seconds, target, arguments]."""
        self._database.commit_workload(record.workload.mod)
        self._database.commit_tuning_record(record)
        with self._path.open("rb") as file:
            file.seek(self._read)
            text = file.read()
        self._read += len(text)
        return json.loads(text)[1]
