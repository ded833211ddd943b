"""One module for each kind of data set, all of the same shape (see `base.Dataset`)."""

__all__: list[str] = []
