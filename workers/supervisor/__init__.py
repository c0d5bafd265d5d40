"""Starts, watches and ends the processes of the service on one machine.

`up` runs the whole service, `scale` only workers. Both tick a `Fleet` of worker processes, whose number
`autoscaler.decide` chooses.
"""
