"""Inputs from a seed or from photographs."""

import numpy as np
import pytest
from bakeoff.models.errors import UserError
from bakeoff.models.inputs import make_inputs, natural_image
from bakeoff.models.spec import InputSpec, ResizeRule, TensorSpec
from bakeoff.models.zoo import resolve
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

_IMAGE = TensorSpec(name="input", shape=(2, 3, 32, 48), dtype="float32")


def test_inputs_differ_and_repeat():
    """Each input differs from the others and within its batch; the same seed gives the same bytes."""
    first = make_inputs([_IMAGE], None, 4, 7, None)
    again = make_inputs([_IMAGE], None, 4, 7, None)
    images = [image for (batch,) in first for image in batch]

    assert all(np.array_equal(a, b) for (a,), (b,) in zip(first, again, strict=True))
    assert 8 == len({image.tobytes() for image in images})
    assert not np.array_equal(first[0][0], make_inputs([_IMAGE], None, 1, 8, None)[0][0])


def test_images_look_like_the_spec_says():
    """Random images span the pixel range, seen through mean and deviation."""
    spec = resolve("efficientnet_lite0").input
    tensor = TensorSpec(name="input", shape=(4, 3, 224, 224), dtype="float32")
    (array,) = make_inputs([tensor], spec, 1, 0, None)[0]

    assert np.float32 == array.dtype
    assert array.flags.c_contiguous
    assert -127 / 128 <= array.min() < -0.3
    assert 0.3 < array.max() <= 1.0 + 1e-6


def test_spectrum_falls_like_a_photographs():
    """Low frequencies carry more power than high ones, by about the square of their distance."""
    image = natural_image(np.random.default_rng(0), 1, 128, 128)[0]
    power = np.abs(np.fft.rfft2(image - image.mean())) ** 2
    radius = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.rfftfreq(128)[None, :])
    low = power[(radius > 0.02) & (radius < 0.05)].mean()
    high = power[(radius > 0.2) & (radius < 0.5)].mean()

    assert low > 20 * high


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(1, 5), min_size=0, max_size=5).map(tuple),
    st.sampled_from(["float32", "float16", "float64", "int8", "uint8", "int32", "int64", "bool"]),
    st.integers(0, 2**31),
)
def test_any_tensor_is_filled(shape, dtype, seed):
    """Every shape and dtype gives a finite array of just that shape and dtype."""
    (array,) = make_inputs([TensorSpec(name="x", shape=shape, dtype=dtype)], None, 1, seed, None)[0]

    assert (shape, dtype) == (array.shape, array.dtype.name)
    assert np.isfinite(array.astype(np.float64)).all()
    if dtype in ("int32", "int64"):
        assert set(np.unique(array)) <= {0, 1}


def test_photographs_follow_the_resize_rule(tmp_path):
    """The shorter side is resized, the centre cropped, pixels scaled and normalised; files are taken by name."""
    picture = np.zeros((40, 80, 3), dtype=np.uint8)
    picture[:, 40:] = 255
    Image.fromarray(picture).save(tmp_path / "b.png")
    Image.new("RGB", (30, 30), (255, 0, 0)).save(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("no image")
    spec = InputSpec(height=16, width=16, mean=(0.5,) * 3, std=(0.5,) * 3, resize=ResizeRule(resize=20, crop=16))
    tensor = TensorSpec(name="input", shape=(1, 3, 16, 16), dtype="float32")
    red, halves, once_more = (feeds[0][0] for feeds in make_inputs([tensor], spec, 3, 0, tmp_path))

    assert ([1.0] * 3, [-1.0] * 3) == (red[0, 0, :3].tolist(), red[1, 0, :3].tolist())
    assert -1.0 == halves[0, 8, 0]
    assert 1.0 == halves[0, 8, 15]
    assert np.array_equal(red, once_more)


def test_grey_models_get_grey_photographs(tmp_path):
    """One channel in, one channel out."""
    Image.new("RGB", (8, 8), (10, 10, 10)).save(tmp_path / "a.png")
    tensor = TensorSpec(name="input", shape=(1, 1, 8, 8), dtype="float32")
    (array,) = make_inputs([tensor], None, 1, 0, tmp_path)[0]
    assert (1, 1, 8, 8) == array.shape


def test_bad_folders_and_files_are_named(tmp_path):
    """Missing, empty and unreadable: one line with the path."""
    with pytest.raises(UserError, match="no such folder"):
        make_inputs([_IMAGE], None, 1, 0, tmp_path / "missing")
    with pytest.raises(UserError, match="holds no image"):
        make_inputs([_IMAGE], None, 1, 0, tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff not a jpeg")
    with pytest.raises(UserError, match=r"broken\.jpg: cannot be read as an image"):
        make_inputs([_IMAGE], None, 1, 0, tmp_path)


def test_photographs_for_a_model_without_images_are_refused(tmp_path):
    """A folder of images that nothing would read is a mistake."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="no image input"):
        make_inputs([TensorSpec(name="ids", shape=(1, 8), dtype="int64")], None, 1, 0, tmp_path)
