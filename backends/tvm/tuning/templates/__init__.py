"""Schedules of the bakeoff space, one module for each kind of kernel: a candidate's numbers become loops."""

from .dispatch import apply_template

__all__ = ["apply_template"]
