"""Comparison of outputs with their reference."""

import re

import numpy as np
import pytest
from bakeoff.models.compare import compare, tolerance_for
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

_ARRAYS = hnp.arrays(np.float32, hnp.array_shapes(), elements=st.floats(width=32))
_FINITE = hnp.arrays(np.float32, hnp.array_shapes(), elements=st.floats(-1e6, 1e6, width=32))


@given(_ARRAYS)
def test_equal_arrays_do_not_differ(array):
    """An array equals its copy, NaN and infinities included."""
    comparison = compare([array], [array.copy()])
    assert (0.0, 0.0, "") == (comparison.max_abs_error, comparison.max_rel_error, comparison.problem)


@given(_FINITE, st.data())
def test_a_nan_is_infinitely_wrong(array, data):
    """One NaN where the reference has none, anywhere, cannot pass any tolerance."""
    broken = array.copy()
    broken.flat[data.draw(st.integers(0, array.size - 1))] = np.nan
    comparison = compare([broken], [array])

    assert np.inf == comparison.max_rel_error
    assert not comparison.within(1e30)


@given(_FINITE, st.floats(0.001, 100))
def test_relative_error_is_against_the_largest_reference_value(array, factor):
    """Scaling by 1 + e gives a relative error of e; the absolute error is e times the largest value."""
    reference = array.astype(np.float64)
    peak = np.abs(reference).max()
    comparison = compare([reference * (1 + factor)], [reference])

    assert comparison.max_abs_error == pytest.approx(peak * factor, rel=1e-6, abs=1e-30)
    assert comparison.max_rel_error == pytest.approx(factor if peak > 1e-300 else 0.0, rel=1e-6)


def test_the_worst_output_counts():
    """Each output is measured against its own scale, and the worst is reported."""
    reference = [np.array([1000.0]), np.array([0.01])]
    comparison = compare([np.array([1001.0]), np.array([0.02])], reference)

    assert pytest.approx(1.0) == comparison.max_abs_error
    assert pytest.approx(1.0) == comparison.max_rel_error


def test_a_zero_reference_is_measured_against_one():
    """There is no relative error against nothing."""
    assert 0.5 == compare([np.array([0.5])], [np.array([0.0])]).max_rel_error


@pytest.mark.parametrize(
    ("outputs", "reference", "problem"),
    [
        ([], [np.zeros(1)], "0 outputs where the reference has 1"),
        ([np.zeros((1, 2))], [np.zeros((2, 1))], r"output 0: shape \(1, 2\)"),
        ([np.zeros(1, np.float16)], [np.zeros(1, np.float32)], "output 0: dtype float16"),
        ([np.zeros(1), np.array([np.inf])], [np.zeros(1), np.array([-np.inf])], "output 1: .* 1 infinite"),
        ([np.array([1.0])], [np.array([np.nan])], "output 0: 0 NaN"),
    ],
)
def test_says_why_outputs_cannot_be_compared(outputs, reference, problem):
    """Count, shape, dtype and stray NaN or infinities are named."""
    comparison = compare(outputs, reference)
    assert np.inf == comparison.max_abs_error
    assert re.search(problem, comparison.problem)


def test_integers_and_booleans_are_compared_too():
    """Class indices and masks count by their difference."""
    assert 2.0 == compare([np.array([5, 1])], [np.array([5, 3])]).max_abs_error
    assert 1.0 == compare([np.array([True])], [np.array([False])]).max_abs_error


def test_empty_outputs_are_equal():
    """No elements, no difference."""
    assert 0.0 == compare([np.zeros((0, 4))], [np.zeros((0, 4))]).max_rel_error


def test_tolerance_follows_the_widest_precision():
    """Mixed precision is judged by its coarsest part; unknown words by fp32's rule."""
    assert 1e-3 == tolerance_for("fp32") == tolerance_for("unheard-of")
    assert tolerance_for("fp32") < tolerance_for("fp16") < tolerance_for("bf16") < tolerance_for("int8")
    assert tolerance_for("int8") == tolerance_for("mixed(fp32, int8)")


@given(_FINITE, st.floats(0.001, 100))
def test_rms_error_is_against_that_of_the_reference(array, factor):
    """Scaling all by 1 + e gives a relative RMS error of e, whatever the values."""
    reference = array.astype(np.float64)
    peak = np.abs(reference).max()
    comparison = compare([reference * (1 + factor)], [reference])

    assert comparison.rms_rel_error == pytest.approx(factor if peak > 1e-300 else 0.0, rel=1e-6)


def test_quantized_outputs_may_have_one_bad_value_but_no_other():
    """One value far off among a thousand passes int8's tolerance, not that of a float precision."""
    reference = np.random.default_rng(0).normal(size=1000)
    outputs = reference.copy()
    outputs[7] += 2.0
    found = compare([outputs], [reference])

    assert found.max_rel_error > tolerance_for("int8")
    assert found.within(tolerance_for("int8"))
    assert not found.within(tolerance_for("bf16"))


def test_a_wrong_graph_is_beyond_every_tolerance():
    """Outputs that have nothing to do with the reference pass by neither measure."""
    rng = np.random.default_rng(0)
    found = compare([rng.normal(size=1000)], [rng.normal(size=1000)])

    assert not found.within(tolerance_for("int8"))
