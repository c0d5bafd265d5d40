"""Chaos: a real service under seeded faults, and a client of its own that keeps the books.

`house` starts the service, `inside/sitecustomize` waits in its processes for orders, `faults` are what may happen,
`client` submits and keeps a ledger, `storm` plays a schedule and `verdict` holds the ledger against the service.
`make chaos` plays a long one over both databases and both stores and writes docs/reliability.md's table.
"""
