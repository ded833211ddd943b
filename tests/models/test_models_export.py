"""Export as the rest of bakeoff calls it: from the cache, or in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from bakeoff.models.errors import ModelFileError, StageError, UserError, WeightsError
from bakeoff.models.export import export
from bakeoff.models.inputs import make_inputs
from bakeoff.models.reference import check_probe, compute_reference
from bakeoff.models.spec import ModelRequest
from bakeoff.models.zoo import resolve

pytestmark = pytest.mark.slow  # every test starts processes that import onnx, onnxruntime or torch

_NET = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, stride=2)
        self.norm = torch.nn.BatchNorm2d(8)
        self.head = torch.nn.Linear(8, 5)

    def forward(self, x):
        return self.head(torch.relu(self.norm(self.conv(x))).mean((2, 3)))

def build():
    return Net()

def number():
    return 7

def broken():
    raise ValueError("no weights today")

class TwoIn(torch.nn.Module):
    def forward(self, a, b):
        return a + b, a * b

def two():
    return TwoIn()

class Odd(torch.nn.Module):
    def forward(self, x):
        return x * 2 if float(x.sum()) > 0 else x

def odd():
    return Odd()

class Slow(torch.nn.Module):
    def forward(self, x):
        import time
        time.sleep(60)
        return x

def slow():
    return Slow()

def crash():
    import os, signal
    os.kill(os.getpid(), signal.SIGSEGV)
"""


@pytest.fixture
def nets(tmp_path, monkeypatch):
    """A user's working folder with a module of torch nets in it."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "my_nets.py").write_text(textwrap.dedent(_NET))
    monkeypatch.chdir(folder)
    return folder


def _ask(name, weights="pretrained", **options):
    return ModelRequest(spec=resolve(name), weights=weights, **options)


def test_an_onnx_file_is_exported_once(request_for, conv_model, tmp_path):
    """The second request is served from the cache by an entry that is byte for byte the same."""
    request = request_for(conv_model(), batch=2)
    first = export(request, tmp_path / "cache")
    stamp = first.path.stat().st_mtime_ns
    second = export(request, tmp_path / "cache")

    assert first == second
    assert stamp == second.path.stat().st_mtime_ns
    assert (2, 3, 8, 8) == first.inputs[0].shape
    assert first.probe is None
    assert [] == list((tmp_path / "cache" / "tmp").iterdir())


def test_changed_external_data_is_another_model(request_for, conv_model, save_external, tmp_path):
    """The cache sees a change of the weights' file though the model file itself stays the same."""
    request = request_for(conv_model())
    save_external(conv_model(), tmp_path / "net.onnx")
    first = export(request, tmp_path / "cache")
    again = export(request, tmp_path / "cache")
    data = bytearray((tmp_path / "weights.bin").read_bytes())
    data[:4] = np.float32(3.0).tobytes()
    (tmp_path / "weights.bin").write_bytes(bytes(data))
    second = export(request, tmp_path / "cache")

    assert first == again
    assert first.sha256 != second.sha256


def test_a_damaged_entry_is_rebuilt(request_for, conv_model, tmp_path):
    """A truncated file in the cache is not believed."""
    request = request_for(conv_model())
    first = export(request, tmp_path / "cache")
    first.path.write_bytes(first.path.read_bytes()[:100])
    second = export(request, tmp_path / "cache")

    assert first == second
    onnx.checker.check_model(onnx.load(second.path))


def test_errors_cross_the_process_boundary(request_for, conv_model, tmp_path):
    """What is wrong with the file arrives as the same class and one line."""
    request = request_for(conv_model())
    Path(request.spec.reference).write_bytes(b"rubbish rubbish rubbish")
    with pytest.raises(ModelFileError, match="not an ONNX file") as caught:
        export(request, tmp_path / "cache")
    assert "\n" not in str(caught.value)
    assert [] == list((tmp_path / "cache" / "tmp").iterdir())


def test_the_parent_stays_light(tmp_path, request_for, conv_model):
    """Exporting and computing a reference import no framework into the calling process."""
    request = request_for(conv_model())
    code = f"""
import sys
from pathlib import Path
from bakeoff.models import compare, export, inputs, reference, zoo
from bakeoff.models.spec import ModelRequest
request = ModelRequest(spec=zoo.resolve({request.spec.reference!r}), weights="pretrained")
model = export.export(request, Path({str(tmp_path / "cache")!r}))
feeds = inputs.make_inputs(model.inputs, model.input, 2, 0, None)
reference.compute_reference(model, feeds, Path({str(tmp_path / "cache")!r}))
print({{"torch", "onnx", "onnxruntime", "onnxslim", "google.protobuf"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "set()" == done.stdout.strip()


def test_a_reference_is_computed_once(request_for, conv_model, tmp_path):
    """Reference outputs are cached by model and inputs, and differ with the inputs."""
    cache = tmp_path / "cache"
    model = export(request_for(conv_model()), cache)
    feeds = make_inputs(model.inputs, model.input, 3, 0, None)
    first = compute_reference(model, feeds, cache)
    again = compute_reference(model, feeds, cache)

    assert 3 == len(first.outputs)
    assert () == first.notes
    assert first.engine.startswith("onnxruntime")
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(first.outputs, again.outputs, strict=True))
    assert 1 == len(list((cache / "reference").iterdir()))
    assert check_probe(model, cache) is None


def test_degenerate_references_are_noted(request_for, conv_model, tmp_path):
    """Outputs that are NaN, or that do not depend on the input, are a weak reference and say so."""
    source = conv_model()
    source.graph.node[0].op_type = "Conv"
    for tensor in source.graph.initializer:
        if tensor.name == "weight":
            tensor.raw_data = bytes(len(tensor.raw_data))
    model = export(request_for(source), tmp_path / "cache")
    feeds = make_inputs(model.inputs, model.input, 3, 0, None)
    notes = compute_reference(model, feeds, tmp_path / "cache").notes
    assert ("output 'y' is the same for all 3 inputs: comparing it shows little",) == notes

    for tensor in source.graph.initializer:
        if tensor.name == "bias":
            tensor.raw_data = np.full(4, np.nan, np.float32).tobytes()
    model = export(request_for(source), tmp_path / "cache")
    notes = compute_reference(model, feeds, tmp_path / "cache").notes
    assert ("output 'y' of the reference holds NaN or infinite values",) == notes


def test_a_users_module_is_exported_alike_twice(nets, tmp_path):
    """Two exports, in different caches and from different folders, give the same bytes, free of paths."""
    first = export(_ask("my_nets:build", "random"), tmp_path / "one")
    second = export(_ask("my_nets:build", "random"), tmp_path / "two")
    data = first.path.read_bytes()

    assert first.sha256 == second.sha256
    assert first.provenance == second.provenance
    assert not [word for word in (str(nets), str(tmp_path), sys.prefix, "site-packages") if word.encode() in data]
    check = check_probe(first, tmp_path / "one")
    assert check is not None
    assert check.passed
    assert check.comparison.max_rel_error < 1e-5
    other = export(_ask("my_nets:build", "random", seed=1), tmp_path / "one")
    assert other.sha256 != first.sha256


def test_a_zoo_model_is_exported_alike_twice(tmp_path):
    """The same sha256 again; unique node names with their module scopes; random outputs that depend on the input."""
    request = _ask("squeezenet1_1", "random")
    first, second = export(request, tmp_path / "one"), export(request, tmp_path / "two")
    graph = onnx.load(first.path).graph

    assert first.sha256 == second.sha256
    assert len(graph.node) == len({node.name for node in graph.node})
    assert any("name_scopes" in entry.key for entry in graph.node[0].metadata_props)
    feeds = make_inputs(first.inputs, first.input, 3, 0, None)
    outputs = [row[0] for row in compute_reference(first, feeds, tmp_path / "one").outputs]
    assert np.abs(outputs[0] - outputs[1]).max() > 0.01 * np.abs(outputs[0]).max()


@pytest.mark.parametrize(
    ("name", "error", "reason"),
    [
        ("my_nets:number", UserError, "returned int; it must return a torch.nn.Module"),
        ("my_nets:broken", UserError, "ValueError: no weights today"),
        ("my_nets:absent", UserError, "AttributeError: .*absent"),
        ("no_such_nets:build", UserError, "ModuleNotFoundError: No module named 'no_such_nets'"),
        ("my_nets:two", UserError, "forward fails for inputs of shape"),
        ("my_nets:odd", StageError, "torch cannot export it"),
        ("my_nets:crash", StageError, "export was killed by SIGSEGV"),
    ],
)
def test_what_goes_wrong_with_a_users_module(nets, tmp_path, name, error, reason):
    """Each failure has its class and one line; a crash of the process is one too."""
    with pytest.raises(error, match=reason) as caught:
        export(_ask(name), tmp_path / "cache")
    if isinstance(caught.value, StageError):
        assert "export" == caught.value.stage
        assert ("unknown" if "crash" in name else "exporter") == caught.value.blame
    else:
        assert "\n" not in str(caught.value)


def test_shapes_name_the_inputs_of_a_users_module(nets, tmp_path):
    """Several inputs and outputs are told by name and order."""
    model = export(_ask("my_nets:two", shapes=(("a", (2, 5)), ("b", (2, 5)))), tmp_path / "cache")

    assert [("a", (2, 5)), ("b", (2, 5))] == [(tensor.name, tensor.shape) for tensor in model.inputs]
    assert ["output_0", "output_1"] == [tensor.name for tensor in model.outputs]
    check = check_probe(model, tmp_path / "cache")
    assert check is not None
    assert check.passed


def test_a_slow_export_is_stopped(nets, tmp_path):
    """The time limit ends the process and the model's cells, not the program."""
    with pytest.raises(StageError, match="export took longer than 15 s"):
        export(_ask("my_nets:slow"), tmp_path / "cache", timeout_s=15)
    assert [] == list((tmp_path / "cache" / "tmp").iterdir())


def _running(pid):
    """False for a process that is gone, or a zombie that nobody reaps."""
    try:
        return "Z" != Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_the_export_process_ends_with_its_parent(nets, tmp_path, ending):
    """Ctrl-C leaves no child and no half-made entry; even a killed parent leaves no child."""
    code = """
import signal, sys
from pathlib import Path
from bakeoff.models.export import export
from bakeoff.models.spec import ModelRequest
from bakeoff.models.zoo import resolve
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
export(ModelRequest(spec=resolve("my_nets:slow"), weights="pretrained"), Path(sys.argv[1]))
"""
    command = [sys.executable, "-c", code, str(tmp_path / "cache")]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE) as parent:
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
        while parent.poll() is None and not children.read_text().split():
            time.sleep(0.05)
        (child,) = children.read_text().split()
        os.kill(parent.pid, ending)
        _, errors = parent.communicate()

    while _running(child):  # a hang here is the failure
        time.sleep(0.05)
    if ending == signal.SIGINT:
        assert b"KeyboardInterrupt" in errors
        assert [] == list((tmp_path / "cache" / "tmp").iterdir())


def test_a_name_that_timm_does_not_have(tmp_path):
    """One line with timm's nearest names, however far they are."""
    for name, near in (("resnet10", "timm:resnet10t"), ("nonesuch", "timm:")):
        with pytest.raises(UserError, match=rf"^no such model: 'timm:{name}'; the nearest names in timm are {near}"):
            export(_ask(f"timm:{name}"), tmp_path / "cache")


def test_weights_that_cannot_be_had(tmp_path, monkeypatch):
    """Without network and cache: one line that says how to get them and how to do without, and never random ones."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(WeightsError, match=r"cannot be downloaded .*resnet18-.*\.pth.*--weights random") as caught:
        export(_ask("resnet18"), tmp_path / "cache")
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with pytest.raises(WeightsError, match=r"timm:resnet18: pretrained weights cannot be had .*--weights random"):
        export(_ask("timm:resnet18"), tmp_path / "cache")
    assert not (tmp_path / "cache" / "onnx").exists()


def test_real_weights_classify_a_real_photograph(tmp_path):
    """efficientnet_lite0, through export and our resize rule, sees a cat in a cat and a palace in a palace."""
    import torchvision
    from PIL import Image
    from skimage.data import chelsea
    from sklearn.datasets import load_sample_images

    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(chelsea()).save(photos / "a.png")
    Image.fromarray(load_sample_images().images[0]).save(photos / "b.png")
    request = _ask("efficientnet_lite0")
    model = export(request, tmp_path / "cache")
    feeds = make_inputs(model.inputs, model.input, 2, 0, photos)
    outputs = compute_reference(model, feeds, tmp_path / "cache").outputs
    labels = torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1.meta["categories"]
    cat, palace = (labels[int(row[0].argmax())] for row in outputs)

    assert "cat" in cat or cat == "tabby"
    assert "palace" == palace
    assert request.spec.default_weights == "pretrained" == model.provenance["weights"]
    check = check_probe(model, tmp_path / "cache")
    assert check is not None
    assert check.passed
    json.dumps(model.provenance)
