"""Detection, segmentation, text and fidelity against what is counted by hand."""

import numpy as np
import pytest
from bakeoff.models.errors import StageError
from bakeoff.models.metrics.detection import Boxes, detection_statistic, read_boxes
from bakeoff.models.metrics.fidelity import fidelity
from bakeoff.models.metrics.resampling import bootstrap_paired, bootstrap_score
from bakeoff.models.metrics.segmentation import segmentation_statistic
from bakeoff.models.metrics.text import ctc_greedy, exact_match
from hypothesis import given, settings
from hypothesis import strategies as st


def _boxes(corners, scores, labels):
    return Boxes(
        corners=np.array(corners, dtype=float).reshape(-1, 4),
        scores=np.array(scores, float),
        labels=np.array(labels, int),
    )


def _scene(images, boxes):
    """COCO annotations of 100x200 pictures for a 50x50 input; *boxes*: (image, category, left, top, width, height)."""
    listed = [{"id": name, "width": 200, "height": 100} for name in images]
    truth = [
        {"id": i + 1, "image_id": im, "category_id": c, "bbox": b, "area": b[2] * b[3], "iscrowd": 0}
        for i, (im, c, *b) in enumerate(boxes)
    ]
    coco = {"images": listed, "categories": [{"id": 3}, {"id": 7}], "annotations": truth}
    return {"images": listed, "input": [50, 50], "coco": coco}


def _iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inside = max(width, 0) * max(height, 0)
    return inside / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inside)


def _brute_map(found, truth, categories, images):
    """COCO's AP as its paper says: greedy matching by score, precision made monotone, 101 levels of recall."""
    values = []
    for category in categories:
        total = sum(1 for im, c, *_ in truth if c == category and im in images)
        if not total:
            continue
        for level in np.linspace(0.5, 0.95, 10):
            hits = []
            for place, image in enumerate(images):
                open_truth = [list(b) for im, c, *b in truth if (im, c) == (image, category)]
                boxes = sorted(
                    zip(found[place].scores, found[place].labels, found[place].corners, strict=True),
                    key=lambda x: -x[0],
                )
                for score, label, corners in boxes:
                    if label != category:
                        continue
                    scaled = corners * np.array([4, 2, 4, 2])
                    overlaps = [_iou(scaled, (b[0], b[1], b[0] + b[2], b[1] + b[3])) for b in open_truth]
                    best = int(np.argmax(overlaps)) if overlaps else -1
                    hit = best >= 0 and overlaps[best] >= level
                    if hit:
                        open_truth.pop(best)
                    hits.append((score, hit))
            hits = np.array([hit for _, hit in sorted(hits, key=lambda x: -x[0])], dtype=bool)
            precision = np.cumsum(hits) / np.arange(1, len(hits) + 1) if len(hits) else np.zeros(0)
            precision = np.maximum.accumulate(precision[::-1])[::-1]
            recall = np.cumsum(hits) / total
            places = np.searchsorted(recall, np.linspace(0, 1, 101), side="left")
            values.append(np.mean([precision[p] if p < len(precision) else 0.0 for p in places]))
    return np.mean(values)


def test_map_is_that_of_a_plain_count():
    """On seeded boxes, some found, some missed, some false; images out of the order of their ids."""
    rng = np.random.default_rng(5)
    images = [31, 4, 18]
    truth, found = [], []
    for image in images:
        guesses = []
        for _ in range(4):
            category, left, top = int(rng.choice([3, 7])), *rng.integers(0, 100, 1), *rng.integers(0, 60, 1)
            width, height = rng.integers(20, 60), rng.integers(15, 40)
            truth.append((image, category, *map(float, (left, top, width, height))))
            jitter = rng.normal(0, 3, 4)
            corners = np.array([left, top, left + width, top + height]) + jitter
            guesses.append((corners / np.array([4, 2, 4, 2]), rng.random(), category if rng.random() < 0.8 else 3))
        guesses.append((np.array([1, 1, 20, 20]), rng.random(), 7))
        found.append(_boxes(*zip(*guesses, strict=True)))
    statistic = detection_statistic(found, _scene(images, truth))

    assert _brute_map(found, truth, (3, 7), images) == pytest.approx(statistic(np.arange(3)), abs=1e-9)
    for chosen in ([0], [2], [1, 2]):
        part = [found[place] for place in chosen]
        brute = _brute_map(part, truth, (3, 7), [images[place] for place in chosen])
        got = detection_statistic(
            part, {**_scene(images, truth), "images": [_scene(images, truth)["images"][p] for p in chosen]}
        )
        assert brute == pytest.approx(got(np.arange(len(chosen))), abs=1e-9)
        # An image counted twice is two images.
        assert brute == pytest.approx(statistic(np.array(chosen * 3)), abs=1e-9) or len(chosen) > 1


def test_perfect_and_empty_detectors():
    """Everything found is 1, nothing found 0."""
    truth = [(1, 3, 10.0, 10.0, 40.0, 20.0), (2, 7, 100.0, 50.0, 50.0, 30.0)]
    perfect = [_boxes([[2.5, 5, 12.5, 15]], [0.9], [3]), _boxes([[25, 25, 37.5, 40]], [0.8], [7])]
    nothing = [_boxes([], [], []), _boxes([], [], [])]

    assert 1.0 == pytest.approx(detection_statistic(perfect, _scene([1, 2], truth))(np.arange(2)))
    assert 0.0 == detection_statistic(nothing, _scene([1, 2], truth))(np.arange(2))
    with pytest.raises(StageError, match="no box is annotated in the 1 images"):
        detection_statistic(perfect[:1], _scene([1, 2], truth[1:]))


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (2, 0, 1)])
@pytest.mark.parametrize("batched", [True, False])
def test_boxes_are_found_among_the_outputs(order, batched):
    """By name in any order; by kind if nobody names them."""
    arrays = [np.ones((5, 4), np.float32), np.full(5, 0.5, np.float32), np.arange(5)]
    if batched:
        arrays = [array[None] for array in arrays]
    given = [arrays[place] for place in order]
    for names in ((), [("boxes", "scores", "labels")[place] for place in order]):
        found = read_boxes(given, names)
        assert (5, 4) == found.corners.shape
        assert [0.5] * 5 == found.scores.tolist()
        assert [0, 1, 2, 3, 4] == found.labels.tolist()


def test_outputs_that_are_no_boxes():
    """The message shows what was there; NaN is refused."""
    with pytest.raises(StageError, match=r"no boxes .* float64\[1, 84, 10\]"):
        read_boxes([np.zeros((1, 84, 10))])
    with pytest.raises(StageError, match="NaN"):
        read_boxes([np.full((2, 4), np.nan), np.ones(2), np.ones(2, int)])


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(2, 5))
def test_miou_is_that_of_sets_of_pixels(seed, classes):
    """Counted class by class over all images, pixels of 255 left out."""
    rng = np.random.default_rng(seed)
    logits = [rng.standard_normal((1, classes, 6, 5)).astype(np.float32) for _ in range(3)]
    masks = rng.integers(0, classes, (3, 6, 5)).astype(np.uint8)
    masks[rng.random(masks.shape) < 0.2] = 255
    answers = np.stack([array[0].argmax(axis=0) for array in logits])
    judged, values = masks != 255, []
    for number in range(classes):
        truth, answer = (masks == number) & judged, (answers == number) & judged
        if (truth | answer).any():
            values.append((truth & answer).sum() / (truth | answer).sum())

    assert np.mean(values) == pytest.approx(segmentation_statistic(logits, masks)(np.arange(3)))


def test_small_answers_are_enlarged_to_the_mask():
    """Each pixel takes the nearest answer."""
    logits = np.array([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    mask = np.array([[0, 0, 1, 1], [0, 0, 1, 1]], dtype=np.uint8)
    assert 1.0 == segmentation_statistic([logits], mask[None])(np.arange(1))


def test_a_mask_of_a_class_that_the_model_lacks():
    """It fails the cell with both numbers."""
    with pytest.raises(StageError, match="class 9, the model 2 classes"):
        segmentation_statistic([np.zeros((1, 2, 2, 2))], np.full((1, 2, 2), 9, np.uint8))


def test_ctc_drops_repetitions_and_blanks():
    """A blank between two equal characters keeps both."""
    best = [0, 1, 1, 0, 1, 2, 2, 0, 3]
    assert "aab " == ctc_greedy(np.eye(4)[best], ["", "a", "b", " "])


def test_words_have_to_match_exactly():
    """One wrong character is a wrong word."""
    outputs = [np.eye(3)[[1, 2]][None], np.eye(3)[[1, 0]][None]]
    score = exact_match(outputs, ["ab", "ab"], ["", "a", "b"])
    assert ("exact", 0.5, [True, False]) == (score.metric, score.value, score.correct.tolist())
    with pytest.raises(StageError, match="4 characters"):
        exact_match(outputs, ["ab", "ab"], ["", "a", "b", "c"])


def test_fidelity_of_known_arrays():
    """A hundredth of noise is 40 dB; a quarter turn has cosine 0."""
    reference = [(np.array([[1.0, 0.0]]),), (np.array([[0.0, 2.0]]),)]
    close = fidelity([(row[0] * 1.01,) for row in reference], reference, classifier=True)
    turned = fidelity([(row[0][:, ::-1],) for row in reference], reference, classifier=True)

    assert 1.0 == pytest.approx(close.cosine)
    assert 40.0 == pytest.approx(close.snr_db)
    assert 0.02 == pytest.approx(close.max_abs_error)
    assert (1.0, 2) == (close.top1_agreement, close.n)
    assert 0.0 < close.top1_low < close.top1_high == 1.0
    assert (0.0, 0.0) == (turned.cosine, turned.top1_agreement)


def test_fidelity_tells_how_close_the_reference_was():
    """Ours differs where the reference leads by 0.5; it leads by no more on two images of four."""
    leads = (0.25, 0.5, 1.0, 2.0)
    reference = [(np.array([[lead, 0.0, -1.0]]),) for lead in leads]
    ours = [
        (row[0] - [[0.75, 0.0, 0.0]] if lead == 0.5 else row[0],) for lead, row in zip(leads, reference, strict=True)
    ]
    found = fidelity(ours, reference, classifier=True, pictures=2)
    same = fidelity(reference, reference, classifier=True)

    assert (0.75, 0.5, 0.5, 2) == (found.top1_agreement, found.widest_flip, found.as_close, found.pictures)
    assert found.top1_low < same.top1_low
    assert (None, None, 4) == (same.widest_flip, same.as_close, same.pictures)


def test_fidelity_of_equals_and_of_no_classifier():
    """Nothing differs: no ratio to tell; no classes: no agreement. What the reference itself lacks is left out."""
    rows = [(np.array([[1.0, np.inf]]), np.zeros((1, 2, 2)))]
    same = fidelity(rows, rows, classifier=False)

    assert (1.0, None, 0.0, None) == (same.cosine, same.snr_db, same.max_abs_error, same.top1_agreement)


def test_fidelity_refuses_nan_and_other_shapes():
    """Both fail the cell."""
    with pytest.raises(StageError, match="NaN"):
        fidelity([(np.array([[np.nan]]),)], [(np.array([[1.0]]),)], classifier=True)
    with pytest.raises(StageError, match="shapes"):
        fidelity([(np.zeros((1, 2)),)], [(np.zeros((1, 3)),)], classifier=True)


@settings(max_examples=50)
@given(st.integers(0, 2**32), st.floats(1e-38, 1e37))
def test_cosine_stays_in_range_at_any_scale(seed, scale):
    """From the smallest to the largest that a float of 32 bits holds."""
    rng = np.random.default_rng(seed)
    left, right = rng.standard_normal((2, 1, 7)) * scale
    found = fidelity([(left,)], [(right,)], classifier=False)
    unit = left.ravel() / scale, right.ravel() / scale

    assert float(unit[0] @ unit[1]) / np.linalg.norm(unit[0]) / np.linalg.norm(unit[1]) == pytest.approx(found.cosine)


def test_bootstrap_of_a_mean_is_near_the_normal_interval():
    """For 400 values it differs from mean +- 1.96 standard errors by little, and repeats."""
    values = np.random.default_rng(0).normal(0.5, 0.1, 400)
    score = bootstrap_score("mIoU", lambda chosen: float(values[chosen].mean()), 400)
    half = 1.96 * values.std() / 20

    assert values.mean() - half == pytest.approx(score.low, abs=half / 5)
    assert values.mean() + half == pytest.approx(score.high, abs=half / 5)
    assert score == bootstrap_score("mIoU", lambda chosen: float(values[chosen].mean()), 400)


def test_bootstrap_of_pairs_sees_that_they_are_pairs():
    """A constant loss has no spread, whatever the images' own is."""
    values = np.random.default_rng(0).random(50)
    found = bootstrap_paired(lambda c: float(values[c].mean() - 0.1), lambda c: float(values[c].mean()), 50)
    assert (-0.1, -0.1, None) == (pytest.approx(found.difference), pytest.approx(found.low), found.mcnemar_p)
