"""What came of tuning, as tables in the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..backends.tvm.tuning.contract import TaskResult
from ..backends.tvm.tuning.history import durations
from ..backends.tvm.tuning.pack import Pack
from ..reports import words
from .tuning_outcome import Outcome

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table

__all__ = ["database_table", "outcome_report"]

_ROWS = 20
"""Kernels that a summary lists; the others take next to no time."""


def database_table(found: Sequence[tuple[str, str, Pack]]) -> Iterator[str]:
    """A line for each database: (whose it is, its name, what is in it)."""
    if not found:
        yield "nothing was tuned yet; `bakeoff tune resnet18 --budget 30m` begins"
        return
    rows = [("records", "name", "threads", "TVM", "kernels", "trials", "spaces", "cost")]
    for whose, name, pack in found:
        spaces = Counter(trial.space for trial in pack.trials)
        kernels = {trial.task for trial, record in zip(pack.trials, pack.records, strict=True) if record is not None}
        rows.append(
            (
                whose,
                name,
                str(pack.meta.target["num-cores"]),
                pack.meta.tvm,
                str(len(kernels)),
                f"{len(pack.trials):,}",
                ", ".join(f"{space} {count:,}" for space, count in sorted(spaces.items())) or words.MISSING,
                words.seconds(sum(durations(pack.trials))),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def outcome_report(outcome: Outcome) -> Group:
    """The kernels with their times and trials, estimated and seen latency, cost, and where the records are."""
    from rich.console import Group
    from rich.text import Text

    cell = outcome.cell
    name = f"{cell.full_variant}, {words.plural(cell.threads, 'thread')}, batch {cell.batch}"
    if outcome.error is not None:
        return Group(Text(f"failed: {name}: {outcome.error.reason}", style="red"))
    assert outcome.result is not None
    parts: list[RenderableType] = [_table(name, outcome.result.tasks)]
    parts += [Text(line) for line in _lines(outcome)]
    return Group(*parts)


def _milliseconds(found: TaskResult) -> float:
    """What the kernel takes in one inference."""
    time = found.hot_ms if found.cold_ms is None else found.cold_ms
    return found.task.weight * time if time is not None else 0.0


def _table(name: str, tasks: Sequence[TaskResult]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(name, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("kernel", overflow="ellipsis", no_wrap=True, max_width=30)
    for head in ("times", "ms each", "share", "trials", "failed"):
        table.add_column(head, justify="right", no_wrap=True, min_width=6)
    table.add_column("variant", min_width=6)
    used = sorted((found for found in tasks if found.used), key=_milliseconds, reverse=True)
    total = sum(_milliseconds(found) for found in used)
    for found in used[:_ROWS]:
        time = found.hot_ms if found.cold_ms is None else found.cold_ms
        table.add_row(
            found.task.name,
            str(found.task.weight),
            words.MISSING if time is None else f"{time:.3f}",
            words.percent(_milliseconds(found) / total) if total and time is not None else words.MISSING,
            str(found.trials),
            str(found.failed),
            found.task.variant if found.task.site else "",
        )
    if len(used) > _ROWS:
        table.add_row(f"and {len(used) - _ROWS} more", "", "", "", "", "", "")
    return table


def _lines(outcome: Outcome) -> Iterator[str]:
    result, look = outcome.result, outcome.look
    assert result is not None
    used = [found for found in result.tasks if found.used]
    tuned = sum(found.hot_ms is not None for found in used)
    estimated = "unknown, since some kernels have no schedule yet"
    if result.estimated_ms is not None:
        estimated = f"{words.ms(result.estimated_ms)} ms, the sum of its kernels"
    yield f"{tuned} of {len(used)} kernels have a schedule. Estimated latency: {estimated}."
    if look is not None and look.tuned_ms is not None and look.untuned_ms is not None:
        gain = words.times(look.untuned_ms / look.tuned_ms)
        yield (
            f"At a quick look: untuned {words.ms(look.untuned_ms)} ms, tuned {words.ms(look.tuned_ms)} ms, {gain} as "
            "fast. `bakeoff run` measures it beside the other backends."
        )
    elif look is not None:
        yield f"No quick look: {look.problem}."
    failed = f" ({result.failed:,} failed)" if result.failed else ""
    rate = f", {60 * result.trials / result.seconds:,.0f} a minute" if result.seconds > 0 else ""
    yield f"Cost: {words.seconds(result.seconds)}, {result.trials:,} trials{failed}{rate}."
    yield f"Records: {outcome.database}"
