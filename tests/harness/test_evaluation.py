"""Accuracy and fidelity of a cell: of the session's own outputs, and never from random weights or NaN."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bakeoff.harness.evaluation import Evaluation, judge_outputs
from bakeoff.models.data import PreparedData
from bakeoff.models.errors import StageError
from bakeoff.models.metrics import evaluation as metrics
from bakeoff.models.reference import load_arrays

LIMIT_S = 120.0
COUNT, CLASSES = 40, 10


def logits(*, wrong: int = 0) -> tuple[tuple[np.ndarray[Any, Any], ...], ...]:
    """One-hot outputs for the labels i % 10, the first *wrong* of them one class off."""
    rows = []
    for index in range(COUNT):
        row = np.zeros((1, CLASSES), np.float32)
        row[0, (index + (index < wrong)) % CLASSES] = 5.0
        rows.append((row,))
    return tuple(rows)


@pytest.fixture
def evaluation(tmp_path: Path) -> Evaluation:
    """Forty labelled images that the fp32 reference gets right but for one."""
    path = tmp_path / "data.npz"
    images = np.zeros((COUNT, 1, 2, 2), np.float32)
    np.savez(path, images=images, labels=np.arange(COUNT) % CLASSES)
    data = PreparedData(
        name="mine", split="evaluation", path=path, count=COUNT, labelled=True, sha256="ab", task="classification",
        annotations=None, notes=(), classes=CLASSES,
    )  # fmt: skip
    return Evaluation(
        data=data,
        task="classification",
        random_weights=False,
        reference=logits(wrong=1),
        reference_name="fp32 on an engine",
        simulated=logits(wrong=2),
        names=("y",),
    )


def test_accuracy_beside_the_reference_and_the_simulation(evaluation: Evaluation) -> None:
    """Five of forty wrong where fp32 has one wrong and the simulation two."""
    accuracy, fidelity = judge_outputs(evaluation, logits(wrong=5))

    assert accuracy is not None
    assert fidelity is not None
    assert ("top1", 40, 35 / 40, 38 / 40) == (accuracy.metric, accuracy.n, accuracy.value, accuracy.simulated)
    assert accuracy.low < accuracy.value < accuracy.high
    assert pytest.approx(-4 / 40) == accuracy.vs_fp32
    assert accuracy.vs_fp32_low is not None
    assert accuracy.vs_fp32_low < -4 / 40
    assert (36 / 40, 39 / 40) == (fidelity.top1_agreement, fidelity.top1_agreement_simulated)
    assert 40 == fidelity.n


def test_a_runtime_that_quantized_by_itself_was_not_simulated(evaluation: Evaluation) -> None:
    """The ONNX file in float says nothing of the weights that such a runtime has made."""
    accuracy, fidelity = judge_outputs(evaluation, logits(wrong=5), own_graph=True)

    assert accuracy is not None
    assert fidelity is not None
    assert (35 / 40, None) == (accuracy.value, accuracy.simulated)
    assert (36 / 40, None) == (fidelity.top1_agreement, fidelity.top1_agreement_simulated)


def test_the_reference_is_judged_once_for_all_cells(evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A detector's mAP with its resamples takes seconds; only a cell of fewer images needs another one."""
    judged: list[int] = []
    judge = metrics.judge

    def counted(outputs: Any, *rest: Any) -> metrics.Judged | None:
        judged.append(len(outputs))
        return judge(outputs, *rest)

    monkeypatch.setattr(metrics, "judge", counted)
    first = judge_outputs(evaluation, logits(wrong=5))
    assert [COUNT] * 3 == judged  # the reference, the simulation, the cell
    assert first == judge_outputs(evaluation, logits(wrong=5))
    assert [COUNT] * 4 == judged
    judge_outputs(evaluation, logits(wrong=5)[:10])
    assert [10] * 3 == judged[4:]


def test_a_slow_cell_is_judged_on_its_first_images(evaluation: Evaluation) -> None:
    accuracy, fidelity = judge_outputs(evaluation, logits(wrong=5)[:10])

    assert accuracy is not None
    assert fidelity is not None
    assert (10, 5 / 10, 8 / 10) == (accuracy.n, accuracy.value, accuracy.simulated)
    assert 10 == fidelity.n


def test_random_weights_have_no_accuracy(evaluation: Evaluation) -> None:
    """Even where labels are at hand."""
    accuracy, fidelity = judge_outputs(dataclasses.replace(evaluation, random_weights=True), logits())

    assert accuracy is None
    assert fidelity is not None
    assert 39 / 40 == fidelity.top1_agreement


def test_another_architecture_is_not_compared_output_by_output(evaluation: Evaluation) -> None:
    accuracy, fidelity = judge_outputs(dataclasses.replace(evaluation, comparable=False), logits())

    assert accuracy is not None
    assert fidelity is None


def test_nan_is_a_failure(evaluation: Evaluation) -> None:
    outputs = logits()
    outputs[3][0][0, 0] = np.nan

    with pytest.raises(StageError, match="NaN for image 3") as caught:
        judge_outputs(evaluation, outputs)
    assert "evaluate" == caught.value.stage


@pytest.mark.slow
def test_a_worker_keeps_what_its_session_computes(lab: Any, tmp_path: Path) -> None:
    """All images, in order; the outputs are those of the loaded session."""
    images = np.random.default_rng(0).standard_normal((7, 8)).astype(np.float32)
    np.savez(tmp_path / "data.npz", images=images)
    worker = lab.ready({})
    out = tmp_path / "out.npz"

    answer = worker.ask(
        {"op": "evaluate", "path": str(tmp_path / "data.npz"), "out": str(out), "limit_s": LIMIT_S}, limit_s=LIMIT_S
    )

    assert 7 == answer["images"]
    with np.load(lab.net.io) as stored:
        expected = [stored[f"output_{index}_0"] for index in range(lab.net.inputs)]
        np.savez(tmp_path / "same.npz", images=np.concatenate([stored[f"input_{i}_0"] for i in range(lab.net.inputs)]))
    worker.ask(
        {"op": "evaluate", "path": str(tmp_path / "same.npz"), "out": str(out), "limit_s": LIMIT_S}, limit_s=LIMIT_S
    )
    for wanted, (found,) in zip(expected, load_arrays(out, 1), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
