"""The contract suite: what every adapter has to pass, for bakeoff's own and for third parties'.

Subclass `BackendContract` in a test module and give it a fixture `bench`; that is all::

    import pytest
    from bakeoff.backends.contract import BackendContract, Workbench

    @pytest.fixture(scope="module")
    def bench(tmp_path_factory):
        return Workbench("mine", tmp_path_factory.mktemp("mine"))

    class TestMine(BackendContract):
        pass

The backend must be registered (an entry point in the group `bakeoff.backends`). It runs in child processes only, as
it does in the harness; what they did is kept by the bench, so that nothing is compiled twice.
"""

from .bench import Workbench
from .suite import BackendContract

__all__ = ["BackendContract", "Workbench"]
