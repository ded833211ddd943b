"""The published JSON Schema of a run. `python -m bakeoff.reports.schema` writes it into the checkout."""

from __future__ import annotations

import json
from pathlib import Path

from .results import SCHEMA_VERSION, Run

__all__ = ["SCHEMA_PATH", "run_schema"]

SCHEMA_PATH = Path(__file__).with_name("schema") / "run.schema.json"
"""The shipped file."""


def run_schema() -> str:
    """The JSON Schema of `Run` as the text of the shipped file."""
    schema = Run.model_json_schema(mode="serialization")
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": f"bakeoff run, schema_version {SCHEMA_VERSION}",
    }
    return json.dumps(head | schema, indent=2) + "\n"


if __name__ == "__main__":
    SCHEMA_PATH.parent.mkdir(exist_ok=True)
    SCHEMA_PATH.write_text(run_schema(), encoding="utf-8")
    print(SCHEMA_PATH)
