"""Advances a batch by one step or many: eager, compiled, captured in CUDA graphs, or fused into one kernel."""
