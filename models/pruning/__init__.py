"""Pruning of torch modules: structured and masked, with a short fine-tune. Export process only."""

from __future__ import annotations

from .pipeline import prune

__all__ = ["prune"]
