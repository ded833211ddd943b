"""How a model is executed: one contract, one adapter for each compiler or runtime, one registry."""

__all__: list[str] = []
