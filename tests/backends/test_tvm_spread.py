"""Records of one thread on several: the same figures to the last bit, outer loops in parallel, small kernels alone."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

# In a process of its own: a test process that has imported tvm cannot be told another number of threads.
_CODE = """
import json
import numpy as np
from bakeoff.backends.tvm import pipeline
tvm = pipeline.import_tvm(2)
from bakeoff.backends.tvm.spread import spread
from bakeoff.backends.tvm.tuning.grids import grid_of
from bakeoff.backends.tvm.tuning.classify import classify
from bakeoff.backends.tvm.tuning.contract import Task
from bakeoff.backends.tvm.tuning.templates import apply_template
from bakeoff.backends.tvm.tuning.tiles import Vector
from tvm import te, tirx, topi

def kernel(side, channels):
    x = te.placeholder((1, side, side, channels), name="x")
    w = te.placeholder((3, 3, channels, channels), name="w")
    y = topi.nn.relu(topi.nn.conv2d_nhwc(x, w, 1, 1, 1))
    return te.create_prim_func([x, w, y])

def scheduled(func):
    module = tvm.IRModule({"main": func})
    facts = classify(module)
    task = Task(hash="", name="", weight=1, flops=facts.flops, kind=facts.kind, shape=facts.shape)
    for candidate in grid_of(task, Vector(lanes=8, registers=16), 1).first:
        made = apply_template(module, facts.kind, candidate, rewrite=False).mod
        yield candidate, tvm.IRModule({"main": made["main"].with_attr("tirx.is_scheduled", True)})

def run(module, *shapes):
    rng = np.random.default_rng(0)
    arrays = [tvm.runtime.tensor(rng.standard_normal(shape).astype("float32")) for shape in shapes]
    out = tvm.runtime.tensor(np.zeros(shapes[0], "float32"))
    tvm.compile(module, target="llvm")(*arrays, out)
    return out.numpy()

told = []
for side, channels in ((14, 32), (2, 8)):
    shapes = ((1, side, side, channels), (3, 3, channels, channels))
    for candidate, module in scheduled(kernel(side, channels)):
        before = run(module, *shapes)
        made, names = spread(module, 2)
        told.append({
            "side": side,
            "names": names,
            "parallel": str(made).count("T.parallel("),
            "equal": bool((before == run(made, *shapes)).all()),
            "again": spread(made, 2)[1],
        })
print(json.dumps(told))
"""


@pytest.mark.slow
def test_outer_loops_run_in_parallel_and_give_the_same() -> None:
    """Every way in which the templates order the loops of a convolution; what is small is left alone."""
    done = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    large, small = ([row for row in told if row["side"] == side] for side in (14, 2))
    assert large
    assert small
    assert all(row["equal"] for row in told)
    assert all(row["names"] == ["main"] and row["parallel"] and row["again"] == [] for row in large)
    assert all(row["names"] == [] and row["parallel"] == 0 for row in small)
