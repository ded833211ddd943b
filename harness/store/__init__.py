"""The store: all runs of a user or a team in one SQL database, and run bundles to carry them between machines."""

from .bundle import export_bundle, extract_files, import_bundle
from .runs import RunSummary, Store, suite_fingerprint

__all__ = [
    "RunSummary",
    "Store",
    "export_bundle",
    "extract_files",
    "import_bundle",
    "suite_fingerprint",
]
