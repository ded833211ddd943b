"""Findings: each rule on a profile that has what it looks for, and the ranking over all of them."""

from __future__ import annotations

from typing import Any

import pytest
from bakeoff.harness.profiling.against import compare, explain_cell
from bakeoff.harness.profiling.cells import parse_cell, suite_of, with_one_thread
from bakeoff.harness.profiling.rules import explain
from bakeoff.models.errors import UserError
from bakeoff.reports.profiles import BackendProfile, Finding, GroupTimes, ProfileReport, RowNode, RowTime, TimeShares

SETTING: dict[str, Any] = {"threads": 1, "batch": 1, "device": "cpu"}


def node(name: str, op: str = "Conv", *reads: str, **more: Any) -> RowNode:
    heavy = {"weight_shape": (8, 8, 3, 3)} if op in ("Conv", "Gemm") else {}
    return RowNode(**{"name": name, "op": op, "evidence": "name", "reads": reads, **heavy, **more})


def row(name: str, ms: float, *nodes: RowNode, kind: str = "Conv", standing: Any = "anchored", **more: Any) -> RowTime:
    return RowTime(name=name, kind=kind, standing=standing, median_ms=ms, typical_ms=ms, nodes=nodes, **more)


def profile(*rows: RowTime, backend: str = "ort", variant: str = "net@fp32", **changed: Any) -> BackendProfile:
    total = sum(one.median_ms for one in rows)
    facts: dict[str, Any] = {
        "median_ms": total,
        "ci_low_ms": total,
        "ci_high_ms": total,
        "first_ms": total,
        "profiled_ms": total,
        "overhead": 1.0,
        "typical_ms": total,
        "inferences": 20,
        "sum_ms": total,
        "residual_ms": 0.0,
        "between_ms": 0.0,
        "shares": TimeShares(anchored=1.0, grown=0.0, runtime=0.0, unmapped=0.0),
        "refused": False,
        "checks": {"order": True},
    }
    model = variant.partition("@")[0]
    return BackendProfile(**SETTING, model=model, variant=variant, backend=backend, rows=rows, **{**facts, **changed})


def group(variant: str, ms: dict[str, float], *nodes: RowNode) -> GroupTimes:
    return GroupTimes(
        **SETTING,
        model=variant.partition("@")[0],
        variant=variant,
        nodes=tuple(one.name for one in nodes),
        ops=tuple(one.op for one in nodes),
        scopes=tuple("" for _ in nodes),
        ms=ms,
    )


def rules(*findings: Finding) -> list[str]:
    return [finding.rule for finding in findings]


class TestRules:
    def test_a_clean_cell_has_no_findings(self) -> None:
        """A rule that always finds something says nothing."""
        assert () == explain(profile(row("c", 1.0, node("conv"), node("relu", "Relu", "conv"))))

    def test_an_activation_by_itself(self) -> None:
        """Behind a convolution it could have been fused, roundings between them seen through."""
        nodes = node("conv"), node("q", "QuantizeLinear", "conv"), node("relu", "Relu", "q")
        (found,) = explain(profile(row("c", 1.0, nodes[0]), row("r", 0.5, *nodes[1:], kind="Relu")))
        assert ("unfused", 0.5, ("relu",), ("r",)) == (found.rule, found.ms, found.nodes, found.rows)
        assert "33.3%" in found.words

    def test_an_activation_behind_something_else(self) -> None:
        """Nothing could have fused it."""
        assert () == explain(
            profile(row("p", 1.0, node("pool", "MaxPool")), row("r", 0.5, node("relu", "Relu", "pool")))
        )

    def test_roundings_copies_and_fallbacks_of_a_quantized_net(self) -> None:
        """Each by its own rule, the costliest first."""
        found = explain(
            profile(
                row("in", 0.3, kind="QuantizeLinear", standing="runtime"),
                row("c1", 2.0, node("c1"), node("q1", "QuantizeLinear", "c1"), precision="int8"),
                row("dq", 0.4, kind="fused_cast", standing="runtime", serves=("dq1",)),
                row("c2", 1.0, node("dq1", "DequantizeLinear", "q1"), node("c2", "Conv", "dq1"), precision="fp32"),
                row("reorder", 0.2, kind="Reorder", standing="runtime", serves=("c2",)),
            )
        )
        assert ["float-fallback", "unfused-rounding", "copies"] == rules(*found)
        assert [1.0, pytest.approx(0.7), 0.2] == [finding.ms for finding in found]
        assert ("c2",) == found[0].nodes
        assert (("dq", "in"), ("dq1",)) == (found[1].rows, found[1].nodes)
        assert ("c2",) == found[2].nodes

    def test_float_is_no_fallback_in_a_float_net(self) -> None:
        """There it is what was asked for."""
        assert () == explain(profile(row("c", 1.0, node("conv"), precision="fp32")))

    def test_time_between_rows(self) -> None:
        """What no row accounts for is named, in microseconds for each row."""
        (found,) = explain(profile(row("c", 1.0, node("conv")), median_ms=1.2, between_ms=0.2))
        assert "between-rows" == found.rule
        assert "200" in found.words

    def test_what_profiling_costs_is_not_the_runtimes(self) -> None:
        """A tenth of the time between the rows is the profiler's; where all of it is, nothing is found."""
        facts = {"median_ms": 1.2, "between_ms": 0.2}
        (found,) = explain(profile(row("c", 1.0, node("conv")), **facts, overhead=1.1))
        assert 0.08 == pytest.approx(found.ms)
        assert () == explain(profile(row("c", 1.0, node("conv")), **facts, overhead=1.2))

    def test_the_first_inference_comes_last(self) -> None:
        """However long it takes: it happens once."""
        (first, last) = explain(profile(row("c", 1.0, node("conv")), first_ms=900.0, median_ms=1.2, between_ms=0.2))
        assert ["between-rows", "first-inference"] == rules(first, last)
        assert last.once

    def test_what_is_computed_twice(self) -> None:
        """Each repetition of a heavy node is a finding of its own; a cheap one is none."""
        again = node("again", repeats="conv")
        (found,) = explain(profile(row("c", 1.0, node("conv")), row("d", 1.1, again, node("r", "Relu", repeats="s"))))
        assert ("computed-twice", ("again", "r"), 1.1) == (found.rule, found.nodes, found.ms)

    def test_a_refused_mapping_is_not_explained_by_its_nodes(self) -> None:
        """Which row runs which node is not known."""
        rows = row("c", 1.0, node("conv")), row("r", 0.5, node("relu", "Relu", "conv"), kind="Relu")
        assert () == explain(profile(*rows, refused=True))
        copies = row("in", 0.1, kind="Reorder", standing="runtime", serves=("conv",))
        (found,) = explain(profile(*rows, copies, refused=True))
        assert ("copies", ()) == (found.rule, found.nodes)

    def test_every_finding_names_nodes(self) -> None:
        """Those of all rows where it concerns them all."""
        rows = row("c", 1.0, node("conv")), row("in", 0.3, kind="Reorder", standing="runtime", serves=("conv",))
        found = explain(profile(*rows, median_ms=1.5, between_ms=0.2, first_ms=99.0))
        assert {"copies", "between-rows", "first-inference"} == set(rules(*found))
        assert {("conv",)} == {finding.nodes for finding in found}


class TestThreads:
    def test_what_is_lost_against_perfect_scaling(self) -> None:
        """Of the whole inference, and of each layer, most first; a layer that scales is not among them."""
        layers = "flat", "slow", "good"
        one = profile(*(row(name, ms, node(name)) for name, ms in zip(layers, (2.0, 3.0, 4.0), strict=True)))
        two = profile(*(row(name, ms, node(name)) for name, ms in zip(layers, (2.0, 2.6, 2.0), strict=True)))
        two = two.model_copy(update={"threads": 2})
        (found,) = explain(two, (one, two))
        assert ("threads-not-scaling", pytest.approx(6.6 - 4.5)) == (found.rule, found.ms)
        assert (("slow", "flat"), ("slow", "flat")) == (found.nodes, found.rows)
        assert "slow loses 1.100 ms and flat loses 1.000 ms" in found.words
        assert "multi-stream" in found.advice
        assert () == explain(one, (one, two))

    def test_nothing_is_said_where_threads_scale_or_nothing_compares(self) -> None:
        """Another variant, backend, batch or device is no measure of it."""
        one = profile(row("c", 2.0, node("c")))
        two = profile(row("c", 1.1, node("c"))).model_copy(update={"threads": 2})
        assert () == explain(two, (one, two))
        slow = profile(row("c", 1.9, node("c"))).model_copy(update={"threads": 2})
        for other in ({"variant": "net@int8"}, {"backend": "ov"}, {"batch": 4}, {"device": "gpu"}):
            assert () == explain(slow, (one.model_copy(update=other), slow))
        assert ["threads-not-scaling"] == rules(*explain(slow, (one, slow)))

    def test_more_threads_that_only_slow_it_down(self) -> None:
        """Then fewer are the advice, though layers may not be known."""
        one = profile(row("c", 2.0, node("c")), refused=True)
        two = profile(row("c", 2.5, node("c"))).model_copy(update={"threads": 4})
        (found,) = explain(two, (one, two))
        assert ((), "run it with 1 thread: more only slow it down") == (found.nodes, found.advice)


class TestAgainst:
    def test_the_layer_that_is_slower_leads(self) -> None:
        """By how much it is slower, with what ran here and there; ties within a few per cent are no findings."""
        c1, c2 = node("c1"), node("c2")
        one = profile(row("a", 3.0, c1, precision="fp32"), row("b", 1.01, c2))
        other = profile(row("x", 1.0, c1, precision="int8"), row("y", 1.0, c2), backend="ov")
        groups = group("net@fp32", {"ort": 3.0, "ov": 1.0}, c1), group("net@fp32", {"ort": 1.01, "ov": 1.0}, c2)
        report = ProfileReport(bakeoff_version="0", target_id="t", profiles=(one, other), groups=groups)
        explanation = compare(report, one, other)
        (found,) = explanation.findings
        assert ("slower-layer", 2.0, ("c1",)) == (found.rule, found.ms, found.nodes)
        assert "fp32 here and in int8 there" in found.advice
        assert ("net@fp32/ort/t1/b1/cpu", "net@fp32/ov/t1/b1/cpu") == (explanation.cell, explanation.against)

    def test_a_layer_that_the_other_lacks(self) -> None:
        """A convolution planted into another file of the same model is the first finding."""
        c1, again = node("c1"), node("again")
        one = profile(row("a", 3.0, c1), row("b", 2.9, again), variant="planted@fp32")
        other = profile(row("a", 3.1, c1), variant="net@fp32")
        groups = (
            group("planted@fp32", {"ort": 3.0}, c1),
            group("planted@fp32", {"ort": 2.9}, again),
            group("net@fp32", {"ort": 3.1}, c1),
        )
        report = ProfileReport(bakeoff_version="0", target_id="t", profiles=(one, other), groups=groups)
        (found,) = compare(report, one, other).findings
        assert ("extra-layer", ("again",), 2.9) == (found.rule, found.nodes, found.ms)

    def test_what_belongs_to_no_layer_counts_by_its_difference(self) -> None:
        """Copies that both make are no reason."""
        copies = [row("reorder", ms, kind="Reorder", standing="runtime") for ms in (0.5, 0.2)]
        one, other = (
            profile(row("a", 1.0, node("c")), copies[0]),
            profile(row("a", 1.0, node("c")), copies[1], backend="ov"),
        )
        groups = (group("net@fp32", {"ort": 1.0, "ov": 1.0}, node("c")),)
        report = ProfileReport(bakeoff_version="0", target_id="t", profiles=(one, other), groups=groups)
        (found,) = compare(report, one, other).findings
        assert ("copies", pytest.approx(0.3)) == (found.rule, found.ms)

    def test_alone_it_is_explained_by_the_rules(self) -> None:
        """Against nothing."""
        one = profile(row("c", 1.0, node("conv")), median_ms=1.2, between_ms=0.2)
        found = explain_cell(ProfileReport(bakeoff_version="0", target_id="t", profiles=(one,), groups=()), one)
        assert found.against is None
        assert ["between-rows"] == rules(*found.findings)


class TestCells:
    @pytest.mark.parametrize(
        ("text", "facts"),
        [
            ("resnet50@int8/onnxruntime", ("resnet50", "int8", "onnxruntime", 1, 1, "cpu")),
            ("a/b.onnx@fp32/openvino/t2", ("a/b.onnx", "fp32", "openvino", 2, 1, "cpu")),
            ("net@fp32/tvm/single-stream/t4/b8/gpu", ("net", "fp32", "tvm", 4, 8, "gpu")),
        ],
    )
    def test_keys_of_reports_are_understood(self, text: str, facts: tuple[object, ...]) -> None:
        """And shorter ones, for one thread and batch 1."""
        cell = parse_cell(text)
        assert facts == (cell.model, cell.variant, cell.backend, cell.threads, cell.batch, cell.device)
        assert cell.matches(f"{facts[0]}@{facts[1]}", *facts[2:])  # type: ignore[arg-type]

    @pytest.mark.parametrize("text", ["resnet50", "resnet50@fp32", "resnet50/onnxruntime", "@fp32/onnxruntime", ""])
    def test_what_names_no_cell_says_how_to_write_one(self, text: str) -> None:
        """One line with an example."""
        with pytest.raises(UserError, match="MODEL@VARIANT/BACKEND"):
            parse_cell(text)

    def test_with_one_thread_beside_more(self) -> None:
        """Once, and not where it was asked for anyway."""
        cells = [parse_cell(text) for text in ("n@fp32/tvm/t4", "n@fp32/tvm/t2", "n@fp32/litert")]
        assert [4, 2, 1, 1] == [cell.threads for cell in with_one_thread(cells)]
        both = [parse_cell(text) for text in ("n@fp32/tvm/t4", "n@fp32/tvm/t1")]
        assert both == with_one_thread(both)

    def test_a_suite_of_just_these_cells(self) -> None:
        """Two models on two backends are two cells, not four."""
        cells = [parse_cell("resnet18@int8/onnxruntime"), parse_cell("mobilenet_v2@fp32/openvino/t2")]
        suite = suite_of(cells, {"weights": "random"})
        assert (("resnet18",), ("onnxruntime",), ("int8",)) == (
            suite.matrix.models,
            suite.matrix.backends,
            suite.matrix.variants,
        )
        (beside,) = suite.include
        assert ("mobilenet_v2", "openvino", "fp32", 2) == (beside.model, beside.backend, beside.variant, beside.threads)
