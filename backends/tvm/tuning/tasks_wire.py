"""What a worker's extraction says, as the tuner reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .contract import Task

__all__ = ["Found"]


@dataclass(frozen=True, kw_only=True)
class Found:
    """A model's tasks, in all variants."""

    tasks: tuple[Task, ...]
    workloads: Sequence[Sequence[str]]

    @classmethod
    def read(cls, answer: Mapping[str, Any]) -> Found:
        """From the answer of `worker`'s "extract"."""
        return cls(
            tasks=tuple(Task(**task) for task in answer["tasks"]),
            workloads=answer["workloads"],
        )
