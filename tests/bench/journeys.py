"""Bars over whole runs of the installed command: a run killed again and again, and the default run, cold and warm."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Say = Callable[[str, float, str, bool], bool]
PROGRAM = str(Path(sys.executable).with_name("bakeoff"))
WORKING = ("export", "compile", "load and warm up", "measure")


def _environment(home: Path) -> dict[str, str]:
    """A machine of its own: empty caches, an empty store."""
    return {
        **os.environ,
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "BAKEOFF_CACHE": str(home / "artifacts"),
        "BAKEOFF_STORE": str(home / "store.sqlite3"),
    }


def _show(environment: dict[str, str]) -> dict[str, Any] | None:
    done = subprocess.run([PROGRAM, "show", "--json"], capture_output=True, text=True, env=environment, check=False)
    found: dict[str, Any] | None = json.loads(done.stdout) if done.returncode == 0 else None
    return found


def killed_runs(say: Say, *, kills: int, seed: int = 0) -> bool:
    """A run killed with SIGKILL at random moments and resumed each time: nothing lost, nothing measured twice."""
    rng = random.Random(seed)
    words = ["run", "--model", "resnet18,mobilenet_v2", "--backend", "onnxruntime,openvino,eager", "--threads", "1,2"]
    words += ["--weights", "random", "--target-interval", "0.0001", "--time-limit", "2", "--resume"]
    lost = done = 0
    with tempfile.TemporaryDirectory(prefix="bakeoff-bench-") as folder:
        environment = _environment(Path(folder))
        seen: dict[str, Any] = {}
        while done < kills:
            process = subprocess.Popen([PROGRAM, *words], cwd=folder, env=environment, stderr=subprocess.DEVNULL)
            time.sleep(rng.uniform(0.5, 12.0))
            if process.poll() is not None:
                break
            process.kill()
            process.wait()
            done += 1
            now = {cell["key"]: cell for cell in (_show(environment) or {"cells": []})["cells"]}
            lost += sum(1 for key, cell in seen.items() if now.get(key) != cell)
            seen = now
        subprocess.run([PROGRAM, *words], cwd=folder, env=environment, check=True, capture_output=True)
        final = _show(environment) or {"cells": [], "status": "none"}
        now = {cell["key"]: cell for cell in final["cells"]}
        lost += sum(1 for key, cell in seen.items() if now.get(key) != cell)
        runs = subprocess.run([PROGRAM, "list", "runs"], capture_output=True, text=True, env=environment, check=True)
    whole = len(final["cells"]) == len(now) == 12 and final["status"] == "finished"
    single = runs.stdout.count("quick") == 1
    say("cells after the last resumption (twelve were asked for)", len(now), "12", whole)
    return say(f"cells lost or changed over {done} kills", lost, "0", lost == 0 and whole and single)


def default_run(say: Say) -> bool:
    """Plain `bakeoff run`, with empty caches and again with full ones."""
    met = True
    with tempfile.TemporaryDirectory(prefix="bakeoff-bench-") as folder:
        environment = _environment(Path(folder))
        for name, limit_s in (("cold", 600.0), ("warm", 240.0)):
            begin = time.perf_counter()
            subprocess.run([PROGRAM, "run"], cwd=folder, env=environment, check=True)
            taken = time.perf_counter() - begin
            run = _show(environment)
            if run is None:
                raise RuntimeError("the run left nothing in the store")
            spent = {phase["name"]: phase["seconds"] for phase in run["phases"]}
            idle = 1.0 - sum(spent.get(phase, 0.0) for phase in WORKING) / taken
            print("       ", ", ".join(f"{phase} {seconds:.0f} s" for phase, seconds in spent.items()))
            met &= say(f"default run, {name}, s", taken, f"under {limit_s:.0f}", taken < limit_s)
            met &= say(f"share of it neither compiling nor measuring, {name}", idle, "under 0.15", idle < 0.15)
    return met
