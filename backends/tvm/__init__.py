"""Apache TVM: Relax import of the ONNX file, NHWC, fusion, a default schedule, one shared library."""

from .adapter import TvmBackend, TvmSession, smoke

__all__ = ["TvmBackend", "TvmSession", "smoke"]
