"""The export process: `python -m bakeoff.models.export_worker SCRATCH PARENT_PID` (see `child`)."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .cache import hash_file
from .child import serve
from .graph import count_weights
from .wire import decode_request

__all__ = ["work"]


def work(request: Mapping[str, Any]) -> dict[str, Any]:
    """Export the model of the request into its folder `out`, manifest included; return the manifest."""
    import onnx

    asked, out = decode_request(request["model"]), Path(request["out"])
    if asked.spec.source in ("onnx", "rapidocr"):
        from .onnx_file import convert

        manifest = convert(asked, out)
    else:
        from .torch_export import export_module

        manifest = export_module(asked, out)
    manifest["sha256"] = hash_file(out / "model.onnx")
    manifest["parameters"], manifest["zeros"] = count_weights(onnx.load(out / "model.onnx"))
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True), encoding="utf-8")
    return manifest


if __name__ == "__main__":
    sys.exit(serve(work, sys.argv))
