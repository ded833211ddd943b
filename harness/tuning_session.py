"""What one command of tuning has spent of its budget, so that the same command can go on after any kind of death.

Nothing has to be written while it tunes: the databases themselves say what was done since it began. A command that came
to its end leaves what it told, and that its budget is spent: the same command with a larger one goes on from there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
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
    before_s: float = 0.0
    """Seconds that were spent before *begun*, by the same command with a smaller budget."""
    before: int = 0
    """Trials likewise."""
    told: tuple[Mapping[str, Any], ...] = ()
    """What came of the jobs before *job* (`Outcome.told`); of all, where the command came to its end."""

    @classmethod
    def begin(cls, cache: Path, fingerprint: Mapping[str, Any], folders: Sequence[Path]) -> Session:
        """A new one for the command with this *fingerprint*, whatever its budget; nothing is written yet."""
        file = cache / "tvm-tuning" / "sessions" / f"{hash_mapping(dict(fingerprint))[:16]}.json"
        return cls(file=file, begun=_counts(folders))

    def earlier(self) -> Session | None:
        """The one that the same command left; None where it never began."""
        try:
            data = json.loads(self.file.read_text(encoding="utf-8"))
            begun = {folder: int(data["begun"][folder]) for folder in self.begun}
            before_s, before = float(data["before_s"]), int(data["before"])
            told = tuple(data["told"])
            return replace(self, begun=begun, job=int(data["job"]), before_s=before_s, before=before, told=told)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep(self) -> None:
        """Write it down."""
        with disk_errors(self.file.parent):
            data = {name: value for name, value in asdict(self).items() if name != "file"}
            write_atomically(self.file, json.dumps(data).encode("utf-8"))

    def at(self, job: int, told: Sequence[Mapping[str, Any]]) -> Session:
        """The same at *job*, with what was *told* of those before it, written down."""
        moved = replace(self, job=job, told=tuple(told))
        moved.keep()
        return moved

    def end(self, told: Sequence[Mapping[str, Any]], seconds: float | None, trials: int | None) -> None:
        """Its budget of *seconds* and *trials* is spent, though nothing better to try may have been left before."""
        spent_s, spent = self.spent()
        before_s, before = spent_s if seconds is None else seconds, spent if trials is None else trials
        counts = _counts([Path(folder) for folder in self.begun])
        replace(self, begun=counts, job=0, before_s=before_s, before=before, told=tuple(told)).keep()

    def spent(self) -> tuple[float, int]:
        """Seconds and trials since it began."""
        seconds, trials = self.before_s, self.before
        for folder, count in self.begun.items():
            done = read_folder(Path(folder)).trials
            seconds += sum(list(durations(done))[count:])
            trials += len(done) - count
        return seconds, trials

    def left(self, seconds: float | None, trials: int | None) -> tuple[float | None, int | None]:
        """What is left of a budget of *seconds* and *trials*."""
        spent_s, spent = self.spent()
        return (None if seconds is None else seconds - spent_s, None if trials is None else trials - spent)


def _counts(folders: Sequence[Path]) -> dict[str, int]:
    return {str(folder): len(read_folder(folder).trials) for folder in dict.fromkeys(folders)}
