"""Multiply-accumulates of the zoo against those that torchvision publishes with its weights."""

import onnx
import pytest
from bakeoff.models.export import export
from bakeoff.models.spec import ModelRequest
from bakeoff.models.work import count_work
from bakeoff.models.zoo import TORCHVISION_WEIGHTS, resolve

pytestmark = pytest.mark.slow  # every model is exported


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("name", TORCHVISION_WEIGHTS)
def test_as_published(name, cache):
    """Within 1% of the GFLOPS (which are billions of MACs) in the metadata; the weights themselves do not matter."""
    from torchvision.models import get_weight

    exported = export(ModelRequest(spec=resolve(name), weights="random"), cache)
    work = count_work(onnx.load(exported.path))

    assert get_weight(TORCHVISION_WEIGHTS[name]).meta["_ops"] == pytest.approx(work.macs / 1e9, rel=0.01)
    assert () == work.uncounted
    # The parameters once, and little besides: shapes and constants of the graph's own.
    assert exported.parameters * 4 == pytest.approx(work.whole().weight_bytes, rel=0.01)
