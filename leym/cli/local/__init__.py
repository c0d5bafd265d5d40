"""Commands for this machine, which need more than the base installation; `leym.cli.lazy` imports them when called."""
