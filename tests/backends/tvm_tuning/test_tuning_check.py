"""Candidates are checked: none that computes something else is kept, and those that look odd compute the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from bakeoff.backends.tvm.tuning.contract import TuneRequest
from bakeoff.backends.tvm.tuning.tuner import tune
from onnx import TensorProto, helper

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A squeeze to 28 channels with swish, which is computed as 32 that are cut to 28 within the kernel."""
    rng = np.random.default_rng(0)
    constants = {"w": rng.standard_normal((28, 3, 1, 1)), "b": rng.standard_normal(28)}
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["a"]),
        helper.make_node("Conv", ["a", "w", "b"], ["c"], name="squeeze"),
        helper.make_node("Sigmoid", ["c"], ["d"]),
        helper.make_node("Mul", ["c", "d"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "cut",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 28, 28])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 28, 1, 1])],
        [onnx.numpy_helper.from_array(array.astype(np.float32), name) for name, array in constants.items()],
    )
    path = tmp_path_factory.mktemp("cut") / "cut.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


_LOSSY_RECORD = """
import json, sys, tempfile
from pathlib import Path
from bakeoff.backends.tvm import pipeline
tvm = pipeline.import_tvm(1)
from tvm.s_tir import meta_schedule as ms
from bakeoff.backends.tvm.records_apply import keeps_constants, rewriting_blocks, scheduled, whole
from bakeoff.backends.tvm.tuning import measure, record_json, records, targets, tasks, templates, verify
from bakeoff.backends.tvm.tuning.contract import Meta, Trial
model, folder, scratch = map(Path, sys.argv[1:])
facts = targets.resolve(None, 1)
target = tvm.target.Target(facts)
item = next(item for item in tasks.extract(model, facts, variants=[]).items if item.task.kind == "conv")
candidate = {"tile": [1, 1, 32], "th": 1, "ui": 1, "order": "f", "pad": "inline", "par": "no"}
lossy = templates.apply_template(item.module, "conv", candidate)
mended = scheduled(whole(lossy.trace, item.module), item.module)
judge = verify.Judge(facts, Path(tempfile.mkdtemp(dir=folder.parent)))
verdicts = []
for loops in (lossy, mended):
    try:
        judge.refuse_wrong(item.task.hash, item.module, loops.mod, measure.build(loops.mod, target))
        verdicts.append("")
    except ValueError as error:
        verdicts.append(str(error))
workload = ms.database.Workload(item.module)
arguments = ms.arg_info.ArgInfo.from_entry_func(item.module, remove_preproc=True)
scratch.mkdir()
record = record_json.RecordWriter(scratch).write(
    ms.database.TuningRecord(lossy.trace, workload, [1e-9], target, arguments)
)
database = records.open_database(folder, Meta(schema=1, tvm=tvm.__version__, target=facts), create=True)
database.add_workloads([item.workload])
database.add_trial(Trial(
    task=item.task.hash, kind="conv", shape=item.task.shape, variant="direct", candidate=candidate, space="bakeoff",
    stage="refine", seconds=1e-9,
), record)
blocks = [[str(b.name_hint) for b in rewriting_blocks(loops.mod)] for loops in (lossy, mended)]
print(json.dumps([blocks, [keeps_constants(loops.mod) for loops in (lossy, mended)], verdicts]))
"""


def test_a_rewriting_that_loses_part_of_a_constant_is_left_out(lab: Any, cut: Path, tmp_path: Path) -> None:
    """TVM stores the bias of 32 channels in the order of the 28 that are read, and the last four over the first.

    Such a candidate is told from a right one by its outputs. Without that one rewriting it is right, and a database
    that has it as its best record still makes a right library.
    """
    told = json.loads(lab.run(_LOSSY_RECORD, cut, tmp_path / "db", tmp_path / "scratch"))
    blocks, keeps, verdicts = told
    assert 2 == len(blocks[0]), blocks
    assert 1 == len(blocks[1]), blocks
    assert set(blocks[1]) < set(blocks[0])
    assert [False, True] == keeps
    assert verdicts[0].startswith("computes something else: outputs differ by ")
    assert "" == verdicts[1]

    output, _, details, _ = lab.compute(cut, tmp_path / "out", tmp_path / "db")
    assert "bakeoff" in details["schedule"]
    np.testing.assert_allclose(output, lab.reference(cut), atol=1e-5)


_STREAMED = """
import json, sys
from pathlib import Path
from bakeoff.backends.tvm import pipeline
tvm = pipeline.import_tvm(1)
from bakeoff.backends.tvm.tuning import grids, measure, targets, tasks, templates, verify
facts = targets.resolve(None, 1)
target = tvm.target.Target(facts)
judge, seen = verify.Judge(facts, Path(sys.argv[2])), []
for item in tasks.extract(Path(sys.argv[1]), facts, variants=[]).items:
    if item.task.kind == "conv":
        grid = grids.grid_of(item.task, targets.vector_of(facts), int(sys.argv[3]))
        streamed = [one for one in grid.first if one["order"] == "s"]
        streamed += [{**one, "par": par} for one in streamed for par in grid.axes["par"] if par != one["par"]]
        for candidate in filter(grid.holds, streamed):
            loops = templates.apply_template(item.module, "conv", candidate)
            judge.refuse_wrong(item.task.hash, item.module, loops.mod, measure.build(loops.mod, target))
            seen.append([item.task.shape["ry"], item.task.shape["y"], candidate["th"], candidate["par"]])
print(json.dumps(seen))
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_weights_that_stream_through_give_the_same_sums(lab: Any, net: Path, tmp_path: Path, threads: int) -> None:
    """Convolutions of 3x3 and 1x1 on small images begin with such candidates; none computes something else.

    For several threads, these panels are computed in parallel.
    """
    seen = json.loads(lab.run(_STREAMED, net, tmp_path, threads))
    assert {1, 3} == {kernel for kernel, *_ in seen}
    assert all(panel == height for _, height, panel, _ in seen)
    assert ({"no"} if threads == 1 else {"y", "yf", "no"}) == {parallel for *_, parallel in seen}


def test_tuning_keeps_no_candidate_that_computes_something_else(lab: Any, cut: Path, tmp_path: Path) -> None:
    """The tile that TVM would spoil is tried, without the rewriting that spoils it, and the net is right."""
    result = tune(TuneRequest(model=cut, database=tmp_path / "db", trials=20))
    conv = next(task for task in result.tasks if task.task.kind == "conv")
    lines = [json.loads(line) for line in (tmp_path / "db" / "trials.jsonl").read_text().splitlines()]
    tried = [line for line in lines if line["task"] == conv.task.hash and line["candidate"]["tile"] == [1, 1, 32]]
    assert any(line["seconds"] is not None for line in tried), lines

    output, _, _, _ = lab.compute(cut, tmp_path / "out", tmp_path / "db")
    np.testing.assert_allclose(output, lab.reference(cut), atol=1e-5)
