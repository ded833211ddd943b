"""What is said of the target: stable, true to the system's own files, and measured peaks."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
from bakeoff.backends.base import Device, Probe
from bakeoff.harness import peaks_kept
from bakeoff.harness.cgroup import own_cgroup
from bakeoff.harness.cli import cli
from bakeoff.harness.cores import (
    Topology,
    all_cores,
    cache_instances,
    choose_cores,
    core_caches,
    format_cores,
    oversubscription,
    parse_cores,
    read_topology,
    usable_cores,
)
from bakeoff.harness.isa import cpu_facts, isa_features
from bakeoff.harness.peak_loops import build_loops
from bakeoff.harness.peak_tiers import plan_tiers
from bakeoff.harness.peaks import QUICK, THOROUGH, Effort, measure_peaks
from bakeoff.harness.peaks_kept import best_of, load_peaks, save_peaks, target_peaks
from bakeoff.harness.target import describe_target
from bakeoff.models.errors import WorkerError
from bakeoff.reports.results import Accelerator, ComputePeak, Peaks, Target, TierPeak
from click.testing import CliRunner


def files(root: Path, contents: dict[str, str]) -> Path:
    """A folder with these files, as the kernel would show them."""
    for name, text in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


class TestTarget:
    def test_same_machine_same_id(self) -> None:
        """Two descriptions of one machine are equal, and whole in JSON."""
        first, second = describe_target(), describe_target({})

        assert first == second
        assert first == Target.model_validate_json(first.model_dump_json())

    def test_says_what_the_system_says(self) -> None:
        """Cores and memory are those of the system."""
        target = describe_target()

        assert psutil.virtual_memory().total == target.memory_bytes
        assert len(os.sched_getaffinity(0)) == target.cpu.usable_cores
        assert target.cpu.model
        assert target.cpu.isa
        assert target.cpu.model.split()[0].partition("(")[0] in target.name

    def test_packages_do_not_change_the_id(self) -> None:
        """Accelerators come from the backends' probes, and the id does not depend on which backends there are."""
        probe = Probe(
            available=True,
            devices=(
                Device(name="cpu", description="the CPU"),
                Device(name="gpu.1", description="Some GPU"),
            ),
        )

        target = describe_target({"openvino": probe})

        assert (Accelerator(kind="gpu.1", name="Some GPU", seen_by="openvino"),) == target.accelerators
        assert describe_target().id == target.id

    def test_fewer_cores_are_another_target(self) -> None:
        """A process that inherits a smaller cpuset describes another target and says so."""
        if len(usable_cores()) < 2:
            pytest.fail("this test needs two cores")
        code = "from bakeoff.harness.target import describe_target as d; t = d(); print(t.id, t.container['cpuset'])"
        core = usable_cores()[-1]

        done = subprocess.run(
            [sys.executable, "-c", f"import os; os.sched_setaffinity(0, {{{core}}})\n{code}"],
            capture_output=True,
            text=True,
            check=True,
        )

        identity, cpuset = done.stdout.split()
        assert str(core) == cpuset
        assert describe_target().id != identity


class TestIsa:
    def test_one_name_for_each_feature_in_fixed_order(self) -> None:
        """Synonyms become one name, and what does not matter to inference is left out."""
        assert ("avx2", "fma", "avx512f", "avx512_vnni") == isa_features(
            ["avx512vnni", "avx512_vnni", "fpu", "fma", "avx512f", "avx2"]
        )
        assert ("neon", "asimddp", "i8mm", "sve") == isa_features(["sve", "i8mm", "asimd", "asimddp", "crc32"])

    def test_asked_once_for_each_boot(self, tmp_path: Path) -> None:
        """The second answer comes from the cache folder and is the same; a damaged file is asked anew."""
        first = cpu_facts(tmp_path)
        (kept,) = (tmp_path / "cpu").iterdir()
        kept.write_text(kept.read_text().replace(first.vendor, "Remembered"))
        second = cpu_facts(tmp_path)
        kept.write_text("{")

        assert "Remembered" == second.vendor
        assert first == cpu_facts(tmp_path)


class TestCores:
    FOUR_WITH_SMT = Topology(siblings={core: (core % 4, core % 4 + 4) for core in range(8)})

    @pytest.mark.parametrize(
        ("threads", "expected"),
        [
            (1, (1,)),
            (3, (1, 2, 3)),
            (4, (0, 1, 2, 3)),
            (5, (0, 1, 2, 3, 5)),
            (8, tuple(range(8))),
            (20, tuple(range(8))),
        ],
    )
    def test_physical_cores_first_and_the_parents_core_last(self, threads: int, expected: tuple[int, ...]) -> None:
        """Each physical core gets one thread before any gets two; core 0 and its sibling come last among equals."""
        assert expected == choose_cores(threads, range(8), self.FOUR_WITH_SMT)

    def test_only_usable_cores(self) -> None:
        """Nothing outside the inherited cpuset is chosen, and a sibling outside of it makes no second thread."""
        assert (5, 6) == choose_cores(2, (4, 5, 6), self.FOUR_WITH_SMT)

    def test_fast_cores_first(self) -> None:
        """Where cores differ in speed, slow ones come after all fast ones, even after the parent's."""
        mixed = Topology(capacity={0: 1024, 1: 1020, 2: 400, 3: 400})

        assert (1,) == choose_cores(1, range(4), mixed)
        assert (0, 1) == choose_cores(2, range(4), mixed)
        assert (0, 1, 3) == choose_cores(3, (0, 1, 3), mixed)

    def test_layout_and_caches_as_the_kernel_tells(self, tmp_path: Path) -> None:
        """Siblings, capacities and caches are read from the kernel's files; what is missing is left out."""
        root = files(
            tmp_path,
            {
                "cpu0/topology/thread_siblings_list": "0,2",
                "cpu0/cpu_capacity": "1024",
                "cpu0/cache/index0/level": "1",
                "cpu0/cache/index0/type": "Data",
                "cpu0/cache/index0/size": "48K",
                "cpu0/cache/index3/level": "3",
                "cpu0/cache/index3/type": "Unified",
                "cpu0/cache/index3/size": "32768K",
            },
        )

        assert Topology(siblings={0: (0, 2)}, capacity={0: 1024.0}) == read_topology([0, 1], root)
        assert {"L1d": 48 * 1024, "L3": 32 * 2**20} == core_caches(0, root)

    def test_all_cores_heeds_the_quota(self) -> None:
        """A quota of 1.5 cores means one thread, one beyond the cpuset changes nothing, none means all."""
        assert 1 == all_cores(range(8), 1.5)
        assert 1 == all_cores(range(8), 0.5)
        assert 8 == all_cores(range(8), 16.0)
        assert 8 == all_cores(range(8), None)

    def test_oversubscription_is_said(self) -> None:
        """More threads than cores are said in words, fewer are not."""
        assert oversubscription(2, 2) is None
        assert "4 threads share 2 cores" == oversubscription(4, 2)
        assert "2 threads share 1 core" == oversubscription(2, 1)

    def test_core_lists_round_trip(self) -> None:
        """The kernel's list format is read and written."""
        assert (0, 1, 2, 8) == parse_cores("0-2,8\n")
        assert "0-2,8" == format_cores((8, 0, 2, 1))
        assert () == parse_cores("\n")


class TestCgroup:
    def test_version_2_takes_the_tightest_limit_on_the_way_up(self, tmp_path: Path) -> None:
        """Limits of the parents bind too; the counters are those that concern this process."""
        root = files(
            tmp_path,
            {
                "proc/self/cgroup": "0::/app.slice/bakeoff.scope",
                "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate",
                "sys/fs/cgroup/app.slice/cpu.max": "150000 100000",
                "sys/fs/cgroup/app.slice/cpu.stat": "usage_usec 1\nnr_periods 9\nnr_throttled 3",
                "sys/fs/cgroup/app.slice/memory.max": "4000000",
                "sys/fs/cgroup/app.slice/memory.current": "1500000",
                "sys/fs/cgroup/app.slice/memory.stat": "anon 5\ninactive_file 500000",
                "sys/fs/cgroup/app.slice/bakeoff.scope/cpu.max": "max 100000",
                "sys/fs/cgroup/app.slice/bakeoff.scope/cpu.stat": "nr_periods 9\nnr_throttled 1",
                "sys/fs/cgroup/app.slice/bakeoff.scope/memory.max": "max",
                "sys/fs/cgroup/app.slice/bakeoff.scope/memory.events": "low 0\noom 2\noom_kill 2",
            },
        )
        group = own_cgroup(root)

        assert 2 == group.version
        assert 1.5 == group.limits().cpu_quota_cores
        assert 4_000_000 == group.limits().memory_bytes
        assert 3_000_000 == group.memory_headroom()
        assert 4 == group.counters().throttled_periods
        assert 2 == group.counters().oom_kills

    def test_version_1_in_a_container_that_sees_the_hosts_paths(self, tmp_path: Path) -> None:
        """The path of the host is cut to the part that is mounted; "no limit" in version 1 is a huge number."""
        root = files(
            tmp_path,
            {
                "proc/self/cgroup": "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc",
                "proc/self/mountinfo": (
                    "32 31 0:29 /docker/abc /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu,cpuacct\n"
                    "33 31 0:30 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory"
                ),
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
                "sys/fs/cgroup/cpu/cpu.stat": "nr_periods 0\nnr_throttled 7",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
                "sys/fs/cgroup/memory/memory.oom_control": "oom_kill_disable 0\noom_kill 1",
            },
        )
        group = own_cgroup(root)

        assert 1 == group.version
        assert 2.0 == group.limits().cpu_quota_cores
        assert group.limits().memory_bytes is None
        assert group.memory_headroom() is None
        assert 7 == group.counters().throttled_periods
        assert 1 == group.counters().oom_kills

    def test_none(self, tmp_path: Path) -> None:
        """Without control groups nothing is limited and nothing counted."""
        group = own_cgroup(tmp_path)

        assert group.version is None
        assert group.limits().cpu_quota_cores is None
        assert group.counters().throttled_periods is None


def _broken_relations(peaks: Peaks) -> list[str]:
    """What has to hold of any machine, and does not of *peaks*."""
    fp32 = peaks.compute[0]
    found = []
    for where, roof, product in (
        ("one core", fp32.single_core_gmac_s, peaks.gemm_fp32_single_core_gflops),
        ("all cores", fp32.all_cores_gmac_s, peaks.gemm_fp32_all_cores_gflops),
    ):
        if 2 * roof < 0.97 * product:
            found.append(f"{where}: registers {2 * roof} GFLOP/s, products {product}")
    found += [
        f"{peak.precision}: {peak.all_cores_gmac_s} GMAC/s on all cores, {peak.single_core_gmac_s} on one"
        for peak in peaks.compute
        if peak.single_core_gmac_s is not None and peak.all_cores_gmac_s < 0.95 * peak.single_core_gmac_s
    ]
    for nearer, further in itertools.pairwise(peaks.tiers):
        if nearer.read_single_core_gbytes_s < 0.9 * further.read_single_core_gbytes_s:
            found.append(f"{nearer.tier} {nearer.read_single_core_gbytes_s} GB/s, {further.tier} is faster")
    return found


class TestPeaks:
    @pytest.mark.slow
    def test_measured_in_pinned_processes(self) -> None:
        """Every rate is there and positive, and the method names the library and what was counted."""
        peaks = measure_peaks(usable_cores()[-1:])
        fp32, tiers = peaks.compute[0], {tier.tier: tier for tier in peaks.tiers}

        assert peaks.gemm_fp32_single_core_gflops > 0
        assert peaks.gemm_fp32_single_core_gflops == peaks.gemm_fp32_all_cores_gflops
        assert peaks.copy_bandwidth_single_core_gbytes_s > 0
        assert "numpy" in peaks.method
        assert "read plus" in peaks.method
        assert "fp32" == fp32.precision
        assert fp32.single_core_gmac_s == fp32.all_cores_gmac_s
        assert {"L1", "memory"} <= set(tiers)
        assert all(tier.copy_single_core_gbytes_s > 0 for tier in peaks.tiers)
        assert all(tier.update_single_core_gbytes_s > 0 for tier in peaks.tiers)

    @pytest.mark.slow
    @pytest.mark.alone
    def test_roofs_are_roofs(self) -> None:
        """No product of matrices is faster than multiply-adds in registers; what is nearer to the cores is faster.

        Both sides are the best of several windows, yet on a shared machine one of them may have had none undisturbed:
        each relation has some room, and three measurings to hold.
        """
        broken: list[str] = []
        for _ in range(3):
            broken = _broken_relations(measure_peaks(usable_cores()))
            if not broken:
                break
        assert [] == broken

    def test_without_a_compiler(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Nothing is made up: every loop is missing for the same reason."""
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.delenv("CC", raising=False)
        built = build_loops(("avx2", "fma"), tmp_path)

        assert {} == built.libraries
        assert {"FMA_AVX2", "MADDUBS_AVX2", "MEMORY"} == set(built.failures)
        assert "no C compiler was found" in built.reason("fp32", ("avx2", "fma"))
        assert "no instructions for bf16" in built.reason("bf16", ("avx2", "fma"))
        assert "SVE" in built.reason("fp32", ("neon", "sve"))

    def test_a_compiler_that_fails(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Its own word is the reason."""
        fake = tmp_path / "old-cc"
        fake.write_text("#!/bin/sh\necho 'old-cc: error: unknown instruction' >&2\nexit 1\n")
        fake.chmod(0o755)
        monkeypatch.setenv("CC", str(fake))

        assert "old-cc: error: unknown instruction" in build_loops(("avx2", "fma"), tmp_path).reason(
            "fp32", ("avx2", "fma")
        )

    def test_levels_of_the_memory(self) -> None:
        """Each core works on what fits one level and not the one before it; shared caches are shared out."""
        caches = {"L1d": 32 * 2**10, "L1i": 32 * 2**10, "L2": 2**19, "L3": 2**25}
        tiers = plan_tiers(caches, {"L1d": 4, "L2": 4, "L3": 1}, (0, 1, 2, 3), 2**34)

        assert [("L1", 4), ("L2", 4), ("L3", 1), ("memory", 1)] == [(tier.name, tier.instances) for tier in tiers]
        sizes = [tier.working_set_bytes for tier in tiers]
        assert [2**14, 2**18, 2**22, 2**26] == sizes
        assert ["memory"] == [tier.name for tier in plan_tiers({}, {}, (0,), 2**34)]

    def test_a_cache_that_others_have_is_no_level(self) -> None:
        """With a share of it that is no larger than the cache before, no data lies there alone."""
        tiers = plan_tiers({"L1d": 2**15, "L2": 2**20, "L3": 2**21}, {"L1d": 2, "L2": 2, "L3": 1}, (0, 1), 2**34)

        assert ["L1", "L2", "memory"] == [tier.name for tier in tiers]

    def test_caches_are_counted(self, tmp_path: Path) -> None:
        """By who shares them."""
        contents = {
            f"cpu{core}/cache/index{place}/{name}": text
            for core in (0, 1)
            for place, level, kind, shared in ((0, "1", "Data", str(core)), (1, "3", "Unified", "0-1"))
            for name, text in (("level", level), ("type", kind), ("shared_cpu_list", shared))
        }

        assert {"L1d": 2, "L3": 1} == cache_instances((0, 1), files(tmp_path, contents))

    def test_a_core_that_is_not_ours(self) -> None:
        """A process that cannot run on its core is an error that shows its last words."""
        with pytest.raises(WorkerError, match="core 9999") as caught:
            measure_peaks([9999])

        assert "sched_setaffinity" in caught.value.stderr_tail

    def test_kept_by_target(self, tmp_path: Path) -> None:
        """Peaks are measured once for a target and read back; a damaged file counts as none."""
        roof = ComputePeak(precision="fp32", single_core_gmac_s=50.0)
        peaks = Peaks(gemm_fp32_single_core_gflops=97.5, compute=(roof,), method="by hand")
        save_peaks("abc", peaks, tmp_path)

        assert peaks == target_peaks("abc", [9999], folder=tmp_path)
        assert load_peaks("other", tmp_path) is None
        (tmp_path / "peaks" / "abc.json").write_text("{")
        assert load_peaks("abc", tmp_path) is None
        save_peaks("old", Peaks(gemm_fp32_single_core_gflops=97.5, method="without roofs"), tmp_path)
        assert load_peaks("old", tmp_path) is None

    def test_the_best_of_all_measurements_counts(self) -> None:
        """Rate by rate, whichever time was the better one for it; what was never measured stays so."""
        first, second = _measured(read=56.0, gmac=143.0), _measured(read=114.0, gmac=134.0)
        both = _measured(read=114.0, gmac=143.0).model_copy(update={"measurements": 2})
        apart = {
            "fp32 GEMM, one core": 6.7,
            "fp32 multiply-adds, one core": 6.7,
            "memory read, all cores": 103.6,
            "memory update, one core": 103.6,
        }

        assert both.model_copy(update={"unsettled": apart}) == best_of(first, second) == best_of(second, first)
        third = best_of(both, _measured(read=113.0, gmac=143.0))
        assert both.model_copy(update={"measurements": 3}) == third
        assert third.gemm_fp32_all_cores_gflops is None

    def test_equally_fast_instructions(self) -> None:
        """Which of them was the faster one this time does not make it another measurement."""
        wide = _measured(read=50.0, gmac=70.0)
        (peak,) = wide.compute
        narrow = wide.model_copy(
            update={"compute": (peak.model_copy(update={"instruction": "old", "single_core_gmac_s": 69.0}),)}
        )

        assert wide.compute == best_of(wide, narrow).compute == best_of(narrow, wide).compute

    @pytest.mark.parametrize(
        "change",
        [{"cores": 4}, {"method": "another"}, {"tiers": ()}, {"compute": ()}],
        ids=lambda change: next(iter(change)),
    )
    def test_measurements_of_another_kind_are_dropped(self, change: dict[str, object]) -> None:
        """Figures that were made otherwise cannot be compared: the new ones count alone."""
        measured = _measured(read=50.0, gmac=50.0)

        assert measured == best_of(_measured(read=114.0, gmac=143.0).model_copy(update=change), measured)

    def test_measured_again_or_forgotten(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Measuring again keeps what was better before; forgetting does not."""
        readings = iter((114.0, 56.0, 57.0))
        efforts = []

        def measure(cores: Sequence[int], effort: Effort) -> Peaks:
            efforts.append(effort)
            return _measured(read=next(readings), gmac=143.0)

        monkeypatch.setattr(peaks_kept, "measure_peaks", measure)
        found = [
            target_peaks("abc", [0], remeasure=remeasure, forget=forget, folder=tmp_path)
            for remeasure, forget in ((False, False), (False, False), (True, False), (False, True))
        ]

        assert [114.0, 114.0, 114.0, 57.0] == [peaks.tiers[0].read_all_cores_gbytes_s for peaks in found]
        assert [1, 1, 2, 1] == [peaks.measurements for peaks in found]
        assert [QUICK, THOROUGH, THOROUGH] == efforts

    @pytest.mark.slow
    def test_shown(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each peak in a line, how often they were measured, and those that did not come out alike."""
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
        update = {"unsettled": {"memory read, all cores": 12.4}}
        save_peaks(describe_target().id, _measured(read=56.0, gmac=143.0).model_copy(update=update))

        shown = CliRunner().invoke(cli, ["target"], catch_exceptions=False)
        lines = dict(line.split(maxsplit=1) for line in shown.stdout.splitlines())
        assert "roof             143.0 GMAC/s on one core (fma)" == lines["fp32"]
        assert "update         28.0 GB/s on one core" == lines["memory"]
        assert "best of 1 measurement" == lines["peaks"]
        assert lines["not"].startswith(
            "settled           memory read, all cores 12% between the two halves of the time;"
        )


def _measured(*, read: float, gmac: float) -> Peaks:
    """Peaks of two cores, one precision and memory."""
    return Peaks(
        gemm_fp32_single_core_gflops=gmac * 1.9,
        compute=(ComputePeak(precision="fp32", instruction="fma", single_core_gmac_s=gmac),),
        tiers=(
            TierPeak(
                tier="memory",
                working_set_bytes=2**28,
                read_all_cores_gbytes_s=read,
                update_single_core_gbytes_s=read / 2,
            ),
        ),
        cores=2,
        method="by hand",
    )
