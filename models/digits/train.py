"""Trains the digits zoo: `python -m bakeoff.models.digits.train [NAME...]` writes `weights/NAME.safetensors`.

One thread and fixed seeds, so that a second run on the same machine and libraries writes the same bytes. A minute or
two for each net; each is scored once, at the end, on the evaluation part, which training never sees.
"""

from __future__ import annotations

import sys
from typing import Any

from ..errors import UnknownNameError
from ..pruning.fitting import Fit, fit
from ..spec import InputSpec
from ..zoo import resolve
from .nets import NETS, build_net, weights_file
from .split import Part, digit_inputs, digits_split

__all__ = ["correct", "main", "train"]

_SEED = 0
_SETTINGS = Fit(epochs=60, rate=4e-3, warm_up=0.2, smoothing=0.05)


def train(name: str, part: Part, spec: InputSpec, settings: Fit = _SETTINGS) -> Any:
    """A net called *name*, trained on *part* from seeded initial weights, in evaluation mode."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(_SEED)
    module = build_net(name)
    images = torch.from_numpy(digit_inputs(part[0], spec))
    fit(module, images, torch.from_numpy(part[1]), settings, seed=_SEED)
    return module


def correct(module: Any, part: Part, spec: InputSpec) -> int:
    """How many digits of *part* the net reads right."""
    import torch

    with torch.no_grad():
        answers = module(torch.from_numpy(digit_inputs(part[0], spec))).argmax(1).numpy()
    return int((answers == part[1]).sum())


def main(names: list[str]) -> int:
    """Train the nets *names* (all if empty), write their weights and print how well each reads the evaluation part."""
    from safetensors.torch import save_file

    parts = digits_split()
    for name in names or list(NETS):
        if name not in NETS:
            raise UnknownNameError("model", name, NETS)
        spec = resolve(name).input
        assert spec is not None
        module = train(name, parts["training"], spec)
        path = weights_file(name)
        path.parent.mkdir(exist_ok=True)
        state = {key: tensor for key, tensor in module.state_dict().items() if not key.endswith("num_batches_tracked")}
        save_file(state, path)
        path.chmod(0o644)  # the library writes files for its owner alone
        right, count = correct(module, parts["evaluation"], spec), len(parts["evaluation"][1])
        print(f"{name}: {right} of {count} right ({right / count:.2%}), {path.stat().st_size} bytes", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
