"""The documentation is true: every command in it runs, every example parses, every link leads somewhere."""

from __future__ import annotations

import re
import shlex
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import pytest
from bakeoff.harness.cli import COMMANDS
from bakeoff.harness.suite import parse_suite

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]

SUITE = """
name = "mine"
[matrix]
models = ["my_model.onnx"]
backends = ["onnxruntime", "eager"]
[measure]
time_limit_s = 0.3
"""

MODULE = '''
"""A user's own model."""
import torch


def make_model() -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, stride=4), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    ).eval()
'''


def _blocks(language: str) -> list[str]:
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def _commands() -> list[str]:
    return [line.strip() for block in _blocks("console") for line in block.splitlines() if line.strip()]


def test_the_readme_gives_the_two_commands_and_ci_runs_the_second() -> None:
    """One command runs the main job, one passes the tests; `.ci/run` calls the latter as it stands."""
    commands = _commands()
    assert "python -m pip install '.[all]' && bakeoff run" in commands
    assert "python -m pip install tox && tox" in commands
    assert "python -m pip install tox && tox" in (ROOT / ".ci" / "run").read_text()


def test_every_command_of_the_program_is_in_the_readme() -> None:
    """Nobody has to guess what the program can do."""
    shown = {shlex.split(line)[1] for line in _commands() if line.startswith("bakeoff ")}
    assert set(COMMANDS) == shown


def test_every_extra_that_the_docs_name_exists() -> None:
    """`pip install '.[NAME]'` with a NAME that the package has."""
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    named = {name for group in re.findall(r"'(?:\.|bakeoff)\[([\w,]+)\]'", text) for name in group.split(",")}
    assert named <= set(metadata("bakeoff").get_all("Provides-Extra") or [])
    assert "all" in named


def test_every_suite_example_is_valid() -> None:
    """The TOML of the README parses as a suite."""
    examples = _blocks("toml")
    assert examples
    assert ["stock", "mine"] == [parse_suite(example, "README.md").name for example in examples]


def test_every_link_leads_somewhere() -> None:
    """Links to files of the repository name files that are there."""
    for page in PAGES:
        for link in re.findall(r"\]\(([^)]+)\)", page.read_text("utf-8")):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), link


@pytest.mark.slow
def test_every_command_of_the_docs_runs(sandbox: Any, tiny_onnx: str) -> None:
    """One after the other, as they stand, in a folder with the files that they name.

    The two commands that set everything up are run by whoever runs this test: tox installed the package.
    """
    (sandbox.home / tiny_onnx).rename(sandbox.home / "my_model.onnx")
    (sandbox.home / "my_suite.toml").write_text(SUITE)
    (sandbox.home / "my_package").mkdir()
    (sandbox.home / "my_package" / "__init__.py").write_text("")
    (sandbox.home / "my_package" / "my_module.py").write_text(MODULE)
    ran = 0
    for line in _commands():
        words = shlex.split(line)
        if words[0] != "bakeoff":
            assert words[0] in ("python", "tox") or words[0].startswith("python"), line
            continue
        # Half an hour of tuning is the one thing that is cut short.
        done = sandbox.run(*("2s" if word == "30m" else word for word in words[1:]))
        assert done.stdout, line
        ran += 1
    assert ran >= len(COMMANDS)
    assert (sandbox.home / "my-report" / "index.html").exists()
    assert (sandbox.home / "mobilenet_v2.onnx").exists()
