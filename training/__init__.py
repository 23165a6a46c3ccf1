"""Trains the small models that the package ships. Nothing in the package imports this; its inputs are not shipped."""
