"""Fixtures for all tests."""

from __future__ import annotations

import fcntl
import os
import shutil
import tomllib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before any test imports onnxruntime

# No test may pass or fail by the wall clock.
settings.register_profile("bakeoff", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("bakeoff")

_PROJECT = Path(__file__).parent / "thirdparty"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: run in several processes, which take file by file, these end at about one time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Where several processes run tests, none runs one beside a test that is marked `alone`."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    common = Path(item.config.getoption("basetemp")).parent
    with _turn(common, fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH):
        return (yield)


@contextmanager
def _turn(folder: Path, kind: int) -> Iterator[None]:
    """Hold a lock in *folder*. Whoever waits for it holds the queue: else who is `alone` might wait for ever."""
    with (folder / "queue.lock").open("w") as queue, (folder / "turn.lock").open("w") as turn:
        fcntl.flock(queue, fcntl.LOCK_EX)
        fcntl.flock(turn, kind)
        fcntl.flock(queue, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(turn, fcntl.LOCK_UN)  # closing it is not enough where a forked child holds it, too


@pytest.fixture(scope="session")
def thirdparty_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder that holds `bakeoff-numpy` as pip would install it; prepend it to a subprocess's PYTHONPATH.

    Nothing is put on this process's own path: other tests must not see the backend. See `thirdparty` for that.
    """
    site = tmp_path_factory.mktemp("thirdparty-site")
    project = tomllib.loads((_PROJECT / "pyproject.toml").read_text())["project"]
    for package in ("bakeoff_numpy",):
        shutil.copytree(_PROJECT / package, site / package, ignore=shutil.ignore_patterns("__pycache__"))
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [
        f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in names.items())
        for group, names in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    return site


@pytest.fixture
def thirdparty(thirdparty_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`bakeoff-numpy` (backend `numpy_reference`) is installed for this test, in this process and those it starts."""
    monkeypatch.syspath_prepend(str(thirdparty_path))
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(thirdparty_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    )
    return thirdparty_path
