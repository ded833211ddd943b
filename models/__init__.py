"""What is benchmarked: the zoo, export to ONNX, inputs, output comparison. Knows nothing of backends."""

__all__: list[str] = []
