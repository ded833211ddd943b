"""What a cell costs, in words: accuracy with its interval, the loss against fp32, fidelity without labels."""

from __future__ import annotations

import math

from . import words
from .results import Accuracy, Fidelity

__all__ = [
    "METRICS",
    "MINUS",
    "accuracy",
    "accuracy_interval",
    "agreement",
    "at_most",
    "fidelity",
    "images",
    "metric",
    "near_ties",
    "points",
    "snr",
    "versus",
]

MINUS = "−"  # noqa: RUF001  (a minus sign, which does not break lines as a hyphen does)

METRICS = {
    "top1": "top-1 accuracy",
    "mAP": "mAP (COCO, 0.50 to 0.95)",
    "mIoU": "mean IoU",
    "exact": "share read exactly",
}
"""Names of the metrics as titles."""


def metric(name: str) -> str:
    """The metric called *name* in results, as a title."""
    return METRICS.get(name, name)


def points(difference: float | None) -> str:
    """A difference of shares in percentage points, signed: -0.0034 is "-0.3 pp" with a true minus."""
    if difference is None:
        return words.MISSING
    shown = round(100 * difference, 1)
    sign = MINUS if shown < 0 else "+" if shown > 0 else "±" if difference else ""
    return f"{sign}{abs(shown):.1f} pp"


def accuracy(found: Accuracy | None) -> str:
    """ "98.1%"."""
    return words.percent(found.value) if found else words.MISSING


def accuracy_interval(found: Accuracy) -> str:
    """The interval and what it rests on: "96.1 to 99.1%, 360 images"."""
    return f"{100 * found.low:.1f} to {words.percent(found.high)}, {images(found)}"


def at_most(found: Accuracy | None) -> float | None:
    """The most that is lost against fp32, in points, rounded up to a tenth; None if it is not known."""
    if found is None or found.vs_fp32_low is None:
        return None
    return max(0.0, math.ceil(-1000 * found.vs_fp32_low - 1e-9) / 10)


def versus(found: Accuracy | None) -> str:
    """The loss against fp32 that the data cannot rule out: "loses at most 0.8 pp, 95%"."""
    most = at_most(found)
    if most is None:
        return words.MISSING
    return f"loses at most {most:.1f} pp, 95%" if most else "loses nothing, 95%"


def agreement(found: Fidelity | None) -> str:
    """How often the first class is that of fp32: "99.2%"."""
    return words.percent(found.top1_agreement) if found else words.MISSING


def snr(found: Fidelity | None) -> str:
    """ "27.4 dB"; "equal" where the outputs are those of the reference."""
    if found is None:
        return words.MISSING
    if found.snr_db is not None:
        return f"{found.snr_db:.1f} dB" if math.isfinite(found.snr_db) else "equal"
    return "equal" if found.max_abs_error == 0 else words.MISSING


def fidelity(found: Fidelity | None) -> str:
    """Agreement and noise in one phrase: "agrees with fp32 on 99.2% of 360 images, SNR 27.4 dB"."""
    if found is None:
        return "fidelity was not measured"
    noise = f"SNR {snr(found)}" if snr(found) not in ("equal", words.MISSING) else ""
    if found.top1_agreement is None:
        return noise or f"largest error {found.max_abs_error:.2g}"
    share = f"agrees with fp32 on {agreement(found)} of {images(found)}"
    return f"{share}, {noise}" if noise else share


def images(found: Accuracy | Fidelity) -> str:
    """What a figure rests on: "360 images", "290 views of 29 pictures"."""
    if found.pictures in (None, found.n):
        return words.plural(found.n, "image")
    return f"{words.plural(found.n, 'view')} of {words.plural(found.pictures or 0, 'picture')}"


def near_ties(found: Fidelity) -> str:
    """How close fp32's own first two classes are wherever the classes differ; "" where that is not known.

    "other classes only where fp32's first two are within 0.41, as on 12% of all".
    """
    if found.widest_flip is None or found.as_close is None:
        return ""
    return (
        f"other classes only where fp32's first two are within {found.widest_flip:.2g}, "
        f"as on {words.percent(found.as_close)} of all"
    )
