"""Trials of what is found and said, on data that nothing was tuned on. `python -m bench.quality` runs them all."""
