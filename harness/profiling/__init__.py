"""Whose time is whose: rows of the runtimes' profiles mapped to the nodes of one ONNX graph."""

__all__: list[str] = []
