"""Twelve universes through a service of its own: `python -m examples.demo`, the same as `leym demo`."""

from __future__ import annotations

from leym.demo.run import main

if __name__ == "__main__":
    main()
