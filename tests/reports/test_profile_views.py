"""What pages say of profiles: layers, shares, verdicts and pairs, worked out from records alone."""

from __future__ import annotations

from types import ModuleType

import pytest
from bakeoff.reports.layer_words import op_kind
from bakeoff.reports.profile_charts import heat_chart, kind_chart
from bakeoff.reports.profile_diff import pairings
from bakeoff.reports.profile_verdicts import coverage_sentence, profile_verdict, remarks
from bakeoff.reports.profile_views import NO_ROW, REFUSED, RUNTIME, kind_shares, sittings
from bakeoff.reports.profiles import TimeShares


def test_kinds_tell_convolutions_apart() -> None:
    """By their kernel and by what a group takes in; what has no weights keeps its operator's name."""
    assert "Conv 3×3" == op_kind("Conv", (64, 32, 3, 3))  # noqa: RUF001
    assert "depthwise Conv" == op_kind("Conv", (64, 1, 3, 3))
    assert "QLinearConv 1×1" == op_kind("QLinearConv", (64, 32, 1, 1))  # noqa: RUF001
    assert "Conv" == op_kind("Conv", None)
    assert "Gemm" == op_kind("Gemm", (10, 64))


class TestSittings:
    def test_one_for_each_variant_in_each_setting(self, profiled: ModuleType) -> None:
        """Backends stand fastest first; who has no profile stands with the others."""
        first, second = sittings(profiled.make_report(variants=("fp32", "int8")))
        assert ("net@fp32", "net@int8") == (first.variant, second.variant)
        medians = [profile.median_ms for profile in first.profiles]
        assert sorted(medians) == medians
        assert ["eager"] == [missing.backend for missing in first.missing]
        assert () == second.missing

    def test_layers_stand_in_order_and_know_what_the_best_reaches(self, profiled: ModuleType) -> None:
        """Costliest first is another order of the same."""
        (sitting,) = sittings(profiled.make_report(layers=20))
        assert list(range(1, 21)) == [layer.place for layer in sitting.layers]
        costs = [layer.most_ms for layer in sitting.costliest]
        assert sorted(costs, reverse=True) == costs
        layer = sitting.layers[0]
        assert layer.reached == pytest.approx(layer.limit_ms / min(layer.ms.values()))

    def test_nothing_is_divided_by_nothing(self, profiled: ModuleType) -> None:
        """Figures of nought, as a file from elsewhere may hold, are shown as missing."""
        report = profiled.make_report(layers=3)
        group = report.groups[0].model_copy(update={"ms": {"openvino": 0.0}})
        profile = report.profiles[0].model_copy(update={"median_ms": 0.0})
        (sitting,) = sittings(report.model_copy(update={"groups": (group,), "profiles": (profile,)}))
        assert sitting.layers[0].reached is None
        assert kind_shares(sitting)
        assert coverage_sentence(sitting)
        assert profile_verdict(sitting)


class TestKindShares:
    def test_each_bar_is_as_long_as_the_median(self, profiled: ModuleType) -> None:
        """Rows by operator, the runtime's own, and what is in no row, in this order."""
        (sitting,) = sittings(profiled.make_report())
        for profile in sitting.profiles:
            own = [share for share in kind_shares(sitting) if share.backend == profile.backend]
            assert profile.median_ms == pytest.approx(sum(share.ms for share in own))
            assert [RUNTIME, NO_ROW] == [share.kind for share in own][-2:]

    def test_the_least_are_one(self, profiled: ModuleType) -> None:
        """A chart has few colours."""
        (sitting,) = sittings(profiled.make_report())
        kinds = dict.fromkeys(share.kind for share in kind_shares(sitting, most=2))
        assert 5 == len(kinds)
        assert "other operators" in kinds

    def test_a_refused_mapping_is_not_told_apart(self, profiled: ModuleType) -> None:
        """Whose time it is is not known, so no operator gets it."""
        report = profiled.make_report(profiles=(profiled.make_profile("openvino", refused=True),))
        (sitting,) = sittings(report)
        assert {REFUSED, RUNTIME, NO_ROW} == {share.kind for share in kind_shares(sitting)}


class TestVerdict:
    def test_who_is_fastest_how_near_and_what_holds_it_back(self, profiled: ModuleType) -> None:
        """In this order, one sentence each."""
        (sitting,) = sittings(profiled.make_report())
        fastest, reached, held = profile_verdict(sitting)
        assert fastest.startswith("openvino is fastest with ")
        assert "of this machine's limit" in reached
        assert "wait for memory" in held

    def test_intervals_that_meet_are_a_tie(self, profiled: ModuleType) -> None:
        """Nobody is called the fastest who is not told apart."""
        profiles = [
            profiled.make_profile(name, median_ms=5.0 + place / 100, ci_low_ms=4.9, ci_high_ms=5.2)
            for place, name in enumerate(("openvino", "litert"))
        ]
        (sitting,) = sittings(profiled.make_report(profiles=tuple(profiles), not_profiled=()))
        assert "not told apart" in profile_verdict(sitting)[0]

    def test_a_refused_mapping_is_said_plainly(self, profiled: ModuleType) -> None:
        """In the verdict, in the coverage, and with the failures themselves."""
        profile = profiled.make_profile(
            "openvino", refused=True, checks={"order": False}, failures={"order": ("a before b", "c", "d")}
        )
        (sitting,) = sittings(profiled.make_report(profiles=(profile,)))
        assert any("a check refused its mapping" in line for line in profile_verdict(sitting))
        assert "Refused: a check failed for openvino" in coverage_sentence(sitting)
        assert any("openvino refused, order: a before b; c (and 1 more)." in line for line in remarks(sitting))

    def test_weak_evidence_is_not_called_strong(self, profiled: ModuleType) -> None:
        """The backend with the least is named."""
        weak = TimeShares(anchored=0.6, grown=0.37, runtime=0.03, unmapped=0.0)
        profiles = (profiled.make_profile("openvino"), profiled.make_profile("tvm", shares=weak))
        (sitting,) = sittings(profiled.make_report(profiles=profiles))
        assert "60.0%" in coverage_sentence(sitting)
        assert "least in tvm" in coverage_sentence(sitting)


class TestPairings:
    def test_each_column_adds_up_to_its_median(self, profiled: ModuleType) -> None:
        """Rows without a layer and what is in no row are rows of the comparison, too."""
        report = profiled.make_report(variants=("fp32", "int8"))
        (pairing,) = pairings(report, sittings(report))
        assert 6 == len(pairing.columns)
        for column, median in enumerate(pairing.medians):
            assert median == pytest.approx(sum(row[column] or 0.0 for row in pairing.ms))

    def test_variants_come_before_backends(self, profiled: ModuleType) -> None:
        """The fastest backend in fp32 against itself in int8; with one variant, against the next backend."""
        report = profiled.make_report(variants=("fp32", "int8"))
        (pairing,) = pairings(report, sittings(report))
        assert ("net@fp32 openvino", "net@int8 openvino") == (
            pairing.columns[pairing.one],
            pairing.columns[pairing.other],
        )
        report = profiled.make_report()
        (pairing,) = pairings(report, sittings(report))
        assert (0, 1) == (pairing.one, pairing.other)
        gaps = [abs(change.ms) for change in pairing.changes()]
        assert sorted(gaps, reverse=True) == gaps

    def test_one_cell_has_nothing_beside_it(self, profiled: ModuleType) -> None:
        """Nor has one whose only neighbour was refused."""
        report = profiled.make_report(backends=("openvino",))
        assert () == pairings(report, sittings(report))


class TestCharts:
    def test_thousands_of_layers_are_drawn_as_stripes(self, profiled: ModuleType) -> None:
        """No more than a screen can show, and no time is lost."""
        (sitting,) = sittings(profiled.make_report(layers=1000))
        chart = heat_chart(sitting)
        assert chart is not None
        rows = [row for row in chart.spec["data"]["values"] if row["backend"] == "openvino"]
        assert len(rows) <= 240
        assert sitting.layer_sum("openvino") == pytest.approx(sum(row["ms"] for row in rows), rel=1e-3)
        assert "Each stripe is 5 layers together." in chart.notes

    def test_nothing_mapped_has_no_strip(self, profiled: ModuleType) -> None:
        """And bars still, of what the runtime tells."""
        report = profiled.make_report(groups=(), profiles=(profiled.make_profile("openvino", refused=True),))
        (sitting,) = sittings(report)
        assert heat_chart(sitting) is None
        assert kind_chart(sitting) is not None
