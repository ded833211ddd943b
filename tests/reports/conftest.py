"""Fixtures shared by the tests of the reports."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def plausible() -> ModuleType:
    """The module that builds plausible runs."""
    return _module("plausible_runs")


@pytest.fixture(scope="session")
def profiled() -> ModuleType:
    """The module that builds plausible profiles."""
    return _module("plausible_profiles")


def _module(file: str) -> ModuleType:
    """A neighbour of this file, loaded by path because test folders are no packages."""
    name = f"bakeoff_{file}"
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{file}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
