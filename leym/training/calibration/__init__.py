"""Chooses better four-bit codes for a law without retraining it.

states.py     states of the law's own attractor, by seeds that no judgement uses
network.py    the network of a law in half-quantised forms, and what goes in and out of its layers
layers.py     a layer's kernel as a matrix, in the order of its blocks
absmax.py     arm "absmax": searches the scale of each block
gptq.py       arms "gptq" and "matched": round column by column, with error feedback
descent.py    arm "descent": changes single levels and scales of a rounded kernel while its error shrinks
refit.py      arm "refit": refits norms and biases to the activations of the fp32 law
readout.py    arm "readout": refits the last layer to the output of the fp32 law
rounding.py   arm "rounding": learns which of two levels, over steps of the closed loop
arms.py       the arms by name
candidates.py judges the arms by the fidelity gate and keeps the one that passes
"""
