"""Objectives: what a law can be trained towards, one file each. `registry.py` makes one from a recipe."""
