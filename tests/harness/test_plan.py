"""A suite expands to the cells that it asks for, each once, in the order of the matrix, baseline first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from bakeoff.harness.plan import CellSpec, expand, group_cells
from bakeoff.harness.suite import Suite
from bakeoff.models.errors import UserError
from hypothesis import given
from hypothesis import strategies as st

KNOWN = ("eager", "onnxruntime", "openvino", "tvm")
"""The registry's order: the baseline comes first."""


def suite(matrix: dict[str, Any], **rest: Any) -> Suite:
    return Suite.model_validate({"name": "s", "matrix": {"models": ["a"], **matrix}, **rest})


def keys(wanted: Suite, *, installed: Sequence[str] = KNOWN, all_cores: int = 4) -> list[str]:
    return [cell.key for cell in expand(wanted, installed=installed, known=KNOWN, all_cores=all_cores)]


def short(wanted: Suite, **options: Any) -> list[str]:
    """The keys without what is the same in all of these tests."""
    return [
        key.replace("@fp32", "").replace("/single-stream", "").removesuffix("/cpu") for key in keys(wanted, **options)
    ]


class TestExpand:
    def test_key(self) -> None:
        """A cell's key names all that tells it apart."""
        wanted = suite({"backends": ["tvm"], "threads": [2], "batch": [8], "devices": ["gpu"]})
        assert ["a@fp32/tvm/single-stream/t2/b8/gpu"] == keys(wanted)

    def test_order(self) -> None:
        """Backends vary fastest, since what is compared is measured together; models slowest."""
        wanted = suite({"models": ["a", "b"], "backends": ["tvm", "eager"], "threads": [1, 2]})
        assert [
            "a/eager/t1/b1",
            "a/tvm/t1/b1",
            "a/eager/t2/b1",
            "a/tvm/t2/b1",
            "b/eager/t1/b1",
            "b/tvm/t1/b1",
            "b/eager/t2/b1",
            "b/tvm/t2/b1",
        ] == short(wanted)

    def test_all_backends(self) -> None:
        """`all` means every installed backend, in the registry's order, whatever the order of probing."""
        assert ["a/eager/t1/b1", "a/openvino/t1/b1"] == short(suite({}), installed=("openvino", "eager"))

    def test_all_and_one_more(self) -> None:
        """A backend that is named beside `all` is asked for even if it is not installed, and only once if it is."""
        wanted = suite({"backends": ["all", "tvm"]})
        assert ["a/eager/t1/b1", "a/tvm/t1/b1"] == short(wanted, installed=("eager",))
        assert ["a/eager/t1/b1", "a/tvm/t1/b1"] == short(wanted, installed=("eager", "tvm"))

    def test_all_threads(self) -> None:
        """`all` threads are those of the machine; where that is a number named too, the cell is there once."""
        wanted = suite({"backends": ["eager"], "threads": [1, 2, "all"]})
        assert ["a/eager/t1/b1", "a/eager/t2/b1", "a/eager/t8/b1"] == short(wanted, all_cores=8)
        assert ["a/eager/t1/b1", "a/eager/t2/b1"] == short(wanted, all_cores=2)

    def test_options(self) -> None:
        """A cell carries its backend's options, and no other's."""
        wanted = suite({"backends": ["eager", "tvm"]}, backends={"tvm": {"options": {"trials": "8"}}})
        cells = expand(wanted, installed=KNOWN, known=KNOWN, all_cores=1)
        assert [{}, {"trials": "8"}] == [dict(cell.options) for cell in cells]

    def test_nothing_left(self) -> None:
        """A suite that excludes all of its cells is a mistake."""
        with pytest.raises(UserError, match=r"suite s: no cell is left after `exclude`; loosen it"):
            keys(suite({}, exclude=[{"model": "a"}]))

    def test_nothing_installed(self) -> None:
        """Where none can run, the way to install them is told."""
        with pytest.raises(UserError, match=r"no backend is installed; install them with: python -m pip install"):
            keys(suite({}), installed=())


class TestExclude:
    def test_one_value(self) -> None:
        """A rule hits every cell that has its value."""
        wanted = suite({"backends": ["eager", "tvm"], "threads": [1, 2]}, exclude=[{"backend": "tvm"}])
        assert ["a/eager/t1/b1", "a/eager/t2/b1"] == short(wanted)

    def test_all_values_have_to_fit(self) -> None:
        """A rule with two values hits only cells that have both."""
        wanted = suite({"backends": ["eager", "tvm"], "threads": [1, 2]}, exclude=[{"backend": "tvm", "threads": 2}])
        assert ["a/eager/t1/b1", "a/tvm/t1/b1", "a/eager/t2/b1"] == short(wanted)

    def test_all_threads(self) -> None:
        """`all` in a rule means the machine's count, by whatever name the matrix called it."""
        wanted = suite({"backends": ["eager"], "threads": [1, 4]}, exclude=[{"threads": "all"}])
        assert ["a/eager/t1/b1"] == short(wanted, all_cores=4)

    def test_empty_rule(self) -> None:
        """A rule without a value hits nothing."""
        assert ["a/eager/t1/b1"] == short(suite({"backends": ["eager"]}, exclude=[{}]))


class TestInclude:
    def test_rest_from_the_matrix(self) -> None:
        """What an entry leaves open is the first value of the matrix."""
        wanted = suite(
            {"backends": ["eager"], "threads": [2, 4], "batch": [8, 16]},
            exclude=[{"backend": "eager"}],
            include=[{"model": "b", "backend": "tvm"}, {"model": "b", "backend": "tvm", "threads": "all", "batch": 1}],
        )
        assert ["b/tvm/t2/b8", "b/tvm/t6/b1"] == short(wanted, all_cores=6)

    def test_already_there(self) -> None:
        """An entry that the matrix has too is no second cell."""
        assert ["a/tvm/t1/b1"] == short(suite({"backends": ["tvm"]}, include=[{"model": "a", "backend": "tvm"}]))

    def test_brings_back_what_was_excluded(self) -> None:
        """`include` wins over `exclude`."""
        wanted = suite(
            {"backends": ["eager", "tvm"]}, exclude=[{"backend": "tvm"}], include=[{"model": "a", "backend": "tvm"}]
        )
        assert ["a/eager/t1/b1", "a/tvm/t1/b1"] == short(wanted)


class TestGroups:
    def test_all_but_the_backend(self) -> None:
        """Cells that differ by their backend only form a group; groups keep the order of their first cells."""
        wanted = suite(
            {"models": ["a", "b"], "backends": ["eager", "tvm"]}, include=[{"model": "a", "backend": "openvino"}]
        )
        groups = group_cells(expand(wanted, installed=KNOWN, known=KNOWN, all_cores=1))
        assert [["eager", "tvm", "openvino"], ["eager", "tvm"]] == [
            [cell.backend for cell in group] for group in groups
        ]
        assert ["a", "b"] == [group[0].model for group in groups]


names = st.lists(st.sampled_from(["a", "b", "net.onnx", "x@y.onnx"]), min_size=1, max_size=3)
backends = st.lists(st.sampled_from([*KNOWN, "all"]), min_size=1, max_size=3)
threads = st.lists(st.integers(1, 4) | st.just("all"), min_size=1, max_size=3)
rules = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "model": st.sampled_from(["a", "b"]),
            "backend": st.sampled_from(KNOWN),
            "threads": st.integers(1, 4),
        },
    ),
    max_size=2,
)


@given(names, backends, threads, rules, st.sets(st.sampled_from(KNOWN)), st.integers(1, 4))
def test_any_matrix(
    models: list[str], chosen: list[str], counts: list[Any], rules: list[Any], installed: set[str], all_cores: int
) -> None:
    """Every cell is wanted, unique and hit by no rule; none that is wanted is missing; the baseline leads its group."""
    wanted = suite({"models": models, "backends": chosen, "threads": counts}, exclude=rules)
    real = {name for name in chosen if name != "all"} | (installed if "all" in chosen else set())
    expected = {
        (model, backend, all_cores if count == "all" else count)
        for model in models
        for backend in real
        for count in counts
    }
    for rule in rules:
        values = (rule.get("model"), rule.get("backend"), rule.get("threads"))
        if rule:
            expected = {cell for cell in expected if any(v not in (None, w) for v, w in zip(values, cell, strict=True))}
    try:
        cells = expand(wanted, installed=sorted(installed), known=KNOWN, all_cores=all_cores)
    except UserError:
        cells = []
    assert expected == {(cell.model, cell.backend, cell.threads) for cell in cells}
    assert len(expected) == len({cell.key for cell in cells}) == len(cells)
    groups = group_cells(cells)
    assert sorted(cells, key=_key) == sorted((cell for group in groups for cell in group), key=_key)
    for group in groups:
        assert [name for name in KNOWN if name in {cell.backend for cell in group}] == [cell.backend for cell in group]


def _key(cell: CellSpec) -> str:
    return cell.key
