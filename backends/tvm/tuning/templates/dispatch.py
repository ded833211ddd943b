"""From a kind and a candidate to a schedule."""

from __future__ import annotations

from typing import Any

from ..contract import Kind
from ..tiles import Candidate
from .common import rewrite_weights
from .conv import schedule_conv, schedule_depthwise
from .simple import schedule_dense, schedule_elementwise, schedule_pool, schedule_reduce
from .winograd import schedule_winograd

__all__ = ["apply_template"]

_TEMPLATES = {
    "conv": schedule_conv,
    "depthwise": schedule_depthwise,
    "winograd": schedule_winograd,
    "dense": schedule_dense,
    "pool": schedule_pool,
    "reduce": schedule_reduce,
    "elementwise": schedule_elementwise,
}

# Kinds whose weights are read in another order than they are stored in.
_REWRITTEN = ("conv", "winograd", "dense")


def apply_template(module: Any, kind: Kind, candidate: Candidate, *, rewrite: bool = True) -> Any:
    """The `tvm.s_tir.Schedule` of the workload *module* by the template of *kind*, any but "other".

    *rewrite* stores constant weights in the order of the loops, as MetaSchedule's postprocessor of this name does,
    to which it may be left. Raises TVM's `ScheduleError` where the candidate does not fit the kernel.
    """
    from tvm import s_tir

    loops = s_tir.Schedule(module)
    _TEMPLATES[kind](loops, candidate)
    if rewrite and kind in _REWRITTEN and candidate.get("rl", 1):
        loops.enter_postproc()
        rewrite_weights(loops)
    return loops
