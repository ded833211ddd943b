"""bakeoff: compare vision models, their refactorings and compiler backends, honestly.

The checkout root is the import package itself, so that the four folders `models`, `backends`, `reports` and
`harness` install as `bakeoff.models` and so on, and never shadow a user's own top-level packages.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
