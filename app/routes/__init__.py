"""HTTP routes. Each module describes its requests and responses, and calls the library for the work."""

from __future__ import annotations

from app.routes import (
    events,
    fidelity,
    frames,
    jobs,
    laws,
    members,
    page,
    probes,
    queue,
    quotes,
    session,
    shared,
    states,
    store,
    sweeps,
    trainings,
    webhooks,
)

# in the order in which the docs show them
APIS = (
    jobs.api,
    frames.api,
    store.api,
    events.api,
    states.api,
    sweeps.api,
    members.api,
    laws.api,
    fidelity.api,
    trainings.api,
    queue.api,
    quotes.api,
    webhooks.api,
    shared.api,
    session.api,
    probes.api,
)
PAGE = page.page

__all__ = ["APIS", "PAGE"]
