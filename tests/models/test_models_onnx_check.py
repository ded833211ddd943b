"""A user's ONNX file is read with suspicion."""

import os

import onnx
import pytest
from bakeoff.models.errors import ModelFileError
from bakeoff.models.onnx_check import external_files, read_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04 zip", "a zip archive"),
        (b"\x1c\x00\x00\x00TFL3", "a TensorFlow Lite model"),
        (b"\x89HDF\r\n", "an HDF5 file"),
        (b"<!DOCTYPE html>", "a failed download"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\x00" * 64, "truncated or not an ONNX file"),
        (b"hello world, this is no model", "truncated or not an ONNX file"),
        (b"\x08\x0a", "it holds no graph"),
    ],
)
def test_what_is_not_onnx_is_told_apart(tmp_path, data, reason):
    """Empty files, other formats and rubbish each say what they are."""
    path = tmp_path / "net.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match=reason) as caught:
        read_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders(tmp_path):
    """A path without a file behind it."""
    with pytest.raises(ModelFileError, match="no such file"):
        read_model(tmp_path / "net.onnx")
    with pytest.raises(ModelFileError, match="not a regular file"):
        read_model(tmp_path)
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(ModelFileError, match="not a regular file"):
        read_model(tmp_path / "pipe.onnx")


def test_a_huge_file_is_refused_unread(tmp_path):
    """The size is looked at before the bytes are."""
    path = tmp_path / "net.onnx"
    with path.open("wb") as file:
        file.truncate(2**31)
    with pytest.raises(ModelFileError, match="larger than 2 GB"):
        read_model(path)


def test_a_truncated_file_never_passes(tmp_path, conv_model):
    """Cut at any byte, the file is refused in one line, whatever is left of it."""
    path, data = tmp_path / "net.onnx", conv_model().SerializeToString()

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.integers(0, len(data) - 1))
    def cut(length):
        path.write_bytes(data[:length])
        with pytest.raises(ModelFileError) as caught:
            read_model(path)
        assert "\n" not in str(caught.value)

    cut()


def test_an_invalid_graph_is_refused(tmp_path, conv_model):
    """What the checker says is passed on in one line."""
    model = conv_model()
    model.graph.node[1].input[0] = "nowhere"
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(ModelFileError, match=r"is not valid ONNX.*nowhere") as caught:
        read_model(tmp_path / "net.onnx")
    assert "\n" not in str(caught.value)


def test_external_data_is_embedded(tmp_path, conv_model, save_external):
    """Weights beside the model are read into it, and their file is named."""
    plain = conv_model()
    save_external(conv_model(), tmp_path / "net.onnx")
    model = read_model(tmp_path / "net.onnx")

    assert ("weights.bin",) == external_files(tmp_path / "net.onnx")
    assert [t.raw_data for t in plain.graph.initializer] == [t.raw_data for t in model.graph.initializer]
    assert not any(onnx.external_data_helper.uses_external_data(t) for t in model.graph.initializer)


def _point_to(path, location):
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("location", ["../weights.bin", "sub/../../weights.bin", "", "..\\weights.bin"])
def test_external_data_stays_in_its_folder(tmp_path, conv_model, save_external, location):
    """No way out of the model's folder, even where a file is there."""
    folder = tmp_path / "in"
    folder.mkdir()
    save_external(conv_model(), folder / "net.onnx")
    (tmp_path / "weights.bin").write_bytes((folder / "weights.bin").read_bytes())
    _point_to(folder / "net.onnx", location)
    with pytest.raises(ModelFileError, match="lies outside the model's folder"):
        read_model(folder / "net.onnx")


def test_absolute_external_data_is_refused(tmp_path, conv_model, save_external):
    """An absolute path is refused even if it leads into the folder."""
    save_external(conv_model(), tmp_path / "net.onnx")
    _point_to(tmp_path / "net.onnx", str(tmp_path / "weights.bin"))
    with pytest.raises(ModelFileError, match="lies outside the model's folder"):
        read_model(tmp_path / "net.onnx")


def test_links_out_of_the_folder_are_refused(tmp_path, conv_model, save_external):
    """A symbolic link is judged by where it leads."""
    folder = tmp_path / "in"
    folder.mkdir()
    save_external(conv_model(), folder / "net.onnx")
    (folder / "weights.bin").rename(tmp_path / "secret")
    (folder / "weights.bin").symlink_to(tmp_path / "secret")
    with pytest.raises(ModelFileError, match="link out of the model's folder"):
        read_model(folder / "net.onnx")


def test_missing_and_truncated_external_data(tmp_path, conv_model, save_external):
    """The tensor and the file are named."""
    save_external(conv_model(), tmp_path / "net.onnx")
    data = (tmp_path / "weights.bin").read_bytes()
    (tmp_path / "weights.bin").write_bytes(data[:-1])
    with pytest.raises(ModelFileError, match=r"'weights\.bin' of tensor '\w+' is truncated"):
        read_model(tmp_path / "net.onnx")
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ModelFileError, match=r"'weights\.bin' of tensor '\w+' is missing"):
        read_model(tmp_path / "net.onnx")
    (tmp_path / "weights.bin").mkdir()
    with pytest.raises(ModelFileError, match="not a regular file"):
        read_model(tmp_path / "net.onnx")


@pytest.mark.parametrize(("key", "value"), [("length", "1"), ("length", "x"), ("offset", "-4")])
def test_lying_external_data_is_refused(tmp_path, conv_model, save_external, key, value):
    """Offsets and lengths have to agree with shapes."""
    path = tmp_path / "net.onnx"
    save_external(conv_model(), path)
    model = onnx.load(path, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == key:
            entry.value = value
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match="external data"):
        read_model(path)
