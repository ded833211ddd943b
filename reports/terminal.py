"""A run as a table in the terminal: at the end of `bakeoff run`, and for `bakeoff show`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from . import facts, prices, verdicts, words
from .doubts import doubts
from .reasons import remarks
from .results import Run
from .tradeoff import champion_words, tradeoffs
from .tuning import payback_words, share_words, source_words, space_words, tuned_cells
from .views import CellView, Comparison, RunView, run_view

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table
    from rich.text import Text

__all__ = ["run_report"]


def _clean(text: str) -> str:
    """*text* without characters that would steer the terminal; names and reasons come from anywhere."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _backend(view: CellView, comparison: Comparison) -> Text:
    """Label and place; text, never markup, because names come from anywhere."""
    from rich.text import Text

    verdict = comparison.verdict
    leads = view in verdict.leaders and verdict.outcome in ("fastest", "tie")
    text = Text(_clean(view.label), style="bold" if leads else "")
    if leads:
        text.append(" fastest" if verdict.outcome == "fastest" else " tie", style="green")
    return text


def _marks(view: CellView) -> Text:
    """The words that must stand beside the figure."""
    from rich.text import Text

    text = Text()
    for number, mark in enumerate(view.marks):
        text.append(", " if number else "", style="dim")
        text.append(_clean(mark.label), style="yellow" if mark.level == "caution" else "dim")
    return text


def _gain(view: CellView) -> str:
    gain = view.speed_up
    if gain is None:
        return words.MISSING
    return "baseline" if gain.is_baseline else f"{'~' if gain.within_noise else ''}{words.times(gain.value)}"


def _table(view: RunView, comparison: Comparison) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    title = Text(f"{_clean(comparison.variant)}, {view.short_title(comparison.setting)}", style="bold")
    if comparison.random_weights:
        title.append("  random weights", style="dim")
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    prices_shown = _price_columns(comparison)
    table.add_column("backend", min_width=14)
    for name in ("median ms", "interval", view.over, *(prices_shown or ("p99 ms",))):
        table.add_column(name, justify="right", no_wrap=True)
    if not prices_shown:
        table.add_column("marks")
    for found in comparison.measured:
        named, marks = _backend(found, comparison), _marks(found)
        figures = (words.ms(found.cell.median_ms), words.interval_ms(found.interval, found.median_ms), _gain(found))
        if prices_shown:  # eighty columns have no room for one more: marks stand below the name
            named = Text("\n").join([named, marks]) if found.marks else named
            table.add_row(named, *figures, *_price(found, prices_shown))
        else:
            table.add_row(named, *figures, words.ms(found.cell.p99_ms), marks)
    for found in comparison.failures:
        table.add_row(Text(_clean(found.label)), Text(found.status, style="red"))
    return table


_ACCURACY = ("accuracy", "at most")
_FIDELITY = ("agrees", "SNR")


def _price_columns(comparison: Comparison) -> tuple[str, ...]:
    """Accuracy and the most that it loses, else fidelity, in the place of p99 and marks; nothing without both."""
    cells = [found.cell for found in comparison.measured]
    if any(cell.accuracy for cell in cells):
        return _ACCURACY
    return _FIDELITY if any(cell.fidelity for cell in cells) else ()


def _price(view: CellView, columns: tuple[str, ...]) -> tuple[str, str]:
    found, like = view.cell.accuracy, view.cell.fidelity
    if columns == _FIDELITY:
        return prices.agreement(like), prices.snr(like)
    most = prices.at_most(found)
    return prices.accuracy(found), words.MISSING if most is None else f"{most:.1f} pp"


def _reason(key: str, word: str, colour: str, reason: str) -> Text:
    from rich.text import Text

    text = Text(_clean(key)).append(" ").append(word, style=colour)
    return text.append(f": {_clean(reason) or 'no reason was recorded'}")


def _reasons(view: RunView) -> Iterator[RenderableType]:
    for found in view.failures:
        cell = found.cell
        text = _reason(cell.key, found.status, "red", cell.reason or "")
        if cell.blame and cell.blame != "unknown":
            text.append(f" (looks like the fault of the {_clean(cell.blame)})", style="dim")
        yield text
    for doubt in doubts(view):
        yield _reason(doubt.who, "suspicious", "yellow", doubt.reason)


def _costs(view: RunView) -> Iterator[RenderableType]:
    from rich.text import Text

    for trade in tradeoffs(view):
        text = Text(f"{_clean(trade.model)}, {view.short_title(trade.setting)}: ", style="bold")
        yield text.append(_clean(" ".join(champion_words(trade))), style="not bold")
        for remark in remarks(trade, view.floor, view.run.target.cpu):
            yield Text(f"  {_clean(remark.text)}", style="yellow")


def _tuning(view: RunView) -> Iterator[RenderableType]:
    from rich.text import Text

    for found in tuned_cells(view):
        cell, facts_of = found.view.cell, found.facts
        text = Text(f"{_clean(cell.variant)}, {view.short_title(found.comparison.setting)}: ", style="bold")
        cost = f"{words.seconds(facts_of.seconds)} and {words.plural(facts_of.trials, 'trial')}"
        told = (
            f"{cell.backend} tuned {share_words(facts_of)}; space {space_words(facts_of)}; records "
            f"{source_words(facts_of)}; it took {cost} and {payback_words(found)}."
        )
        yield text.append(_clean(told), style="not bold")


def run_report(run: Run) -> Group:
    """All comparisons of *run* as Rich tables, then why cells failed or are suspicious, then the verdict."""
    from rich.console import Group
    from rich.text import Text

    view = run_view(run)
    parts: list[RenderableType] = [_table(view, comparison) for comparison in view.comparisons]
    parts.extend(_reasons(view))
    parts.extend(_costs(view))
    parts.extend(_tuning(view))
    if run.status != "finished":
        parts.append(Text(f"This run is not finished ({run.status}).", style="yellow"))
    parts.append(Text(_clean(verdicts.headline(view)), style="bold"))
    parts.append(Text(f"Noise floor {facts.noise_words(run)}. ~ marks a speed-up within it.", style="dim"))
    if any(_price_columns(comparison) == _ACCURACY for comparison in view.comparisons):
        parts.append(Text("At most: the accuracy that is lost against fp32, 95%.", style="dim"))
    return Group(*parts)
