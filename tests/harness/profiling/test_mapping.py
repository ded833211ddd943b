"""Mapping of profile rows to ONNX nodes: what is true is found, and what was exchanged is refused."""

from __future__ import annotations

import random
import runpy
from pathlib import Path
from typing import Any

import pytest
from bakeoff.backends.profile import Claim, Profile, Row
from bakeoff.harness.profiling.graph import Graph
from bakeoff.harness.profiling.mapping import LayerMap, map_profile
from hypothesis import assume, given, settings
from hypothesis import strategies as st

_NETS = runpy.run_path(str(Path(__file__).with_name("nets.py")))  # test folders are no packages
NETS: dict[str, Graph] = _NETS["NETS"]
execute, shuffled = _NETS["execute"], _NETS["shuffled"]

names = st.sampled_from(sorted(NETS))
seeds = st.integers(min_value=0, max_value=2**32)


def _found(graph: Graph, mapped: LayerMap) -> dict[str, str]:
    """Node -> row that owns it."""
    return {graph.nodes[node.place].name: row.row.name for row in mapped.rows for node in row.nodes if not node.shared}


def _claiming(profile: Profile) -> int:
    return sum(bool(row.claims) for row in profile.rows)


class TestTruth:
    @settings(max_examples=200)
    @given(name=names, seed=seeds, reads=st.booleans(), shapes=st.booleans(), named=st.sampled_from([0.0, 0.5, 1.0]))
    def test_a_true_profile_passes_every_check(
        self, name: str, seed: int, reads: bool, shapes: bool, named: float
    ) -> None:
        """However a runtime fuses and orders the net, and whatever it leaves unsaid."""
        graph = NETS[name]
        profile, _ = execute(graph, random.Random(seed), tell_reads=reads, tell_shapes=shapes, named=named)
        mapped = map_profile(graph, profile)
        assert {check: () for check in mapped.failures} == mapped.failures
        assert not mapped.refused
        assert mapped.shares.unmapped == 0.0

    @settings(max_examples=100)
    @given(name=names, seed=seeds)
    def test_heavy_nodes_lie_where_they_ran(self, name: str, seed: int) -> None:
        """With nothing named but the convolutions, growth gives the rest to rows that may have run it."""
        graph = NETS[name]
        profile, truth = execute(graph, random.Random(seed), named=0.0)
        found = _found(graph, map_profile(graph, profile))
        heavy = {graph.nodes[node].name: truth[node] for node in graph.heavy}
        assert heavy == {node: found[node] for node in heavy}
        assert len(found) == len(graph)

    @settings(max_examples=100)
    @given(name=names, seed=seeds)
    def test_fused_nodes_grow_into_the_row_that_ran_them(self, name: str, seed: int) -> None:
        """Where every kernel is anchored and tells what it reads, growth finds each fused node's own row."""
        graph = NETS[name]
        profile, truth = execute(graph, random.Random(seed), named=0.0, copies=0.0)
        first = {row: min(node for node in truth if truth[node] == row) for row in truth.values()}
        rows = [
            Row(**{**vars(row), "claims": (Claim(node=graph.nodes[first[row.name]].name, evidence="name"),)})
            for row in profile.rows
        ]
        found = _found(graph, map_profile(graph, Profile(rows=tuple(rows), inference_ms=(1.0,))))
        expected = {graph.nodes[node].name: row for node, row in truth.items()}
        assert expected == {node: row for node, row in found.items() if node in expected}


class TestShuffled:
    @settings(max_examples=600)
    @given(name=names, seed=seeds, shapes=st.booleans(), data=st.data())
    def test_exchanged_anchors_are_always_refused(self, name: str, seed: int, shapes: bool, data: Any) -> None:
        """Be it two rows or all of them, and though blocks have equal shapes."""
        graph = NETS[name]
        profile, _ = execute(graph, random.Random(seed), tell_shapes=shapes)
        order = data.draw(st.permutations(range(_claiming(profile))))
        assume(order != sorted(order))
        assert map_profile(graph, shuffled(profile, order)).refused

    @settings(max_examples=400)
    @given(name=names, seed=seeds, shapes=st.booleans(), data=st.data())
    def test_two_exchanged_rows_are_always_refused(self, name: str, seed: int, shapes: bool, data: Any) -> None:
        """The smallest mistake there can be."""
        graph = NETS[name]
        profile, _ = execute(graph, random.Random(seed), tell_shapes=shapes)
        first, second = data.draw(st.lists(st.integers(0, _claiming(profile) - 1), min_size=2, max_size=2, unique=True))
        order = list(range(_claiming(profile)))
        order[first], order[second] = second, first
        assert map_profile(graph, shuffled(profile, order)).refused

    @pytest.mark.parametrize("name", sorted(NETS))
    def test_without_known_reads_the_order_alone_refuses_thorough_shuffles(self, name: str) -> None:
        """A runtime that tells nothing but names: a random order of its rows is none that the graph allows."""
        graph = NETS[name]
        for seed in range(200):
            choose = random.Random(seed)
            profile, _ = execute(graph, choose, tell_reads=False, tell_shapes=False)
            order = list(range(_claiming(profile)))
            choose.shuffle(order)
            assert order == sorted(order) or map_profile(graph, shuffled(profile, order)).refused

    def test_growth_alone_would_look_perfect(self) -> None:
        """Shuffled anchors still "map" all of the time: only the checks show it."""
        graph = NETS["resnet"]
        profile, _ = execute(graph, random.Random(1), named=1.0)
        order = list(range(_claiming(profile)))
        random.Random(2).shuffle(order)
        mapped = map_profile(graph, shuffled(profile, order))
        assert mapped.shares.unmapped < 0.01
        assert mapped.refused
        assert mapped.failures["order"]


def _exchangeable(graph: Graph, profile: Profile) -> set[frozenset[str]]:
    pairs = map_profile(graph, profile).exchangeable
    return {frozenset((graph.nodes[first].name, graph.nodes[second].name)) for first, second in pairs}


class TestExchangeable:
    def test_what_the_checks_cannot_tell_apart_is_named(self) -> None:
        """A shortcut's convolution may run anywhere before the sum; who reads what settles it, if it is told."""
        graph = NETS["resnet"]
        shortcut, last = (
            [node.name for node in graph.nodes if node.weight_shape == (32, 8, 1, 1)][place] for place in (1, 0)
        )
        seen = [
            _exchangeable(graph, execute(graph, random.Random(seed), tell_reads=told)[0])
            for told in (False, True)
            for seed in range(20)
        ]
        assert frozenset((shortcut, last)) in set().union(*seen[:20])
        assert set() == set().union(*seen[20:])
