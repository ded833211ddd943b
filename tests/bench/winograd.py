"""The bar over Winograd's error: all convolutions of a net that admit it, beside what the check of outputs allows.

Run as a program it compiles an ONNX file in each variant and saves what it computes; tvm stays out of other processes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bakeoff.harness.subjects import variant_request
from bakeoff.harness.suite import parse_suite
from bakeoff.models.cache import default_cache
from bakeoff.models.compare import compare, tolerance_for
from bakeoff.models.variant_build import build_variant
from bakeoff.models.zoo import resolve

Say = Callable[[str, float, str, bool], bool]
MODELS = ("resnet18", "resnet50", "vgg16")
VARIANTS = ("direct", "wino2", "wino4")
SHAPE = (1, 3, 224, 224)


def error(say: Say) -> bool:
    """The largest difference from ONNX Runtime without optimizations, over the largest output: within the tolerance."""
    met, allowed = True, tolerance_for("fp32")
    for model in MODELS:
        suite = parse_suite(f'name = "bench"\n[matrix]\nmodels = ["{model}"]\n', "bench")
        path = build_variant(variant_request(resolve(model), suite, model, "fp32", 1), default_cache()).exported.path
        with tempfile.TemporaryDirectory(prefix="bakeoff-bench-") as folder:
            out = Path(folder) / "outputs.npz"
            subprocess.run([sys.executable, __file__, str(path), str(out)], check=True)
            with np.load(out) as found:
                outputs = {variant: found[variant] for variant in VARIANTS}
        expected = _reference(path)
        for variant, output in outputs.items():
            value = compare([output], [expected]).max_rel_error
            met &= say(f"{model}, {variant}: relative error", value, f"{allowed:g} or less", value <= allowed)
    return met


def _feed() -> np.ndarray:
    return np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)


def _reference(path: Path) -> np.ndarray:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: _feed()})[0])


def _compute(path: Path, out: Path) -> None:
    from bakeoff.backends.tvm import channels, lowering, operators, pipeline, schedules
    from bakeoff.backends.tvm.tuning import targets

    pipeline.import_tvm(1)
    # At a higher level LLVM unrolls the default schedules of Winograd for minutes; the sums are the same.
    target = targets.resolve(None, 1) | {"opt-level": 1}
    laid_out, _ = pipeline.lay_out(pipeline.import_onnx(path, channels.pad_channels, operators.own_operators()), target)
    outputs = {}
    for variant in VARIANTS:
        seen: list[tuple[str, str]] = []
        lowered = pipeline.lower(laid_out, target, lowering.lowerings(lambda _site, chosen=variant: chosen, seen))
        library = out.parent / f"{variant}.so"
        pipeline.link(schedules.schedule(lowered, target), target, library)
        outputs[variant] = pipeline.caller(library)([_feed()])[0]
        count = sum(got == variant for _, got in seen)
        print(f"        {path.name}, {variant}: {count} of {len(seen)} convolutions", flush=True)
    np.savez(out, **outputs)


if __name__ == "__main__":
    _compute(Path(sys.argv[1]), Path(sys.argv[2]))
