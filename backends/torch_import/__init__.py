"""Our own importer from ONNX to `torch.fx.GraphModule`: one `nn.Module` for each ONNX node, named after it."""

from .importer import Imported, import_onnx, supported_ops

__all__ = ["Imported", "import_onnx", "supported_ops"]
