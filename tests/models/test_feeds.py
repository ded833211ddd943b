"""Prepared data in the batches that a graph takes, and outputs cut into images again: nothing lost, nothing doubled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bakeoff.models.feeds import feeds_of, split_images
from hypothesis import given
from hypothesis import strategies as st


@given(images=st.integers(1, 20), batch=st.integers(1, 7))
def test_every_image_comes_back_once(images: int, batch: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever the batch, the outputs of an identity are the images, in order."""
    path = tmp_path_factory.mktemp("feeds") / "data.npz"
    data = np.arange(images * 6, dtype=np.float32).reshape(images, 1, 2, 3)
    np.savez(path, images=data)

    outputs = []
    for count, (feed,) in feeds_of(path, batch):
        assert (batch, 1, 2, 3) == feed.shape
        outputs += split_images([feed, feed[:, 0]], count, batch)

    assert images == len(outputs)
    np.testing.assert_array_equal(data, np.concatenate([row[0] for row in outputs]))
    np.testing.assert_array_equal(data[:, 0], np.concatenate([row[1] for row in outputs]))


def test_sets_of_several_inputs_are_fed_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    arrays = {f"input_{i}_{k}": np.full((2, k + 1), i, np.float32) for i in range(12) for k in range(2)}
    np.savez(path, **arrays)

    found = list(feeds_of(path, 2))

    assert 12 == len(found)
    assert [1] * 12 == [count for count, _ in found]
    assert [(2, 1), (2, 2)] == [feed.shape for feed in found[3][1]]
    assert list(range(12)) == [int(feeds[0][0, 0]) for _, feeds in found]


def test_outputs_without_a_batch_in_front_belong_to_the_whole_call() -> None:
    """A detector's list of boxes is no batch."""
    (row,) = split_images([np.zeros((5, 4)), np.zeros(5)], 2, 2)

    assert [(5, 4), (5,)] == [array.shape for array in row]


def test_outputs_are_copies() -> None:
    """A runtime may overwrite them at the next call."""
    output = np.zeros((1, 3))
    (row,) = split_images([output], 1, 1)
    output[:] = 1.0

    assert 0.0 == row[0].max()
