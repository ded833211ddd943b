"""Who does what when: suites, workers, measurement, statistics, store, target, command line."""

__all__: list[str] = []
