"""The job table, the single source of truth about jobs: which exist, who runs them, how far they are.

`leym.jobs.table.JobTable` is the interface. Each part of it is a module of its own:

    submit, dependencies, quotas    new jobs, and the conditions for accepting them
    webhooks                        events of ended jobs, and their deliveries
    outbox                          queued jobs whose tickets have to be sent
    leases, lease_watch             claiming jobs, renewing leases, epochs, and taking jobs back from dead workers
    progress                        commits, which make frames visible to readers, and the end of a job
    reading, sweeps, statistics     queries of the API
    retention                       results whose time is over
    workers, tokens, projects       heartbeats, access, and projects as a whole
    database, sqlite_group_commit   connections and transactions
    schema, migrate, migrations     tables and their versions
"""
