"""What a person reads: result schema, view models, charts, HTML, Markdown, CSV. Never measures."""

__all__: list[str] = []
