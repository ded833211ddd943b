"""The text recogniser inside rapidocr-onnxruntime, as a model of the zoo."""

import numpy as np
import pytest
from bakeoff.models.data import prepare_data
from bakeoff.models.errors import WeightsError
from bakeoff.models.export import export
from bakeoff.models.feeds import feeds_of
from bakeoff.models.metrics.evaluation import evaluate
from bakeoff.models.reference import compute_reference
from bakeoff.models.spec import ModelRequest
from bakeoff.models.zoo import resolve

_REQUEST = ModelRequest(spec=resolve("rapidocr_rec"), weights="pretrained")


def test_without_the_package_it_says_how_to_get_it(monkeypatch, tmp_path):
    """The pip command, before a process is started."""
    monkeypatch.setattr("bakeoff.models.ocr.importlib.util.find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"rapidocr_rec: .*pip install --no-deps .*rapidocr-onnxruntime==1\.4\.4"):
        export(_REQUEST, tmp_path)


@pytest.mark.slow
def test_it_reads_rendered_words(tmp_path):
    """Static in shape, and at least nine of ten words right: a wrong order of colours or characters would read none."""
    model = export(_REQUEST, tmp_path)
    data = prepare_data("words", _REQUEST.spec, model.input, split="evaluation", count=40, seed=0, cache=tmp_path)
    outputs = compute_reference(model, [feeds for _, feeds in feeds_of(data.path, 1)], tmp_path).outputs
    found = evaluate("text-recognition", outputs, data)

    assert (1, 3, 48, 320) == model.inputs[0].shape
    assert (1, 40, 6625) == model.outputs[0].shape
    assert np.float32 == outputs[0][0].dtype
    assert ("exact", 40) == (found.score.metric, found.score.n)
    assert found.score.value >= 0.9
