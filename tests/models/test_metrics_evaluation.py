"""From prepared data and outputs to scores: each task by its own data."""

import json

import numpy as np
import pytest
from bakeoff.models.data import PreparedData
from bakeoff.models.errors import StageError, UserError
from bakeoff.models.metrics.evaluation import evaluate


@pytest.fixture
def prepared(tmp_path):
    """A factory of prepared data of two images."""

    def make(task="classification", annotations=None, **arrays):
        path = tmp_path / "data.npz"
        np.savez(path, images=np.zeros((2, 1, 4, 4), np.float32), **arrays)
        if annotations is not None:
            (tmp_path / "annotations.json").write_text(json.dumps(annotations))
        return PreparedData(
            name="two",
            split="evaluation",
            path=path,
            count=2,
            labelled="labels" in arrays,
            sha256="",
            task=task,
            annotations=tmp_path / "annotations.json" if annotations is not None else None,
            notes=(),
        )

    return make


_RIGHT = [(np.array([[3.0, 1.0]]),), (np.array([[0.0, 1.0]]),)]
_HALF = [(np.array([[3.0, 1.0]]),), (np.array([[1.5, 1.0]]),)]


def test_classification_beside_its_reference(prepared):
    """Its own score, that of the reference, their pairs, and how close they are."""
    found = evaluate("classification", _HALF, prepared(labels=np.array([0, 1])), _RIGHT)

    assert (0.5, 1.0) == (found.score.value, found.reference_score.value)
    assert (-0.5, 0, 1) == (found.paired.difference, found.paired.better, found.paired.worse)
    assert (0.5, 1.5) == (found.fidelity.top1_agreement, found.fidelity.max_abs_error)


def test_the_first_images_alone(prepared):
    """Where time ran out, the outputs there are are judged, and the reference is cut to them."""
    found = evaluate("classification", _RIGHT[:1], prepared(labels=np.array([0, 1])), _RIGHT)
    assert (1, 1) == (found.score.n, found.fidelity.n)


def test_random_weights_have_no_accuracy(prepared):
    """Whatever the outputs say; fidelity they have."""
    found = evaluate("classification", _RIGHT, prepared(labels=np.array([0, 1])), _HALF, random_weights=True)

    assert (None, None, None) == (found.score, found.reference_score, found.paired)
    assert 0.5 == found.fidelity.top1_agreement
    assert "random weights" in found.notes[0]


def test_no_answers_leave_fidelity(prepared):
    """Photographs without labels."""
    found = evaluate("classification", _RIGHT, prepared(), _HALF)
    assert found.score is None
    assert 0.5 == found.fidelity.top1_agreement


def test_words(prepared):
    """Right or wrong as wholes, so they are paired like classes."""
    data = prepared("text-recognition", {"texts": ["ab", "ba"], "characters": ["", "a", "b"]})
    outputs = [(np.eye(3)[[1, 2]][None],), (np.eye(3)[[2, 2]][None],)]
    reference = [outputs[0], (np.eye(3)[[2, 1]][None],)]
    found = evaluate("text-recognition", outputs, data, reference)

    assert ("exact", 0.5, -0.5) == (found.score.metric, found.score.value, found.paired.difference)
    assert 1.0 == found.paired.mcnemar_p


def test_masks(prepared):
    """mIoU with a bootstrap, paired by the same resamples."""
    masks = np.zeros((2, 4, 4), np.uint8)
    masks[:, 2:] = 1
    right = [(np.stack([1.0 - mask, mask]).astype(float)[None],) for mask in masks]
    wrong = [right[0], (right[1][0][:, ::-1],)]
    found = evaluate("segmentation", wrong, prepared("segmentation", masks=masks), right)

    assert ("mIoU", 2) == (found.score.metric, found.score.n)
    assert 1 / 3 == pytest.approx(found.score.value)
    assert (0.0, 1.0) == (found.score.low, found.score.high)
    assert (-1.0, None) == (found.paired.low, found.paired.mcnemar_p)


def test_boxes(prepared):
    """mAP; outputs of other shapes than the reference's have no fidelity, and say so."""
    listed = [{"id": 1, "width": 8, "height": 8}, {"id": 2, "width": 8, "height": 8}]
    truth = [{"id": i, "image_id": i, "category_id": 1, "bbox": [0, 0, 4, 4], "area": 16, "iscrowd": 0} for i in (1, 2)]
    coco = {"images": listed, "categories": [{"id": 1}], "annotations": truth}
    data = prepared("detection", {"images": listed, "input": [4, 4], "coco": coco})
    one = (np.array([[0.0, 0, 2, 2]]), np.array([0.9]), np.array([1]))
    none = (np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))
    found = evaluate("detection", [one, none], data, [one, one], names=("boxes", "scores", "labels"))

    assert ("mAP", 1.0) == (found.score.metric, found.reference_score.value)
    assert 51 / 101 == pytest.approx(found.score.value)
    assert found.fidelity is None
    assert "other shapes" in found.notes[0]
    assert found.paired.low == pytest.approx(-1.0)


def test_what_does_not_fit(prepared):
    """Data of another task is the user's mistake; more outputs than images, NaN and odd shapes fail the cell."""
    data = prepared(labels=np.array([0, 1]))
    with pytest.raises(UserError, match="is for classification, the model for detection"):
        evaluate("detection", _RIGHT, data)
    with pytest.raises(StageError, match="3 outputs for 2 images"):
        evaluate("classification", [*_RIGHT, _RIGHT[0]], data)
    with pytest.raises(StageError, match="NaN or infinite values for 1 of 2"):
        evaluate("classification", [_RIGHT[0], (np.array([[np.nan, 0.0]]),)], data)
    with pytest.raises(StageError, match=r"no \(1, classes\)"):
        evaluate("classification", [(np.zeros(2),), (np.zeros(2),)], data)
