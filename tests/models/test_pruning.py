"""Pruning of torch modules: what is cut or masked, what is learnt anew, and what is written down of it."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from bakeoff.models.digits.split import digit_inputs, digits_split
from bakeoff.models.errors import UnsupportedError, UserError
from bakeoff.models.export import export
from bakeoff.models.spec import ModelRequest
from bakeoff.models.steps.masks import lamp_masks
from bakeoff.models.variants import parse_variant
from bakeoff.models.zoo import resolve

pytestmark = pytest.mark.slow  # nearly every test imports torch

_SHIFTED = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3)
        self.shift = torch.nn.Parameter(torch.randn(1, 8, 1, 1))

    def forward(self, x):
        return torch.relu(self.conv(x) + self.shift)

def build():
    return Net()
"""


@pytest.fixture(autouse=True)
def one_thread():
    """As in the export process."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """The training part of the digits as the zoo's nets take it."""
    spec = resolve("digits_resnet").input
    images, labels = digits_split()["training"]
    path = tmp_path_factory.mktemp("data") / "training.npz"
    np.savez(path, images=digit_inputs(images, spec), labels=labels)
    return path


def _net(name):
    from bakeoff.models.sources import build_module
    from bakeoff.models.weights import load_weights

    spec = resolve(name)
    module = build_module(spec)
    load_weights(module, ModelRequest(spec=spec, weights="pretrained"), [])
    return module


def _prune(module, variant, training=None, random=False, shape=(1, 1, 32, 32), settling=None):
    import torch
    from bakeoff.models.pruning import prune

    steps = parse_variant(variant).pruning
    return prune(module, steps, [torch.randn(shape)], training=training, settling=settling, seed=0, random=random)


def _silence(layers, share=0.5):
    """Zero all that makes the first channels of *layers*: convolutions and norms that follow one another."""
    import torch

    with torch.no_grad():
        for layer in layers:
            dead = int(layer.weight.shape[0] * share)
            layer.weight[:dead] = 0.0
            if layer.bias is not None:
                layer.bias[:dead] = 0.0


def _zeros(module):
    from bakeoff.models.pruning.counts import weights_of

    weights = weights_of(module).values()
    return sum(int((w == 0).sum()) for w in weights) / sum(w.numel() for w in weights)


def test_dead_channels_are_the_ones_that_go():
    """Where half the channels of a net do nothing, cutting half changes nothing but the sizes, batch norms included."""
    import torch

    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3),
        torch.nn.BatchNorm2d(16),
        torch.nn.ReLU(),
        torch.nn.Conv2d(16, 16, 3, groups=16),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(16, 24),
        torch.nn.ReLU(),
        torch.nn.Linear(24, 10),
    ).eval()
    _silence([net[0], net[1], net[3], net[7]])
    images = torch.randn(4, 1, 32, 32)
    pruned, (record,) = _prune(net, "channel50")

    assert ((8, 1, 3, 3), (8, 1, 3, 3), (12, 8), (10, 12)) == tuple(
        tuple(pruned[place].weight.shape) for place in (0, 3, 7, 9)
    )
    with torch.no_grad():
        torch.testing.assert_close(net(images), pruned(images))
    assert "56 -> 28" == record.facts["channels"]
    assert 16 == net[0].weight.shape[0]


def test_the_shuffled_net_is_cut_inside_its_branches():
    """Channel shuffle cannot be followed: branches are cut inside, where dead channels go, and the record says why."""
    import torch

    net = _net("digits_shufflenet")
    for unit in net[1:6]:
        _silence([unit.branch2[0], unit.branch2[1], unit.branch2[3], unit.branch2[4]])
    _silence([net[6][0], net[6][1]])
    images = torch.randn(4, 1, 32, 32)
    pruned, (record,) = _prune(net, "channel50")

    with torch.no_grad():
        torch.testing.assert_close(net(images), pruned(images), rtol=1e-4, atol=1e-4)
    assert [16, 32, 96] == [
        pruned[1].branch2[0].out_channels,
        pruned[4].branch2[0].out_channels,
        pruned[6][0].out_channels,
    ]
    assert "ZeroDivisionError" in record.notes[0]
    assert "not 50%" in record.notes[1]


@pytest.mark.parametrize("name", ["digits_resnet", "digits_mobilenet", "digits_vgg", "digits_efficientnet"])
def test_half_the_channels_are_half_the_channels(name):
    """Every layer but the last loses half; about a quarter of parameters and of multiplications is left."""
    pruned, (record,) = _prune(_net(name), "channel50:ft=0", random=True)
    before, after = map(int, record.facts["channels"].split(" -> "))
    parameters = [int(count) for count in record.facts["parameters"].split(" -> ")]

    assert before == 2 * after
    assert parameters[1] == sum(parameter.numel() for parameter in pruned.parameters())
    assert 0.2 < parameters[1] / parameters[0] < 0.35
    assert () == record.notes
    assert {"torch", "torch-pruning"} == set(record.versions)
    assert record.input_sha256 != record.output_sha256


def test_layers_that_make_the_output_stay():
    """A user's net with a map and a vector for output keeps the shapes of both."""
    import torch

    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = torch.nn.Conv2d(1, 16, 3, padding=1)
            self.map = torch.nn.Conv2d(16, 4, 1)
            self.head = torch.nn.Linear(16, 12)

        def forward(self, x):
            x = torch.relu(self.stem(x))
            return {"map": self.map(x), "vector": torch.sigmoid(self.head(x.mean((2, 3))))}

    pruned, _ = _prune(Two().eval(), "channel50:ft=0")
    made = pruned(torch.randn(1, 1, 32, 32))

    assert 8 == pruned.stem.out_channels
    assert [(1, 4, 32, 32), (1, 12)] == [tuple(made["map"].shape), tuple(made["vector"].shape)]


@pytest.mark.parametrize(("variant", "words"), [("channel50", "no channel can be cut"), ("sparse2:4", "in fours")])
def test_a_step_that_does_not_apply_says_why(variant, words):
    """One layer alone has no channels to lose, and five inputs are no fours."""
    import torch

    with pytest.raises(UnsupportedError, match=words):
        _prune(torch.nn.Linear(5, 3).eval(), variant, shape=(1, 5))


def test_masks_leave_shapes_and_stay_through_training(training):
    """80% of the weights are zero, and are still zero after learning with them."""
    net = _net("digits_mobilenet")
    pruned, (record,) = _prune(net, "sparse80:ft=1", training)

    assert pytest.approx(0.8, abs=1e-4) == _zeros(pruned)
    assert "0.0% -> 80.0%" == record.facts["zeros"]
    assert [p.shape for p in net.parameters()] == [p.shape for p in pruned.parameters()]
    assert ("1", "1237") == (record.parameters["fine-tuning epochs"], record.parameters["fine-tuning images"])
    assert _zeros(net) == 0.0


def test_two_of_four_and_then_channels(training):
    """Steps add up: the zeros of the first stay through the fine-tuning of the second, each with a record."""
    import torch

    pruned, records = _prune(_net("digits_resnet"), "sparse2:4:ft=0+channel50:ft=1", training)
    kept = pruned[1].conv1.weight != 0

    assert ["sparse2:4:ft=0", "channel50:ft=1"] == [record.step for record in records]
    assert records[0].output_sha256 == records[1].input_sha256
    assert torch.count_nonzero(kept) < 0.75 * kept.numel()
    assert "0.0.weight" in records[0].notes[0]


def test_masks_rank_layers_by_their_own_scale():
    """A layer times a thousand is masked as it was; of all weights together the share is exact."""
    rng = np.random.default_rng(0)
    weights = {"a": rng.standard_normal((8, 4)), "b": rng.standard_normal((3, 5, 2))}
    masks = lamp_masks(weights, 40)
    scaled = lamp_masks({"a": weights["a"] * 1000, "b": weights["b"]}, 40)

    assert round(62 * 0.4) == sum(int((~mask).sum()) for mask in masks.values())
    assert all((masks[name] == scaled[name]).all() and masks[name].shape == weights[name].shape for name in masks)
    assert np.abs(weights["a"][~masks["a"]]).max() < np.abs(weights["a"][masks["a"]]).min()


def test_half_the_channels_after_fine_tuning_cost_less_than_a_point(training):
    """The bar: without learning anew the net is lost, with it within 1 point of the whole one."""
    from bakeoff.models.digits.train import correct

    spec, part = resolve("digits_mobilenet").input, digits_split()["evaluation"]
    net = _net("digits_mobilenet")
    pruned, (record,) = _prune(net, "channel50", training)
    raw, _ = _prune(net, "channel50:ft=0", training)

    assert correct(net, part, spec) - 3.6 <= correct(pruned, part, spec)
    assert correct(raw, part, spec) < 180
    assert "distillation" in " ".join(record.parameters)


@pytest.mark.parametrize(
    ("name", "variant"), [("digits_resnet", "channel20:ft=0"), ("digits_mobilenet", "sparse60:ft=0")]
)
def test_batch_norms_settle_without_fine_tuning(training, name, variant):
    """Statistics of the whole model make a lightly pruned one guess; its own, taken without labels, make it read."""
    import torch
    from bakeoff.models.digits.train import correct

    spec, part, net = resolve(name).input, digits_split()["evaluation"], _net(name)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    stale, (kept,) = _prune(net, variant)
    settled, (record,) = _prune(net, variant, settling=training)
    _, (same,) = _prune(net, variant, settling=training)
    norms = [layer for layer in settled.modules() if isinstance(layer, torch.nn.BatchNorm2d)]

    assert correct(stale, part, spec) + 30 < correct(settled, part, spec)
    assert all(torch.equal(left, right) for left, right in zip(stale.parameters(), settled.parameters(), strict=True))
    assert (True, False) == (record.output_sha256 == same.output_sha256, record.output_sha256 == kept.output_sha256)
    assert "statistics taken anew from 1237 images, without labels" == record.parameters["batch norms"]
    assert ("none", ()) == (record.parameters["fine-tuning"], record.notes)
    assert {(0.1, False)} == {(norm.momentum, norm.training) for norm in norms}
    assert "batch norms keep the statistics of the whole model" in kept.notes[-1]
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


def test_images_that_batch_norms_cannot_settle_on(tmp_path):
    """Too few leave the net as it is, and wrong ones are named; a net without batch norms needs none."""
    import torch

    for name, shape in (("few", (15, 1, 32, 32)), ("wide", (20, 3, 32, 32))):
        np.savez(tmp_path / f"{name}.npz", images=np.zeros(shape, np.float32))
    net = _net("digits_resnet")
    _, (few,) = _prune(net, "sparse50:ft=0", settling=tmp_path / "few.npz")
    _, (none,) = _prune(net, "sparse50:ft=0")
    _, (bare,) = _prune(torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.Conv2d(8, 8, 3)), "sparse50:ft=0")
    _, (random,) = _prune(net, "sparse50:ft=0", settling=tmp_path / "wide.npz", random=True)

    assert few.output_sha256 == none.output_sha256 == random.output_sha256
    assert "as they were" == few.parameters["batch norms"]
    assert "batch norms" not in {*bare.parameters, *random.parameters}
    assert () == bare.notes == random.notes
    with pytest.raises(UserError, match=r"wide\.npz: images are 20x3x32x32 float32, the model takes Nx1x32x32"):
        _prune(net, "sparse50:ft=0", settling=tmp_path / "wide.npz")


def test_random_weights_learn_nothing(training):
    """There is nothing to restore in them, and the record says that nothing was."""
    _, (record,) = _prune(_net("digits_vgg"), "sparse50", training, random=True)

    assert "none" == record.parameters["fine-tuning"]
    assert "not fine-tuned" in record.notes[0]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"images": np.zeros((4, 3, 32, 32), np.float32)}, "the model takes Nx1x32x32 float32"),
        ({"images": np.zeros((4, 1, 32, 32), np.float64)}, "float64"),
        ({"labels": np.array([0, 1, 2, 10])}, "0 to 9"),
        ({"labels": np.array([0, 1])}, "for each image"),
    ],
)
def test_training_images_that_do_not_fit(tmp_path, changed, words):
    """One line names the file and what is wrong."""
    path = tmp_path / "odd.npz"
    np.savez(path, **{"images": np.zeros((4, 1, 32, 32), np.float32), "labels": np.arange(4), **changed})
    with pytest.raises(UserError, match=words) as caught:
        _prune(_net("digits_vgg"), "sparse50", path)
    assert str(path) in str(caught.value)


def test_training_images_without_labels(tmp_path):
    """Photographs that nobody named cannot be learnt from."""
    np.savez(tmp_path / "bare.npz", images=np.zeros((4, 1, 32, 32), np.float32))
    with pytest.raises(UserError, match="needs arrays called images and labels"):
        _prune(_net("digits_vgg"), "sparse50", tmp_path / "bare.npz")


def test_two_builds_are_the_same_file(training, tmp_path):
    """Pruned, fine-tuned and exported in two processes: the same bytes, the record beside them, and a true probe."""
    asked = ModelRequest(
        spec=resolve("digits_vgg"), weights="pretrained", pruning=("channel50:ft=2",), training=training
    )
    first, second = (export(asked, tmp_path / name) for name in ("a", "b"))
    (record,) = first.records

    assert first.sha256 == second.sha256
    assert "channel50:ft=2" == record.step == first.provenance["pruning"]
    assert "2" == record.parameters["fine-tuning epochs"]
    assert first.parameters < 100_890 / 3
    with np.load(first.probe) as probe:
        from bakeoff.models.engine import run_graph

        ((output,),) = run_graph(first.path, [(probe["input_0"],)])
        np.testing.assert_allclose(output, probe["output_0"], rtol=1e-3, atol=1e-4)


def test_a_raw_file_is_not_cleaned_up(request_for, conv_model, tmp_path):
    """The addition that the clean-up folds into the convolution before it is still there."""
    asked = request_for(conv_model())
    clean, raw = (export(replace(asked, simplify=simplify), tmp_path / "cache") for simplify in (True, False))

    assert ["Conv", "Relu"] == [node.op_type for node in onnx.load(clean.path).graph.node]
    assert ["Conv", "Add", "Relu"] == [node.op_type for node in onnx.load(raw.path).graph.node]
    assert "as exported" == raw.provenance["graph"]
    assert "graph" not in clean.provenance


def test_a_raw_export_is_not_cleaned_up(tmp_path, monkeypatch):
    """Nor is a torch module's graph, which is named, checked and stamped all the same."""
    (tmp_path / "shifted_net.py").write_text(_SHIFTED)
    monkeypatch.chdir(tmp_path)
    asked = ModelRequest(spec=resolve("shifted_net:build"), weights="pretrained")
    clean, raw = (export(replace(asked, simplify=simplify), tmp_path / "cache") for simplify in (True, False))
    kinds = [[node.op_type for node in onnx.load(model.path).graph.node] for model in (clean, raw)]

    assert (["Conv", "Relu"], ["Conv", "Add", "Relu"]) == tuple(kinds)
    assert "as exported" == raw.provenance["graph"]
    assert () == clean.records


def test_a_file_has_no_channels_to_cut(request_for, conv_model, tmp_path):
    """An ONNX file has lost what tells which layers share a channel."""
    asked = replace(request_for(conv_model()), pruning=("channel50",))
    with pytest.raises(UnsupportedError, match=r"structured pruning needs the torch module; net\.onnx is an ONNX file"):
        export(asked, tmp_path / "cache")
