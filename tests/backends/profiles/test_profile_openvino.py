"""Single inferences out of OpenVINO's running means."""

from __future__ import annotations

import pytest
from bakeoff.backends.openvino_counters import MOST_INFERENCES, Counters
from hypothesis import given
from hypothesis import strategies as st

_TIMES = st.lists(st.integers(0, 5000), min_size=2, max_size=MOST_INFERENCES)


@given(_TIMES)
def test_inferences_are_told_apart(times_us: list[int]) -> None:
    """Each inference comes out to within the number of inferences so far; all together to within half of that."""
    counters = Counters()
    found = []
    for count in range(1, len(times_us) + 1):
        assert counters.current or count > 1
        counters.inferences += 1
        found.append(counters.take({"layer": sum(times_us[:count]) // count})["layer"])
        assert abs(found[-1] - times_us[count - 1]) <= count

    assert counters.current


@given(_TIMES, st.integers(1, MOST_INFERENCES - 1))
def test_inferences_between_two_looks_are_taken_together(times_us: list[int], skipped: int) -> None:
    """Where nobody looked in between, the time is that of all inferences since."""
    skipped = min(skipped, len(times_us) - 1)
    counters = Counters()
    counters.inferences = skipped
    counters.take({"layer": sum(times_us[:skipped]) // skipped})
    counters.inferences = len(times_us)
    found = counters.take({"layer": sum(times_us) // len(times_us)})

    assert abs(found["layer"] - sum(times_us[skipped:])) <= len(times_us)


def test_what_is_no_mean_is_refused() -> None:
    """A counter of the last inference alone falls after a slow first one, which a sum cannot."""
    counters = Counters()
    counters.inferences = 1
    counters.take({"layer": 4000})
    counters.inferences = 2
    with pytest.raises(ValueError, match="layer fell from 4000 to 50"):
        counters.take({"layer": 50})
