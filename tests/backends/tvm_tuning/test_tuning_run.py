"""Tuning for real, of a net so small that a trial takes a blink: correctness, crashes, kills, resumption."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from bakeoff.backends.tvm.tuning.contract import Progress, Trial, TuneRequest
from bakeoff.backends.tvm.tuning.pack import read_folder, reduced, write_pack
from bakeoff.backends.tvm.tuning.process import CandidateError, Worker
from bakeoff.backends.tvm.tuning.tuner import tune
from bakeoff.models.errors import UnsupportedError, UserError
from onnx import TensorProto, helper

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tuned(lab: Any, net: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with two trials or so for each task of the net."""
    folder = tmp_path_factory.mktemp("tuned") / "db"
    seen: list[Progress] = []
    result = tune(TuneRequest(model=net, database=folder, trials=60, lanes=2), seen.append)

    assert not result.interrupted
    assert 60 == result.trials == sum(task.trials for task in result.tasks)
    assert all(task.hot_ms is not None for task in result.tasks), result.tasks
    assert 0 == result.failed, [
        json.loads(line)["error"] for line in (folder / "trials.jsonl").read_text().splitlines()
    ]
    assert {"conv", "depthwise", "winograd", "dense", "pool", "reduce"} <= {task.task.kind for task in result.tasks}
    (site,) = {task.task.site for task in result.tasks if task.task.kind == "winograd"}
    read = {task.task.variant: task.task.weights_bytes for task in result.tasks if task.task.site == site}
    bias, pair = lab.channels * 4, lab.channels**2 * 4
    assert {"direct": 9 * pair + bias, "wino2": 16 * pair + bias, "wino4": 36 * pair + bias} == read
    assert ["extract", "cover"] == [seen[0].stage, seen[1].stage]
    assert "done" == seen[-1].stage
    assert result.estimated_ms == seen[-1].estimated_ms
    estimates = [point.estimated_ms for point in result.curve]
    assert estimates == sorted(estimates, reverse=True)
    return folder


def test_a_tuned_net_computes_what_onnxruntime_does(lab: Any, net: Path, tuned: Path, tmp_path: Path) -> None:
    """Every kernel has a record, the figure bears no mark, and the outputs agree."""
    output, marks, details, notes = lab.compute(net, tmp_path / "out", tuned)

    np.testing.assert_allclose(output, lab.reference(net), atol=1e-4)
    assert [] == marks
    assert "100.0%" == details["tuned share of operations"]
    assert "bakeoff" in details["schedule"]
    assert notes[0].startswith("tuned: ")


def test_every_variant_of_winograd_computes_what_onnxruntime_does(
    lab: Any, net: Path, tuned: Path, tmp_path: Path
) -> None:
    """With the trials of the direct convolution slowed down, Winograd is chosen; its error stays small."""
    for variant in ("wino2", "wino4"):
        folder = tmp_path / variant
        folder.mkdir()
        for file in tuned.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        lines = [json.loads(line) for line in (tuned / "trials.jsonl").read_text().splitlines()]
        for line in lines:
            if line["seconds"] is not None and line["kind"] in ("conv", "winograd") and line["variant"] != variant:
                line["seconds"] *= 1000
        (folder / "trials.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        output, _, details, _ = lab.compute(net, tmp_path / f"out-{variant}", folder)

        assert f"1 {variant}" in details["convolutions"]
        np.testing.assert_allclose(output, lab.reference(net), atol=1e-3)


def test_without_records_the_figure_is_marked(lab: Any, net: Path, tmp_path: Path) -> None:
    """No database: default schedules, and the mark."""
    output, marks, _, _ = lab.compute(net, tmp_path / "out", "none")

    np.testing.assert_allclose(output, lab.reference(net), atol=1e-4)
    assert ["untuned"] == marks


_SHIPPED = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from bakeoff.backends.base import CompileRequest, LoadRequest
from bakeoff.backends.tvm import TvmBackend
from bakeoff.backends.tvm.tuning import shelf
model, out, *packs = map(Path, sys.argv[1:])
out.mkdir()
shelf.shipped = lambda: packs
request = CompileRequest(model=model, out=out)
key = TvmBackend().cache_key(request)
TvmBackend().compile(request)
executed = TvmBackend().load(LoadRequest(artifact=out)).executed()
print(json.dumps([key, executed.details["target"], asdict(executed.tuning)]))
"""


def test_shipped_packs_serve_whoever_can_run_them(
    lab: Any, net: Path, tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pack with the widest vectors serves what it holds, the narrower one the rest, and no other pack is in the key
    of the artifact, nor what other models brought to these."""
    monkeypatch.setenv("BAKEOFF_CACHE", str(tmp_path / "cache"))
    pack = reduced(read_folder(tuned))

    def ship(cpu: str, kept: Callable[[Trial], bool], place: str) -> Path:
        chosen = [number for number, trial in enumerate(pack.trials) if kept(trial)]
        meta = replace(pack.meta, target={"kind": "llvm", "mcpu": cpu, "num-cores": 1})
        file = tmp_path / place / f"tiny-{cpu}-1.json.gz"
        file.parent.mkdir(exist_ok=True)
        trials, records = (tuple(some[number] for number in chosen) for some in (pack.trials, pack.records))
        write_pack(replace(pack, meta=meta, trials=trials, records=records), file)
        return file

    narrow = ship("x86-64-v2", lambda _trial: True, "one")
    wide = ship("x86-64-v3", lambda trial: trial.kind in ("conv", "winograd"), "one")
    key, target, tuning = json.loads(lab.run(_SHIPPED, net, tmp_path / "both", narrow, wide))
    assert "x86-64-v3" == json.loads(target)["mcpu"]
    assert {"shipped (llvm-x86-64-v2-1)", "shipped (llvm-x86-64-v3-1)"} == tuning["sources"].keys()
    assert tuning["tasks"] == tuning["tuned"] == sum(tuning["sources"].values())

    foreign = ship("x86-64-v3", lambda trial: trial.kind in ("conv", "winograd"), "two")
    content = json.loads(gzip.decompress(foreign.read_bytes()))
    content["trials"].append({**content["trials"][0], "task": "another model's", "record": None})
    foreign.write_bytes(gzip.compress(json.dumps(content).encode()))
    again, _, _ = json.loads(lab.run(_SHIPPED, net, tmp_path / "again", narrow, foreign))
    assert key == again
    alone, target, tuning = json.loads(lab.run(_SHIPPED, net, tmp_path / "alone", narrow))
    assert key != alone
    assert "x86-64-v2" == json.loads(target)["mcpu"]
    assert {"shipped (llvm-x86-64-v2-1)": tuning["tasks"]} == tuning["sources"]


def test_records_that_do_not_hold_here_are_refused(lab: Any, net: Path, tuned: Path, tmp_path: Path) -> None:
    """Another TVM version, and another number of threads: one line, a failed cell."""
    other = tmp_path / "other"
    other.mkdir()
    meta = json.loads((tuned / "meta.json").read_text())
    code = """
import sys
from pathlib import Path
from bakeoff.backends.base import CompileRequest
from bakeoff.backends.tvm import TvmBackend
from bakeoff.models.errors import UnsupportedError
request = CompileRequest(model=Path(sys.argv[1]), out=Path(sys.argv[2]), options={"records": sys.argv[2]})
try:
    TvmBackend().compile(request)
except UnsupportedError as error:
    print(error)
"""
    (other / "meta.json").write_text(json.dumps({**meta, "tvm": "0.1"}))
    assert "was tuned with TVM 0.1" in lab.run(code, net, other)
    (other / "meta.json").write_text(json.dumps({**meta, "target": {**meta["target"], "num-cores": 3}}))
    assert "3 thread" in lab.run(code, net, other)


def test_tuning_again_tries_nothing_twice(net: Path, tuned: Path, tmp_path: Path) -> None:
    """A second call goes on where the first ended, and none of its candidates was tried before."""
    folder = tmp_path / "db"
    folder.mkdir()
    for file in tuned.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    tune(TuneRequest(model=net, database=folder, trials=12))

    lines = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    assert 72 == len(lines)
    keys = [json.dumps([line["task"], line["candidate"], line["cold"]], sort_keys=True) for line in lines]
    assert len(keys) == len(set(keys))
    assert [line["elapsed_s"] for line in lines] == sorted(line["elapsed_s"] for line in lines)


def test_the_same_seed_and_trials_tune_the_same_workloads(net: Path, tmp_path: Path) -> None:
    """Even where the trials do not suffice for all tasks."""
    sets = []
    for name in ("one", "two"):
        tune(TuneRequest(model=net, database=tmp_path / name, trials=5, seed=7, lanes=2))
        lines = (tmp_path / name / "trials.jsonl").read_text().splitlines()
        sets.append(sorted(json.loads(line)["task"] for line in lines))

    assert sets[0] == sets[1]
    assert 5 == len(sets[0])


def test_a_killed_tuner_loses_no_finished_trial(net: Path, tmp_path: Path) -> None:
    """SIGKILL in the midst: every trial that was told of is on disk, the workers die too, and tuning goes on."""
    folder = tmp_path / "db"
    code = """
import sys
from pathlib import Path
from bakeoff.backends.tvm.tuning.contract import TuneRequest
from bakeoff.backends.tvm.tuning.tuner import tune
tune(TuneRequest(model=Path(sys.argv[1]), database=Path(sys.argv[2]), trials=1000, lanes=2),
     lambda told: print(told.trials, flush=True))
"""
    command = [sys.executable, "-c", code, str(net), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tuner:
        assert tuner.stdout is not None
        told = 0
        while told < 8:
            told = int(tuner.stdout.readline())
        tuner.send_signal(signal.SIGKILL)
        told = max([told, *map(int, tuner.stdout.read().split())])
    lines = (folder / "trials.jsonl").read_text().splitlines()

    assert told <= len(lines) <= told + 1
    assert 2 == tune(TuneRequest(model=net, database=folder, trials=2)).trials
    assert len(lines) + 2 == len((folder / "trials.jsonl").read_text().splitlines())


def test_a_candidate_that_crashes_or_hangs_costs_one_request(net: Path, tmp_path: Path) -> None:
    """The worker is killed, the reason is told in a line, and the next request has a new worker."""
    with Worker({"threads": 1, "target": None, "database": str(tmp_path)}) as worker:
        worker.open()
        first = worker.pid
        assert first is not None
        os.kill(first, signal.SIGSEGV)
        with pytest.raises(CandidateError, match="SIGSEGV"):
            worker.ask({"do": "extract", "model": str(net), "variants": []}, 60)
        worker.open()
        second = worker.pid
        assert second is not None
        assert first != second
        os.kill(second, signal.SIGSTOP)
        with pytest.raises(CandidateError, match="timed out after"):
            worker.ask({"do": "extract", "model": str(net), "variants": []}, 0.2)
        assert worker.ask({"do": "extract", "model": str(net), "variants": []}, 60)["tasks"]
    assert _gone(second)


def _gone(pid: int) -> bool:
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_the_stock_space_is_searched_by_meta_schedule(net: Path, tmp_path: Path) -> None:
    """A few trials of its own candidates, in the same kind of database, under the other name."""
    folder = tmp_path / "stock"
    result = tune(TuneRequest(model=net, database=folder, trials=6, space="stock"))

    lines = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    assert 6 == result.trials == len(lines)
    assert {"stock"} == {line["space"] for line in lines}
    assert any(line["seconds"] for line in lines), lines


def test_meta_schedules_own_search_takes_the_bakeoff_space(lab: Any, net: Path, tmp_path: Path) -> None:
    """Its evolutionary search mutates the tiles of our templates, and what comes out can be built."""
    code = """
import sys
from pathlib import Path
from bakeoff.backends.tvm import lowering, pipeline
pipeline.import_tvm(1)
from bakeoff.backends.tvm.tuning import measure, space, stock, targets, tasks
import tvm
facts = targets.resolve(None, 1)
target = tvm.target.Target(facts)
found = tasks.extract(Path(sys.argv[1]), facts, variants=[])
item = next(item for item in found.items if item.task.kind == "conv")
ms = stock.import_meta_schedule()
context = ms.TuneContext(
    item.module, target=target, space_generator=space.space_generator(facts),
    search_strategy=ms.search_strategy.EvolutionarySearch(population_size=8, init_min_unmeasured=4),
    num_threads=1, rand_state=1,
)
context.pre_tuning(8, 4, None, ms.database.MemoryDatabase(), ms.cost_model.RandomModel())
candidates = context.generate_measure_candidates()
for candidate in candidates:
    measure.build(candidate.sch.mod, target)
print(len(candidates))
"""
    assert int(lab.run(code, net)) > 0


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ({"mcpu": "nonsense"}, "--target: TVM's LLVM knows no CPU 'nonsense' for "),
        (
            {"mcpu": "generic", "mtriple": "riscv64-linux-gnu"},
            "--target: riscv64-linux-gnu is another architecture than",
        ),
        ({"mcpu": "x86-64", "mattr": ["+amx-int8", "+avx10.2"]}, "--target: x86-64 needs "),
    ],
)
def test_targets_whose_code_does_not_run_here_are_refused(
    net: Path, tmp_path: Path, target: dict[str, object], reason: str
) -> None:
    """Before the model is looked at, in one line that names what is missing; no database is made."""
    with pytest.raises(UserError, match=re.escape(reason)):
        tune(TuneRequest(model=net, database=tmp_path / "db", trials=1, target={"kind": "llvm", **target}))
    assert not (tmp_path / "db").exists()


def test_what_cannot_be_tuned_says_so_in_one_line(net: Path, tmp_path: Path) -> None:
    """No budget, a database of another target, an operator that TVM lacks (by its name)."""
    with pytest.raises(UserError, match="tunes nothing"):
        tune(TuneRequest(model=net, database=tmp_path / "a", trials=0))
    with pytest.raises(UserError, match="no end"):
        tune(TuneRequest(model=net, database=tmp_path / "a", space="stock"))
    target = {"kind": "llvm", "mcpu": "x86-64"}
    tune(TuneRequest(model=net, database=tmp_path / "b", trials=1, target=target))
    with pytest.raises(UserError, match="x86-64 "):
        tune(TuneRequest(model=net, database=tmp_path / "b", trials=1, target={"kind": "llvm", "mcpu": "x86-64-v2"}))
    odd = helper.make_graph(
        [helper.make_node("Mystery", ["x"], ["y"], domain="com.example")],
        "odd",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    domains = [helper.make_opsetid("", 18), helper.make_opsetid("com.example", 1)]
    onnx.save(helper.make_model(odd, opset_imports=domains), tmp_path / "odd.onnx")
    with pytest.raises(UnsupportedError, match="Mystery"):
        tune(TuneRequest(model=tmp_path / "odd.onnx", database=tmp_path / "c", trials=1))
