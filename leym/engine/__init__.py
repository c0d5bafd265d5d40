"""Runs universes on one device, many at a time.

`engine.py` has the loop: choose a batch (`scheduler`), launch a burst of steps (`pipeline`), settle the bursts that
have finished (`delivery`). The folder `step` has what a step computes with. Nothing here knows a broker, a database or
HTTP.
"""
