"""Recipes run as stages: keys, artifacts, resume."""
