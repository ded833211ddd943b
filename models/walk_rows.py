"""Sums over images turned into the rows of a walk. Child processes only."""

from __future__ import annotations

from .tally import Tally
from .walk import LayerError, OutputError
from .walk_sites import Site

__all__ = ["layer_row", "output_row"]

_CLEAR = 0.25
"""Part of a layer's noise from which on its weights, or the rounding of its output, count among the causes."""


def layer_row(site: Site, far: Tally, near: Tally, raw: Tally) -> LayerError:
    """The row of *site*: accumulated errors *far*, its own *near*, those before the rounding of its output *raw*."""
    return LayerError(
        position=site.position,
        node=site.node,
        op=site.op,
        value=site.value,
        variant_value=site.ours,
        shape=site.shape,
        snr_db=far.snr_db,
        cosine=far.cosine,
        max_abs_error=far.worst,
        broken=far.broken,
        local_snr_db=near.snr_db,
        weights_snr_db=raw.snr_db,
        keep=_keep(site, near, raw),
    )


def _keep(site: Site, near: Tally, raw: Tally) -> tuple[str, ...]:
    """Quantizers sit before the nodes that read a value: a rounding goes when its readers are kept in fp32."""
    own = (site.node,) if site.node else ()
    if near.noise == 0.0:
        return ()
    if site.ours == site.ours_raw or not site.readers:
        return own
    weights = min(1.0, raw.noise_ratio / near.noise_ratio) if near.noise_ratio else 1.0
    kept = [*(own if weights >= _CLEAR else ()), *(site.readers if 1.0 - weights >= _CLEAR else ())]
    return tuple(dict.fromkeys(kept))


def output_row(name: str, tally: Tally) -> OutputError:
    """The row of the graph output *name*."""
    return OutputError(
        name=name,
        snr_db=tally.snr_db,
        cosine=tally.cosine,
        max_abs_error=tally.worst,
        broken=tally.broken,
        top1_agreement=tally.agreement,
    )
