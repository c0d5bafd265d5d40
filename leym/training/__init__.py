"""Trains, calibrates and refines laws."""
