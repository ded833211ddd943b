"""Bars over variants: what int8 and pruning bring, what they cost, and that they come out the same each time."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from bakeoff.harness.live import LiveCell
from bakeoff.harness.subjects import variant_request
from bakeoff.harness.suite import parse_suite
from bakeoff.models.cache import default_cache
from bakeoff.models.feeds import Outputs
from bakeoff.models.metrics.fidelity import fidelity
from bakeoff.models.reference import load_arrays
from bakeoff.models.variant_build import build_variant
from bakeoff.models.variant_diff import diff_variants
from bakeoff.models.zoo import resolve
from bakeoff.reports import prices
from lab import bench

Say = Callable[[str, float, str, bool], bool]
DIGITS = ("digits_resnet", "digits_mobilenet", "digits_shufflenet", "digits_vgg", "digits_efficientnet")
SHARED = ("onnxruntime", "openvino", "inductor")
"""The backends that run one and the same QDQ file in integers."""
ROUNDS = 30


def speed(say: Say) -> bool:
    """resnet50, 1 thread, int8 and channel50+int8 against torch eager in fp32, all interleaved in one group."""
    variants = ("fp32", "int8", "channel50+int8")
    asked = [("eager", "fp32"), *((name, variant) for variant in variants[1:] for name in SHARED)]
    with bench("resnet50", ("eager", *SHARED), (1,), variants=variants) as made, ExitStack() as stack:
        cells = {key: made.load(key[0], 1, stack, key[1]) for key in asked}
        for turn in range(ROUNDS):
            for key in asked if turn % 2 == 0 else reversed(asked):
                cells[key].take_block()
        median = {key: cell.summary().median for key, cell in cells.items()}
    gain = {key: median["eager", "fp32"] / value for key, value in median.items()}
    for (name, variant), value in gain.items():
        print(f"        resnet50@{variant} in {name}: {value:.2f} times torch eager in fp32")
    best = max(gain["onnxruntime", "int8"], gain["openvino", "int8"])
    met = say("resnet50@int8 over eager, the better of onnxruntime and openvino", best, "2.6 or more", best >= 2.6)
    inductor = gain["inductor", "int8"]
    met &= say("resnet50@int8 over eager, inductor", inductor, "2 or more", inductor >= 2.0)
    best = max(gain[name, "channel50+int8"] for name in SHARED)
    return met & say("resnet50@channel50+int8 over eager, the best", best, "9 or more", best >= 9.0)


def agreement(say: Say) -> bool:
    """One QDQ file in three runtimes: the same first class on at least 99% of the evaluation images."""
    met = True
    for model in (*DIGITS, "efficientnet_lite0"):
        with bench(model, SHARED, (1,), weights="pretrained", variants=("int8",)) as made, ExitStack() as stack:
            outputs = {name: _outputs(made.load(name, 1, stack, "int8"), made.scratch) for name in SHARED}
        for other in SHARED[1:]:
            found = fidelity(outputs[other], outputs[SHARED[0]], classifier=True)
            share = found.top1_agreement or 0.0
            bar = f"{model}@int8, {SHARED[0]} and {other} agree on {found.n} images"
            if found.widest_flip is not None:
                bar += f" (else its first two are within {found.widest_flip:.2g}; {found.snr_db:.1f} dB)"
            met &= say(bar, share, "0.99 or more", share >= 0.99)
    return met


def _outputs(cell: LiveCell, scratch: Path) -> Outputs:
    evaluation = cell.prepared.evaluation
    if evaluation is None:
        raise RuntimeError(f"{cell.cell.key} has nothing to be evaluated on")
    out = scratch / "outputs.npz"
    cell.worker.go()
    cell.worker.ask(
        {"op": "evaluate", "path": str(evaluation.data.path), "out": str(out), "limit_s": 300.0}, limit_s=600
    )
    cell.worker.stop()
    return load_arrays(out, 1)


def repair(say: Say) -> bool:
    """What `bakeoff diff` proposes for efficientnet_lite0@int8, in every runtime: within a point of fp32."""
    suite = parse_suite('name = "bench"\n[matrix]\nmodels = ["efficientnet_lite0"]\n', "bench")
    spec = resolve("efficientnet_lite0")
    pair = [variant_request(spec, suite, spec.name, variant, 1) for variant in ("fp32", "int8")]
    found = diff_variants(*pair, names=("fp32", "int8"), images=None, cache=default_cache())
    if found.suggestion is None:
        return say("variants that diff proposes for efficientnet_lite0@int8", 0, "1", False)
    return _prices(say, spec.name, (found.suggestion,))


def price(say: Say) -> bool:
    """int8 and fine-tuned channel50 within a point of fp32, on the sessions of every backend that runs them.

    Of efficientnet_lite0 both are told: top-1 on labelled photographs, and agreement with fp32 on all there are.
    """
    met = True
    for model in DIGITS:
        met &= _prices(say, model, ("int8", "channel50"))
    met &= _prices(say, "efficientnet_lite0", ("int8",), data="foolbox:imagenet")
    return met & _prices(say, "efficientnet_lite0", ("int8",))


def _prices(say: Say, model: str, variants: Sequence[str], data: str = "") -> bool:
    met = True
    backends = (*SHARED, "litert")
    with bench(model, backends, (1,), weights="pretrained", variants=variants, data=data) as made, ExitStack() as stack:
        for variant in variants:
            for name in backends:
                cell = made.load(name, 1, stack, variant)
                cell.worker.go()
                accuracy, close = cell.evaluate(made.scratch / "evaluation.npz", cell.report())
                cell.worker.stop()
                if accuracy is not None and accuracy.vs_fp32 is not None:
                    lost, what = -accuracy.vs_fp32, f"top-1 lost on {prices.images(accuracy)}"
                elif close is not None and close.top1_agreement is not None:
                    lost, what = 1.0 - close.top1_agreement, f"disagreement with fp32 on {prices.images(close)}"
                    what += f" ({prices.near_ties(close)})" if lost else ""
                else:
                    raise RuntimeError(f"{cell.cell.key}: neither accuracy nor agreement")
                met &= say(f"{model}@{variant} in {name}: {what}", lost, "0.01 or less", lost <= 0.01)
    return met


def twice(say: Say) -> bool:
    """Every kind of variant built twice from nothing: the same bytes."""
    met = True
    suite = parse_suite('name = "bench"\n[matrix]\nmodels = ["digits_mobilenet"]\n', "bench")
    spec = resolve("digits_mobilenet")
    for variant in ("fp32", "raw", "fp16", "bf16", "int8", "int8:entropy", "int8-dynamic", "int8-weights",
                    "int4-weights", "sparse80", "sparse2:4", "channel50", "channel50+int8"):  # fmt: skip
        request = variant_request(spec, suite, "digits_mobilenet", variant, 1)
        with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
            builds = [build_variant(request, Path(cache)) for cache in (first, second)]
            hashes = {(made.exported.sha256, (made.float_model or made.plain).sha256) for made in builds}
        met &= say(
            f"digits_mobilenet@{variant}: different files from two builds", len(hashes) - 1, "0", len(hashes) == 1
        )
    return met
