"""One outside system each. Adapters never import one another, and know nothing of features."""
