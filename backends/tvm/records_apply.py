"""Gives kernels the schedules of tuning records, and stores their weights in the order in which those read them.

This module imports nothing of bakeoff, because its very text goes into the script that reproduces a failed cell.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

__all__ = ["apply_records", "keeps_constants", "read_lines", "rewriting_blocks", "scheduled", "whole"]

# The annotation of blocks that store a constant in another order.
_REWRITES = "meta_schedule.layout_rewrite_preproc"


def read_lines(folder: Path, lines: Sequence[int]) -> list[tuple[Any, Any]]:
    """Pairs of workload and record, as JSON values, at these *lines* of the tuning database in *folder*."""
    workloads = (folder / "database_workload.json").read_text().splitlines()
    records = (folder / "database_tuning_record.json").read_text().splitlines()
    pairs = []
    for line in lines:
        workload, record = json.loads(records[line])
        pairs.append((json.loads(workloads[workload]), record))
    return pairs


def apply_records(module: Any, target: Any, pairs: Sequence[tuple[Any, Any]]) -> Any:
    """Schedule the kernels of *module*, which `prepare` made tunable, that have a record among *pairs*.

    Weights are rewritten here and now: the folding of constants runs the kernels that do it.
    """
    import tvm
    from tvm.relax import transform as passes
    from tvm.s_tir import meta_schedule as ms

    database = ms.database.MemoryDatabase()
    for workload_json, record_json in pairs:
        workload = database.commit_workload(ms.database.Workload.from_json(workload_json).mod)
        record = ms.database.TuningRecord.from_json(record_json, workload)
        trace = whole(record.trace, workload.mod)
        kept = ms.database.TuningRecord(trace, workload, record.run_secs, record.target, record.args_info)
        database.commit_tuning_record(kept)
    with tvm.target.Target(target), database, tvm.transform.PassContext(opt_level=3):
        # The first of these passes looks at the target already when it is made.
        steps = [passes.MetaScheduleApplyDatabase(), passes.SplitLayoutRewritePreproc(), passes.FoldConstant()]
        return tvm.transform.Sequential(steps)(module)


def whole(trace: Any, workload: Any) -> Any:
    """*trace* of a schedule of the module *workload* without those rewritings of a constant that lose some of it.

    MetaSchedule's RewriteLayout derives the order of a constant from the loops that read it. Where an output is cut (32
    channels to 28) and what comes before is computed inside that cut, they read a part only, and in the order that is
    made for the part the rest overwrites it: the bias of channel 28 takes the place of the bias of channel 0.
    """
    if keeps_constants(scheduled(trace, workload).mod):
        return trace
    rewritings = _rewritings(trace)
    lossy = []
    for one in rewritings:
        others = [other for other in rewritings if other is not one]
        if not keeps_constants(scheduled(_leave_out(trace, others), workload).mod):
            lossy.append(one)
    return _leave_out(trace, lossy)


def rewriting_blocks(module: Any) -> Iterator[Any]:
    """Blocks of a kernel's scheduled *module* that store a constant in another order."""
    from tvm import s_tir

    loops = s_tir.Schedule(module)
    for reference in loops.get_child_blocks(loops.get_sblock("root")):
        block = loops.get(reference)
        if _REWRITES in block.annotations:
            yield block


def keeps_constants(module: Any) -> bool:
    """Whether each value of a constant that a kernel's scheduled *module* rewrites gets a place of its own."""
    from tvm.arith.iter_affine_map import IterMapLevel, detect_iter_map

    for block in rewriting_blocks(module):
        extents = {axis.var: axis.dom for axis in block.iter_vars}
        if not detect_iter_map(list(block.body.indices), extents, True, IterMapLevel.Bijective).indices:
            return False
    return True


def scheduled(trace: Any, workload: Any) -> Any:
    """The schedule that *trace*, postprocessing too, makes of the module *workload*."""
    from tvm import s_tir

    loops = s_tir.Schedule(workload)
    trace.apply_to_schedule(loops, remove_postproc=False)
    return loops


def _rewritings(trace: Any) -> list[range]:
    """Places of the three instructions that rewrite one constant: read it from a copy, mark that, change its layout."""
    names = [str(step.kind.name) for step in trace.insts]
    wanted = ["CacheRead", "Annotate", "TransformLayout"]
    places = [range(at, at + 3) for at in range(len(names)) if names[at : at + 3] == wanted]
    return [place for place in places if _REWRITES in map(str, trace.insts[place[1]].attrs)]


def _leave_out(trace: Any, places: Sequence[range]) -> Any:
    from tvm import s_tir

    absent = {at for place in places for at in place}
    kept = [step for at, step in enumerate(trace.insts) if at not in absent]
    return s_tir.schedule.Trace(kept, dict(trace.decisions.items()))
