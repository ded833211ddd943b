"""Shapes as users type them."""

import pytest
from bakeoff.models.errors import UserError
from bakeoff.models.shapes import format_shape, parse_shape
from hypothesis import given
from hypothesis import strategies as st

_NAMES = st.text(min_size=1).filter(lambda name: name.strip() == name)


@given(_NAMES, st.lists(st.integers(1, 10**9), min_size=1, max_size=6))
def test_reads_what_it_writes(name, dims):
    """Any name, even one with an equals sign, and any positive dimensions survive the round trip."""
    assert (name, tuple(dims)) == parse_shape(format_shape(name, tuple(dims)))


@given(st.text())
def test_any_text_is_a_shape_or_a_user_error(text):
    """No text crashes the parser, and whatever it accepts is usable."""
    try:
        name, shape = parse_shape(text)
    except UserError:
        return
    assert name
    assert all(dim > 0 for dim in shape)


@pytest.mark.parametrize("text", ["", "input", "input=", "=1x3", "input=1x", "input=0x3", "input=-1x3", "input=1,3"])
def test_names_what_is_wrong(text):
    """What is not NAME=AxBxC is refused with an example."""
    with pytest.raises(UserError, match="say input=1x3x224x224"):
        parse_shape(text)


def test_capital_x_is_fine():
    """1X3 is read like 1x3."""
    assert ("input", (1, 3)) == parse_shape("input=1X3")
