"""Known lattice models as teachers of laws: `catalog.py` makes one by name, each has a file of its own.

All share the state of a law, float32 [B, 2d, H, W], and a step that looks no further than `reach` cells, so that a law
can learn them exactly.
"""
