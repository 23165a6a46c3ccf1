"""The flows: the only floor where features meet. Each reads top to bottom."""
