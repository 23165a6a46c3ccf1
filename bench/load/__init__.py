"""The load generator: a process of its own (`python -m bench.load`), so that what it costs is not counted as ours."""
