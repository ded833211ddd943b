"""A hand-written loop around one runtime, as a user would write it, in the process layout of a worker.

Started by the bars: `python bare_loop.py RUNTIME MODEL THREADS CORES INPUTS`. For each line "N" on stdin it times N
calls and prints their nanoseconds as one JSON list. It shares no code with bakeoff.
"""

import json
import os
import sys
import time

import numpy as np


def onnxruntime_call(model, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})


def onnxruntime_binding_call(model, threads):
    """As onnxruntime_perf_test does it: inputs and outputs bound once, so that no call allocates."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    name = session.get_inputs()[0].name
    binding.bind_output(session.get_outputs()[0].name)

    def call(x):
        binding.bind_cpu_input(name, x)
        session.run_with_iobinding(binding)
        return binding.copy_outputs_to_cpu()

    return call


def openvino_call(model, threads):
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,
    }
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()

    def call(x):
        request.set_input_tensor(openvino.Tensor(x, shared_memory=True))
        request.infer(share_outputs=True)
        return request.get_output_tensor().data

    return call


CALLS = {
    "onnxruntime": onnxruntime_call,
    "onnxruntime-binding": onnxruntime_binding_call,
    "openvino": openvino_call,
}


def main():
    runtime, model, threads, cores, inputs = sys.argv[1:]
    os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    call = CALLS[runtime](model, int(threads))
    with np.load(inputs, allow_pickle=False) as stored:
        feeds = [stored[name] for name in sorted(stored.files) if name.startswith("input_")]
    for line in sys.stdin:
        times = []
        for place in range(int(line)):
            x = feeds[place % len(feeds)]
            start = time.perf_counter_ns()
            call(x)
            times.append(time.perf_counter_ns() - start)
        print(json.dumps(times), flush=True)


if __name__ == "__main__":
    main()
