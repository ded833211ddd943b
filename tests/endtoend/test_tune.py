"""`bakeoff tune` for real: what it finds is used by `bakeoff run`, and nothing that it finished is ever lost."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

SUITE = """
name = "mine"
[matrix]
models = ["tiny.onnx"]
backends = ["tvm", "onnxruntime"]
[measure]
time_limit_s = 0.3
[backends.tvm.options]
records = "{records}"
"""


@pytest.fixture
def lone(sandbox: Any, tmp_path: Path) -> Any:
    """A sandbox whose cache nobody else has tuned into."""
    return replace(sandbox, environment={**sandbox.environment, "BAKEOFF_CACHE": str(tmp_path / "artifacts")})


def _trials(sandbox: Any) -> list[dict[str, Any]]:
    (file,) = Path(sandbox.environment["BAKEOFF_CACHE"]).glob("tvm-tuning/*/trials.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines() if line.endswith("}")]


def _tuning(sandbox: Any) -> Any:
    (cell,) = [cell for cell in sandbox.show()["cells"] if cell["backend"] == "tvm"]
    assert "ok" == cell["status"], cell["reason"]
    return cell["executed"]


def test_a_run_uses_what_was_tuned_and_tells_its_cost(lone: Any, tiny_onnx: str) -> None:
    """The same command gives a tuned cell after tuning, an untuned one where the suite wants no records."""
    lone.write("tuned.toml", SUITE.format(records=""))
    lone.write("plain.toml", SUITE.format(records="none"))
    shown = lone.run("tune", tiny_onnx, "--trials", "12").stdout
    assert "12 trials" in shown
    assert "At a quick look: untuned" in shown

    lone.run("run", "tuned.toml")
    ran = _tuning(lone)
    facts = ran["tuning"]
    assert [] == ran["marks"]
    assert facts["tuned"] == facts["tasks"] > 0
    assert (12, {"bakeoff": facts["tasks"]}) == (facts["trials"], facts["spaces"])
    assert facts["seconds"] > 0
    assert all(name.startswith("own (llvm-") for name in facts["sources"])
    assert "TVM tuning" in (lone.home / "bakeoff-report" / "index.html").read_text()

    lone.run("run", "plain.toml")
    ran = _tuning(lone)
    assert (["untuned"], None) == (ran["marks"], ran["tuning"])

    assert "bakeoff 12" in lone.run("tune", "list").stdout
    assert "records: own, llvm-" in lone.run("doctor").stdout


def test_killed_and_resumed_it_does_what_is_left(lone: Any, tiny_onnx: str) -> None:
    """After SIGKILL in the middle every finished trial counts; Ctrl-C ends with 130 and keeps them too."""
    command = ("tune", tiny_onnx, "--trials", "40", "--no-check")
    with lone.start(*command) as process:
        while "refine" not in (line := process.stderr.readline()):
            assert line, "it ended before it was killed"
        process.kill()
    finished = _trials(lone)
    assert 0 < len(finished) < 40

    with lone.start(*command, "--resume") as process:
        while "refine" not in (line := process.stderr.readline()):
            assert line, "it ended before it was interrupted"
        process.send_signal(signal.SIGINT)
        shown = process.communicate()
    assert 130 == process.returncode, shown
    more = _trials(lone)
    assert finished == more[: len(finished)]

    told = lone.run(*command, "--resume").stdout
    assert 40 == len(_trials(lone))
    again = lone.run(*command, "--resume")
    assert told == again.stdout
    assert "nothing is left of the budget; the same command with a larger one goes on" in again.stderr
    lone.run("tune", tiny_onnx, "--trials", "44", "--no-check", "--resume")
    assert 44 == len(_trials(lone))


def test_a_target_that_does_not_run_here_is_refused(lone: Any, tiny_onnx: str) -> None:
    """Before anything is exported, with 2."""
    done = lone.run("tune", tiny_onnx, "--trials", "4", "--target", "nonsense", expect=2)
    assert "bakeoff: --target: TVM's LLVM knows no CPU 'nonsense' for " in done.stderr


def test_a_model_that_tvm_cannot_import_is_named(lone: Any) -> None:
    """The operator is named, exit code 1, since what was asked is in order."""
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Det", ["x"], ["y"], name="det")],
        "odd",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, lone.home / "odd.onnx")
    done = lone.run("tune", "odd.onnx", "--trials", "4", expect=1)
    assert "failed: odd.onnx@fp32" in done.stdout
    assert "Det" in done.stdout
