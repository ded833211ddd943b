"""The bakeoff space as a MetaSchedule space generator, for its own search strategies, cost models and databases.

The tuner's own search (`search`) walks the same templates by the names of their axes: it needs no cost model, whose
training takes about as long as the trials do. Records of both are alike.
"""

from __future__ import annotations

from typing import Any

from .classify import classify
from .contract import Task
from .grids import grid_of
from .stock import import_meta_schedule
from .targets import vector_of
from .templates import apply_template

__all__ = ["space_generator"]


def space_generator(target: dict[str, Any]) -> Any:
    """A `SpaceGenerator` whose design spaces are the templates' first candidates, their tile sizes open to mutation.

    For kinds without a template its spaces are those of MetaSchedule's own rules for *target*.
    """
    from tvm import s_tir
    from tvm.ir.utils import derived_object

    ms = import_meta_schedule()
    vector, threads = vector_of(target), int(target["num-cores"])

    @derived_object
    class BakeoffSpace(ms.space_generator.PySpaceGenerator):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.sch_rules: list[Any] = []
            self.postprocs = [ms.postproc.RewriteLayout(), ms.postproc.DisallowDynamicLoop()]
            self.mutator_probs = {ms.mutator.MutateTileSize(): 1.0}

        def _initialize_with_tune_context(self, context: Any) -> None:
            self.context = context

        def generate_design_space(self, module: Any) -> list[Any]:
            facts = classify(module)
            if facts.kind == "other":
                stock = ms.TuneContext(module, target=self.context.target, space_generator="post-order-apply")
                return list(stock.generate_design_space())
            task = Task(hash="", name="", weight=1, flops=facts.flops, kind=facts.kind, shape=facts.shape)
            spaces = []
            for candidate in grid_of(task, vector, threads).first:
                try:
                    spaces.append(apply_template(module, facts.kind, candidate, rewrite=False))
                except s_tir.ScheduleError:
                    continue  # this structure does not fit the kernel; others do
            return spaces

        def clone(self) -> Any:
            return BakeoffSpace()

    return BakeoffSpace()
