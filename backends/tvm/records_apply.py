"""Gives kernels the schedules of tuning records, and stores their weights in the order in which those read them.

This module imports nothing of bakeoff, because its very text goes into the script that reproduces a failed cell.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["apply_records", "read_lines"]


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
        database.commit_tuning_record(ms.database.TuningRecord.from_json(record_json, workload))
    with tvm.target.Target(target), database, tvm.transform.PassContext(opt_level=3):
        # The first of these passes looks at the target already when it is made.
        steps = [passes.MetaScheduleApplyDatabase(), passes.SplitLayoutRewritePreproc(), passes.FoldConstant()]
        return tvm.transform.Sequential(steps)(module)
