"""A backend for bakeoff from outside its repository: ONNX executed by onnx's reference evaluator in NumPy."""

__all__: list[str] = []
