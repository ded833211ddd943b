"""Variants: how they are spelled, what is refused, and that one variant has one name."""

from __future__ import annotations

import pytest
from bakeoff.models.errors import UserError
from bakeoff.models.variants import CATALOGUE, PRECISIONS, parse_variant, split_variant
from hypothesis import given
from hypothesis import strategies as st

PRUNING = st.one_of(
    st.integers(1, 99).map(lambda share: f"channel{share}"),
    st.integers(1, 99).map(lambda share: f"sparse{share}"),
    st.just("sparse2:4"),
    st.integers(0, 20).map(lambda epochs: f"channel50:ft={epochs}"),
)
PRECISION = st.sampled_from([*PRECISIONS, "int8:entropy", "int8:percentile", "int8:keep=b|a", "fp16:keep=/x/conv"])


@given(
    first=st.sampled_from([None, "raw", "light"]),
    pruning=st.none() | PRUNING,
    slim=st.booleans(),
    precision=st.none() | PRECISION,
)
def test_canonical_names_are_stable(first: str | None, pruning: str | None, slim: bool, precision: str | None) -> None:
    """Whatever can be spelled has a canonical name, which spells the same recipe."""
    words = [word for word in (first, pruning, "slim" if slim else None, precision) if word]
    recipe = parse_variant("+".join(words) or "fp32")

    assert recipe == parse_variant(recipe.name)
    assert recipe.precision in PRECISIONS
    assert [step.level for step in recipe.steps] == sorted(step.level for step in recipe.steps)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("fp32", "fp32"),
        ("int8:minmax", "int8"),
        ("channel50+fp32", "channel50"),
        ("channel05", "channel5"),
        (" channel50 + int8 ", "channel50+int8"),
        ("int8:keep=b|a|b", "int8:keep=a|b"),
        ("int8:keep=a:entropy", "int8:entropy:keep=a"),
        ("sparse2:4:ft=3+int8", "sparse2:4:ft=3+int8"),
    ],
)
def test_one_variant_has_one_name(text: str, name: str) -> None:
    assert name == parse_variant(text).name


def test_recipe_tells_what_is_done_where() -> None:
    """Choice of the model, pruning of the module, and steps on the graph are kept apart."""
    recipe = parse_variant("raw+channel30+slim+int8:keep=a|b")

    assert recipe.raw
    assert not recipe.light
    assert ["channel30"] == [step.text for step in recipe.pruning]
    assert ["slim", "int8"] == [step.kind for step in recipe.graph]
    assert ("a", "b") == recipe.graph[-1].keep
    assert "30" == recipe.pruning[0].parameters["percent"]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("int9", "no such step: 'int9'"),
        ("", "no such step"),
        ("channel", "no such step"),
        ("channel0", "prunes nothing"),
        ("channel100", "no such step"),
        ("int8+channel50", "cannot follow int8"),
        ("int8+fp16", "cannot follow"),
        ("fp32+int8", "name one"),
        ("light+raw", "cannot follow"),
        ("channel50+channel30", "names a step twice"),
        ("int8:sharp", "does not take 'sharp'"),
        ("channel50:keep=a", "does not take"),
        ("channel50:ft=many", "does not take"),
        ("int8:keep=", "does not take"),
    ],
)
def test_refusals_name_what_is_wrong(text: str, word: str) -> None:
    with pytest.raises(UserError, match=word.replace("(", r"\(")) as caught:
        parse_variant(text)

    assert "\n" not in str(caught.value)


def test_split_variant() -> None:
    model, recipe = split_variant("resnet50@channel50+int8")

    assert ("resnet50", "channel50+int8") == (model, recipe.name)
    assert ("resnet50", "fp32") == (split_variant("resnet50")[0], split_variant("resnet50")[1].name)


def test_catalogue_spells_every_step() -> None:
    """Each entry of the catalogue is a step that can be asked for."""
    for form in CATALOGUE:
        assert parse_variant(form.replace("NN", "50")).name in (form.replace("NN", "50"), "fp32")
