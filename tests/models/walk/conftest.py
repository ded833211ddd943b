"""What the tests of the walk share."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from bakeoff.models.walk import walk

nets = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("nets.py"))))  # test folders are no packages


@pytest.fixture
def walker(tmp_path):
    """Save two models and walk through them on seeded images."""
    images = tmp_path / "images.npz"
    np.savez(images, images=np.random.default_rng(3).standard_normal((6, 3, nets.SIZE, nets.SIZE)).astype(np.float32))

    def go(reference, variant, **options):
        paths = []
        for name, model in (("a", reference), ("b", variant)):
            paths.append(tmp_path / f"{name}.onnx")
            onnx.save(model, paths[-1])
        return walk(*paths, images, cache=tmp_path / "cache", **options)

    return go
