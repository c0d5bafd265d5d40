"""Stores the weights of a law in fewer bits, and decodes them for computing.

policy.py         which format each weight is stored in
nf4.py            4 bits per weight, in bitsandbytes' bytes
int8.py           8 bits per weight
plain.py          one float per weight
codes.py          codes that a law carries itself
quantized_law.py  a whole law: `quantize_law`, `QuantizedLaw.decode`
"""
