"""Text recognition: what the outputs of a CTC recogniser say, and whether that is exactly what stands there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import StageError
from .scores import Score, finite, share

__all__ = ["ctc_greedy", "exact_match"]


def ctc_greedy(scores: NDArray[np.floating], characters: Sequence[str]) -> str:
    """The text of *scores* (steps, characters): the best at each step, repetitions and blanks (class 0) dropped.

    Best-path decoding of A. Graves et al., ICML 2006.
    """
    best = scores.argmax(axis=1)
    kept = np.concatenate(([True], best[1:] != best[:-1])) & (best != 0)
    return "".join(characters[place] for place in best[kept])


def exact_match(outputs: Sequence[NDArray[np.generic]], texts: Sequence[str], characters: Sequence[str]) -> Score:
    """The share of *texts* that are read without a fault from *outputs*, one (1, steps, characters) array for each.

    Spaces around a reading do not count: recognisers see some in the margins.

    Raises `StageError` (stage "evaluate") for outputs that are no such array or not finite.
    """
    correct = []
    for output, text in zip(outputs, texts, strict=True):
        if output.ndim != 3 or output.shape[0] != 1 or output.shape[2] != len(characters):
            reason = f"an output of shape {output.shape} is no (1, steps, {len(characters)} characters)"
            raise StageError(reason, stage="evaluate")
        correct.append(ctc_greedy(finite(output, "outputs")[0], characters).strip(" ") == text)
    return share(np.asarray(correct, dtype=np.bool_), "exact")
