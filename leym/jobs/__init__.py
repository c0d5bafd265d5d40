"""The job table: the one place that says which jobs exist, who runs them and how far they are.

`JobTable` (leym.jobs.table) is what others use; `leym.contract.records` are the records it hands out.
"""
