"""The tests of variants: each is executed and told of truly, or refused by name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..base import Array
from .bench import Workbench
from .nets import reference
from .variants import HEAVY_OPERATORS, QUANTIZED, VARIANTS

__all__ = ["VariantContract"]

_WORDS = ("fp32", "fp16", "bf16", "int8")


class VariantContract:
    """A base of `BackendContract`; and the comparison of outputs, which all tests share."""

    tolerance = 1e-4
    """Largest difference from the reference, relative to the reference's largest value. A subclass may narrow it."""

    half_tolerance = 0.02
    """The same for the net in fp16, which a runtime may run in fp32 or bf16."""

    quantized_tolerance = 0.06
    """The same for the net in int8. The reference simulates int8 in float by the scales in the ONNX file; a runtime
    rounds in an order of its own, and one that quantizes the float model by itself has scales of its own."""

    def test_variants_are_right_or_refused(self, bench: Workbench) -> None:
        """Zeros, fp16 and int8 infer what the reference does, within tolerance; what cannot run is refused by name."""
        tolerances = {"zeros": self.tolerance, "half": self.half_tolerance, QUANTIZED: self.quantized_tolerance}
        for net in VARIANTS:
            refused = _refusal(bench, net)
            if refused:
                assert net != "zeros", f"a model in fp32 was refused for its zeros: {refused}"
                _check_refusal(net, refused, bench)
                continue
            _, outputs = bench.ran[net]
            for call, feeds in enumerate(bench.feeds(net)):
                expected = reference(bench.model(net), feeds)
                self._compare(f"{net}, call {call}", expected, outputs[f"call{call}"], tolerances[net])

    def test_variants_tell_their_precision(self, bench: Workbench) -> None:
        """The executed precision is one that is known, covers every heavy operator, and stays the same."""
        for net in VARIANTS:
            if _refusal(bench, net):
                continue
            facts, _ = bench.ran[net]
            told = facts["before"]["precision"]
            assert told == facts["after"]["precision"]
            if told in _WORDS:
                continue
            parts = dict(re.findall(r"(\w+): (\d+)", told))
            assert told.startswith("mixed("), f"{net}: unknown precision {told!r}"
            assert set(parts) <= set(_WORDS), f"{net}: unknown precision in {told!r}"
            assert sum(map(int, parts.values())) == HEAVY_OPERATORS, f"{net}: {told} of {HEAVY_OPERATORS} operators"

    def test_zeros_run_in_fp32(self, bench: Workbench) -> None:
        """Weights that are zero change nothing about the precision."""
        facts, _ = bench.ran["zeros"]

        assert facts["after"]["precision"] == "fp32"

    def _compare(
        self, what: str, expected: Sequence[Array], observed: Sequence[Array], tolerance: float | None = None
    ) -> None:
        allowed = self.tolerance if tolerance is None else tolerance
        assert len(expected) == len(observed), f"{what}: {len(observed)} outputs instead of {len(expected)}"
        for index, (wanted, array) in enumerate(zip(expected, observed, strict=True)):
            where = f"{what}, output {index}"
            assert wanted.shape == array.shape, f"{where}: shape {array.shape} instead of {wanted.shape}"
            assert wanted.dtype == array.dtype, f"{where}: dtype {array.dtype} instead of {wanted.dtype}"
            error = _relative_error(wanted, array)
            assert error <= allowed, f"{where}: off by {error:.2e} of the largest value"


def _refusal(bench: Workbench, net: str) -> dict[str, Any]:
    """The error that *net* ended with when it was compiled or loaded; {} if it ran."""
    result = bench.compiled[net] if "error" in bench.compiled[net] else bench.ran[net][0]
    return result if "error" in result else {}


def _check_refusal(net: str, refused: dict[str, Any], bench: Workbench) -> None:
    import onnx

    assert refused["error"] == "UnsupportedError", f"{net}: {refused}"
    assert refused["stage"] in ("compile", "load"), f"{net}: {refused}"
    assert refused["blame"] != "unknown", f"{net}: {refused}"
    operators = {node.op_type for node in onnx.load(bench.model(net)).graph.node}
    named = [word for word in (*operators, "fp16", "float16", "quantized") if word in refused["reason"]]
    assert named, f"{net} was refused without a name: {refused['reason']}"


def _relative_error(wanted: Array, array: Array) -> float:
    expected, observed = wanted.astype(np.float64), array.astype(np.float64)
    return float(np.abs(expected - observed).max() / np.abs(expected).max())
