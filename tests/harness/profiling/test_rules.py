"""Single rules of the mapping: whose claim holds, what each check sees, what counts as one group."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bakeoff.backends.profile import Claim, Profile, Row
from bakeoff.harness.profiling.flow import Flow
from bakeoff.harness.profiling.graph import Graph
from bakeoff.harness.profiling.groups import group_layers
from bakeoff.harness.profiling.mapping import LayerMap, map_profile

_NETS = runpy.run_path(str(Path(__file__).with_name("nets.py")))  # test folders are no packages
Builder = _NETS["Builder"]


def residual() -> Graph:
    """conv_0, relu_1, conv_2, add_3 (of both convolutions), globalaveragepool_4, flatten_5, gemm_6."""
    net = Builder()
    first = net.conv(-1, 3, 8, 16)
    second = net.conv(first, 8, 8, 16, relu=False)
    return net.head(net.op("Add", second, first, shape=(1, 8, 16, 16)), 8)


def row(name: str, *claims: str, evidence: Any = "name", ms: float = 1.0, **more: Any) -> Row:
    facts = {"kind": "Conv", "role": "compute", **more}
    return Row(
        name=name, times_ms=(ms, ms, ms), claims=tuple(Claim(node=node, evidence=evidence) for node in claims), **facts
    )


def mapped(*rows: Row, graph: Graph | None = None) -> LayerMap:
    return map_profile(graph or residual(), Profile(rows=rows, inference_ms=(1.0, 1.0, 1.0)))


def owned(found: LayerMap, graph: Graph | None = None) -> dict[str, list[str]]:
    """Row -> names of its own nodes."""
    nodes = (graph or residual()).nodes
    return {one.row.name: [nodes[node.place].name for node in one.nodes if not node.shared] for one in found.rows}


def good(**changed: Row) -> list[Row]:
    rows = {
        "a": row("a", "conv_0"),
        "b": row("b", "conv_2"),
        "p": row("p", "globalaveragepool_4", kind="Pool"),
        "g": row("g", "gemm_6", kind="Gemm"),
    }
    return list({**rows, **changed}.values())


class TestAnchors:
    def test_the_strongest_claim_owns_a_light_node(self) -> None:
        """Both rows have a part in it; the one that the runtime names counts."""
        found = mapped(*good(b=row("b", "conv_2"), p=row("p", "add_3", evidence="rule")), row("late", "add_3"))
        assert "add_3" in owned(found)["late"]
        shared = {node.place: node.evidence for one in found.rows if one.row.name == "p" for node in one.nodes}
        assert {3: "rule"} == {place: shared[place] for place in (3,)}

    def test_a_heavy_node_that_two_rows_claim_is_refused(self) -> None:
        """However strong one of the claims is: the other is wrong about something."""
        found = mapped(*good(a=row("a", "conv_0"), b=row("b", "conv_2", "conv_0", evidence="order")))
        assert found.refused
        assert ("conv_0 is claimed by a and b",) == found.failures["claims_agree"]

    def test_a_row_of_the_runtime_is_never_anchored(self) -> None:
        """A copy into another layout bears the name of the convolution that it is for."""
        found = mapped(row("reorder", "conv_0", role="runtime"), *good())
        assert not found.refused
        assert [] == owned(found)["reorder"]
        assert pytest.approx(1 / 5) == found.shares.runtime

    def test_quantizing_is_never_anchored(self) -> None:
        """Though the runtime names the node: it is the runtime's own, and said to be there for that node."""
        net = Builder(quantized=True)
        first = net.conv(-1, 3, 8, 16)  # conv_0, quantizelinear_1, dequantizelinear_2
        graph = net.head(net.conv(first, 8, 8, 16), 8)
        rows = (
            row("a", "conv_0"),
            row("q", "quantizelinear_1", "dequantizelinear_2", kind="round"),
            row("b", "conv_3"),
            row("copy", role="runtime", kind="Reorder"),
            row("p", "globalaveragepool_6", kind="Pool"),
            row("g", "gemm_8", kind="Gemm"),
        )
        found = mapped(*rows, graph=graph)
        assert not found.refused
        assert (pytest.approx(2 / 6), pytest.approx(4 / 6)) == (found.shares.runtime, found.shares.anchored)
        names = {one.row.name: [graph.nodes[node].name for node in one.serves] for one in found.rows}
        assert ["quantizelinear_1", "dequantizelinear_2"] == names["q"]
        assert "globalaveragepool_6" in names["copy"]
        assert [] == names["a"]

    def test_what_stands_at_the_end_is_there_for_what_it_reads(self) -> None:
        """Nothing takes its result."""
        found = mapped(*good(), row("out", role="runtime", kind="Reorder"))
        assert (6,) == found.rows[-1].serves[-1:]

    def test_names_that_are_no_live_node_are_passed_over(self) -> None:
        """Compilers tell of weights that they folded, too."""
        assert not mapped(*good(a=row("a", "conv_0", "weights_dequantized"))).refused

    def test_a_rounding_says_nothing_where_a_row_does_more(self) -> None:
        """Compilers move it across others: here the Flatten before the product is claimed by the pool's row."""
        found = mapped(*good(p=row("p", "globalaveragepool_4"), g=row("g", "gemm_6", "flatten_5")))
        assert {"grown", "name"} == {node.evidence for one in found.rows if one.row.name in "pg" for node in one.nodes}

    def test_a_rounding_alone_is_evidence(self) -> None:
        """A row that does nothing else is anchored by it."""
        found = mapped(*good(g=row("f", "flatten_5", kind="Reshape")), row("g", "gemm_6"))
        assert 1.0 == found.shares.anchored


class TestMerged:
    @staticmethod
    def graph(**alike: int) -> Graph:
        """conv_0, conv_1 and add_2 of both, globalaveragepool_3, flatten_4, gemm_5."""
        net = Builder()
        first = net.conv(-1, 3, 8, 16, relu=False)
        second = net.conv(-1, 3, 8, 16, relu=False)
        net.nodes[second] = replace(net.nodes[second], **alike)
        return net.head(net.op("Add", first, second, shape=(1, 8, 16, 16)), 8)

    rows = (
        row("a", "conv_0", reads=()),
        row("add", "add_2", kind="Add", reads=(0,)),
        row("p", "globalaveragepool_3", kind="Pool", reads=(1,)),
        row("g", "gemm_5", kind="Gemm", reads=(2,)),
    )

    def test_what_is_the_very_same_may_run_once(self) -> None:
        """A compiler merged both: the one that nobody claims belongs to the row of the other."""
        graph = self.graph(repeats=0)
        found = mapped(*self.rows, graph=graph)
        assert not found.refused
        assert ["conv_0", "conv_1"] == owned(found, graph)["a"]

    @pytest.mark.parametrize("alike", [{}, {"resembles": 0}])
    def test_what_only_resembles_it_may_not(self, alike: dict[str, int]) -> None:
        """It has to be computed."""
        assert mapped(*self.rows, graph=self.graph(**alike)).failures["heavy_owned_once"]

    def test_where_both_run_each_has_its_row(self) -> None:
        """The runtime names both."""
        graph = self.graph(repeats=0)
        found = mapped(self.rows[0], row("b", "conv_1", reads=()), *self.rows[1:], graph=graph)
        assert (["conv_0"], ["conv_1"]) == (owned(found, graph)["a"], owned(found, graph)["b"])


class TestChecks:
    def test_a_heavy_node_that_nobody_claims_is_refused(self) -> None:
        """Though a row was left for it, and growth gave it to that row."""
        found = mapped(*good(b=row("b")))
        assert ("conv_2 (Conv) is claimed by no row",) == found.failures["heavy_owned_once"]
        assert "conv_2" in owned(found)["b"]

    def test_a_row_before_what_it_needs_is_refused(self) -> None:
        """The second convolution cannot run first."""
        found = mapped(row("b", "conv_2"), row("a", "conv_0"), *good()[2:])
        assert found.failures["order"]
        assert "data_flow" not in found.failures

    def test_a_row_without_a_way_to_what_it_needs_is_refused(self) -> None:
        """It ran late enough, but read something else."""
        rows = good(
            a=row("a", "conv_0", reads=()),
            b=row("b", "conv_2", reads=()),
            p=row("p", "globalaveragepool_4", reads=(1,)),
            g=row("g", "gemm_6", reads=(2,)),
        )
        found = mapped(*rows)
        assert () == found.failures["order"]
        assert found.failures["data_flow"]

    def test_weights_of_another_size_are_refused(self) -> None:
        """And weights where the node has none."""
        assert mapped(*good(a=row("a", "conv_0", weight_shape=(8, 8, 3, 3)))).failures["weight_shapes"]
        assert mapped(*good(p=row("p", "globalaveragepool_4", weight_shape=(8, 3, 3, 3)))).failures["weight_shapes"]
        assert () == mapped(*good(a=row("a", "conv_0", weight_shape=(8, 3, 3, 3)))).failures["weight_shapes"]

    def test_outputs_of_another_size_are_refused(self) -> None:
        """Dimensions of one do not matter: runtimes drop and add them."""
        assert mapped(*good(b=row("b", "conv_2", output_shape=(1, 8, 8, 8)))).failures["output_shapes"]
        assert () == mapped(*good(p=row("p", "globalaveragepool_4", output_shape=(1, 8)))).failures["output_shapes"]

    def test_what_no_row_tells_is_not_checked(self) -> None:
        """A check that could not fail would say nothing."""
        assert {"heavy_owned_once", "claims_agree", "order"} == set(mapped(*good()).failures)

    def test_reading_the_future_is_a_reader_s_mistake(self) -> None:
        """Rows are in order of execution."""
        with pytest.raises(ValueError, match="did not run before"):
            Flow([row("a", reads=(1,)), row("b", reads=())])


class TestShares:
    def test_they_add_up_to_one(self) -> None:
        """Each row counts once, by its median."""
        shares = mapped(*good(), row("x", role="runtime", ms=2.0), row("y", ms=4.0)).shares
        assert pytest.approx(1.0) == shares.anchored + shares.grown + shares.runtime + shares.unmapped
        assert pytest.approx(4 / 10) == shares.anchored
        assert pytest.approx(4 / 10) == shares.unmapped

    def test_a_row_between_two_others_is_grown(self) -> None:
        """The Add ran by itself, under a name that tells nothing."""
        rows = good()
        found = mapped(*rows[:2], row("x", kind="Eltwise_ADD"), *rows[2:])
        assert ["add_3"] == owned(found)["x"]
        assert pytest.approx(1 / 5) == found.shares.grown

    def test_an_empty_profile_is_refused(self) -> None:
        """Nothing is known of any node."""
        found = mapped()
        assert found.refused
        assert 0.0 == found.sum_ms == found.shares.anchored


class TestGroups:
    def test_what_one_backend_fuses_is_one_group_for_all(self) -> None:
        """The Add belongs to the second convolution here and to nobody there: they are compared together."""
        graph = residual()
        fused = mapped(*good(b=row("b", "conv_2", "add_3", ms=3.0)))
        apart = mapped(row("a", "conv_0"), row("b", "conv_2"), row("s", "add_3", ms=0.5), *good()[2:])
        groups = group_layers(graph, {"fused": fused, "apart": apart})
        names = [[graph.nodes[node].name for node in group.nodes] for group in groups]
        assert ["conv_2", "add_3"] in names
        assert {"fused": 3.0, "apart": 1.5} == groups[names.index(["conv_2", "add_3"])].ms

    def test_a_refused_mapping_takes_no_part(self) -> None:
        """Its rows are nobody's."""
        wrong = mapped(row("b", "conv_2"), row("a", "conv_0"), *good()[2:])
        groups = group_layers(residual(), {"right": mapped(*good()), "wrong": wrong})
        assert {"right"} == {backend for group in groups for backend in group.ms}

    def test_all_time_of_mapped_rows_is_in_some_group(self) -> None:
        """A row that only has a part in another's node counts with it; the runtime's own rows are in none."""
        again = row("again", "add_3", ms=2.0)
        found = mapped(*good()[:2], row("s", "add_3"), again, *good()[2:], row("x", role="runtime"))
        assert not found.refused
        total = sum(ms for group in group_layers(residual(), {"one": found}) for ms in group.ms.values())
        assert pytest.approx(found.sum_ms - 1.0) == total
