"""The demo: twelve universes on a service of its own, with pictures of the results."""
