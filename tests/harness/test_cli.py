"""The command line starts at once, explains itself, and ends in one line and the right exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import bakeoff
import click
import pytest
from bakeoff.harness import start
from bakeoff.harness.cli import COMMANDS, cli, lists, main
from bakeoff.harness.vocabulary import SCENARIOS
from bakeoff.models import zoo
from bakeoff.models.variants import CATALOGUE

LIMIT_S = 120.0
HEAVY = (
    *("torch", "torchvision", "timm", "onnx", "onnxruntime", "openvino", "tvm", "ai_edge_litert", "litert_torch"),
    *("altair", "alembic", "jinja2", "PIL", "rich", "sqlalchemy"),
)
LIGHT = ("numpy", "pydantic", "psutil")
"""What some commands need, but neither `--help` nor `list models`."""

_LOADED = """
import contextlib, io, json, sys
from bakeoff.harness.cli import main
for arguments in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        try:
            main(arguments)
        except SystemExit as leaving:
            assert leaving.code == 0, arguments
    assert shown.getvalue(), arguments
print(json.dumps([name for name in json.loads(sys.argv[2]) if name in sys.modules]))
"""


def _loaded(commands: list[list[str]], modules: tuple[str, ...]) -> list[str]:
    """Those of *modules* that a fresh process has imported after the *commands*."""
    words = [sys.executable, "-c", _LOADED, json.dumps(commands), json.dumps(modules)]
    found: list[str] = json.loads(
        subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_S, check=True).stdout
    )
    return found


class TestFast:
    @pytest.mark.parametrize("command", [["--help"], ["-h"], ["--version"], ["list", "models"], ["list", "variants"]])
    def test_imports_next_to_nothing(self, command: list[str]) -> None:
        """What must be instant loads neither a library of machine learning nor one that is slow to import."""
        assert [] == _loaded([command], HEAVY + LIGHT)

    def test_no_command_loads_anything_heavy_to_explain_itself(self) -> None:
        """The help of every command, and every list that is not of runs, comes without a heavy library."""
        helps = [[name, "--help"] for name in COMMANDS]
        kinds = [["list", name] for name in lists.list_.commands if name != "runs"]
        assert [] == _loaded([*helps, *kinds, ["schema", "suite"], ["schema", "run"]], HEAVY)


class TestHelp:
    @pytest.mark.parametrize("name", COMMANDS)
    def test_short_help(self, name: str) -> None:
        """The overview, which imports no command, says of each what the command says of itself."""
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        assert name == command.name
        assert COMMANDS[name][1] == command.get_short_help_str(limit=200)

    def test_overview(self, capsys: pytest.CaptureFixture[str]) -> None:
        """`--help` shows every command with its short help."""
        assert 0 == _exit_code("--help")
        shown = capsys.readouterr().out
        for name, (_, words) in COMMANDS.items():
            assert f"  {name} " in shown
            assert words in shown

    def test_every_option_is_explained(self) -> None:
        """No option of any command is without a help text."""
        for name in COMMANDS:
            command = cli.get_command(click.Context(cli), name)
            assert command is not None
            commands = command.commands.values() if isinstance(command, click.Group) else [command]
            options = [option for each in commands for option in each.params if isinstance(option, click.Option)]
            assert [] == [option.name for option in options if not option.help]

    def test_installed_script(self) -> None:
        """The `bakeoff` that pip installs is this command line."""
        (script,) = entry_points(group="console_scripts", name="bakeoff")
        assert start.main is script.load()


class TestLists:
    def test_models(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Every model of the zoo has a line."""
        assert 0 == _exit_code("list", "models")
        shown = capsys.readouterr().out.splitlines()
        assert set(zoo.names()) <= {line.split("  ")[0] for line in shown}

    @pytest.mark.parametrize(
        ("kind", "names"), [("variants", CATALOGUE), ("scenarios", SCENARIOS), ("suites", ["quick"])]
    )
    def test_words(self, capsys: pytest.CaptureFixture[str], kind: str, names: list[str]) -> None:
        """Variants, scenarios and suites are listed with what they are."""
        assert 0 == _exit_code("list", kind)
        lines = {line.split("  ")[0]: line for line in capsys.readouterr().out.splitlines()}
        for name in names:
            assert len(lines[name].split()) > 3

    def test_backends(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Every backend is listed with its role and its pip command, whether it is installed or not."""
        assert 0 == _exit_code("list", "backends")
        shown = capsys.readouterr().out
        assert "eager        baseline  python -m pip install 'bakeoff[eager]'" in shown
        assert "tvm          compiler  python -m pip install 'bakeoff[tvm]'" in shown

    def test_schema(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Both schemas are printed as they ship."""
        for what, shipped in (("run", "reports/schema/run"), ("suite", "harness/schema/suite")):
            assert 0 == _exit_code("schema", what)
            path = Path(bakeoff.__file__).parent / f"{shipped}.schema.json"
            assert path.read_text(encoding="utf-8").strip() == capsys.readouterr().out.strip()


BAD = {
    "model to export": (["export", "resnet19"], "no such model: 'resnet19'; did you mean resnet18"),
    "model": (["run", "--model", "resnet19"], "no such model: 'resnet19'; did you mean resnet18"),
    "backend": (["run", "--backend", "onnxrutime"], "no such backend: 'onnxrutime'; did you mean onnxruntime?"),
    "variant": (
        ["run", "--variant", "int9"],
        "--variant: variant 'int9': no such step: 'int9'; see `bakeoff list variants`",
    ),
    "scenario": (["run", "--scenario", "x"], "--scenario: no such scenario: 'x'; known: single-stream"),
    "threads": (["run", "--threads", "two"], "--threads: 'two' is not a number or `all`"),
    "suite": (["run", "quik"], "no such suite: 'quik'; did you mean quick?"),
    "suite file": (["run", "gone.toml"], "gone.toml: cannot be read (No such file or directory)"),
    "model file": (["run", "--model", "gone.onnx"], "gone.onnx: "),
    "report folder": (["run", "--out", "/dev/null/x"], "--out: /dev/null/x: cannot be written (Not a directory)"),
    "run to show": (["show", "nope", "--store", "s.sqlite3"], "no such run: 'nope'; see `bakeoff list runs`"),
    "run to report": (["report", "nope", "--store", "s.sqlite3"], "no such run: 'nope'"),
    "run to bundle": (["bundle", "nope", "--store", "s.sqlite3"], "no such run: 'nope'"),
    "bundle": (["import", "gone.zip"], "gone.zip: cannot be read (No such file or directory)"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", BAD)
def test_bad_names(tmp_path: Path, case: str) -> None:
    """What does not exist ends in one line that names it, exit code 2, and no traceback."""
    words, reason = BAD[case]
    done = _bakeoff(tmp_path, *words)
    assert 2 == done.returncode
    assert "" == done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"bakeoff: {reason}")


def test_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong use of the command line exits with 2 and says where help is."""
    for words in (["nope"], ["list", "--nope"], ["schema", "nope"]):
        assert 2 == _exit_code(*words)
        assert "--help' for help." in capsys.readouterr().err


def test_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C ends with 130, as shells expect, and without a traceback."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lists.models, "callback", interrupt)
    assert 130 == _exit_code("list", "models")
    assert ["bakeoff: interrupted"] == capsys.readouterr().err.split("\n")[-2:-1]


def test_faults_of_our_own_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that nobody foresaw keeps its traceback."""

    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(lists.models, "callback", fail)
    with pytest.raises(ZeroDivisionError):
        main(["list", "models"])


@pytest.mark.parametrize("words", [["--help"], ["list", "models"], ["schema", "suite"]])
def test_broken_pipe(tmp_path: Path, words: list[str]) -> None:
    """A reader that goes away early, as `head` does, ends it without a word on stderr."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        done = subprocess.run(
            _command(*words), stdout=pipe, stderr=subprocess.PIPE, text=True, timeout=LIMIT_S, check=False
        )
    assert (1, "") == (done.returncode, done.stderr)


def _exit_code(*words: str) -> object:
    with pytest.raises(SystemExit) as caught:
        main(words)
    return caught.value.code


def _command(*words: str) -> list[str]:
    return [str(Path(sys.executable).with_name("bakeoff")), *words]


def _bakeoff(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    places = {"HOME": str(home), "XDG_DATA_HOME": str(home), "XDG_CACHE_HOME": str(home), "TMPDIR": str(home)}
    return subprocess.run(
        _command(*words),
        cwd=home,
        env={**os.environ, **places},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
