"""One module for each change of the schema. A module that has been released is never edited."""

__all__: list[str] = []
