"""Refines a law in four bits: trains its stored weights until it does what its fp32 parent does.

fake_quantization.py   weights that pass through the encoder of the serving policy, with a gradient
courses.py             what a law does in a few steps, and how far two laws are apart in it
training.py            the loop: teacher fp32, student quantised, states that both visit
refined.py             judges a refined law against its parent, and writes it
"""
