"""What a machine could do at best: known figures, on a machine that is made up of round ones."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
from bakeoff.harness.profiling.limits import Limits
from bakeoff.harness.profiling.roofline import ceilings, named_precisions, roof_of
from bakeoff.harness.profiling.rules import explain
from bakeoff.models.work import GroupWork, ModelWork, NodeWork
from bakeoff.models.work_flow import Traffic
from bakeoff.models.work_reading import decode_work, encode_work
from bakeoff.reports.profiles import BackendProfile, RowTime
from bakeoff.reports.results import ComputePeak, Peaks, TierPeak

_EXAMPLES = runpy.run_path(str(Path(__file__).with_name("test_explain.py")))  # test folders are no packages
group, node, profile, row = (_EXAMPLES[name] for name in ("group", "node", "profile", "row"))

MB = 10**6


def tier(name: str, read: tuple[float, float], copied: tuple[float, float], **more: Any) -> TierPeak:
    """Each rate on one core and on all."""
    return TierPeak(
        tier=name,
        read_single_core_gbytes_s=read[0],
        read_all_cores_gbytes_s=read[1],
        copy_single_core_gbytes_s=copied[0],
        copy_all_cores_gbytes_s=copied[1],
        **more,
    )


MACHINE = Peaks(
    cores=4,
    compute=(
        ComputePeak(precision="fp32", single_core_gmac_s=100.0, all_cores_gmac_s=360.0),
        ComputePeak(precision="fp16", reason="none"),
        ComputePeak(precision="int8", single_core_gmac_s=400.0, all_cores_gmac_s=1600.0),
    ),
    tiers=(
        tier("L2", (50.0, 200.0), (40.0, 160.0), capacity_bytes=MB, instances=4),
        tier("memory", (8.0, 12.0), (10.0, 14.0)),
    ),
)


def node_work(name: str = "conv", **changed: Any) -> NodeWork:
    facts: dict[str, Any] = {
        "op_type": "Conv",
        "macs": 10**8,
        "winograd_macs": 10**8,
        "other_ops": 0,
        "input_bytes": 0,
        "weight_bytes": 0,
        "output_bytes": 0,
        "precision": "fp32",
        "avoidable": False,
    }
    return NodeWork(node=name, **{**facts, **changed})


def kernel(*, activations: tuple[tuple[int, int], ...] = (), **changed: Any) -> GroupWork:
    one = node_work(**changed)
    return GroupWork(
        nodes=(one,),
        input_bytes=one.input_bytes,
        weight_bytes=one.weight_bytes,
        output_bytes=one.output_bytes,
        activations=activations,
    )


def roof(executed: str = "fp32", *, threads: int = 1, weights: int = 0, **changed: Any) -> Any:
    work = kernel(**changed)
    return roof_of(
        work,
        executed,
        ceilings(MACHINE, threads),
        weights_bytes=weights,
        graph_precision=work.nodes[0].precision,
    )


class TestRoof:
    def test_arithmetic(self) -> None:
        """10^8 multiply-adds at 10^11 a second take a millisecond."""
        found = roof(input_bytes=MB // 2, output_bytes=MB // 2)
        assert (1.0, "compute", 1.0) == (found.limit_ms, found.bound, found.direct_ms)
        assert pytest.approx(MB / 50e6) == found.memory_ms
        assert (10**8, MB, "L2") == (found.macs, found.moved_bytes, found.tier)

    def test_winograd_lowers_the_limit_in_floats_only(self) -> None:
        found = roof(winograd_macs=25 * 10**6)
        assert (0.25, 1.0) == (found.limit_ms, found.direct_ms)
        assert 0.25 == roof("int8", winograd_macs=25 * 10**6).limit_ms == roof("int8").limit_ms

    def test_only_what_exceeds_the_caches_comes_from_memory(self) -> None:
        """3 MB, of which the L2 may hold one: two at 10 GB/s, the faster of its rates."""
        found = roof(macs=1, winograd_macs=1, input_bytes=2 * MB, output_bytes=MB)
        assert ("memory", "memory") == (found.bound, found.tier)
        assert pytest.approx(0.2) == found.limit_ms

    def test_weights_come_from_where_all_of_them_fit(self) -> None:
        """Those of a model of 100 MB are not in the L2, however few this layer has."""
        found = roof(macs=1, winograd_macs=1, weight_bytes=MB // 10, weights=100 * MB)
        assert "memory" == found.tier
        assert pytest.approx(0.99 * 0.1 * MB / 10e6) == found.limit_ms
        near = roof(macs=1, winograd_macs=1, weight_bytes=MB // 10, weights=MB)
        assert ("L2", pytest.approx(0.1 * MB / 50e6)) == (near.tier, near.limit_ms)

    def test_narrower_execution_moves_less(self) -> None:
        assert MB // 4 == roof("int8", input_bytes=MB).moved_bytes
        assert MB // 2 == roof("fp16", input_bytes=MB).moved_bytes
        assert MB == roof("fp32", input_bytes=MB, precision="int8").moved_bytes

    def test_without_instructions_of_its_own(self) -> None:
        """fp16 is then computed in fp32; what has no peak has no roof."""
        assert 1.0 == roof("fp16").limit_ms
        assert roof("int4") is None
        assert roof(macs=0, winograd_macs=0) is None

    def test_threads(self) -> None:
        """Of two cores no more is expected than twice one, of many no more than of all; private caches add up."""
        assert pytest.approx(0.5) == roof(threads=2).limit_ms
        assert pytest.approx(1 / 3.6) == roof(threads=4).limit_ms == roof(threads=16).limit_ms
        found = roof(threads=2, macs=1, winograd_macs=1, input_bytes=3 * MB)
        assert pytest.approx(max(MB / 14e6, 3 * MB / 100e6)) == found.limit_ms

    def test_a_value_is_rounded_before_it_is_moved(self) -> None:
        """Where the file rounds later than a kernel may, each value counts in the narrower of both types."""
        found = roof("int8", input_bytes=5 * MB, activations=((4 * MB, 4), (MB, 1)), precision="int8")
        assert 2 * MB == found.moved_bytes
        assert 5 * MB == roof("fp32", input_bytes=5 * MB, activations=((4 * MB, 4), (MB, 1))).moved_bytes

    def test_words_of_runtimes(self) -> None:
        assert ("fp32", "int8") == named_precisions("mixed(fp32: 3, int8: 50)")
        assert ("fp32",) == named_precisions("f32")
        assert () == named_precisions("none")


def net() -> ModelWork:
    """x -> conv -> relu -> head, 1 MB between them."""
    traffic = {
        "conv": Traffic(reads={"x": MB}, weights={"w": MB}, writes={"a": MB}),
        "relu": Traffic(reads={"a": MB}, weights={}, writes={"b": MB}),
        "head": Traffic(reads={"b": MB}, weights={"v": MB}, writes={"y": 1000}),
    }
    nodes = tuple(
        node_work(
            name,
            macs=macs,
            winograd_macs=macs,
            input_bytes=sum(traffic[name].reads.values()),
            weight_bytes=sum(traffic[name].weights.values()),
            output_bytes=sum(traffic[name].writes.values()),
        )
        for name, macs in (("conv", 10**9), ("relu", 0), ("head", 10**6))
    )
    readers = {"x": frozenset({"conv"}), "a": frozenset({"relu"}), "b": frozenset({"head"})}
    return ModelWork(nodes=nodes, uncounted=(), traffic=traffic, readers=readers, outputs=frozenset({"y"}))


def limits() -> Limits:
    return Limits(work=net(), machine=ceilings(MACHINE, 1))


def fused(**changed: Any) -> BackendProfile:
    """Two rows: conv with relu, head; and a copy."""
    return profile(
        row("c", 20.0, node("conv"), node("relu", "Relu", "conv"), precision=changed.pop("precision", "fp32")),
        row("copy", 1.0, standing="runtime", kind="Reorder"),
        row("h", 1.0, node("head", "Gemm", "relu")),
        **changed,
    )


class TestLimits:
    def test_rows(self) -> None:
        """A fused row moves what crosses its border; a copy has no limit."""
        conv, copy, head = limits().profile(fused()).rows
        assert (10.0, 0.5) == (conv.limit_ms, conv.efficiency)
        assert 3 * MB == conv.roof.moved_bytes
        assert copy.limit_ms is None
        assert copy.efficiency is None
        assert "memory" == head.roof.bound

    def test_a_row_by_its_own_precision(self) -> None:
        assert 2.5 == limits().profile(fused(precision="int8")).rows[0].limit_ms
        assert (
            2.5 == limits().profile(fused(precision="", **{}).model_copy(update={"precision": "int8"})).rows[0].limit_ms
        )

    def test_parts_of_a_node_have_no_limit(self) -> None:
        """A row with half a convolution would be above its roof."""
        halves = profile(
            row("a", 5.0, node("conv")), row("b", 5.0, node("conv", shared=True)), row("h", 1.0, node("head"))
        )
        assert [None, None] == [one.limit_ms for one in limits().profile(halves).rows[:2]]

    def test_rows_above_their_limit_are_told(self) -> None:
        """That cannot be, so it stands beside the figures."""
        assert () == limits().profile(fused()).notes
        (note,) = limits().profile(profile(row("c", 9.0, node("conv")))).notes
        assert note.startswith("1 row took less than the limit")

    @pytest.mark.parametrize(("took_ms", "told", "above"), [(0.004, False, 1), (0.0471, True, 0), (0.046, True, 1)])
    def test_the_runtimes_clocks_are_coarse(self, took_ms: float, told: bool, above: int) -> None:
        """A row may have taken a microsecond more than it says, which is much of a short one."""
        found = limits().profile(profile(row("h", took_ms, node("head", "Gemm", "relu"))))
        assert pytest.approx(0.0501, abs=1e-4) == found.rows[0].limit_ms
        assert told == (found.rows[0].efficiency is not None)
        assert above == len(found.notes)

    def test_the_whole_model(self) -> None:
        """All arithmetic, and what enters and leaves once; of a refused mapping that is all that is known."""
        found = limits().profile(fused())
        assert pytest.approx(10.01) == found.limit_ms
        assert pytest.approx(10.01 / 22) == found.efficiency
        assert found.rows_limit_ms == sum(one.limit_ms or 0.0 for one in found.rows)
        refused = limits().profile(fused(refused=True, precision="fp32"))
        assert pytest.approx(10.01) == refused.limit_ms
        assert all(one.limit_ms is None for one in refused.rows)

    def test_a_group_in_the_fastest_precision_of_any_backend(self) -> None:
        """Or one of them could be above it."""
        nodes = (node("conv"), node("relu", "Relu"))
        times = group("net@fp32", {"ort": 20.0}, *nodes)
        assert 10.0 == limits().group(times, [fused()]).limit_ms
        assert 2.5 == limits().group(times, [fused(), fused(precision="int8")]).limit_ms

    def test_work_travels(self) -> None:
        assert net() == decode_work(encode_work(net()))


def _limited(name: str, ms: float, limit_ms: float, bound: str) -> RowTime:
    found = roof(macs=round(limit_ms * 1e8), winograd_macs=round(limit_ms * 1e8)).model_copy(
        update={"bound": bound, "limit_ms": limit_ms, "direct_ms": limit_ms, "moved_bytes": MB}
    )
    return row(name, ms, node(name), roof=found, limit_ms=limit_ms, efficiency=limit_ms / ms)


class TestFindings:
    def test_what_the_limits_tell(self) -> None:
        """Each layer by its own rule; one that is near its limit of arithmetic is none."""
        found = explain(
            profile(
                _limited("depthwise", 1.0, 0.8, "memory"),
                _limited("far", 3.0, 0.5, "compute"),
                _limited("tiny", 0.1, 0.001, "memory"),
                _limited("good", 5.0, 4.5, "compute"),
            )
        )
        assert {"memory-bound": ("depthwise",), "far-from-limit": ("far",), "small-layers": ("tiny",)} == {
            one.rule: one.rows for one in found
        }
        assert 2.5 == next(one.ms for one in found if one.rule == "far-from-limit")

    def test_all_rank_by_what_could_be_saved(self) -> None:
        """A layer that is computed for nothing costs all of its time, one at its limit nothing, whatever it takes."""
        again = row("again", 0.5, node("again", repeats="first"))
        layers = (
            _limited("far", 0.7, 0.1, "compute"),
            _limited("near", 0.5, 0.14, "compute"),
            _limited("farther", 0.5, 0.1, "compute"),
            _limited("depthwise", 1.0, 0.8, "memory"),
        )
        found = [(one.rule, one.rows, round(one.ms, 3)) for one in explain(profile(*layers, again))]
        assert [
            ("far-from-limit", ("far",), 0.6),
            ("computed-twice", ("again",), 0.5),
            ("far-from-limit", ("farther",), 0.4),
            ("far-from-limit", ("near",), 0.36),
            ("memory-bound", ("depthwise",), 0.2),
        ] == found
