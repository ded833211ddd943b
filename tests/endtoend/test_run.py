"""`bakeoff run` from the outside: the installed command, real workers, a store, a report."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
import psutil
import pytest

pytestmark = pytest.mark.slow

FAULTY = """
name = "faulty"
[matrix]
models = ["tiny.onnx"]
backends = ["onnxruntime", "numpy_reference"]
[measure]
time_limit_s = 0.3
block_ms = 5.0
warmup_limit_s = 0.2
call_limit_s = 8.0
[backends.numpy_reference.options]
fault = "{fault}"
stage = "{stage}"
after = "{after}"
"""

PUBLISHED = {
    "model",
    "variant",
    "backend",
    "scenario",
    "threads",
    "batch",
    "device",
    "status",
    "reason",
    "median_ms",
    "ci_low_ms",
    "ci_high_ms",
    "p90_ms",
    "p99_ms",
    "suspicious",
    "first_inference_ms",
    "compile_s",
    "load_s",
    "artifact_bytes",
    "peak_rss_bytes",
    "samples",
    "executed",
}


def _quick(sandbox: Any, tiny_onnx: str, *more: str) -> list[str]:
    return [
        *("run", "--model", tiny_onnx, "--backend", "onnxruntime,numpy_reference", "--threads", "1"),
        *("--time-limit", "0.3", *more),
    ]


def test_a_run_measures_every_cell_and_leaves_a_report(sandbox: Any, tiny_onnx: str) -> None:
    """Two backends, one model: two ok cells, intervals around medians, a control, and the report's files."""
    done = sandbox.run(*_quick(sandbox, tiny_onnx))
    run = sandbox.show()
    schema = json.loads(sandbox.run("schema", "run").stdout)
    jsonschema.validate(run, schema)
    assert "finished" == run["status"]
    assert {"onnxruntime", "numpy_reference"} == {cell["backend"] for cell in run["cells"]}
    for cell in run["cells"]:
        assert "ok" == cell["status"]
        assert set(cell) >= PUBLISHED
        assert cell["ci_low_ms"] <= cell["median_ms"] <= cell["ci_high_ms"]
        assert cell["samples"] == sum(len(block) for block in cell["blocks_ms"])
        assert cell["peak_rss_bytes"] > 0
        assert 1 == cell["executed"]["threads_seen"]
    assert run["noise_floor"] == run["controls"][0]["floor"]
    assert run["target_id"] == run["target"]["id"]
    pages = list((sandbox.home / "bakeoff-report").glob("*.html"))
    assert 1 == len(pages)
    assert str(pages[0].name) in done.stdout


def test_a_second_run_compiles_nothing_again(sandbox: Any, tiny_onnx: str) -> None:
    """Artifacts come from the cache, and what compiling them cost is still told."""
    sandbox.run(*_quick(sandbox, tiny_onnx))
    first = {cell["key"]: cell for cell in sandbox.show()["cells"]}
    sandbox.run(*_quick(sandbox, tiny_onnx))
    for cell in sandbox.show()["cells"]:
        assert cell["compile_cached"]
        assert cell["compile_s"] == first[cell["key"]]["compile_s"]
        assert cell["artifact_id"] == first[cell["key"]]["artifact_id"]


@pytest.mark.parametrize(
    ("fault", "stage", "after", "status", "words"),
    [
        ("segfault", "load", 0, "failed", "SIGSEGV"),
        ("abort", "infer", 20, "failed", "SIGABRT"),
        ("kill", "infer", 0, "failed", "memory"),
        ("hang", "compile", 0, "failed", "no answer within"),
        ("hang", "infer", 9, "failed", "no answer within"),
        ("wrong", "infer", 0, "mismatch", "differ from the reference"),
        ("wrong", "infer", 40, "mismatch", "differ from the reference"),
        ("nan", "infer", 0, "mismatch", "reference"),
        ("refuse", "compile", 0, "unsupported", "Refused"),
        ("memory", "load", 0, "failed", "MemoryError"),
    ],
)
def test_a_failing_cell_harms_no_other(
    sandbox: Any, tiny_onnx: str, fault: str, stage: str, after: int, status: str, words: str
) -> None:
    """Whatever a backend does, its cell says so, the other cell is measured, and a script reproduces the failure."""
    text = FAULTY.format(fault=fault, stage=stage, after=after)
    if fault == "hang" and stage == "compile":
        text = text.replace("call_limit_s", "compile_limit_s = 3.0\ncall_limit_s")
    suite = sandbox.write("faulty.toml", text)
    sandbox.run("run", suite, expect=0 if status == "unsupported" else 1)
    cells = {cell["backend"]: cell for cell in sandbox.show()["cells"]}
    assert "ok" == cells["onnxruntime"]["status"]
    failed = cells["numpy_reference"]
    assert status == failed["status"]
    assert words in failed["reason"]
    assert failed["blame"]
    if fault == "wrong":
        assert failed["check"]["max_rel_error"] > failed["check"]["tolerance"]
    script = Path(failed["reproducer"])
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=120)
    assert 0 == done.returncode, done.stderr
    assert "output 0: largest difference" in done.stdout


def test_a_killed_run_is_resumed_and_measures_nothing_twice(sandbox: Any, tiny_onnx: str) -> None:
    """SIGKILL at some moment; the same command with --resume keeps every finished cell as it was."""
    words = _quick(sandbox, tiny_onnx, "--threads", "1,2", "--batch", "1", "--target-interval", "0.0001")
    before: dict[str, Any] = {}
    for _ in range(8):
        process = sandbox.start(*words, "--resume")
        wanted = len(before) + 1
        while process.poll() is None and len(before) < wanted:
            before = _cells(sandbox)
            time.sleep(0.05)
        ended = process.poll() is not None
        process.kill()
        process.communicate()
        assert not _workers_of(process.pid)
        if ended:
            break
    sandbox.run(*words, "--resume")
    run = sandbox.show()
    after = {cell["key"]: cell for cell in run["cells"]}
    assert "finished" == run["status"]
    assert 4 == len(run["cells"]) == len(after)
    assert before == {key: after[key] for key in before}
    assert 1 == sandbox.run("list", "runs").stdout.count("finished")


def test_an_interrupted_run_keeps_what_was_finished(sandbox: Any, tiny_onnx: str) -> None:
    """Ctrl-C ends every worker, marks the run, says how to go on, and exits with 130."""
    slow = ("--threads", "1,2", "--target-interval", "0.0001", "--time-limit", "4")  # or it may end before it is seen
    process = sandbox.start(*_quick(sandbox, tiny_onnx, *slow))
    while process.poll() is None and not _cells(sandbox):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert 130 == process.returncode, errors
    assert "--resume" in errors
    assert "Traceback" not in errors
    run = sandbox.show()
    assert "interrupted" == run["status"]
    assert run["cells"]
    assert not _workers_of(process.pid)


def test_two_runs_at_once_measure_one_after_the_other(sandbox: Any, tiny_onnx: str) -> None:
    """The second says that it waits for the first, then does its work."""
    processes = [sandbox.start(*_quick(sandbox, tiny_onnx, "--out", f"report{number}")) for number in range(2)]
    texts = [process.communicate(timeout=240) for process in processes]
    assert [0, 0] == [process.returncode for process in processes], texts
    assert 1 == sum("is measuring on this host; waiting" in errors for _, errors in texts)
    assert 2 == sandbox.run("list", "runs").stdout.count("finished")


def test_a_bundle_carries_a_run_to_another_store(sandbox: Any, tiny_onnx: str) -> None:
    """What `import` takes in is what `bundle` wrote, and one report can show it beside others."""
    sandbox.run(*_quick(sandbox, tiny_onnx))
    sandbox.run("bundle", "--out", "run.zip")
    sandbox.run("import", "run.zip", "--store", "other.sqlite3")
    there = json.loads(sandbox.run("show", "latest", "--json", "--store", "other.sqlite3").stdout)
    assert sandbox.show() == there


def test_a_bundle_carries_its_scripts_and_no_other_file(sandbox: Any, tiny_onnx: str) -> None:
    """A failed cell's script runs after an import; a path that an imported run names is never packed."""
    suite = sandbox.write("faulty.toml", FAULTY.format(fault="raise", stage="load", after=0))
    sandbox.run("run", suite, expect=1)
    sandbox.run("bundle", "--out", "run.zip")
    shutil.rmtree(Path(sandbox.environment["XDG_DATA_HOME"]) / "bakeoff" / "reproducers")
    sandbox.run("import", "run.zip", "--store", "other.sqlite3")
    there = json.loads(sandbox.run("show", "--json", "--store", "other.sqlite3").stdout)
    script = next(cell["reproducer"] for cell in there["cells"] if cell["status"] == "failed")
    assert 0 == subprocess.run([sys.executable, script], capture_output=True, check=False, timeout=120).returncode
    (sandbox.home / "secret").write_text("secret")
    there["id"] = "19700101-000000-0000"
    there["cells"][0]["reproducer"] = str(sandbox.home / "secret")
    sandbox.write("forged.json", json.dumps(there))
    sandbox.run("import", "forged.json", "--store", "third.sqlite3")
    sandbox.run("bundle", "--store", "third.sqlite3", "--out", "third.zip")
    with zipfile.ZipFile(sandbox.home / "third.zip") as archive:
        assert not [name for name in archive.namelist() if "secret" in name]


BAD = {
    "unknown model": (("run", "--model", "resnet5"), "no such model: 'resnet5'; did you mean resnet50"),
    "unknown backend": (("run", "--backend", "onnxruntim"), "no such backend: 'onnxruntim'"),
    "unknown variant": (("run", "--variant", "int3"), "--variant"),
    "unknown scenario": (("run", "--scenario", "bursty"), "--scenario"),
    "device that nobody has": (("run", "--device", "npu9"), "device 'npu9': no chosen backend"),
    "missing model file": (("run", "--model", "nowhere.onnx"), "nowhere.onnx"),
    "empty model file": (("run", "--model", "empty.onnx"), "empty.onnx"),
    "not a model": (("run", "--model", "text.onnx"), "text.onnx"),
    "truncated model": (("run", "--model", "truncated.onnx"), "truncated.onnx"),
    "unknown suite": (("run", "quik"), "no such suite"),
    "missing suite file": (("run", "nowhere.toml"), "nowhere.toml"),
    "unknown key": (("run", "bad.toml"), "bad.toml:4: matrix.modles"),
    "threads not a number": (("run", "--threads", "two"), "--threads"),
    "weights file missing": (("run", "--model", "resnet18", "--weights", "no.safetensors"), "no.safetensors"),
    "unknown run": (("show", "nope"), "run"),
    "not a bundle": (("import", "text.onnx"), "text.onnx"),
    "unknown command": (("rnu",), "rnu"),
    "unwritable report": (("run", "--out", "empty.onnx/report"), "--out"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_ends_in_one_line_and_exit_code_2(sandbox: Any, tiny_onnx: str, case: str) -> None:
    """A user's mistake names what is wrong, on one line, and leaves no traceback."""
    (sandbox.home / "empty.onnx").write_bytes(b"")
    (sandbox.home / "text.onnx").write_text("this is no model")
    whole = (sandbox.home / tiny_onnx).read_bytes()
    (sandbox.home / "truncated.onnx").write_bytes(whole[: len(whole) // 2])
    sandbox.write("bad.toml", 'name = "bad"\n[matrix]\n\nmodles = ["resnet18"]\n')
    words, expected = BAD[case]
    done = sandbox.run(*words, expect=2)
    said = done.stderr.strip().splitlines()
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert said[-1].startswith(("bakeoff: ", "Error: ")), said
    assert not [line for line in said[:-1] if not line.startswith(("Usage:", "Try ")) and line.strip()], said


def test_a_backend_that_is_not_installed_is_named_with_its_pip_command(sandbox: Any, tiny_onnx: str) -> None:
    """An interpreter without the package: one line with the command that brings it."""
    blocked = sandbox.home / "blocked"
    (blocked / "openvino").mkdir(parents=True)
    (blocked / "openvino" / "__init__.py").write_text("raise ImportError('not here')")
    environment = {**sandbox.environment, "PYTHONPATH": f"{blocked}{os.pathsep}{sandbox.environment['PYTHONPATH']}"}
    there = type(sandbox)(home=sandbox.home, environment=environment)
    done = there.run("run", "--model", tiny_onnx, "--backend", "openvino", expect=2)
    assert "backend openvino is not installed" in done.stderr
    assert "pip install 'bakeoff[openvino]'" in done.stderr


def _cells(sandbox: Any) -> dict[str, Any]:
    done = sandbox.run("show", "--json", expect=None)
    return {cell["key"]: cell for cell in json.loads(done.stdout)["cells"]} if done.returncode == 0 else {}


def _workers_of(parent: int) -> list[psutil.Process]:
    """Workers that were started by *parent* and still run; given a moment, since death by signal takes one."""
    deadline = time.monotonic() + 20.0
    while True:
        found = [
            process
            for process in psutil.process_iter(["cmdline"])
            if "bakeoff.harness.worker" in (process.info["cmdline"] or [])
            and str(parent) in (process.info["cmdline"] or [])
        ]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.05)
