"""`bakeoff tune`: what is refused, how a budget is read and taken up again, and what is shown."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from bakeoff.backends.tvm.tuning.contract import Meta, Progress, Task, TaskResult, Trial, TuneResult
from bakeoff.backends.tvm.tuning.pack import Pack, read_pack, write_folder
from bakeoff.backends.tvm.tuning.records import SCHEMA
from bakeoff.backends.tvm.tuning.shelf import database_folder
from bakeoff.harness.cli import main
from bakeoff.harness.cli.tune import parse_budget, parse_target
from bakeoff.harness.plan import CellSpec
from bakeoff.harness.tuning_check import Look
from bakeoff.harness.tuning_outcome import Outcome
from bakeoff.harness.tuning_progress import progress_words
from bakeoff.harness.tuning_session import Session
from bakeoff.harness.tuning_words import outcome_report
from bakeoff.models.errors import UnsupportedError, UserError
from bakeoff.reports import words
from rich.console import Console

META = Meta(schema=SCHEMA, tvm="0.26.0", target={"kind": "llvm", "mcpu": "znver5", "num-cores": 1})
CELL = CellSpec(
    model="m", variant="fp32", backend="tvm", scenario="single-stream", threads=1, batch=1, device="cpu", options={}
)


KERNELS = tuple(
    TaskResult(
        task=Task(hash=name, name=name, weight=weight, flops=0, kind="conv", shape={}, site="s", variant=variant),
        trials=7,
        failed=1,
        hot_ms=1.0,
        cold_ms=None,
        candidate=None,
        used=used,
    )
    for name, weight, variant, used in (
        ("small", 1, "direct", True),
        ("big", 3, "wino4", True),
        ("lost", 9, "wino2", False),
    )
)
RESULT = TuneResult(tasks=KERNELS, trials=21, failed=3, seconds=7.0, estimated_ms=4.0, curve=(), target=META.target)


def _pack(*elapsed: float) -> Pack:
    trials = tuple(
        Trial(
            task="a",
            kind="conv",
            shape={},
            variant="direct",
            candidate={"n": number},
            space="bakeoff",
            stage="cover",
            seconds=1e-3,
            elapsed_s=seconds,
        )
        for number, seconds in enumerate(elapsed)
    )
    records = tuple(f'[["trace",{number}],[0.001],{{}},[]]' for number in range(len(trials)))
    return Pack(meta=META, workloads={"a": "AAAA"}, trials=trials, records=records)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("2h", 7200), ("0s", 0)])
def test_budgets(text: str, seconds: float) -> None:
    """Hours, minutes and seconds."""
    assert seconds == parse_budget(text)


@pytest.mark.parametrize("text", ["", "30", "5x", "m", "-5m", "1.5h"])
def test_bad_budgets(text: str) -> None:
    """What is no time is refused with an example of one."""
    with pytest.raises(UserError, match="is no time; write it as 90s, 30m or 1h30m"):
        parse_budget(text)


def test_targets() -> None:
    """A CPU's name, or TVM's own target."""
    assert {"kind": "llvm", "mcpu": "x86-64-v3"} == parse_target("x86-64-v3")
    assert {"kind": "llvm", "mcpu": "znver3", "num-cores": 2} == parse_target(
        '{"kind": "llvm", "mcpu": "znver3", "num-cores": 2}'
    )


@pytest.mark.parametrize("text", ["a b", "{", '{"kind": "cuda"}', '{"kind": "llvm"}'])
def test_bad_targets(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(UserError, match=r"^--target: "):
        parse_target(text)


BAD = {
    "no budget": (["tune", "resnet18"], "no tuning budget: give --budget 30m or --trials 500"),
    "no trials": (["tune", "resnet18", "--trials", "0"], "no tuning budget: --budget and --trials must be more than 0"),
    "budget": (["tune", "resnet18", "--budget", "soon"], "--budget: 'soon' is no time"),
    "backend": (["tune", "resnet18", "--trials", "9", "--backend", "tvn"], "no such backend: 'tvn'; did you mean tvm?"),
    "no search": (
        ["tune", "resnet18", "--trials", "9", "--backend", "openvino"],
        "--backend: openvino has no schedules",
    ),
    "model": (["tune", "resnet19", "--trials", "9"], "no such model: 'resnet19'; did you mean resnet18"),
    "suite": (["tune", "gone.toml", "--trials", "9"], "gone.toml: cannot be read"),
    "variants": (["tune", "resnet18@int8,resnet50", "--trials", "9"], "resnet18@int8,resnet50: names several variants"),
    "nothing to export": (["tune", "export", "--out", "x.json"], "nothing was tuned yet"),
    "no file": (["tune", "import", "gone.json"], "gone.json: cannot be read (No such file or directory)"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    """One line that says what is wrong, exit code 2, and nothing is left behind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BAKEOFF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BAKEOFF_LOCK_FOLDER", str(tmp_path))
    words, reason = BAD[case]
    assert 2 == _exit_code(*words)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"bakeoff: {reason}")
    assert not (tmp_path / "cache").exists()


def test_list_export_and_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Records go from one machine's cache to another's, once."""
    monkeypatch.setenv("BAKEOFF_CACHE", str(tmp_path / "one"))
    write_folder(_pack(1.0, 2.0, 65.0), database_folder(tmp_path / "one", META))
    assert 0 == _exit_code("tune", "list")
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["own", "llvm-znver5-1-tvm0.26.0", "1", "0.26.0", "1", "3", "bakeoff", "3", "1", "min", "5", "s"] in shown

    assert 0 == _exit_code("tune", "export", "--out", str(tmp_path / "x.json.gz"))
    assert _pack(1.0, 2.0, 65.0).trials == read_pack(tmp_path / "x.json.gz").trials
    capsys.readouterr()
    monkeypatch.setenv("BAKEOFF_CACHE", str(tmp_path / "two"))
    for added in (3, 0):
        assert 0 == _exit_code("tune", "import", str(tmp_path / "x.json.gz"))
        assert f"added {added} of 3 trials for llvm-znver5-1" in capsys.readouterr().out


def test_what_is_left_of_a_budget_is_read_from_the_databases(tmp_path: Path) -> None:
    """However the command died, the trials that it finished are the ones that count."""
    folder = tmp_path / "db"
    write_folder(_pack(1.0, 5.0), folder)
    begun = Session.begin(tmp_path, {"what": "m"}, [folder])
    assert begun.earlier() is None
    begun.at(1, [{}])
    (folder / "trials.jsonl").unlink()
    (folder / "database_tuning_record.json").unlink()
    write_folder(_pack(1.0, 5.0, 7.0, 17.0), tmp_path / "later")
    for name in ("trials.jsonl", "database_tuning_record.json"):
        (tmp_path / "later" / name).rename(folder / name)

    again = Session.begin(tmp_path, {"what": "m"}, [folder]).earlier()
    assert again is not None
    assert 1 == again.job
    assert (12.0, 2) == again.spent()
    assert (18.0, 98) == again.left(30.0, 100)
    assert (None, None) == again.left(None, None)


def test_a_command_that_came_to_its_end_has_spent_its_budget(tmp_path: Path) -> None:
    """Whatever its trials took by themselves; a larger budget leaves the difference, and what was told is kept."""
    folder = tmp_path / "db"
    write_folder(_pack(1.0, 5.0), folder)
    begun = Session.begin(tmp_path, {"what": "m"}, [folder])
    outcome = Outcome(cell=CELL, database=folder, result=RESULT, look=Look(untuned_ms=50.0, tuned_ms=5.0))
    begun.end([outcome.told()], 30.0, None)

    ended = Session.begin(tmp_path, {"what": "m"}, [folder]).earlier()
    assert ended is not None
    assert (0.0, None) == ended.left(30.0, None)
    assert (15.0, None) == ended.left(45.0, None)
    assert [outcome] == [Outcome.retold(CELL, folder, told) for told in ended.told]
    assert 0 == ended.job


def test_a_failure_is_told_again() -> None:
    """With its blame and its stage."""
    told = Outcome(cell=CELL, database=Path("/db"), error=UnsupportedError("no", blame="importer", stage="tune")).told()
    error = Outcome.retold(CELL, Path("/db"), json.loads(json.dumps(told))).error
    assert isinstance(error, UnsupportedError)
    assert ("no", "importer", "tune") == (error.reason, error.blame, error.stage)


def test_progress_in_words() -> None:
    """How far it is, and what it found."""
    now = Progress(
        stage="refine",
        task="fused_conv2d",
        tasks=34,
        tuned=34,
        trials=412,
        failed=3,
        best_ms=0.1234,
        estimated_ms=21.34,
        elapsed_s=133.0,
    )
    first, second = progress_words(now, 1800.0, None)
    assert "refine, 2:13 of 30:00, 412 trials (3 failed)" == first
    assert "34 of 34 kernels have a schedule, the net ≈ 21.3 ms; best of fused_conv2d: 0.123 ms" == second


def _text(outcome: Outcome) -> str:
    console = Console(width=120, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(outcome_report(outcome))
    console.file.close()
    return console.export_text()


def test_the_summary() -> None:
    """Kernels by share, estimated and seen latency, cost, and the place of the records."""
    outcome = Outcome(cell=CELL, database=Path("/records"), result=RESULT, look=Look(untuned_ms=50.0, tuned_ms=5.0))
    shown = _text(outcome)
    assert shown.index("big") < shown.index("small")
    assert "75.0%" in shown
    assert "lost" not in shown
    for part in (
        "2 of 2 kernels",
        "4.00 ms",
        f"untuned 50.0 ms, tuned 5.00 ms, {words.times(10.0)} as fast",
        "21 trials (3 failed), 180 a minute",
    ):
        assert part in shown
    assert "Records: /records" in shown


def test_a_model_that_cannot_be_tuned_is_named() -> None:
    """The reason stands beside its name."""
    reason = UnsupportedError("OpNotImplemented: The following operators are not supported: NonZero")
    shown = _text(Outcome(cell=CELL, database=Path("/records"), error=reason))
    assert "failed: m@fp32, 1 thread, batch 1: OpNotImplemented" in shown


def _exit_code(*words: str) -> object:
    with pytest.raises(SystemExit) as caught:
        main(words)
    return caught.value.code
