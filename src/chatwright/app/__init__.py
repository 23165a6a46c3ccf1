"""Builds the whole and owns every lifetime."""
