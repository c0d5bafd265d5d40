"""Chaos: a real service under seeded faults, and a client that keeps a ledger of every answer.

`deployment` starts the service, `inside/sitecustomize` waits in its processes for orders, `faults` lists the faults,
`client` submits jobs and keeps the ledger, `storm` plays a schedule of faults, and `verdict` compares the ledger with
the service. `make chaos` plays a long storm on both databases and both stores and prints the table of
docs/reliability.md.
"""
