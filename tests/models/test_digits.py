"""The digits zoo: small nets truly trained on real images, and the fixed parts of those."""

import hashlib

import numpy as np
import pytest
from bakeoff.models.digits.nets import NETS, weights_file
from bakeoff.models.digits.split import SPLIT_SIZES, digit_inputs, digits_split
from bakeoff.models.spec import ModelRequest
from bakeoff.models.zoo import names, resolve


@pytest.fixture(scope="module")
def parts():
    """The digits, once."""
    return digits_split()


def test_every_net_is_in_the_zoo():
    """The zoo's digits models and the nets are the same, each with data to be evaluated on and weights at hand."""
    assert sorted(NETS) == sorted(name for name in names() if resolve(name).source == "digits")
    for name in NETS:
        spec = resolve(name)
        assert ("digits", "digits", "pretrained") == (spec.data, spec.labels, spec.default_weights)
        assert weights_file(name).is_file()


def test_weights_are_small():
    """A few hundred kB each, less than 2 MB together."""
    sizes = [weights_file(name).stat().st_size for name in NETS]
    assert max(sizes) < 500_000
    assert sum(sizes) < 2_000_000


def test_the_split_is_disjoint_and_balanced(parts):
    """Each image is in one part only, and each class is alike in evaluation and in calibration."""
    assert {name: len(images) for name, (images, _) in parts.items()} == SPLIT_SIZES
    for name, each in (("evaluation", 36), ("calibration", 20)):
        assert [each] * 10 == np.bincount(parts[name][1]).tolist()
    seen = [image.tobytes() for images, _ in parts.values() for image in images]
    assert len(seen) == len(set(seen)) == 1797


def test_the_split_never_changes(parts):
    """Accuracy is comparable over time only on the very same images, so their hash is written down."""
    images, labels = parts["evaluation"]
    assert (np.uint8, (360, 8, 8), np.int64) == (images.dtype, images.shape, labels.dtype)
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    assert "edfdd6a0f5f5cb32" == digest[:16]


def test_inputs_are_enlarged_and_normalised(parts):
    """White becomes (1 - mean) / std, black -mean / std, in 32x32."""
    spec = resolve("digits_vgg").input
    assert spec is not None
    plain = np.stack([np.zeros((8, 8), np.uint8), np.full((8, 8), 255, np.uint8)])
    black, white = digit_inputs(plain, spec)
    made = digit_inputs(parts["training"][0], spec)

    assert ((1, 32, 32), np.float32) == (black.shape, black.dtype)
    assert pytest.approx([-0.307 / 0.324, 0.693 / 0.324], rel=1e-5) == [black.min(), white.max()]
    assert pytest.approx(0.0, abs=0.01) == made.mean()
    assert pytest.approx(1.0, abs=0.01) == made.std()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NETS))
def test_shipped_weights_read_98_percent(parts, name):
    """The weights in the package read at least 353 of the 360 digits that training never saw."""
    from bakeoff.models.digits.train import correct
    from bakeoff.models.sources import build_module
    from bakeoff.models.weights import load_weights

    spec = resolve(name)
    module = build_module(spec)
    loaded = load_weights(module, ModelRequest(spec=spec, weights="pretrained"), [])

    assert 0.98 * 360 <= correct(module, parts["evaluation"], spec.input)
    assert loaded.file_sha256 == hashlib.sha256(weights_file(name).read_bytes()).hexdigest()


@pytest.mark.slow
def test_training_repeats_and_learns(parts):
    """The same seed gives the same weights, and a few rounds over some images already beat chance by far."""
    from bakeoff.models.digits.train import correct, train
    from bakeoff.models.pruning.fitting import Fit
    from bakeoff.models.weights import state_hash

    spec = resolve("digits_vgg").input
    part = (parts["training"][0][:256], parts["training"][1][:256])
    nets = [train("digits_vgg", part, spec, Fit(epochs=12, rate=4e-3)) for _ in range(2)]

    assert state_hash(nets[0]) == state_hash(nets[1])
    assert 180 < correct(nets[0], parts["evaluation"], spec)
