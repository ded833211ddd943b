"""What one command of tuning has spent of its budget, so that the same command can go on after any kind of death.

Nothing has to be written while it tunes: the databases themselves say what was done since it began.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..backends.tvm.tuning.history import durations
from ..backends.tvm.tuning.pack import read_folder
from ..models.cache import disk_errors, hash_mapping
from .folders import write_atomically

__all__ = ["Session"]


@dataclass(frozen=True, kw_only=True)
class Session:
    """One command: where the databases stood when it began, and which of its jobs is the current one."""

    file: Path
    begun: Mapping[str, int]
    """Trials in each database, by its folder, before the command's first."""
    job: int = 0

    @classmethod
    def begin(cls, cache: Path, fingerprint: Mapping[str, Any], folders: Sequence[Path]) -> Session:
        """A new one for the command with this *fingerprint*; nothing is written yet."""
        file = cache / "tvm-tuning" / "sessions" / f"{hash_mapping(dict(fingerprint))[:16]}.json"
        return cls(file=file, begun={str(folder): len(read_folder(folder).trials) for folder in dict.fromkeys(folders)})

    def earlier(self) -> Session | None:
        """The one that the same command left when it was stopped; None where it came to its end, or never began."""
        try:
            data = json.loads(self.file.read_text(encoding="utf-8"))
            begun = {folder: int(data["begun"][folder]) for folder in self.begun}
            return replace(self, begun=begun, job=int(data["job"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep(self) -> None:
        """Write it down."""
        with disk_errors(self.file.parent):
            text = json.dumps({"begun": dict(self.begun), "job": self.job})
            write_atomically(self.file, text.encode("utf-8"))

    def at(self, job: int) -> Session:
        """The same at *job*, written down."""
        moved = replace(self, job=job)
        moved.keep()
        return moved

    def end(self) -> None:
        """It came to its end: there is nothing to go on with."""
        self.file.unlink(missing_ok=True)

    def spent(self) -> tuple[float, int]:
        """Seconds and trials since it began."""
        seconds, trials = 0.0, 0
        for folder, count in self.begun.items():
            done = read_folder(Path(folder)).trials
            seconds += sum(list(durations(done))[count:])
            trials += len(done) - count
        return seconds, trials

    def left(self, seconds: float | None, trials: int | None) -> tuple[float | None, int | None]:
        """What is left of a budget of *seconds* and *trials*."""
        spent_s, spent = self.spent()
        return (None if seconds is None else seconds - spent_s, None if trials is None else trials - spent)
