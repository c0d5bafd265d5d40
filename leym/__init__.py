"""Ley M: universes of complex cells whose physics is a learned network, run as jobs."""

__version__ = "0.1.0"
