"""From an ONNX file to a shared library with TVM alone.

This module imports nothing of bakeoff, because its very text goes into the script that reproduces a failed cell.

The stages are apart: between `prepare` and `link` kernels get their schedules, by `schedules` or from elsewhere.
"""

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["caller", "host_target", "import_onnx", "import_tvm", "lay_out", "link", "lower", "place_of", "prepare"]

DOMAINS = ("", "ai.onnx", "com.microsoft")
"""Domains of the operators that TVM's importer knows; it looks at names only, so others are refused beforehand."""

# Kernels read vectors with aligned loads.
ALIGNMENT_BYTES = 64


def import_tvm(threads: int) -> Any:
    """Import tvm with a pool of *threads* threads.

    tvm-ffi imports torch if it is there, only for the sake of symbols on Windows: four seconds and some hundred
    megabytes that have nothing to do with TVM. Threads are not bound to cores: whoever starts the process pins it.
    """
    os.environ["TVM_NUM_THREADS"] = str(threads)
    os.environ["TVM_BIND_THREADS"] = "0"
    modules: dict[str, Any] = sys.modules
    blocked = "torch" not in modules and "tvm" not in modules and sys.platform == "linux"
    if blocked:
        modules["torch"] = None
    try:
        import tvm
        from tvm import relax  # noqa: F401
    finally:
        if blocked:
            del modules["torch"]
    return tvm


def host_target(features: frozenset[str]) -> dict[str, Any]:
    """TVM's target for this CPU: LLVM's name for it, less the features that it has by name only.

    *features* are those that the operating system shows: a virtual machine may hide some of the CPU's.
    """
    from tvm.target import Target, codegen

    cpu = codegen.llvm_get_system_cpu()
    named = [str(name) for name in codegen.llvm_get_cpu_features(Target({"kind": "llvm", "mcpu": cpu}))]
    shown = {_plain(name) for name in features}
    hidden = [name for name in named if name.startswith(("avx", "amx", "fma")) and _plain(name) not in shown]
    target = {"kind": "llvm", "mcpu": cpu, "num-cores": os.cpu_count() or 1}
    return {**target, "mattr": [f"-{name}" for name in hidden]} if hidden else target


def _plain(feature: str) -> str:
    return feature.replace("_", "").replace("-", "")


def import_onnx(
    path: Path,
    rewrite: Callable[[Any], Any] | None = None,
    operators: Mapping[str, Callable[[Any, Any, int], Any]] | None = None,
) -> Any:
    """The Relax module of the ONNX file at *path*; raises `tvm.error.OpNotImplemented` for what the importer lacks.

    *rewrite* may change the ModelProto before, but for the names of nodes. *operators* import single operators instead
    of TVM, unless they return None. Values are called after the node that makes them, see `place_of`.
    """
    import onnx
    import tvm
    from tvm.relax.frontend.onnx.onnx_frontend import ONNXGraphImporter

    class Importer(ONNXGraphImporter):  # type: ignore[misc]
        def _convert_operator(self, name: str, inputs: Any, attrs: Any, opset: int) -> Any:
            own = operators[name](inputs, attrs, opset) if operators and name in operators else None
            value = super()._convert_operator(name, inputs, attrs, opset) if own is None else self.bb.normalize(own)
            made.append((value, attrs["tvm_custom"]["name"]))
            return value

    made: list[tuple[Any, str]] = []
    model = onnx.load(path)
    for node in model.graph.node:
        node.name = node.name or node.output[0]
    places = {node.name: place for place, node in enumerate(model.graph.node)}
    model = model if rewrite is None else rewrite(model)
    foreign = sorted({f"{node.domain}.{node.op_type}" for node in model.graph.node if node.domain not in DOMAINS})
    if foreign:
        raise tvm.error.OpNotImplemented(f"operators of unknown domains: {', '.join(foreign)}")
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    module = Importer({}, "float32", sanitize=False).from_onnx(model.graph, opset)
    return _call_after_nodes(module, [(value, places[name]) for value, name in made if name in places])


def place_of(name: str) -> int | None:
    """Place in the ONNX file of the node that makes the value of this name; None for a value between nodes."""
    found = re.fullmatch("onnx([0-9]+)", name)
    return int(found[1]) if found else None


def _call_after_nodes(module: Any, made: Sequence[tuple[Any, int]]) -> Any:
    """Call each variable of *module* that a node has *made* after the place of that node."""
    from tvm import relax

    bindings = [binding for block in module["main"].body.blocks for binding in block.bindings]
    holders = {binding.value: binding.var for binding in bindings}
    names: dict[Any, str] = {}
    for value, place in made:
        for item in value.fields if isinstance(value, relax.Tuple) else [value]:
            names.setdefault(holders.get(item, item), f"onnx{place}")

    @relax.expr_functor.mutator
    class Namer(relax.PyExprMutator):  # type: ignore[misc]
        def visit_var_def_(self, var: Any) -> Any:
            return relax.Var(names[var], var.ty) if var in names else var

        def visit_dataflow_var_def_(self, var: Any) -> Any:
            return relax.DataflowVar(names[var], var.ty) if var in names else var

    for binding in bindings:  # results of the graph get a name of their own beside the node's
        if isinstance(binding.value, relax.Var) and binding.value in names:
            names[binding.var] = names[binding.value]
    module["main"] = Namer().visit_expr(module["main"])
    return module


def prepare(module: Any, target: Any, lowerings: Any = None, *, tunable: bool = False) -> tuple[Any, list[str]]:
    """Fold, convert convolutions to NHWC with HWIO weights, lower to loops and fuse them; and what went otherwise.

    *lowerings* and *tunable* as in `lower`.
    """
    module, remarks = lay_out(module, target)
    return lower(module, target, lowerings, tunable=tunable), remarks


def lay_out(module: Any, target: Any) -> tuple[Any, list[str]]:
    """Fold constants and convert convolutions to NHWC with HWIO weights; and what went otherwise."""
    import tvm
    from tvm.relax import transform as passes

    fold = [passes.CanonicalizeBindings(), fold_shapes(), passes.FoldConstant()]
    layout = [passes.ConvertLayout({"relax.nn.conv2d": ["NHWC", "HWIO"]}), passes.Normalize()]
    remarks = []
    with tvm.target.Target(target):
        module = tvm.transform.Sequential([passes.DecomposeOpsForInference(), *fold])(module)
        try:
            module = tvm.transform.Sequential(layout)(module)
        except tvm.error.InternalError as error:
            # It fails on transformers, by std::bad_alloc; convolutions then stay as the ONNX file has them.
            remarks.append(f"layout stays NCHW, since TVM's ConvertLayout failed: {error}")
        return tvm.transform.Sequential(fold)(module), remarks


def lower(module: Any, target: Any, lowerings: Any = None, *, tunable: bool = False) -> Any:
    """Lower a module that is laid out to loops, and fuse them.

    *lowerings* of single operators take the place of TVM's own. *tunable*: say of each kernel which of its inputs are
    constant, so that records may store them in another order.
    """
    import tvm
    from tvm.relax import transform as passes

    fuse = [passes.AnnotateTIROpPattern(), passes.FoldConstant(), passes.FuseOps(), passes.FuseTIR()]
    attach = [passes.AttachAttrLayoutFreeBuffers()] if tunable else []
    with tvm.target.Target(target):
        return tvm.transform.Sequential([passes.LegalizeOps(lowerings or {}), *fuse, *attach])(module)


def fold_shapes() -> Any:
    """A pass that transposes and reshapes constants with NumPy; TVM's own compiles a kernel for each shape."""
    import numpy as np
    import tvm
    from tvm import relax

    @relax.expr_functor.mutator
    class Folder(relax.PyExprMutator):  # type: ignore[misc]
        def visit_call_(self, call: Any) -> Any:
            call = super().visit_call_(call)
            name = getattr(call.op, "name", "")
            if name not in ("relax.permute_dims", "relax.reshape") or not isinstance(call.args[0], relax.Constant):
                return call
            array = call.args[0].data.numpy()
            if name == "relax.reshape":
                return relax.const(array.reshape([int(extent) for extent in call.ty.shape]))
            axes = call.attrs.axes
            return relax.const(np.ascontiguousarray(array.transpose(None if axes is None else [int(a) for a in axes])))

    def fold(module: Any, _context: Any) -> Any:
        module["main"] = Folder().visit_expr(module["main"])
        return module

    return tvm.transform.module_pass(fold, opt_level=0, name="FoldShapes")


def link(module: Any, target: Any, library: Path) -> None:
    """Generate code for *target* and link it to the shared *library* with the system's C compiler."""
    import tvm

    with tvm.transform.PassContext(opt_level=3):
        executable = tvm.compile(module, target=tvm.target.Target(target))
    executable.export_library(str(library))


def caller(library: Path, prepare: Callable[[Any], None] | None = None) -> Callable[[Sequence[Any]], list[Any]]:
    """Load *library* and return what runs it: arrays in the order of the inputs to arrays in that of the outputs.

    *prepare* is given the virtual machine beforehand.
    """
    import numpy as np
    import tvm
    from tvm import relax

    machine = relax.VirtualMachine(tvm.runtime.load_module(str(library)), tvm.cpu())
    if prepare is not None:
        prepare(machine)
    main = machine["main"]

    def tensor(array: Any) -> Any:
        if array.ctypes.data % ALIGNMENT_BYTES == 0 and array.flags.writeable:
            return tvm.runtime.from_dlpack(array)
        return tvm.runtime.tensor(array)

    def run(feeds: Sequence[Any]) -> list[Any]:
        outputs = main(*[tensor(feed) for feed in feeds])
        single = isinstance(outputs, tvm.runtime.Tensor)
        return [np.from_dlpack(output) for output in ([outputs] if single else outputs)]

    return run
