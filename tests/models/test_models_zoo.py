"""The zoo and how names resolve."""

import subprocess
import sys

import pytest
from bakeoff.models.errors import ModelFileError, UnknownNameError, UserError
from bakeoff.models.zoo import TORCHVISION_WEIGHTS, names, resolve


def test_every_name_resolves_to_itself():
    """Names are unique, and each entry knows its own."""
    assert len(set(names())) == len(names()) == 20
    assert list(names()) == [resolve(name).name for name in names()]


def test_light_alternatives_lead_somewhere():
    """A lighter alternative is in the zoo, and following them ends."""
    for name in names():
        chain = [name]
        while (light := resolve(chain[-1]).light_alternative) is not None:
            assert light in names()
            assert light not in chain
            chain.append(light)


def test_only_packaged_weights_are_the_default():
    """Without a word from the user, weights that need the network are random ones."""
    offline = {name for name in names() if resolve(name).default_weights == "pretrained"}
    digits = {f"digits_{kind}" for kind in ("resnet", "mobilenet", "shufflenet", "vgg", "efficientnet")}
    assert {"efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", "rapidocr_rec"} | digits == offline


def test_efficientnet_lite_scales_pixels_as_trained():
    """(x * 255 - 127) / 128 for pixels in 0..1."""
    spec = resolve("efficientnet_lite1").input
    assert spec is not None
    assert (1, 3, 240, 240) == spec.shape(1)
    assert pytest.approx((200 - 127) / 128) == (200 / 255 - spec.mean[0]) / spec.std[0]
    assert ("bicubic", 272, 240) == (spec.resize.interpolation, spec.resize.resize, spec.resize.crop)


@pytest.mark.parametrize(
    ("name", "source", "reference"),
    [
        ("resnet18", "torchvision", "resnet18"),
        ("timm:resnet18", "timm", "resnet18"),
        ("timm:vit_tiny_patch16_224.augreg_in21k", "timm", "vit_tiny_patch16_224.augreg_in21k"),
        ("nets.mine:build", "module", "nets.mine:build"),
        ("nets:Holder.build", "module", "nets:Holder.build"),
    ],
)
def test_kinds_of_names(name, source, reference):
    """Zoo names, timm's and a user's own function are told apart by their form."""
    spec = resolve(name)
    assert (name, source, reference) == (spec.name, spec.source, spec.reference)


def test_a_path_is_an_onnx_file(tmp_path, monkeypatch):
    """A path that ends in .onnx is taken from the working folder and remembered in full."""
    (tmp_path / "resnet18.onnx").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    spec = resolve("resnet18.onnx")

    assert "resnet18.onnx" == spec.name
    assert str(tmp_path / "resnet18.onnx") == spec.reference
    assert spec.input is None


@pytest.mark.parametrize("name", ["nothing.onnx", "a/b/c.ONNX"])
def test_a_missing_file_is_named(name):
    """No such file: says which."""
    with pytest.raises(ModelFileError, match="no such file"):
        resolve(name)


def test_a_folder_is_no_model(tmp_path):
    """A directory called like a model is refused."""
    (tmp_path / "x.onnx").mkdir()
    with pytest.raises(ModelFileError, match="not a regular file"):
        resolve(str(tmp_path / "x.onnx"))


def test_a_checkpoint_is_no_model(tmp_path):
    """Another existing file says what to do with it."""
    (tmp_path / "x.pth").write_bytes(b"x")
    with pytest.raises(ModelFileError, match="export it to ONNX"):
        resolve(str(tmp_path / "x.pth"))


def test_near_names_are_suggested():
    """A slip of the pen is met with the name that was meant."""
    with pytest.raises(UnknownNameError, match=r"'resnet81'; did you mean .*resnet18"):
        resolve("resnet81")


@pytest.mark.parametrize("name", ["", "timm:", "timm:a b", "a:b:c", "1a:b", "a b:c", ":f", "m:"])
def test_nonsense_is_a_user_error(name):
    """Whatever is typed, it is one line for the user."""
    with pytest.raises(UserError) as caught:
        resolve(name)
    assert "\n" not in str(caught.value)


def test_looking_up_models_imports_nothing_heavy():
    """Neither numpy nor any framework is needed to list the zoo."""
    code = "import sys, bakeoff.models.zoo as z; z.names(); print({'numpy', 'torch', 'onnx', 'PIL'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "set()" == done.stdout.strip()


@pytest.mark.slow
def test_the_table_agrees_with_torchvisions_metadata():
    """Size, mean, deviation and resize rule of each torchvision entry are those of the weights it names."""
    import torchvision

    for name, weights_name in TORCHVISION_WEIGHTS.items():
        spec = resolve(name).input
        assert spec is not None
        transform = torchvision.models.get_weight(weights_name).transforms()
        assert [spec.resize.resize] == transform.resize_size, name
        assert [spec.resize.crop] == [spec.height] == [spec.width] == transform.crop_size, name
        assert (list(spec.mean), list(spec.std)) == (transform.mean, transform.std), name
        assert spec.resize.interpolation == transform.interpolation.value, name
