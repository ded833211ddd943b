"""Every registered backend, and one from outside the repository, keeps the contract."""

from __future__ import annotations

from pathlib import Path

import pytest
from bakeoff.backends import registry
from bakeoff.backends.contract import BackendContract, Workbench

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=[*registry.names(), "numpy_reference"])
def bench(request: pytest.FixtureRequest, thirdparty_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """A bench for each backend that is registered here, and for the project in tests/thirdparty."""
    return Workbench(request.param, tmp_path_factory.mktemp(request.param), path=[thirdparty_path])


class TestBackends(BackendContract):
    """All of them keep the contract."""
