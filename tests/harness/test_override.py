"""Each option of the command line replaces one axis or setting, and leaves the rest of the suite as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bakeoff.harness.override import override, split_names
from bakeoff.harness.suite import Suite, load_suite
from bakeoff.models.errors import UserError
from hypothesis import given
from hypothesis import strategies as st

SUITE = Suite.model_validate(
    {
        "name": "s",
        "matrix": {"models": ["a", "b"], "backends": ["all"], "threads": [1, "all"]},
        "measure": {"time_limit_s": 4.0},
        "models": {"a": {"weights": "random"}, "b": {"shapes": {"x": [1, 3]}}, "c": {"weights": "random"}},
        "backends": {"tvm": {"time_limit_s": 2.0, "options": {"trials": "8"}}},
        "include": [{"model": "c", "backend": "tvm"}, {"model": "a", "backend": "eager", "threads": 2}],
    }
)


def test_no_option_changes_nothing() -> None:
    """Without options the suite is what it was, whether they are missing or empty, as Click gives them."""
    nothing = {"model": (), "threads": (), "weights": None, "shapes": (), "time_limit_s": None, "images": None}
    assert SUITE == override(SUITE, {})
    assert SUITE == override(SUITE, nothing)
    assert load_suite("quick") == override(load_suite("quick"), nothing)


class TestNames:
    @pytest.mark.parametrize(
        ("values", "names"),
        [
            ((), []),
            (("a",), ["a"]),
            (("a,b",), ["a", "b"]),
            (("a", "b"), ["a", "b"]),
            (("a, b ,", "c,a"), ["a", "b", "c"]),
            (("timm:x", "m.n:f", "dir/net.onnx"), ["timm:x", "m.n:f", "dir/net.onnx"]),
        ],
    )
    def test_comma_lists_and_repetition(self, values: tuple[str, ...], names: list[str]) -> None:
        """Comma lists and repetition mean the same and mix; a name that comes twice counts once."""
        assert names == split_names(values)

    @given(st.lists(st.lists(st.text("abc", min_size=1), min_size=1), min_size=1))
    def test_however_they_are_cut(self, lists: list[list[str]]) -> None:
        """How names are dealt out to options makes no difference."""
        flat = [name for names in lists for name in names]
        assert list(dict.fromkeys(flat)) == split_names([",".join(names) for names in lists]) == split_names(flat)


class TestAxes:
    @pytest.mark.parametrize(
        ("option", "values", "axis", "expected"),
        [
            ("model", ("x,y",), "models", ("x", "y")),
            ("backend", ("eager", "tvm"), "backends", ("eager", "tvm")),
            ("variant", ("fp32",), "variants", ("fp32",)),
            ("scenario", ("single-stream",), "scenarios", ("single-stream",)),
            ("threads", ("1,2", "all"), "threads", (1, 2, "all")),
            ("batch", ("1", "8"), "batch", (1, 8)),
            ("device", ("cpu,gpu.1",), "devices", ("cpu", "gpu.1")),
        ],
    )
    def test_replaces_its_axis(
        self, option: str, values: tuple[str, ...], axis: str, expected: tuple[Any, ...]
    ) -> None:
        """An option for an axis takes the suite's place there, and nowhere else."""
        found = override(SUITE, {option: values})
        assert expected == getattr(found.matrix, axis)
        others = [name for name in type(SUITE.matrix).model_fields if name != axis]
        assert [getattr(SUITE.matrix, name) for name in others] == [getattr(found.matrix, name) for name in others]
        assert SUITE.measure == found.measure

    def test_included_cells_have_to_fit(self) -> None:
        """A cell that `include` adds stays only if the chosen axes have it; `all` backends have every one."""
        assert ["c"] == [entry.model for entry in override(SUITE, {"backend": ["tvm"]}).include]
        assert ["a"] == [entry.model for entry in override(SUITE, {"model": ["a"]}).include]
        assert ["c"] == [entry.model for entry in override(SUITE, {"threads": ["1"]}).include]
        assert ["c", "a"] == [entry.model for entry in override(SUITE, {"backend": ["all"]}).include]

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"threads": ["two"]}, "--threads: 'two' is not a number or `all`"),
            ({"threads": ["0"]}, '--threads: 0 is no whole number from 1 to 1024, nor "all"'),
            ({"threads": ["1,99999"]}, '--threads: 99999 is no whole number from 1 to 1024, nor "all"'),
            ({"threads": ["-1"]}, "--threads: '-1' is not a number or `all`"),
            ({"batch": ["all"]}, "--batch: 'all' is not a number"),
            ({"batch": ["1.5"]}, "--batch: '1.5' is not a number"),
            ({"batch": ["²"]}, "--batch: '²' is not a number"),
            ({"batch": ["9" * 5000]}, f"--batch: '{'9' * 5000}' is not a number"),
            ({"batch": ["0"]}, "--batch: Input should be greater than or equal to 1"),
            ({"variant": ["int9"]}, "--variant: variant 'int9': no such step: 'int9'; see `bakeoff list variants`"),
            ({"scenario": ["x"]}, "--scenario: no such scenario: 'x'; known: single-stream"),
            ({"model": [","]}, "--model: names nothing; leave it away or name something"),
            ({"backend": [""]}, "--backend: names nothing; leave it away or name something"),
            ({"time_limit_s": -1.0}, "--time-limit: Input should be greater than 0"),
            ({"time_limit_s": float("nan")}, "--time-limit: Input should be a finite number"),
            ({"time_limit_s": float("inf")}, "--time-limit: Input should be a finite number"),
            ({"target_interval": 2.0}, "--target-interval: Input should be less than or equal to 1"),
        ],
    )
    def test_bad_values(self, options: dict[str, Any], words: str) -> None:
        """A value that does not fit is told in one line that names the option as the user typed it."""
        with pytest.raises(UserError) as caught:
            override(SUITE, options)
        assert words == str(caught.value)


class TestSettings:
    def test_settings_follow_the_suites_names(self) -> None:
        """A model that is named on the command line keeps what the suite says of it; the others' settings go."""
        found = override(SUITE, {"model": ["b", "x"], "backend": ["eager"]})
        assert ["b"] == list(found.models)
        assert {"x": (1, 3)} == found.models["b"].shapes

    def test_settings_of_a_model_that_is_nowhere(self) -> None:
        """A misspelt name in the suite is told whatever --model says, unless that is what --model names."""
        odd = SUITE.model_copy(update={"models": {**SUITE.models, "nobody": SUITE.models["a"]}})
        for options in ({}, {"model": ["b"]}):
            with pytest.raises(UserError, match=r"suite s: models\.nobody: no model of the matrix is called so"):
                override(odd, options)
        assert ["nobody"] == list(override(odd, {"model": ["nobody"]}).models)

    def test_settings_of_included_models_stay(self) -> None:
        """A model that only `include` names keeps its settings."""
        assert "random" == override(SUITE, {}).models["c"].weights

    def test_quick_suite_keeps_random_weights(self) -> None:
        """`bakeoff run --model resnet18` measures with the weights that the quick suite names."""
        assert "random" == override(load_suite("quick"), {"model": ["resnet18"]}).models["resnet18"].weights

    def test_weights(self) -> None:
        """Weights of the command line are for every model, and leave shapes alone."""
        found = override(SUITE, {"weights": "pretrained", "model": ["b", "x"]})
        assert {"b": "pretrained", "x": "pretrained"} == {name: each.weights for name, each in found.models.items()}
        assert {"x": (1, 3)} == found.models["b"].shapes

    def test_shapes(self) -> None:
        """Shapes take the place of the suite's."""
        found = override(SUITE, {"shapes": ("x=1x3x8x8", "mask=1"), "model": ["net.onnx"]})
        assert {"x": (1, 3, 8, 8), "mask": (1,)} == found.models["net.onnx"].shapes

    def test_bad_shape(self) -> None:
        """A shape that is none is told."""
        with pytest.raises(UserError, match="shape 'x=1x0': not of the form"):
            override(SUITE, {"shapes": ("x=1x0",)})

    def test_time_limit(self) -> None:
        """A time limit is for every backend, those with one of their own too; their options stay."""
        found = override(SUITE, {"time_limit_s": 7.5})
        assert 7.5 == found.measure.time_limit_s
        assert found.backends["tvm"].time_limit_s is None
        assert {"trials": "8"} == found.backends["tvm"].options

    def test_images(self) -> None:
        """The folder of images is kept as text."""
        assert str(Path("some/photos")) == override(SUITE, {"images": Path("some/photos")}).measure.images
