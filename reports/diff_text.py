"""Where a variant departs from its reference, as tables in the terminal and as JSON: for `bakeoff diff`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..models.variant_diff import VariantDiff
from ..models.walk import LayerError, Walk
from . import words

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table
    from rich.text import Text

__all__ = ["diff_advice", "diff_data", "diff_report"]


def diff_data(diff: VariantDiff) -> dict[str, Any]:
    """*diff* as JSON values.

    | field | value |
    |---|---|
    | `reference`, `variant` | what was compared, as asked for |
    | `data`, `images`, `random_weights` | name of the images, how many at the outputs, and whether weights are random |
    | `threshold_db` | accumulated signal-to-noise ratio below which a layer has departed |
    | `output_snr_db`, `top1_agreement` | at the final outputs; null where nothing differs, or no classes are scored |
    | `outputs` | for each graph output `name, snr_db, cosine, max_abs_error, broken, top1_agreement` |
    | `first_departure` | the first departed layer, as in `layers`; null if none |
    | `layers` | every aligned value in topological order, by the fields of `models.walk.LayerError` |
    | `worst` | names of the values in `layers` that add errors, costliest first |
    | `heavy`, `heavy_aligned` | convolutions and matrix products, and how many were found in the variant |
    | `unaligned`, `reshaped` | nodes not found in the variant, nodes with another shape there |
    | `layer_images`, `cost_images`, `engine`, `notes` | how it was measured |
    | `suggestion` | null, or `variant, keep, output_snr_db, top1_agreement, attempts` as rebuilt |
    """
    found = diff.found
    departed = found.first_departure(diff.threshold_db)
    return {
        "reference": diff.reference,
        "variant": diff.variant,
        "data": diff.data.name,
        "images": found.images,
        "random_weights": diff.random_weights,
        "threshold_db": diff.threshold_db,
        "output_snr_db": found.output_snr_db,
        "top1_agreement": found.top1_agreement,
        "outputs": [_fields(output) for output in found.outputs],
        "first_departure": _fields(departed) if departed else None,
        "layers": [_fields(row) for row in found.layers],
        "worst": [row.value for row in found.worst()],
        "heavy": found.heavy,
        "heavy_aligned": found.heavy_aligned,
        "unaligned": list(found.unaligned),
        "reshaped": list(found.reshaped),
        "layer_images": found.layer_images,
        "cost_images": found.cost_images,
        "engine": found.engine,
        "notes": list(diff.notes),
        "suggestion": _suggestion(diff),
    }


def diff_report(diff: VariantDiff, top: int) -> Group:
    """The *top* worst layers of *diff*, its outputs, and the first departure."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = []
    if diff.found.worst() or diff.found.first_departure(diff.threshold_db):
        parts.append(_layers(diff, top))
    parts.extend(_outputs(diff.found))
    parts.extend(_remarks(diff))
    parts.append(Text(_headline(diff), style="bold"))
    return Group(*parts)


def diff_advice(diff: VariantDiff) -> Text | None:
    """The variant to try instead, ready to be pasted: one line, however long. None where there is none to propose."""
    from rich.text import Text

    mended, found = diff.mended, diff.found
    if mended is None or diff.suggestion is None:
        return None
    after = mended.found
    figures = f"{_decibel(after.output_snr_db)} dB at the output instead of {_decibel(found.output_snr_db)} dB"
    if after.top1_agreement is not None:
        shares = words.percent(after.top1_agreement), words.percent(found.top1_agreement)
        figures += f", same first class in {shares[0]} instead of {shares[1]}"
    return Text.assemble(
        f"With {words.plural(len(mended.keep), 'node')} in fp32, rebuilt and measured: {figures}; try\n",
        (f"--variant {shlex.quote(diff.suggestion)}", "green bold"),
    )


def _fields(row: Any) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(row).items()}


def _suggestion(diff: VariantDiff) -> dict[str, Any] | None:
    mended = diff.mended
    if mended is None or diff.suggestion is None:
        return None
    return {
        "variant": diff.suggestion,
        "keep": list(mended.keep),
        "output_snr_db": mended.found.output_snr_db,
        "top1_agreement": mended.found.top1_agreement,
        "attempts": mended.attempts,
    }


def _clean(text: str) -> str:
    """*text* without characters that would steer the terminal; names come from files of anyone."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _shown(rows: Sequence[LayerError], departed: LayerError | None, top: int) -> list[LayerError]:
    """The first *top* of *rows*, and the first departure wherever it ranks."""
    shown = list(rows[:top])
    if departed is not None and departed not in shown:
        shown.append(departed)
    return shown


def _layers(diff: VariantDiff, top: int) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    departed = diff.found.first_departure(diff.threshold_db)
    title = Text(f"{_clean(diff.variant)} against {_clean(diff.reference)}: worst layers", style="bold")
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("#", justify="right")
    table.add_column("layer", overflow="fold", min_width=14)
    table.add_column("operator", overflow="fold")
    for name in ("alone dB", "so far dB", "output dB", "share"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in _shown(diff.found.worst(), departed, top):
        table.add_row(
            str(row.position) if row.position >= 0 else "",
            _name(row, first=row is departed),
            row.op,
            _decibel(row.local_snr_db),
            _decibel(row.snr_db),
            _decibel(row.output_snr_db) if row.cost_share is not None else words.MISSING,
            words.percent(row.cost_share),
        )
    return table


def _name(row: LayerError, *, first: bool) -> Text:
    from rich.text import Text

    text = Text(_clean(row.node or row.value), style="red" if first else "")
    return text.append(" *", style="red bold") if first else text


def _decibel(ratio: float | None) -> str:
    return "exact" if ratio is None else f"{ratio:.1f}"


def _outputs(found: Walk) -> Iterator[Text]:
    from rich.text import Text

    for output in found.outputs:
        figures = [f"{_decibel(output.snr_db)} dB" if output.snr_db is not None else "equal"]
        figures += [f"cosine {output.cosine:.6f}", f"max abs error {output.max_abs_error:.3g}"]
        if output.top1_agreement is not None:
            figures.append(f"same first class in {words.percent(output.top1_agreement)} of {found.images:,} images")
        yield Text(f"output {_clean(output.name)}: {', '.join(figures)}")


def _remarks(diff: VariantDiff) -> Iterator[Text]:
    from rich.text import Text

    found = diff.found
    if found.worst():
        yield Text(
            "alone: this layer fed with the reference's inputs; so far: with all errors before it; output: the final "
            f"outputs if only this layer were changed ({words.plural(found.cost_images, 'image')}), and its share of "
            "all such loss.",
            style="dim",
        )
    lost = found.heavy - found.heavy_aligned if found.layers else 0
    if lost:
        yield Text(f"{lost} of {words.plural(found.heavy, 'layer')} with weights not found in the variant", "yellow")
    for note in diff.notes:
        yield Text(_clean(f"note: {note}"), style="yellow")
    if diff.random_weights:
        yield Text("random weights: what this costs in accuracy cannot be told", style="yellow")


def _headline(diff: VariantDiff) -> str:
    found = diff.found
    departed = found.first_departure(diff.threshold_db)
    images = found.layer_images if found.layers else found.images
    where = f"on {words.plural(images, 'image')} ({_clean(diff.data.name)})"
    if not found.layers:
        return f"No layer can be compared; outputs only, {where}."
    if departed is None:
        return f"No layer departs: all stay above {diff.threshold_db:g} dB {where}."
    name = _clean(departed.node or departed.value)
    return f"* Departs first at {name} ({departed.op}): {_decibel(departed.snr_db)} dB {where}."
