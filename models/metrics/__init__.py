"""What outputs are worth: accuracy against answers, fidelity against a reference. Start reading at `evaluation.py`."""

__all__: list[str] = []
