"""The fidelity gate: judges if a law in a lower precision still produces the same universes as in fp32."""
