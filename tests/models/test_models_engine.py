"""The engines behind the reference."""

import numpy as np
import onnx
from bakeoff.models.engine import _by_onnxruntime, _by_reference, engine_name


def test_both_engines_agree(conv_model, tmp_path):
    """Without ONNX Runtime the onnx package's own evaluator computes the same."""
    path = tmp_path / "net.onnx"
    onnx.save(conv_model(shape=(1, 3, 8, 8)), path)
    rng = np.random.default_rng(0)
    inputs = [[rng.standard_normal((1, 3, 8, 8)).astype(np.float32)] for _ in range(2)]
    fast, plain = list(_by_onnxruntime(path, inputs)), list(_by_reference(path, inputs))

    assert 2 == len(fast) == len(plain)
    for left, right in zip(fast, plain, strict=True):
        np.testing.assert_allclose(left[0], right[0], rtol=1e-5, atol=1e-5)


def test_the_engine_is_named_with_its_version():
    """What computed a reference can be told from its name."""
    assert engine_name().startswith("onnxruntime ")
